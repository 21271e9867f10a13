package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// chief is a key that may do everything with roles and tenants, and has rights to
// give away.
func (w *world) chief(name, customerID string, microtenant ...string) lifecycle.CreatedKey {
	w.t.Helper()
	r, _, err := w.svc.CreateRole(w.t.Context(), local, lifecycle.NewRole{Name: "role of " + name, CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"segments": policy.Full, "keyreeve/roles": policy.Full, "keyreeve/tenants": policy.Full, "keyreeve/keys": policy.Full}})
	require.NoError(w.t, err)
	in := lifecycle.NewKey{Name: name, RoleID: r.ID, CustomerID: customerID}
	for _, m := range microtenant {
		in.MicrotenantID = lifecycle.Some(m)
	}
	return w.key(in)
}

func TestARoleIsMadeShownChangedAndDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	chief := w.chief("chief", "acme")
	made := w.do(chief, "POST", "/v1/roles", `{"name":"Deployers","description":"d","permissions":{"segments":"full","keyreeve/keys":["update","read"],"keyreeve/roles":"view"}}`)
	require.Equal(t, 201, made.status, made.raw)
	path := "/v1/roles/" + made.body["id"].(string)
	require.Equal(t, path, made.header.Get("Location"))
	require.Equal(t, `"r`+made.header.Get("Keyreeve-Revision")+`"`, made.header.Get("ETag"))
	require.JSONEq(t, `{"name":"Deployers","description":"d","customer_id":"acme","key_count":0,"predefined":false,"editable":true,
		"permissions":{"segments":"full","keyreeve/keys":["read","update"],"keyreeve/roles":"view"}}`,
		made.only("name", "description", "customer_id", "key_count", "predefined", "editable", "permissions"))

	shown := w.do(chief, "GET", path, "")
	require.Equal(t, made.body, shown.body)
	require.Equal(t, made.header.Get("ETag"), shown.header.Get("ETag"))
	changed := w.do(chief, "PATCH", path, `{"permissions":{"segments":"view","keyreeve/keys":null}}`, "If-Match", shown.header.Get("ETag"), "Content-Type", "application/merge-patch+json")
	require.Equal(t, 200, changed.status, changed.raw)
	require.JSONEq(t, `{"permissions":{"segments":"view","keyreeve/roles":"view"}}`, changed.only("permissions"))
	stale := w.do(chief, "PATCH", path, `{"name":"Late"}`, "If-Match", shown.header.Get("ETag"))
	require.Equal(t, 412, stale.status)
	require.Equal(t, "revision_mismatch", stale.code())
	require.Equal(t, 412, w.do(chief, "DELETE", path, "", "If-Match", shown.header.Get("ETag")).status)

	user := w.key(lifecycle.NewKey{Name: "user", RoleID: made.body["id"].(string), CustomerID: "acme"})
	require.EqualValues(t, 1, w.do(chief, "GET", path, "").body["key_count"])
	used := w.do(chief, "DELETE", path, "")
	require.Equal(t, 409, used.status)
	require.Equal(t, "in_use", used.code())
	require.Contains(t, used.body["detail"], "1 key")
	require.Equal(t, 204, w.do(w.operator, "DELETE", "/v1/keys/"+user.ID, "").status)
	require.Equal(t, 204, w.do(chief, "DELETE", path, "").status)
	require.Equal(t, 404, w.do(chief, "GET", path, "").status)
}

func TestRolesAreGuardedByRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	chief, inside, foreign := w.chief("chief", "acme"), w.chief("inside", "acme", "emea"), w.chief("other", "umbrella")
	one := func(by lifecycle.CreatedKey) string {
		a := w.do(by, "POST", "/v1/roles", `{"name":"R","permissions":{"segments":"view"}}`)
		require.Equal(t, 201, a.status, a.raw)
		return "/v1/roles/" + a.body["id"].(string)
	}
	ours, theirs := one(chief), one(foreign)
	everyone := w.do(w.operator, "POST", "/v1/roles", `{"name":"Everyone's","customer_id":null,"permissions":{"segments":"view"}}`)
	require.Equal(t, 201, everyone.status, everyone.raw)
	require.Nil(t, everyone.body["customer_id"])
	global := "/v1/roles/" + everyone.body["id"].(string)
	for _, c := range []struct {
		method, path, body                                  string
		operator, chief, inside, foreign, admin, unentitled int
	}{ // admin may only look at roles
		{"GET", ours, "", 200, 200, 200, 404, 200, 403},
		{"GET", theirs, "", 200, 404, 404, 200, 404, 403},
		{"GET", global, "", 200, 200, 200, 200, 200, 403},
		{"GET", "/v1/roles/role_operator", "", 200, 200, 200, 200, 200, 403},
		{"PATCH", ours, `{"description":"BY"}`, 200, 200, 403, 404, 403, 403},
		{"PATCH", global, `{"description":"BY"}`, 200, 403, 403, 403, 403, 403},
		{"PATCH", "/v1/roles/role_operator", `{"description":"BY"}`, 409, 409, 409, 409, 403, 403},
		{"DELETE", "/v1/roles/role_operator", "", 409, 409, 409, 409, 403, 403},
		{"POST", "/v1/roles", `{"name":"by BY"}`, 201, 201, 403, 201, 403, 403},
		{"POST", "/v1/roles", `{"name":"for BY","customer_id":null}`, 201, 403, 403, 403, 403, 403},
		{"POST", "/v1/roles", `{"name":"at acme BY","customer_id":"acme"}`, 201, 201, 403, 403, 403, 403},
		{"DELETE", global, "", 204, 403, 403, 403, 403, 403},
	} {
		for _, who := range []struct {
			lifecycle.CreatedKey
			want int
		}{{w.bystander, c.unentitled}, {w.admin, c.admin}, {inside, c.inside}, {foreign, c.foreign}, {chief, c.chief}, {w.operator, c.operator}} {
			a := w.do(who.CreatedKey, c.method, c.path, replaceBy(c.body, who.Name))
			require.Equal(t, who.want, a.status, "%s %s %s by %s: %s", c.method, c.path, c.body, who.Name, a.raw)
			if a.status == 409 {
				require.Equal(t, "predefined", a.code())
			}
		}
	}
	a := w.do(chief, "POST", "/v1/roles", `{"name":"Stronger","permissions":{"segments":"full","policies":"view"}}`)
	require.Equal(t, 403, a.status)
	require.Equal(t, "exceeds_own_rights", a.code())
	a = w.do(chief, "PATCH", "/v1/roles/"+chief.RoleID, `{"permissions":{"segments":null}}`)
	require.Equal(t, 403, a.status, "not even downwards: it is its own")
}

func TestBadRolesAreRefusedByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.do(w.operator, "POST", "/v1/roles", `{"name":"R"}`)
	require.Equal(t, 201, made.status, made.raw)
	require.Equal(t, map[string]any{}, made.body["permissions"], "an object, never null")
	path := "/v1/roles/" + made.body["id"].(string)
	for _, c := range []struct{ member, field, code string }{
		{`"permissions":{"segments":"most"}`, "permissions.segments", "invalid_format"},
		{`"permissions":{"segments":["read","fly"]}`, "permissions.segments", "invalid_format"},
		{`"permissions":{"segments":[]}`, "permissions.segments", "invalid_format"},
		{`"permissions":{"segments":7}`, "permissions.segments", "invalid_format"},
		{`"permissions":{"segments":true,"a":"full"}`, "permissions.segments", "invalid_format"},
		{`"permissions":{"keyreeve/nothing":"full"}`, "permissions", "invalid_format"},
		{`"permissions":{"segments":"full","segments":"view"}`, "permissions.segments", "duplicate_field"},
		{`"permissions":["segments"]`, "permissions", "invalid_type"},
		{`"permissions":"full"`, "permissions", "invalid_type"},
		{`"id":"role_mine"`, "id", "unknown_field"},
		{`"predefined":true`, "predefined", "unknown_field"},
		{`"key_count":7`, "key_count", "unknown_field"},
		{`"name":"Operator"`, "name", "reserved"},
		{`"name":7`, "name", "invalid_type"},
	} {
		a := w.do(w.operator, "PATCH", path, `{`+c.member+`}`)
		require.Equal(t, 400, a.status, "%s: %s", c.member, a.raw)
		require.Equal(t, map[string]string{c.field: c.code}, a.fields(), "PATCH %s", c.member)
		name := `"name":"a",`
		if c.field == "name" {
			name = ""
		}
		a = w.do(w.operator, "POST", "/v1/roles", `{`+name+c.member+`}`)
		require.Equal(t, 400, a.status, "%s: %s", c.member, a.raw)
		require.Equal(t, map[string]string{c.field: c.code}, a.fields(), "POST %s", c.member)
	}
	a := w.do(w.operator, "PATCH", path, `{"customer_id":"umbrella"}`)
	require.Equal(t, map[string]string{"customer_id": "unknown_field"}, a.fields())
	a = w.do(w.operator, "POST", "/v1/roles", `{"name":"a","permissions":{"segments":null}}`)
	require.Equal(t, map[string]string{"permissions.segments": "invalid_format"}, a.fields(), "nothing there to take away")
	require.Equal(t, http.StatusMethodNotAllowed, w.do(w.operator, "PUT", path, `{}`).status)
}
