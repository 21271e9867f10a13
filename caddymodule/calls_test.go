package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// calls is how often a key was called, once every call is stored.
func (g *gateTest) calls(k testKey) int {
	g.t.Helper()
	require.NoError(g.t, active.Load().running.Load().store.keys.FlushUses(context.Background()))
	return g.storedCalls(k)
}

func (g *gateTest) storedCalls(k testKey) int {
	g.t.Helper()
	usage, err := Service().KeyUsage(context.Background(), lifecycle.Local("test", false), k.id)
	require.NoError(g.t, err)
	return int(usage.Calls24h)
}

func TestACallIsARequestDecidedOnWithTheKeyProven(t *testing.T) {
	g := startGate(t, "")
	reader, admin := g.newKey("reader", keystore.RoleReadOnly), g.newKey("admin", keystore.RoleOperator)
	require.Zero(t, g.calls(reader))
	as := func(change func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			r.SetBasicAuth(reader.clientID, reader.secret)
			change(r)
		}
	}
	want := 0
	for _, c := range []struct {
		what   string
		with   func(*http.Request)
		status int
		counts int
	}{
		{"let in", as(func(*http.Request) {}), 200, 1},
		{"refused by the role", as(func(r *http.Request) { r.Method = http.MethodPost }), 403, 1},
		{"refused for want of a route", as(func(r *http.Request) { r.URL.Path = "/nothing" }), 403, 1},
		{"a public route does not look at the credential", as(func(r *http.Request) { r.URL.Path = "/healthz" }), 200, 0},
		{"a wrong secret", func(r *http.Request) { r.SetBasicAuth(reader.clientID, "wrong") }, 401, 0},
		{"nobody", func(*http.Request) {}, 401, 0},
	} {
		for range 2 { // wrong secrets do not lock yet
			require.Equal(t, c.status, g.send(c.with), c.what)
			want += c.counts
		}
		require.Equal(t, want, g.calls(reader), c.what)
	}

	r, err := http.NewRequest(http.MethodGet, g.adminURL+"/v1/keys", http.NoBody)
	require.NoError(t, err)
	r.SetBasicAuth(admin.clientID, admin.secret)
	resp, err := do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Zero(t, g.calls(admin), "the admin API is not called by it")
}

func TestAShadowingGateCountsNoCall(t *testing.T) {
	g := startEdited(t, "", func(s string) string {
		return strings.Replace(s, "public GET /healthz", "public GET /healthz\n\t\tshadow", 1)
	})
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	require.Zero(t, g.calls(k))
}

func TestNoCallIsLostByReloads(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	for i, extra := range []string{"max_stale 1m", "max_stale 2m", "max_stale 3m"} {
		require.Equal(t, 200, g.call(k, k.secret))
		require.NoError(t, g.load(extra))
		require.Equal(t, i+1, g.calls(k))
	}
	require.Equal(t, 200, g.call(k, k.secret))
	home := g.edit
	g.edit = func(s string) string { return strings.Replace(s, "keys.db", "other.db", 1) } // the first store is closed
	require.NoError(t, g.load(""))
	g.edit = home
	require.NoError(t, g.load(""))
	require.Equal(t, 4, g.storedCalls(k), "closing stored it")
}
