package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
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
		"started_at":"2026-01-02T03:04:05Z","version":"v1.2.3","store":"sqlite","former":false,"max_stale_seconds":300,"renewed_at":null,"lease_seconds":null,"fenced":false,"accepts_until":null}],"next_cursor":null,"total":1,"head":`+fmt.Sprint(a.body["head"])+`}`, a.raw)
	require.Equal(t, "permission_denied", w.do(w.admin, http.MethodGet, "/v1/nodes", "").code())
	require.Equal(t, 405, w.do(watcher, http.MethodPost, "/v1/nodes", "{}").status)
	require.Contains(t, w.do(watcher, http.MethodGet, "/v1/nodes?state=serving", "").fields(), "state", "a filter that there is not")
	require.Empty(t, w.do(watcher, http.MethodGet, "/v1/nodes?page=2", "").body["items"])
}

func TestANodeIsForgottenOverTheAPIOnceItIsFenced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := w.cutOff()
	list := w.do(w.operator, "GET", "/v1/nodes", "")
	require.Equal(t, 200, list.status)
	require.NotContains(t, list.body, "restored")
	require.Positive(t, list.body["head"])
	w.described("GET", "/v1/nodes", "", list)
	require.Equal(t, "permission_denied", w.do(w.admin, "DELETE", "/v1/nodes/node_2", "").code())
	require.Equal(t, 404, w.do(w.operator, "DELETE", "/v1/nodes/node_9", "").status)
	a := w.do(w.operator, "DELETE", "/v1/nodes/node_2", "")
	require.Equal(t, 409, a.status)
	require.Equal(t, "node_not_fenced", a.code())
	require.Equal(t, w.clock.Now().Wall.Add(time.Minute).UTC().Format("2006-01-02T15:04:05.999Z07:00"), a.body["accepts_until"])
	w.described("DELETE", "/v1/nodes/node_2", "", a)
	gone := nodes.List()[1]
	gone.Left = 0
	nodes.Put(gone)
	a = w.do(w.operator, "DELETE", "/v1/nodes/node_2", "")
	require.Equal(t, 204, a.status)
	require.Equal(t, "confirmed=1; pending=0", a.header.Get("Keyreeve-Propagation"))
	require.Len(t, nodes.List(), 1)
}

func TestARestoredStoreIsReadAndNotChangedUntilThatIsAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := w.cutOff()
	a := w.do(w.operator, "POST", "/v1/nodes/accept-restore", "")
	require.Equal(t, 409, a.status, a.raw)
	require.Equal(t, "not_restored", a.code())
	nodes.Restore(keystore.Restore{Noticed: w.clock.Now().Wall, From: 99, To: 42, Replayed: 3})
	a = w.do(w.operator, "POST", "/v1/keys", `{"name":"new","role_id":"`+keystore.RoleReadOnly+`","customer_id":"acme"}`)
	require.Equal(t, 503, a.status)
	require.Equal(t, "store_restored", a.code())
	require.Contains(t, a.body["detail"], "keyreeve node accept-restore")
	require.Empty(t, a.header.Get("Retry-After"), "it does not pass by itself")
	w.described("POST", "/v1/keys", `{"name":"new","role_id":"`+keystore.RoleReadOnly+`","customer_id":"acme"}`, a)
	require.Equal(t, 200, w.do(w.operator, "GET", "/v1/keys", "").status)
	list := w.do(w.operator, "GET", "/v1/nodes", "")
	require.EqualValues(t, 42, list.body["restored"].(map[string]any)["to"])
	w.described("GET", "/v1/nodes", "", list)
	me := w.do(w.viewer, "GET", "/v1/me", "")
	require.EqualValues(t, 3, me.body["store_restored"].(map[string]any)["replayed"])
	w.described("GET", "/v1/me", "", me)
	require.Equal(t, "permission_denied", w.do(w.admin, "POST", "/v1/nodes/accept-restore", "").code())
	a = w.do(w.operator, "POST", "/v1/nodes/accept-restore", "")
	require.Equal(t, 200, a.status)
	require.EqualValues(t, 99, a.body["from"])
	w.described("POST", "/v1/nodes/accept-restore", "", a)
	require.Equal(t, 201, w.do(w.operator, "POST", "/v1/keys", `{"name":"new","role_id":"`+keystore.RoleReadOnly+`","customer_id":"acme"}`).status)
}

func TestAWriteWhoseEndIsNotKnownIsNotCalledUndone(t *testing.T) {
	t.Parallel()
	for err, code := range map[error]string{
		keystore.ErrInDoubt:     "store_in_doubt",
		keystore.ErrUnavailable: "store_unavailable",
		keystore.ErrFull:        "store_full",
	} {
		p, fault := refusal(nil, fmt.Errorf("wrapped: %w", err))
		require.True(t, fault)
		require.Equal(t, code, p.Code)
		require.Equal(t, code != "store_in_doubt", strings.Contains(p.Detail, "nothing was written"))
		require.Equal(t, code == "store_unavailable", p.GetHeaders().Get("Retry-After") != "")
	}
	p, _ := refusal(httptest.NewRequest("GET", "/v1/nodes", nil), keystore.ErrUnavailable)
	require.Equal(t, "the key store cannot be reached", p.Detail, "nothing was to be written")
}
