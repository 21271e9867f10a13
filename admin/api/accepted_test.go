package api

import (
	"context"
	"encoding/json"
	"fmt"
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

// write is a request for an operation that writes.
type write struct {
	operation, method, path, body string
	// takes something away: it is to be waited for as long as a revocation is, and is
	// accepted while a node may still give it. has is what the answer has then besides.
	takes bool
	has   []string
}

// everyWrite is a request for each operation of the description that writes, in an order
// in which they can be done one after the other, while a node is cut off.
func (w *world) everyWrite() []write {
	t, ctx := w.t, w.t.Context()
	role, _, err := w.svc.CreateRole(ctx, local, lifecycle.NewRole{Name: "Role", CustomerID: lifecycle.Null[string](), Permissions: policy.Permissions{"a": policy.View}})
	require.NoError(t, err)
	k := w.key(lifecycle.NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	_, _, err = w.svc.CreateSource(ctx, local, lifecycle.NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	view := w.do(w.operator, "POST", "/v1/me/views", `{"name":"v","list":"keys"}`).body["id"].(string)
	key, session := "/v1/keys/"+k.ID, w.signIn(w.viewer, "a")
	return []write{
		{"update-key", "PATCH", key, `{"enabled":false}`, true, []string{"id", "name", "secrets"}},
		{"unlock-key", "DELETE", key + "/lock", "", false, nil},
		{"rotate-secret", "POST", key + "/secrets", `{"previous_expires_in":0}`, true, []string{"id", "client_secret"}},
		{"retire-secret", "DELETE", key + "/secrets/" + k.Secrets[0].ID + "?force=true", "", true, nil},
		{"end-key-sessions", "DELETE", key + "/sessions", "", true, nil},
		{"end-session", "DELETE", "/v1/sessions/" + session, "", true, nil},
		{"batch-keys", "POST", "/v1/keys/batch", `{"action":"disable","ids":["` + k.ID + `"]}`, true, []string{"items", "succeeded"}},
		{"delete-key", "DELETE", key, "", true, nil},
		{"update-role", "PATCH", "/v1/roles/" + role.ID, `{"permissions":{"a":null}}`, true, []string{"id", "permissions"}},
		{"delete-role", "DELETE", "/v1/roles/" + role.ID, "", true, nil},
		{"update-microtenant", "PATCH", "/v1/microtenants/apac", `{"enabled":false}`, true, []string{"id"}},
		{"delete-microtenant", "DELETE", "/v1/microtenants/apac", "", true, nil},
		{"push-source-keys", "PUT", "/v1/sources/idp/keys", `{"keys":[]}`, true, []string{"items", "removed"}},
		// Which role its keys may have at most is for its next list.
		{"update-source", "PATCH", "/v1/sources/idp", `{"rule":"locked"}`, false, nil},
		{"put-source", "PUT", "/v1/sources/idp", `{"rule":"read_only","max_role_id":"` + keystore.RoleReadOnly + `"}`, false, nil},
		{"delete-source", "DELETE", "/v1/sources/idp", "", false, nil}, // once it has no keys
		{"create-source", "POST", "/v1/sources", `{"name":"new","customer_id":"acme","rule":"locked","max_role_id":"` + keystore.RoleReadOnly + `"}`, false, nil},
		{"create-key", "POST", "/v1/keys", `{"name":"new","role_id":"` + keystore.RoleReadOnly + `","customer_id":"acme"}`, false, nil},
		{"create-role", "POST", "/v1/roles", `{"name":"new","customer_id":null,"permissions":{"a":"view"}}`, false, nil},
		{"create-customer", "POST", "/v1/customers", `{"id":"new","name":"new"}`, false, nil},
		{"create-microtenant", "POST", "/v1/microtenants", `{"name":"new","customer_id":"acme"}`, false, nil},
		{"update-customer", "PATCH", "/v1/customers/new", `{"enabled":false}`, true, []string{"id", "name", "enabled"}},
		{"delete-customer", "DELETE", "/v1/customers/new", "", true, nil},
		{"update-preferences", "PATCH", "/v1/me/preferences", `{"a":1}`, false, nil},
		{"put-preferences", "PUT", "/v1/me/preferences", `{"a":2}`, false, nil},
		{"create-view", "POST", "/v1/me/views", `{"name":"new","list":"keys"}`, false, nil},
		{"update-view", "PATCH", "/v1/me/views/" + view, `{"name":"other"}`, false, nil},
		{"delete-view", "DELETE", "/v1/me/views/" + view, "", false, nil},
		{"forget-node", "DELETE", "/v1/nodes/node_3", "", false, nil},
		{"accept-restore", "POST", "/v1/nodes/accept-restore", "", false, nil},
	}
}

// TestAChangeThatTakesSomethingAwayIsAcceptedUntilEveryNodeHasIt does every write there
// is: a new operation has no place in the table and fails it, until somebody has said
// whether it takes something away.
func TestAChangeThatTakesSomethingAwayIsAcceptedUntilEveryNodeHasIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	writes := w.everyWrite()
	nodes := w.cutOff()
	gone := nodes.List()[1]
	gone.ID, gone.Left = "node_3", 0
	nodes.Put(gone)
	until := w.clock.Now().Wall.Add(time.Minute).UTC().Format("2006-01-02T15:04:05.999Z07:00")
	confirmed, done, revoking := 2, map[string]bool{}, map[string]bool{}
	for _, c := range writes {
		done[c.operation] = true
		if c.takes {
			revoking[c.operation] = true
		}
		if c.operation == "accept-restore" {
			nodes.Restore(keystore.Restore{Noticed: w.clock.Now().Wall, From: 99, To: 42})
		}
		before := len(nodes.Waits())
		a := w.do(w.operator, c.method, c.path, c.body)
		if c.operation == "forget-node" {
			confirmed--
		}
		waits := nodes.Waits()[before:]
		require.Len(t, waits, 1, "%s: %s", c.operation, a.raw)
		require.Equal(t, fmt.Sprintf("confirmed=%d; pending=1", confirmed), a.header.Get("Keyreeve-Propagation"), "%s: %s", c.operation, a.raw)
		require.NotEmpty(t, a.header.Get("Keyreeve-Revision"), c.operation)
		w.described(c.method, c.path, c.body, a)
		if !c.takes {
			require.Contains(t, []int{200, 201, 204}, a.status, "%s takes nothing away: %s", c.operation, a.raw)
			require.LessOrEqual(t, waits[0], 250*time.Millisecond, c.operation)
			continue
		}
		require.Equal(t, 202, a.status, "%s: %s", c.operation, a.raw)
		require.Equal(t, keystore.RevokingWait, waits[0], c.operation)
		require.Equal(t, typeJSON, a.header.Get("Content-Type"))
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
	}
	all, accepted := w.writing()
	require.Equal(t, all, slices.Sorted(maps.Keys(done)), "every operation that writes is in the table")
	require.Equal(t, accepted, slices.Sorted(maps.Keys(revoking)), "and those that take something away are described with 202")
}

// writing is the operations of the description that write, and those of them that answer
// 202, by name.
func (w *world) writing() (all, accepted []string) {
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Responses   map[string]any
		}
	}
	require.NoError(w.t, json.Unmarshal(w.api.spec, &doc))
	for _, item := range doc.Paths {
		for method, op := range item {
			if method == "get" || op.OperationID == "check-policy" { // which explains
				continue
			}
			all = append(all, op.OperationID)
			if op.Responses["202"] != nil {
				accepted = append(accepted, op.OperationID)
			}
		}
	}
	slices.Sort(all)
	slices.Sort(accepted)
	return all, accepted
}

func TestAClientMaySayHowLongItWaitsAndAskAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := w.cutOff()
	a := w.do(w.operator, "POST", "/v1/keys", `{"name":"new","role_id":"`+keystore.RoleReadOnly+`","customer_id":"acme"}`)
	require.Equal(t, 201, a.status)
	path := "/v1/keys/" + a.body["id"].(string)
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
