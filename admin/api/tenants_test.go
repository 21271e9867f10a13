package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// replaceBy puts who asks into a body.
func replaceBy(body, name string) string { return strings.ReplaceAll(body, "BY", name) }

func TestTenantsAreMadeShownChangedAndDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ collection, body, query, own string }{
		{"/v1/customers", `{"id":"216","name":"New"}`, "", `{"id":"216","name":"New","enabled":true}`},
		{"/v1/microtenants", `{"id":"217","name":"New","customer_id":"umbrella"}`, "?customer_id=umbrella", `{"id":"217","name":"New","enabled":true,"customer_id":"umbrella"}`},
	} {
		made := w.do(w.operator, "POST", c.collection, c.body)
		require.Equal(t, 201, made.status, made.raw)
		members := []string{"id", "name", "enabled"}
		if c.query != "" {
			members = append(members, "customer_id")
		}
		require.JSONEq(t, c.own, made.only(members...))
		path := made.header.Get("Location")
		require.Equal(t, c.collection+"/"+made.body["id"].(string)+c.query, path)
		shown := w.do(w.operator, "GET", path, "")
		require.Equal(t, made.body, shown.body)
		require.Equal(t, made.header.Get("ETag"), shown.header.Get("ETag"))
		changed := w.do(w.operator, "PATCH", path, `{"name":"Renamed","enabled":false}`, "If-Match", shown.header.Get("ETag"))
		require.Equal(t, 200, changed.status, changed.raw)
		require.JSONEq(t, `{"name":"Renamed","enabled":false}`, changed.only("name", "enabled"))
		require.NotEmpty(t, changed.header.Get("Keyreeve-Propagation"))
		require.Equal(t, 412, w.do(w.operator, "PATCH", path, `{"enabled":true}`, "If-Match", shown.header.Get("ETag")).status)
		require.Equal(t, 412, w.do(w.operator, "DELETE", path, "", "If-Match", shown.header.Get("ETag")).status)
		require.Contains(t, w.do(w.operator, "GET", c.collection, "").names(), "Renamed")
		require.Equal(t, 204, w.do(w.operator, "DELETE", path, "").status)
		require.Equal(t, 404, w.do(w.operator, "GET", path, "").status)
	}
}

func TestTenantsAreGuardedByRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	chief, inside, foreign := w.chief("chief", "acme"), w.chief("inside", "acme", "emea"), w.chief("other", "umbrella")
	for _, c := range []struct {
		method, path, body                           string
		operator, chief, inside, foreign, unentitled int
	}{
		{"GET", "/v1/customers/acme", "", 200, 200, 200, 404, 403},
		{"GET", "/v1/customers/none", "", 404, 404, 404, 404, 403},
		{"PATCH", "/v1/customers/acme", `{}`, 200, 403, 403, 404, 403},
		{"PATCH", "/v1/customers/umbrella", `{}`, 200, 404, 404, 403, 403},
		{"DELETE", "/v1/customers/acme", "", 409, 403, 403, 404, 403},
		{"POST", "/v1/customers", `{"name":"of BY"}`, 201, 403, 403, 403, 403},
		{"GET", "/v1/microtenants/emea", "", 200, 200, 200, 404, 403},
		{"GET", "/v1/microtenants/emea?customer_id=acme", "", 200, 200, 200, 404, 403},
		{"GET", "/v1/microtenants/emea?customer_id=umbrella", "", 404, 404, 404, 404, 403},
		{"GET", "/v1/microtenants/apac", "", 200, 200, 404, 404, 403},
		{"PATCH", "/v1/microtenants/emea", `{}`, 200, 200, 403, 404, 403},
		{"PATCH", "/v1/microtenants/apac", `{"enabled":true}`, 200, 200, 404, 404, 403},
		{"DELETE", "/v1/microtenants/emea", "", 409, 409, 403, 404, 403},
		{"POST", "/v1/microtenants", `{"name":"of BY"}`, 201, 201, 403, 201, 403},
		{"POST", "/v1/microtenants", `{"name":"at acme of BY","customer_id":"acme"}`, 201, 201, 403, 403, 403},
	} {
		for _, who := range []struct {
			lifecycle.CreatedKey
			want int
		}{{w.bystander, c.unentitled}, {inside, c.inside}, {foreign, c.foreign}, {chief, c.chief}, {w.operator, c.operator}} {
			a := w.do(who.CreatedKey, c.method, c.path, replaceBy(c.body, who.Name))
			require.Equal(t, who.want, a.status, "%s %s by %s: %s", c.method, c.path, who.Name, a.raw)
		}
	}
	own := w.do(w.operator, "PATCH", "/v1/customers/acme", `{"enabled":false}`)
	require.Equal(t, 409, own.status)
	require.Equal(t, "own_tenant", own.code())
	require.Equal(t, []string{"acme"}, w.do(inside, "GET", "/v1/customers", "").names())
	require.Equal(t, []string{"emea"}, w.do(inside, "GET", "/v1/microtenants", "").names())
	require.Empty(t, w.do(chief, "GET", "/v1/microtenants?customer_id=umbrella", "").names())

	twin := w.do(w.operator, "POST", "/v1/microtenants", `{"id":"emea","name":"twin","customer_id":"umbrella"}`)
	require.Equal(t, 201, twin.status, twin.raw)
	for _, method := range []string{"GET", "DELETE"} {
		a := w.do(w.operator, method, "/v1/microtenants/emea", "")
		require.Equal(t, 400, a.status, a.raw)
		require.Equal(t, map[string]string{"customer_id": "required"}, a.fields())
	}
	require.Equal(t, "twin", w.do(foreign, "GET", "/v1/microtenants/emea", "").body["name"])
}

func TestBadTenantsAreRefusedByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct{ collection, member, field, code string }{
		{"/v1/customers", `"id":""`, "id", "invalid_format"},
		{"/v1/customers", `"id":"a/b"`, "id", "invalid_format"},
		{"/v1/customers", `"enabled":"true"`, "enabled", "invalid_type"},
		{"/v1/customers", `"customer_id":"acme"`, "customer_id", "unknown_field"},
		{"/v1/customers", `"generation":7`, "generation", "unknown_field"},
		{"/v1/microtenants", `"id":"0"`, "id", "reserved"},
		{"/v1/microtenants", `"id":"null"`, "id", "reserved"},
		{"/v1/microtenants", `"customer_id":""`, "customer_id", "invalid_format"},
		{"/v1/microtenants", `"customer_id":"none"`, "customer_id", "not_found"},
		{"/v1/microtenants", `"revision":7`, "revision", "unknown_field"},
	} {
		a := w.do(w.operator, "POST", c.collection, `{"name":"a",`+c.member+`}`)
		require.Equal(t, 400, a.status, "%s %s: %s", c.collection, c.member, a.raw)
		require.Equal(t, map[string]string{c.field: c.code}, a.fields(), c.member)
	}
	for _, path := range []string{"/v1/customers/acme", "/v1/microtenants/emea"} {
		for member, want := range map[string]map[string]string{
			`"id":"x"`:          {"id": "unknown_field"},
			`"customer_id":"x"`: {"customer_id": "unknown_field"},
			`"name":null`:       {"name": "required"},
			`"enabled":null`:    {"enabled": "required"},
			`"name":" a"`:       {"name": "invalid_format"},
		} {
			a := w.do(w.operator, "PATCH", path, `{`+member+`}`)
			require.Equal(t, 400, a.status, "%s %s: %s", path, member, a.raw)
			require.Equal(t, want, a.fields())
		}
	}
	a := w.do(w.operator, "GET", "/v1/customers?sort=id", "")
	require.Equal(t, map[string]string{"sort": "invalid_format"}, a.fields())
	require.Equal(t, map[string]string{"customer_id": "unknown_field"}, w.do(w.operator, "GET", "/v1/customers?customer_id=acme", "").fields())
}

func TestADisabledMicrotenantsKeysAreSignedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warden := w.warden("warden", "acme", "", 1)
	id := w.signIn(w.tenant, "a")
	require.Equal(t, "active", w.do(warden, "GET", "/v1/sessions/"+id, "").body["state"])
	require.Equal(t, 200, w.do(w.operator, "PATCH", "/v1/microtenants/emea", `{"enabled":false}`).status)
	require.Equal(t, "client_inactive", w.do(w.tenant, "GET", "/v1/keys", "").code())
	require.Equal(t, 200, w.do(w.operator, "PATCH", "/v1/microtenants/emea", `{"enabled":true}`).status)
	require.Equal(t, 200, w.do(w.tenant, "GET", "/v1/keys", "").status)
	shown := w.do(warden, "GET", "/v1/sessions/"+id, "")
	require.JSONEq(t, `{"state":"ended","end_reason":"sessions_ended"}`, shown.only("state", "end_reason"), "for good")
}
