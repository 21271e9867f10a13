package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// provisionedGate is a gate of the running configuration that no server serves,
// and a request that it allows, in a context as deep as a server's.
func provisionedGate(tb testing.TB, g *gateTest, k testKey) (*Gate, *http.Request) {
	tb.Helper()
	config, err := json.Marshal(map[string]any{"routes": []any{map[string]any{"methods": []string{"*"}, "path": "/things/{rest...}", "resource": "things"}}})
	require.NoError(tb, err)
	module, err := caddy.ActiveContext().LoadModuleByID("http.handlers.keyreeve", config)
	require.NoError(tb, err)
	r := httptest.NewRequest(http.MethodGet, "/things/a", nil)
	r.SetBasicAuth(k.clientID, k.secret)
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, &caddyhttp.Server{})
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.7"})
	for _, key := range []caddy.CtxKey{"routes", "original", "log"} {
		ctx = context.WithValue(ctx, key, struct{}{})
	}
	return module.(*Gate), r.WithContext(ctx)
}

// BenchmarkDecision is a decision by secret, alone and with what observes it. Run
// with -test.cpu 1,2: observing must not make cores wait for one another.
func BenchmarkDecision(b *testing.B) {
	g := startGate(b, "")
	gate, r := provisionedGate(b, g, g.newKey("a", keystore.RoleFullAccess))
	run := func(observed bool) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					v := &verdict{began: time.Now()}
					gate.examine(r, v)
					if observed {
						gate.observe(r, v)
						gate.used(r, v)
					}
					if !v.Allow {
						b.Error(v.Reason, v.Detail)
						return
					}
				}
			})
		}
	}
	b.Run("alone", run(false))
	b.Run("observed", run(true))
	b.Run("observing", func(b *testing.B) { // what the difference consists of
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			v := &verdict{began: time.Now()}
			v.Allow, v.Reason = true, policy.Allowed
			for pb.Next() {
				gate.observe(r, v)
			}
		})
	})
	b.Run("using", func(b *testing.B) {
		proven := &verdict{began: time.Now()}
		gate.examine(r, proven)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				gate.used(r, proven)
			}
		})
	})
	b.Run("recording", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				decisions.record(policy.Allowed, false, 3*time.Microsecond)
			}
		})
	})
}

// manyRuns are enough that what the store's followers allocate meanwhile, which is
// counted too, comes to less than one each.
const manyRuns = 20_000

func TestAUseThatWasSeenOfLateAllocatesNothing(t *testing.T) {
	g := startGate(t, "")
	gate, r := provisionedGate(t, g, g.newKey("a", keystore.RoleFullAccess))
	v := &verdict{began: time.Now()}
	gate.examine(r, v)
	require.True(t, v.Allow)
	require.Zero(t, testing.AllocsPerRun(manyRuns, func() { gate.used(r, v) }))
}

func TestObservingADecisionThatNobodyWantsToKnowOfAllocatesNothing(t *testing.T) {
	g := startGate(t, "")
	gate, r := provisionedGate(t, g, g.newKey("a", keystore.RoleFullAccess))
	for _, reason := range []policy.Reason{policy.Allowed, policy.PermissionDenied} {
		v := &verdict{began: time.Now()}
		v.Allow, v.Reason = reason == policy.Allowed, reason
		require.Zero(t, testing.AllocsPerRun(manyRuns, func() { gate.observe(r, v) }), reason)
	}
}
