package api

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// oneGate answers for a single gate whose keys are all in good standing.
type oneGate struct {
	w   *world
	set *policy.Set
}

func (o oneGate) Gates() []lifecycle.Gate {
	return []lifecycle.Gate{{Name: "api.example.com", Listen: []string{":443"}, Hosts: []string{"api.example.com"}, Set: o.set}}
}

func (o oneGate) Standing(ctx context.Context, clientID string, _ bool, _ netip.Addr) (s lifecycle.Standing) {
	err := o.w.store.View(ctx, func(r keystore.Reader) (err error) {
		if s.Key, err = r.KeyByClientID(ctx, clientID); err == nil {
			s.Role, err = r.Role(ctx, s.Key.RoleID)
		}
		return err
	})
	require.NoError(o.w.t, err)
	s.Allow = true
	s.Subject = policy.Subject{CustomerID: s.Key.CustomerID, MicrotenantID: s.Key.MicrotenantID, Permissions: s.Role.Permissions}
	return s
}

func (oneGate) Status(policy.Reason) int { return 403 }

func (o oneGate) Denial(id string) (lifecycle.Denial, bool) {
	return lifecycle.Denial{RequestID: id, Gate: "api.example.com", Method: "GET", Path: "/nowhere", Reason: policy.NoRoute,
		KeyID: o.w.admin.ID, KeyCustomerID: "acme"}, id == "req-denied"
}

// textOf is a part of an answer as JSON.
func (w *world) textOf(part any) string {
	text, err := json.Marshal(part)
	require.NoError(w.t, err)
	return string(text)
}

// newGatedWorld is a world with a gate over orders and a public path.
func newGatedWorld(t *testing.T) *world {
	w := newWorld(t)
	compiled, err := policy.Compile(nil, []policy.RouteSpec{
		{Methods: []string{"GET", "POST"}, Path: "/c/{customerId}/orders", Resource: "orders", Origin: "gate.yaml:1"},
		{Methods: []string{"GET"}, Path: "/healthz", Public: true, Origin: "gate.yaml:2"},
	})
	require.NoError(t, err)
	w.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring, Gatekeeper: oneGate{w, compiled}})
	w.api.svc = w.svc
	return w
}

func TestAPolicyCheckIsAnsweredInFull(t *testing.T) {
	t.Parallel()
	w := newGatedWorld(t)
	a := w.do(w.viewer, "POST", "/v1/policy/check", `{"key_id":`+quoted(w.admin.ID)+`,"method":"POST","path":"/c/acme/orders?page=2","microtenant_id":"0","gate":1}`)
	require.Equal(t, 200, a.status, a.raw)
	require.NotContains(t, a.body, "recorded")
	require.NotContains(t, a.body, "changed")
	require.JSONEq(t, `[{
		"gate": {"number": 1, "name": "api.example.com", "listen": [":443"], "hosts": ["api.example.com"], "shadow": false},
		"decision": {"allow": false, "status": 403, "code": "permission_denied", "detail": "orders:create is needed, Admin holds read, by *"},
		"steps": [
			{"step": "path", "ok": true, "detail": "every program reads it alike"},
			{"step": "credential", "ok": true, "detail": "supposed to be right: a check shows none"},
			{"step": "client", "ok": true, "detail": "enabled, not expired, not locked, its customer and microtenant enabled"},
			{"step": "source", "ok": true, "detail": "the key may be used from anywhere"},
			{"step": "route", "ok": true, "detail": "GET,POST /c/{customerId}/orders (gate.yaml:1)"},
			{"step": "tenant", "ok": true, "detail": "customer acme is the key's; microtenant 0 may be named"},
			{"step": "role", "ok": false, "detail": "orders:create is needed, Admin holds read, by *"}
		],
		"route": {"pattern": "/c/{customerId}/orders", "methods": ["GET", "POST"], "resource": "orders", "action": "create", "origin": "gate.yaml:1"},
		"needed": {"resource": "orders", "group": null, "action": "create"},
		"grants": [{"entry": "*", "actions": ["read"]}],
		"rules_tried": [{"pattern": "/c/{customerId}/orders", "methods": ["GET", "POST"], "origin": "gate.yaml:1", "matched": true, "outcome": "taken",
			"why": "method and path match, and no rule that matches is more specific"}],
		"rules_total": 2
	}]`, w.textOf(a.body["results"]))
	require.JSONEq(t, `{"id":`+quoted(w.adminRole)+`,"name":"Admin"}`, w.textOf(a.body["role"]))

	a = w.do(w.viewer, "POST", "/v1/policy/check", `{"request_id":"req-denied"}`)
	require.Equal(t, 200, a.status, a.raw)
	require.Equal(t, false, a.body["changed"])
	require.Equal(t, "req-denied", a.body["recorded"].(map[string]any)["request_id"])
	for _, who := range []lifecycle.CreatedKey{w.foreign, w.tenant} {
		require.Equal(t, 404, w.do(who, "POST", "/v1/policy/check", `{"request_id":"req-denied"}`).status)
		require.Equal(t, 404, w.do(who, "POST", "/v1/policy/check", `{"key_id":`+quoted(w.admin.ID)+`,"method":"GET","path":"/"}`).status)
	}
	require.Equal(t, 404, w.do(w.viewer, "POST", "/v1/policy/check", `{"request_id":"another"}`).status)
	require.Equal(t, 403, w.do(w.bystander, "POST", "/v1/policy/check", `{"request_id":"req-denied"}`).status)
}

func TestWhatIsWrongWithAPolicyCheckIsNamed(t *testing.T) {
	t.Parallel()
	w := newGatedWorld(t)
	id := quoted(w.admin.ID)
	for _, c := range []struct {
		body   string
		fields map[string]string
	}{
		{`{}`, map[string]string{"key_id": "required", "method": "required", "path": "required"}},
		{`{"key_id":` + id + `,"role_id":"role_operator","method":"GET","path":"/"}`, map[string]string{"key_id": "required"}},
		{`{"key_id":` + id + `,"method":"GET","path":"/","secret":"x"}`, map[string]string{"secret": "unknown_field"}},
		{`{"key_id":null,"method":"GET","path":"/"}`, map[string]string{"key_id": "invalid_type"}},
		{`{"key_id":` + id + `,"method":7,"path":"/"}`, map[string]string{"method": "invalid_type"}},
		{`{"key_id":` + id + `,"method":"GET","path":"/","gate":2}`, map[string]string{"gate": "not_found"}},
		{`{"key_id":` + id + `,"method":"GET","path":"/","gate":true}`, map[string]string{"gate": "invalid_type"}},
		{`{"key_id":` + id + `,"method":"GET","path":"/","gate":""}`, map[string]string{"gate": "invalid_format"}},
		{`{"key_id":` + id + `,"method":"GET","path":"/","source_address":"nowhere"}`, map[string]string{"source_address": "invalid_format"}},
		{`{"request_id":"r","method":"GET"}`, map[string]string{"method": "conflict"}},
		{`{"request_id":""}`, map[string]string{"request_id": "invalid_format"}},
		{`{"request_id":null}`, map[string]string{"request_id": "invalid_type"}},
	} {
		a := w.do(w.operator, "POST", "/v1/policy/check", c.body)
		require.Equal(t, 400, a.status, "%s: %s", c.body, a.raw)
		require.Equal(t, c.fields, a.fields(), c.body)
	}
	require.Equal(t, 405, w.do(w.operator, "GET", "/v1/policy/check", "").status)
}

func TestPolicyRoutesAreListed(t *testing.T) {
	t.Parallel()
	w := newGatedWorld(t)
	a := w.do(w.viewer, "GET", "/v1/policy/routes?page_size=1", "")
	require.Equal(t, 200, a.status, a.raw)
	require.EqualValues(t, 2, a.body["total"])
	require.JSONEq(t, `{
		"gate": {"number": 1, "name": "api.example.com", "listen": [":443"], "hosts": ["api.example.com"], "shadow": false},
		"pattern": "/c/{customerId}/orders", "methods": ["GET", "POST"], "public": false, "resource": "orders", "group": null, "title": null,
		"action": null, "customer_param": "customerId", "microtenant_query": "microtenantId", "encoded": false, "origin": "gate.yaml:1"
	}`, w.textOf(a.body["items"].([]any)[0]))
	next := w.do(w.viewer, "GET", "/v1/policy/routes?page_size=1&cursor="+escaped(a.body["next_cursor"].(string)), "")
	require.Equal(t, "/healthz", next.body["items"].([]any)[0].(map[string]any)["pattern"])
	require.Nil(t, next.body["next_cursor"])
	require.Equal(t, 400, w.do(w.viewer, "GET", "/v1/policy/routes?gate=9", "").status)
	require.Equal(t, 400, w.do(w.viewer, "GET", "/v1/policy/routes?colour=9", "").status)
	require.Equal(t, 403, w.do(w.bystander, "GET", "/v1/policy/routes", "").status)
}
