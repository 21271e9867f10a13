package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// rotate gives a key another secret; the one that it had is over at once.
func (g *gateTest) rotate(k testKey) (now testKey) {
	g.t.Helper()
	made, _, err := Service().RotateSecret(context.Background(), lifecycle.Local("test", false), k.id,
		lifecycle.Rotation{PreviousExpiresIn: lifecycle.Some(int64(0))}, nil)
	require.NoError(g.t, err)
	k.secret = made.ClientSecret
	return k
}

// lastUse is a key's, once every use is stored: when, from where and on which
// route; nils where there is none.
func (g *gateTest) lastUse(k testKey) (at *time.Time, from, route string) {
	g.t.Helper()
	ctx := context.Background()
	require.NoError(g.t, active.Load().running.Load().store.keys.FlushUses(ctx))
	shown, err := Service().GetKey(ctx, lifecycle.Local("test", false), k.id)
	require.NoError(g.t, err)
	if shown.LastUsedAddress != nil {
		from = *shown.LastUsedAddress
	}
	if shown.LastUsedRoute != nil {
		route = *shown.LastUsedRoute
	}
	return shown.LastUsedAt, from, route
}

func TestAProvenCallIsTheKeysLastUse(t *testing.T) {
	clock := withClock(t)
	g := startGate(t, "max_stale 24h")
	reader, admin := g.newKey("reader", keystore.RoleReadOnly), g.newKey("admin", keystore.RoleOperator)
	at, _, _ := g.lastUse(reader)
	require.Nil(t, at)
	post := func(r *http.Request) {
		r.Method = http.MethodPost
		r.SetBasicAuth(reader.clientID, reader.secret)
	}
	ask := func(path string) func(*http.Request) {
		return func(r *http.Request) {
			r.URL.Path = path
			r.SetBasicAuth(reader.clientID, reader.secret)
		}
	}
	for _, c := range []struct {
		what   string
		with   func(*http.Request)
		status int
		route  string
		used   bool
	}{
		{"let in", ask("/things/a"), 200, "/things/{rest...}", true},
		{"refused by the role: the secret was used all the same", post, 403, "", true},
		{"refused for want of a route", ask("/nothing"), 403, "", true},
		{"a public route does not look at it", ask("/healthz"), 200, "", false},
		{"a wrong secret", func(r *http.Request) { r.SetBasicAuth(reader.clientID, "wrong") }, 401, "", false},
	} {
		before, _, _ := g.lastUse(reader)
		clock.Advance(10 * time.Second)
		require.Equal(t, c.status, g.send(c.with), c.what)
		at, from, route := g.lastUse(reader)
		if !c.used {
			require.Equal(t, before, at, c.what)
			continue
		}
		require.Equal(t, clock.Now().Wall, at.UTC(), c.what)
		require.Equal(t, []string{"127.0.0.1", c.route}, []string{from, route}, c.what)
	}

	r, err := http.NewRequest(http.MethodGet, g.adminURL+"/v1/keys", http.NoBody)
	require.NoError(t, err)
	r.SetBasicAuth(admin.clientID, admin.secret)
	resp, err := do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	at, from, route := g.lastUse(admin)
	require.Equal(t, []any{clock.Now().Wall, "127.0.0.1", ""}, []any{at.UTC(), from, route}, "the admin API")
}

func TestAShadowingGateLeavesNoUse(t *testing.T) {
	g := startEdited(t, "", func(s string) string {
		return strings.Replace(s, "public GET /healthz", "public GET /healthz\n\t\tshadow", 1)
	})
	k := g.newKey("a", keystore.RoleFullAccess)
	old := k
	require.Equal(t, 200, g.call(k, k.secret))
	k = g.rotate(k)
	require.Equal(t, 200, g.call(old, old.secret))
	at, _, _ := g.lastUse(k)
	require.Nil(t, at)
	require.Zero(t, active.Load().running.Load().store.keys.Counts().RetiredUses)
}

func TestARetiredSecretThatIsStillTriedIsTold(t *testing.T) {
	admin := freeAddress(t)
	g := startEdited(t, "", func(s string) string { return subscribed(eventRetiredUsed)(withAdmin(admin)(s)) })
	core, logs := observer.New(zapcore.WarnLevel)
	active.Load().logger = zap.New(core)
	old := g.newKey("a", keystore.RoleFullAccess)
	now := g.rotate(old)
	takeHeard()
	const series = "keyreeve_retired_secret_uses_total{}"
	before := scrape(t, admin)[series].value
	for range 3 {
		require.Equal(t, 401, g.call(old, old.secret))
	}
	require.Equal(t, 200, g.call(now, now.secret), "it does not count towards a lock")
	require.InDelta(t, 3, scrape(t, admin)[series].value-before, 0, "each is counted")

	events := takeHeard()
	require.Len(t, events, 1, "and told once in ten seconds")
	data := events[0].Data
	require.Equal(t, []any{old.id, old.clientID, "a", "c1", "127.0.0.1"},
		[]any{data["key_id"], data["client_id"], data["key_name"], data["customer_id"], data["client_ip"]})
	warned := logs.FilterMessage("retired secret used").All()
	require.Len(t, warned, 1)
	require.Equal(t, data["secret_id"], warned[0].ContextMap()["secret_id"])

	require.NoError(t, active.Load().running.Load().store.keys.FlushUses(t.Context()))
	secrets, err := Service().ListSecrets(t.Context(), lifecycle.Local("test", false), old.id)
	require.NoError(t, err)
	var tried []string
	for _, s := range secrets.Items {
		if s.LastTriedAt != nil {
			tried = append(tried, s.ID+" "+*s.LastTriedAddress)
		}
	}
	require.Equal(t, []string{data["secret_id"].(string) + " 127.0.0.1"}, tried)
}

func TestARetiredSecretAtTheAdminAPIIsToldToo(t *testing.T) {
	g := startEdited(t, "", subscribed(eventRetiredUsed))
	k := g.newKey("a", keystore.RoleOperator)
	g.rotate(k)
	takeHeard()
	r, err := http.NewRequest(http.MethodGet, g.adminURL+"/v1/keys", http.NoBody)
	require.NoError(t, err)
	r.SetBasicAuth(k.clientID, k.secret)
	resp, err := do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Len(t, takeHeard(), 1)
}
