package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

func (g *gateTest) nodes() []lifecycle.Node {
	g.t.Helper()
	page, err := Service().ListNodes(context.Background(), lifecycle.Local("test", false), lifecycle.NodeFilter{})
	require.NoError(g.t, err)
	return page.Items
}

func TestThisProcessIsANode(t *testing.T) {
	g := startGate(t, "max_stale 2m")
	k := g.newKey("a", keystore.RoleOperator)
	r, err := http.NewRequest(http.MethodGet, g.adminURL+"/v1/nodes", http.NoBody)
	require.NoError(t, err)
	r.SetBasicAuth(k.clientID, k.secret)
	resp, err := do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var page struct {
		Items []map[string]any `json:"items"`
		Total int              `json:"total"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&page))
	require.Equal(t, 1, page.Total)
	n := page.Items[0]
	name, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, []any{name, true, "serving", "sqlite", 120.0}, []any{n["name"], n["self"], n["state"], n["store"], n["max_stale_seconds"]})
	require.InDelta(t, float64(active.Load().running.Load().store.keys.Position()), n["position"], 0)
	for _, member := range []string{"applied_at", "started_at"} {
		at, err := time.Parse(time.RFC3339, n[member].(string))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, time.Hour, member)
	}
	before := n["id"]
	require.NoError(t, g.load("max_stale 3m"))
	require.Equal(t, before, g.nodes()[0].ID, "a reload is the same process")
	require.EqualValues(t, 180, g.nodes()[0].MaxStaleSeconds)
}

func TestANodeThatCannotFollowTheStoreSaysSo(t *testing.T) {
	clock := withClock(t)
	startGate(t, "max_stale 10m")
	app := active.Load()
	own := app.nodes(app.running.Load().store)
	state := func(want string) func() bool {
		return func() bool {
			all, err := own(context.Background())
			require.NoError(t, err)
			return all[0].State == want
		}
	}
	require.True(t, state(lifecycle.NodeServing)())
	require.NoError(t, app.running.Load().store.keys.Store().Close()) // the next look for changes fails
	require.Eventually(t, state(lifecycle.NodeLagging), 10*time.Second, 10*time.Millisecond)
	clock.Advance(11 * time.Minute)
	require.True(t, state(lifecycle.NodeRefusing)())
}

func TestACommandOnTheStoreItselfIsNoNode(t *testing.T) {
	i := newInstallation(t)
	i.diagnose()
	handler, done, err := openOffline(t.Context(), i.config)
	require.NoError(t, err)
	defer func() { require.NoError(t, done()) }()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v1/nodes", http.NoBody)
	r.RemoteAddr = "@"
	handler.ServeHTTP(w, r)
	require.Contains(t, w.Body.String(), `"items":[],"next_cursor":null,"total":0`)
}

func TestTheVersionIsThisModulesWhereverItIsBuiltInto(t *testing.T) {
	other := debug.Module{Path: "example.com/caddy", Version: "v9.9.9"}
	own := debug.Module{Path: modulePath, Version: "v1.2.3"}
	require.Equal(t, "v1.2.3", versionIn(&debug.BuildInfo{Main: own}, true))
	require.Equal(t, "v1.2.3", versionIn(&debug.BuildInfo{Main: other, Deps: []*debug.Module{&other, &own}}, true))
	require.Empty(t, versionIn(&debug.BuildInfo{Main: other}, true))
	require.Empty(t, versionIn(nil, false))
}
