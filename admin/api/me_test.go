package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func TestMeTellsWhoIsSignedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(w.tenant, "GET", "/v1/me", "")
	require.Equal(t, 200, a.status, a.raw)
	require.JSONEq(t, `{"kind":"key","key_id":"`+w.tenant.ID+`","client_id":"`+w.tenant.ClientID+`","name":"tenant",
		"customer_id":"acme","customer_name":"acme","microtenant_id":"emea","microtenant_name":"emea",
		"role_id":"`+w.adminRole+`","role_name":"Admin","permissions":{"*":"view","keyreeve/keys":"full","keyreeve/locks":"full","keyreeve/roles":"view"},
		"all_customers":false,"expires_at":null}`, a.raw)
	require.Equal(t, 200, w.do(w.bystander, "GET", "/v1/me", "").status, "whoever is signed in")
	require.JSONEq(t, `{"kind":"local","key_id":null,"client_id":null,"name":"test","customer_id":null,"customer_name":null,"microtenant_id":null,
		"microtenant_name":null,"role_id":null,"role_name":null,"permissions":{"*":"full","keyreeve/*":"full"},"all_customers":true,"expires_at":null}`,
		w.asLocal("GET", "/v1/me", "").raw)
	require.Equal(t, 401, w.do(lifecycle.CreatedKey{}, "GET", "/v1/me", "").status)
}

func TestPreferencesAreKeptPerKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const path = "/v1/me/preferences"
	empty := w.do(w.admin, "GET", path, "")
	require.Equal(t, "{}\n", empty.raw)
	put := w.do(w.admin, "PUT", path, `{"theme":"dark","keys":{"columns":["name"],"page_size":50}}`, "If-Match", empty.header.Get("ETag"))
	require.Equal(t, 200, put.status, put.raw)
	require.Equal(t, "{}\n", w.do(w.viewer, "GET", path, "").raw, "another key's are its own")
	patched := w.do(w.admin, "PATCH", path, `{"theme":null,"keys":{"page_size":100}}`, "Content-Type", "application/merge-patch+json", "If-Match", put.header.Get("ETag"))
	require.JSONEq(t, `{"keys":{"columns":["name"],"page_size":100}}`, patched.raw)
	got := w.do(w.admin, "GET", path, "")
	require.JSONEq(t, patched.raw, got.raw)
	require.Equal(t, patched.header.Get("ETag"), got.header.Get("ETag"))
	require.Equal(t, 412, w.do(w.admin, "PUT", path, `{}`, "If-Match", put.header.Get("ETag")).status)

	for body, status := range map[string]int{
		`[]`: 400, `null`: 400, `{"a":1,"a":2}`: 400, `{"a":{"b":1,"b":2}}`: 400, `{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`: 400,
		`{"a":"` + strings.Repeat("x", 65<<10) + `"}`: 400, `{"a":"` + strings.Repeat("x", 129<<10) + `"}`: 413,
	} {
		require.Equal(t, status, w.do(w.admin, "PUT", path, body).status, "%.40s", body)
	}
	require.Equal(t, 415, w.do(w.admin, "PUT", path, `{}`, "Content-Type", "text/plain").status)
	require.Equal(t, 403, w.do(w.bystander, "PUT", path, `{}`).status, "it has nothing to do here")
	require.JSONEq(t, patched.raw, w.do(w.admin, "GET", path, "").raw)
}

func TestViewsAreKeptAndShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := `{"name":"Locked","list":"keys","query":"state=locked","columns":["name","state"],"default":true,"shared":true}`
	require.Equal(t, map[string]string{"default": "exceeds_own_rights"}, w.do(w.admin, "POST", "/v1/me/views", asked).fields())
	asked = strings.Replace(asked, `"default":true`, `"default":false`, 1)
	require.Equal(t, map[string]string{"shared": "exceeds_own_rights"}, w.do(w.viewer, "POST", "/v1/me/views", asked).fields())
	made := w.do(w.admin, "POST", "/v1/me/views", asked)
	require.Equal(t, 201, made.status, made.raw)
	path := made.header.Get("Location")
	require.Equal(t, "/v1/me/views/"+made.body["id"].(string), path)
	require.JSONEq(t, `{"name":"Locked","list":"keys","query":"state=locked","columns":["name","state"],"default":false,"shared":true,"editable":true,"created_by":"`+w.admin.ID+`"}`,
		made.only("name", "list", "query", "columns", "default", "shared", "editable", "created_by"))
	require.Equal(t, []string{"Locked"}, w.do(w.viewer, "GET", "/v1/me/views?list=keys", "").names())
	require.Empty(t, w.do(w.viewer, "GET", "/v1/me/views?list=audit", "").names())
	require.Empty(t, w.do(w.tenant, "GET", "/v1/me/views", "").names(), "inside a microtenant is another place")
	require.Equal(t, false, w.do(w.viewer, "GET", path, "").body["editable"])
	require.Equal(t, 404, w.do(w.foreign, "GET", path, "").status)
	require.Equal(t, 403, w.do(w.viewer, "PATCH", path, `{"name":"Mine"}`).status)
	require.Equal(t, 403, w.do(w.viewer, "DELETE", path, "").status)
	require.Equal(t, 403, w.do(w.bystander, "GET", "/v1/me/views", "").status)

	changed := w.do(w.admin, "PATCH", path, `{"shared":false,"query":null}`, "If-Match", made.header.Get("ETag"))
	require.Equal(t, 200, changed.status, changed.raw)
	require.JSONEq(t, `{"shared":false,"query":"","name":"Locked"}`, changed.only("shared", "query", "name"))
	require.Equal(t, 404, w.do(w.viewer, "GET", path, "").status)
	require.Equal(t, 412, w.do(w.admin, "DELETE", path, "", "If-Match", made.header.Get("ETag")).status)
	for body, want := range map[string]map[string]string{
		`{"list":"audit"}`:     {"list": "unknown_field"},
		`{"id":"x"}`:           {"id": "unknown_field"},
		`{"editable":true}`:    {"editable": "unknown_field"},
		`{"shared":null}`:      {"shared": "required"},
		`{"columns":["<b>"]}`:  {"columns[0]": "invalid_format"},
		`{"default":"yes"}`:    {"default": "invalid_type"},
		`{"query":"a=\u202e"}`: {"query": "invalid_format"},
	} {
		require.Equal(t, want, w.do(w.admin, "PATCH", path, body).fields(), body)
	}
	require.Equal(t, map[string]string{"list": "invalid_format"}, w.do(w.admin, "GET", "/v1/me/views?list=secrets", "").fields())
	require.Equal(t, 204, w.do(w.admin, "DELETE", path, "").status)
	require.Empty(t, w.do(w.admin, "GET", "/v1/me/views", "").names())
}
