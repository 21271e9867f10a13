package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

func TestNodesAreShownToThoseWhoMayReadThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	svc := lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring, Nodes: func(context.Context) ([]lifecycle.Node, error) {
		return []lifecycle.Node{{ID: "node_1", Name: "gate-1", Self: true, State: lifecycle.NodeServing, Position: 7, AppliedAt: at, StartedAt: at,
			Version: "v1.2.3", Store: "sqlite", MaxStaleSeconds: 300}}, nil
	}})
	server := httptest.NewServer(New(svc, w.authenticate))
	t.Cleanup(server.Close)
	w.url = server.URL
	r, _, err := w.svc.CreateRole(t.Context(), local, lifecycle.NewRole{Name: "Nodes", CustomerID: lifecycle.Null[string](), Permissions: policy.Permissions{"keyreeve/nodes": policy.View}})
	require.NoError(t, err)
	watcher := w.key(lifecycle.NewKey{Name: "watcher", RoleID: r.ID, CustomerID: "acme"})
	a := w.do(watcher, http.MethodGet, "/v1/nodes", "")
	require.Equal(t, 200, a.status)
	require.JSONEq(t, `{"items":[{"id":"node_1","name":"gate-1","self":true,"state":"serving","position":7,"applied_at":"2026-01-02T03:04:05Z",
		"started_at":"2026-01-02T03:04:05Z","version":"v1.2.3","store":"sqlite","max_stale_seconds":300}],"next_cursor":null,"total":1}`, a.raw)
	require.Equal(t, "permission_denied", w.do(w.admin, http.MethodGet, "/v1/nodes", "").code())
	require.Equal(t, 405, w.do(watcher, http.MethodPost, "/v1/nodes", "{}").status)
	require.Contains(t, w.do(watcher, http.MethodGet, "/v1/nodes?state=serving", "").fields(), "state", "a filter that there is not")
	require.Empty(t, w.do(watcher, http.MethodGet, "/v1/nodes?page=2", "").body["items"])
}
