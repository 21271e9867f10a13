package api

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// sourceAdmin is a key of acme that administers sources and may see keys.
func (w *world) sourceAdmin() lifecycle.CreatedKey {
	w.t.Helper()
	r, _, err := w.svc.CreateRole(w.t.Context(), local, lifecycle.NewRole{Name: "Sources", CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"*": policy.Full, "keyreeve/sources": policy.Full, "keyreeve/keys": policy.View}})
	require.NoError(w.t, err)
	return w.key(lifecycle.NewKey{Name: "sources", RoleID: r.ID, CustomerID: "acme"})
}

const idp = `{"name":"idp","owner":"Identity team","rule":"read_only","max_role_id":"role_api_read_only"}`

// item is a key of a list, in JSON.
func item(id, more string) string {
	sum := sha256.Sum256([]byte(id))
	return fmt.Sprintf(`{"client_id":%q,"name":%q,"role_id":"role_api_read_only","secret_sha256":%q%s}`, id, "name "+id, hexOf(sum[:]), more)
}

func list(items ...string) string { return `{"keys":[` + strings.Join(items, ",") + `]}` }

func TestASourceIsMadeReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	made := w.do(admin, "POST", "/v1/sources", idp)
	require.Equal(t, 201, made.status, made.raw)
	require.Equal(t, "/v1/sources/idp?customer_id=acme", made.header.Get("Location"))
	require.JSONEq(t, `{"name":"idp","customer_id":"acme","owner":"Identity team","rule":"read_only","max_role_id":"role_api_read_only","key_count":0,"last_sync_at":null,"last_sync_by":null}`,
		made.only("name", "customer_id", "owner", "rule", "max_role_id", "key_count", "last_sync_at", "last_sync_by"))
	require.NotEmpty(t, made.header.Get("Keyreeve-Revision"))
	require.Equal(t, 409, w.do(admin, "POST", "/v1/sources", idp).status)

	read := w.do(admin, "GET", "/v1/sources/idp", "")
	require.Equal(t, made.header.Get("ETag"), read.header.Get("ETag"))
	patched := w.do(admin, "PATCH", "/v1/sources/idp", `{"rule":"locked"}`, "If-Match", read.header.Get("ETag"))
	require.Equal(t, 200, patched.status, patched.raw)
	require.NotEqual(t, read.header.Get("ETag"), patched.header.Get("ETag"))
	require.Equal(t, 412, w.do(admin, "PATCH", "/v1/sources/idp", `{"rule":"read_only"}`, "If-Match", read.header.Get("ETag")).status)

	put := w.do(admin, "PUT", "/v1/sources/idp", `{"rule":"locked","max_role_id":"role_api_full_access"}`)
	require.Equal(t, 200, put.status, put.raw)
	require.Equal(t, "", put.body["owner"], "PUT replaces")
	fresh := w.do(admin, "PUT", "/v1/sources/second", `{"rule":"locked","max_role_id":"role_api_read_only"}`)
	require.Equal(t, 201, fresh.status, fresh.raw)
	require.Equal(t, []string{"idp", "second"}, w.do(admin, "GET", "/v1/sources", "").names())
	require.Equal(t, 204, w.do(admin, "DELETE", "/v1/sources/second", "", "If-Match", fresh.header.Get("ETag")).status)
	require.Equal(t, 404, w.do(admin, "GET", "/v1/sources/second", "").status)

	require.Equal(t, 404, w.do(w.operator, "GET", "/v1/sources/idp?customer_id=umbrella", "").status)
	require.Equal(t, 200, w.do(w.operator, "GET", "/v1/sources/idp", "").status, "the only one of that name")
	require.Equal(t, 403, w.do(w.admin, "GET", "/v1/sources/idp", "").status)
}

func TestASourceTakesOnlyWhatItHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	require.Equal(t, 201, w.do(admin, "POST", "/v1/sources", idp).status)
	for _, c := range []struct{ method, path, body, field, code string }{
		{"POST", "/v1/sources", `{"name":"keyreeve","rule":"locked","max_role_id":"role_api_read_only"}`, "name", "reserved"},
		{"POST", "/v1/sources", `{"name":"x","rule":"open","max_role_id":"role_api_read_only"}`, "rule", "invalid_format"},
		{"POST", "/v1/sources", `{"name":"x","rule":"locked"}`, "max_role_id", "required"},
		{"POST", "/v1/sources", `{"name":1,"rule":"locked","max_role_id":"role_api_read_only"}`, "name", "invalid_type"},
		{"POST", "/v1/sources", `{"name":"x","rule":"locked","max_role_id":"role_api_read_only","key_count":3}`, "key_count", "unknown_field"},
		{"PATCH", "/v1/sources/idp", `{"name":"other"}`, "name", "unknown_field"},
		{"PATCH", "/v1/sources/idp", `{"customer_id":"umbrella"}`, "customer_id", "unknown_field"},
		{"PATCH", "/v1/sources/idp", `{"max_role_id":null}`, "max_role_id", "required"},
		{"PUT", "/v1/sources/idp", `{"owner":"x"}`, "rule", "required"},
		{"GET", "/v1/sources/idp?name=x", "", "name", "unknown_field"},
		{"PUT", "/v1/sources/idp/keys", `{}`, "keys", "required"},
		{"PUT", "/v1/sources/idp/keys", `{"keys":null}`, "keys", "required"},
		{"PUT", "/v1/sources/idp/keys", `{"keys":{}}`, "keys", "invalid_type"},
		{"PUT", "/v1/sources/idp/keys", `{"keys":[7]}`, "keys[0]", "invalid_type"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", ""), item("b", `,"lock":{}`)), "keys[1].lock", "unknown_field"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", `,"source":"other"`)), "keys[0].source", "unknown_field"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", `,"disabled_here":true`)), "keys[0].disabled_here", "unknown_field"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", `,"enabled":"yes"`)), "keys[0].enabled", "invalid_type"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", `,"labels":{"x":null}`)), "keys[0].labels.x", "invalid_type"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", `,"session_validity_seconds":59`)), "keys[0].session_validity_seconds", "out_of_range"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", ""), item("a", "")), "keys[1].client_id", "conflict"},
		{"PUT", "/v1/sources/idp/keys", list(item("a", `,"name":"twice"`)), "keys[0].name", "duplicate_field"},
		{"PUT", "/v1/sources/idp/keys?max_removals=-1", list(), "max_removals", "out_of_range"},
		{"PUT", "/v1/sources/idp/keys?max_removals=few", list(), "max_removals", "invalid_type"},
		{"PUT", "/v1/sources/idp/keys?max_removals=1", `{"keys":[],"max_removals":1}`, "max_removals", "conflict"},
		{"PUT", "/v1/sources/idp/keys?dry_run=true", `{"keys":[],"dry_run":false}`, "dry_run", "conflict"},
	} {
		a := w.do(admin, c.method, c.path, c.body)
		require.Equal(t, 400, a.status, "%s %s %s: %s", c.method, c.path, c.body, a.raw)
		require.Equal(t, c.code, a.fields()[c.field], "%s %s: %s", c.path, c.body, a.raw)
	}
	require.EqualValues(t, 0, w.do(admin, "GET", "/v1/sources/idp", "").body["key_count"])
}

func TestAListIsPushedAndItsKeysAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	made := w.do(admin, "POST", "/v1/sources", idp)
	const path = "/v1/sources/idp/keys"
	would := w.do(admin, "PUT", path+"?dry_run=true", list(item("a", ""), item("b", "")))
	require.Equal(t, 200, would.status, would.raw)
	require.Equal(t, true, would.body["dry_run"])
	require.Equal(t, made.header.Get("ETag"), would.header.Get("ETag"))

	first := w.do(admin, "PUT", path, list(item("a", ""), item("b", `,"microtenant_id":"emea"`)), "If-Match", made.header.Get("ETag"))
	require.Equal(t, 200, first.status, first.raw)
	require.JSONEq(t, `{"source":"idp","customer_id":"acme","dry_run":false,"created":2,"updated":0,"unchanged":0,"removed":0}`,
		first.only("source", "customer_id", "dry_run", "created", "updated", "unchanged", "removed"))
	require.Equal(t, 412, w.do(admin, "PUT", path, list(), "If-Match", made.header.Get("ETag")).status)
	again := w.do(admin, "PUT", path, list(item("a", ""), item("b", `,"microtenant_id":"emea"`)), "If-Match", first.header.Get("ETag"))
	require.Equal(t, 200, again.status)
	require.Equal(t, first.header.Get("ETag"), again.header.Get("ETag"))
	require.Equal(t, first.header.Get("ETag"), w.do(admin, "GET", "/v1/sources/idp", "").header.Get("ETag"))

	require.Equal(t, []string{"name a", "name b"}, w.walk(admin, path, "page_size=1", func() {}))
	require.Equal(t, []string{"name b", "name a"}, w.do(admin, "GET", path+"?sort=-name", "").names())
	require.Equal(t, []string{"name a", "name b"}, w.do(admin, "GET", "/v1/keys?source=idp", "").names())

	few := w.do(admin, "PUT", path+"?max_removals=1", list())
	require.Equal(t, 409, few.status, few.raw)
	require.Equal(t, "too_many_removals", few.code())
	taken := w.do(admin, "PUT", path, list(item("a", ""), strings.Replace(item("x", ""), `"x"`, quoted(w.foreign.ClientID), 1)))
	require.Equal(t, 409, taken.status)
	require.Equal(t, "client_id_taken", taken.code())
	require.Contains(t, taken.fields(), "keys[1].client_id")
	require.NotContains(t, taken.raw, "umbrella")
	require.Equal(t, 409, w.do(admin, "DELETE", "/v1/sources/idp", "").status)
	require.EqualValues(t, 2, w.do(admin, "PUT", path, list()).body["removed"])
	require.Equal(t, 204, w.do(admin, "DELETE", "/v1/sources/idp", "").status)
}

func TestAListMayBeLargerThanOtherBodiesAndIsBoundedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.sourceAdmin()
	require.Equal(t, 201, w.do(admin, "POST", "/v1/sources", idp).status)
	var items []string
	for i := range 1200 {
		items = append(items, item(fmt.Sprintf("k%04d", i), `,"description":"`+strings.Repeat("d", 900)+`"`))
	}
	body := list(items...)
	require.Greater(t, len(body), maxBody)
	require.EqualValues(t, 1200, w.do(admin, "PUT", "/v1/sources/idp/keys", body).body["created"])
	require.Equal(t, 413, w.do(admin, "PUT", "/v1/sources/idp", body).status, "this path alone")
	require.Equal(t, 413, w.do(admin, "PUT", "/v1/sources/idp/keys", body+strings.Repeat(" ", maxListBody)).status)
}

func TestKeysOfASourceNameTheirOwnerWhenTheyAreEdited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, 201, w.do(w.operator, "POST", "/v1/sources", strings.Replace(idp, "{", `{"customer_id":"acme",`, 1)).status)
	pushed := w.do(w.operator, "PUT", "/v1/sources/idp/keys", list(item("a", "")))
	require.Equal(t, 200, pushed.status, pushed.raw)
	id := pushed.body["items"].([]any)[0].(map[string]any)["id"].(string)
	for _, try := range [][2]string{{"PATCH", `{"name":"ours"}`}, {"DELETE", ""}} {
		a := w.do(w.operator, try[0], "/v1/keys/"+id, try[1])
		require.Equal(t, 409, a.status, a.raw)
		require.Equal(t, "managed_externally", a.code())
		require.Contains(t, a.raw, "Identity team")
	}
	require.Equal(t, 204, w.do(w.operator, "DELETE", "/v1/keys/"+id+"/lock", "").status)
	off := w.do(w.operator, "PATCH", "/v1/keys/"+id, `{"disabled_here":true}`)
	require.Equal(t, 200, off.status, off.raw)
	require.Equal(t, "disabled", off.body["state"])
}
