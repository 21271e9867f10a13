package api

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/test/openapi"
)

// cutOff has the API tell of a node that follows, and of one that does not and may
// accept for another minute.
func (w *world) cutOff() *storetest.Nodes {
	w.t.Helper()
	nodes := storetest.WithNodes(w.store)
	now := w.clock.Now().Wall
	node := func(id, name string, position keystore.Revision) keystore.Registered {
		return keystore.Registered{Registration: keystore.Registration{ID: id, Name: name, Position: position, Started: now, MaxStale: 5 * time.Minute, Lease: 305 * time.Second},
			Renewed: now, Until: now.Add(time.Minute), Left: time.Minute}
	}
	nodes.Put(node("node_1", "gate-1", 1<<40), node("node_2", "gate-2", 0))
	svc := lifecycle.New(lifecycle.Config{Store: nodes, Keyring: w.ring, Propagation: nodes.Propagate,
		Nodes: func(context.Context) ([]lifecycle.Node, error) {
			var all []lifecycle.Node
			for _, r := range nodes.List() {
				all = lifecycle.AddRegistered(all, &r, "postgres")
			}
			return all, nil
		}})
	w.api = New(svc, w.authenticate)
	server := httptest.NewServer(w.api)
	w.t.Cleanup(server.Close)
	w.url = server.URL
	return nodes
}

// described holds an exchange against the API's own description of itself.
func (w *world) described(method, path, body string, a answer) {
	w.t.Helper()
	d, err := openapi.Parse(w.api.spec)
	require.NoError(w.t, err)
	header := http.Header{"Authorization": {"Basic x"}, "Content-Type": {typeJSON}}
	require.NoError(w.t, d.Check(openapi.Exchange{Method: method, Target: path, Header: header, Body: []byte(body),
		Status: a.status, ResponseHeader: a.header, ResponseBody: []byte(strings.TrimSpace(a.raw))}), a.raw)
}

func TestAChangeThatTakesSomethingAwayIsAcceptedUntilEveryNodeHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	role, _, err := w.svc.CreateRole(t.Context(), local, lifecycle.NewRole{Name: "Role", CustomerID: lifecycle.Null[string](), Permissions: policy.Permissions{"a": policy.View}})
	require.NoError(t, err)
	k := w.key(lifecycle.NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	source, _, err := w.svc.CreateSource(t.Context(), local, lifecycle.NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	nodes := w.cutOff()
	until := w.clock.Now().Wall.Add(time.Minute).UTC().Format("2006-01-02T15:04:05.999Z07:00")
	path := "/v1/keys/" + k.ID
	seen := map[string]bool{}
	for _, c := range []struct {
		operation, method, path, body string
		has                           []string
	}{
		{"update-key", "PATCH", path, `{"enabled":false}`, []string{"id", "name", "secrets"}},
		{"rotate-secret", "POST", path + "/secrets", `{"previous_expires_in":0}`, []string{"id", "client_secret"}},
		{"retire-secret", "DELETE", path + "/secrets/SECRET?force=true", "", nil},
		{"end-key-sessions", "DELETE", path + "/sessions", "", nil},
		{"batch-keys", "POST", "/v1/keys/batch", `{"action":"disable","ids":["` + k.ID + `"]}`, []string{"items", "succeeded"}},
		{"delete-key", "DELETE", path, "", nil},
		{"update-role", "PATCH", "/v1/roles/" + role.ID, `{"permissions":{"a":null}}`, []string{"id", "permissions"}},
		{"delete-role", "DELETE", "/v1/roles/" + role.ID, "", nil},
		{"update-microtenant", "PATCH", "/v1/microtenants/apac", `{"enabled":false}`, []string{"id"}},
		{"delete-microtenant", "DELETE", "/v1/microtenants/apac", "", nil},
		{"push-source-keys", "PUT", "/v1/sources/" + source.Name + "/keys", `{"keys":[]}`, []string{"items", "removed"}},
	} {
		seen[c.operation] = true
		if strings.Contains(c.path, "SECRET") {
			secrets := w.do(w.operator, "GET", path+"/secrets", "").body["items"].([]any)
			c.path = strings.Replace(c.path, "SECRET", secrets[0].(map[string]any)["id"].(string), 1)
		}
		a := w.do(w.operator, c.method, c.path, c.body)
		require.Equal(t, 202, a.status, "%s: %s", c.operation, a.raw)
		require.Equal(t, typeJSON, a.header.Get("Content-Type"))
		require.Equal(t, "confirmed=1; pending=1", a.header.Get("Keyreeve-Propagation"))
		require.NotEmpty(t, a.header.Get("Keyreeve-Revision"))
		require.Equal(t, true, a.body["committed"], c.operation)
		require.Contains(t, a.body["detail"], "do not send the request again")
		require.Equal(t, []any{map[string]any{"node": "gate-2", "node_id": "node_2", "accepts_until": until}}, a.body["pending"])
		for _, member := range c.has {
			require.Contains(t, a.body, member, c.operation)
		}
		if len(c.has) == 0 {
			require.Len(t, a.body, 3)
		} else if c.method == "PATCH" {
			require.NotEmpty(t, a.header.Get("ETag"))
		}
		w.described(c.method, c.path, c.body, a)
	}
	// Sessions and customers are as the others; they need more of a world.
	for _, other := range []string{"end-session", "update-customer", "delete-customer"} {
		seen[other] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(revokingOperations)), slices.Sorted(maps.Keys(seen)))

	a := w.do(w.operator, "POST", "/v1/keys", `{"name":"new","role_id":"`+keystore.RoleReadOnly+`","customer_id":"acme"}`)
	require.Equal(t, 201, a.status, "it takes nothing away")
	require.Equal(t, "confirmed=1; pending=1", a.header.Get("Keyreeve-Propagation"))
	path = "/v1/keys/" + a.body["id"].(string)
	require.Equal(t, 200, w.do(w.operator, "PATCH", path, `{"description":"d"}`).status)
	waited := nodes.Waits()
	require.Equal(t, 202, w.do(w.operator, "PATCH", path, `{"enabled":false}`, "Prefer", "respond-async, wait=0").status)
	require.Equal(t, 202, w.do(w.operator, "DELETE", path+"/sessions", "").status)
	require.Equal(t, []time.Duration{0, 2 * time.Second}, nodes.Waits()[len(waited):])

	caughtUp := nodes.List()[1]
	caughtUp.Position = 1 << 40
	nodes.Put(caughtUp)
	a = w.do(w.operator, "PATCH", path, `{"enabled":false}`)
	require.Equal(t, 200, a.status, "asked again, once every node has it")
	require.Equal(t, "confirmed=2; pending=0", a.header.Get("Keyreeve-Propagation"))
	require.Equal(t, 204, w.do(w.operator, "DELETE", path, "").status)
}

func TestARepeatedRequestIsAcceptedAsLongAsANodeIsPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.key(lifecycle.NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	nodes := w.cutOff()
	rotate := func() answer {
		return w.do(w.operator, "POST", "/v1/keys/"+k.ID+"/secrets", `{"previous_expires_in":0}`, "Idempotency-Key", "once")
	}
	first := rotate()
	require.Equal(t, 202, first.status)
	require.NotEmpty(t, first.body["client_secret"], "shown this once, and nowhere else")
	again := rotate()
	require.Equal(t, 202, again.status)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.NotContains(t, again.body, "client_secret")
	caughtUp := nodes.List()[1]
	caughtUp.Position = 1 << 40
	nodes.Put(caughtUp)
	require.Equal(t, 201, rotate().status)
}

func TestPendingNodesAreCountedForThoseWhoMayNotKnowThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.key(lifecycle.NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	w.cutOff()
	a := w.do(w.admin, "DELETE", "/v1/keys/"+k.ID, "")
	require.Equal(t, 202, a.status, a.raw)
	pending := a.body["pending"].([]any)
	require.Len(t, pending, 1)
	require.Equal(t, []string{"accepts_until"}, slices.Sorted(maps.Keys(pending[0].(map[string]any))))
	require.NotContains(t, a.raw, "gate-2")
	w.described("DELETE", "/v1/keys/"+k.ID, "", a)
}

func TestAWishForAWaitIsReadAsItsStandardSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]lifecycle.Optional[time.Duration]{
		"wait=0": lifecycle.Some(time.Duration(0)), "Wait = 1": lifecycle.Some(time.Second), `return=minimal; foo, wait="2";x=y`: lifecycle.Some(2 * time.Second),
		"wait=1, wait=5": lifecycle.Some(time.Second), "": {}, "wait": {}, "wait=-1": {}, "wait=1.5": {}, "wait=99999999999999999999": {}, "waiting=1": {},
	} {
		require.Equal(t, want, preferredWait(http.Header{"Prefer": {text}}), text)
	}
	require.Equal(t, lifecycle.Some(time.Second), preferredWait(http.Header{"Prefer": {"x", "wait=1"}}))
}
