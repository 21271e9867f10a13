package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func TestBadInputIsRefusedByNameOfItsField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := func(n int, one func(int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = one(i)
		}
		return strings.Join(parts, ",")
	}
	cases := []struct{ member, field, code string }{
		{`"session_validity_seconds":0`, "session_validity_seconds", "out_of_range"},
		{`"session_validity_seconds":-1`, "session_validity_seconds", "out_of_range"},
		{`"session_validity_seconds":59`, "session_validity_seconds", "out_of_range"},
		{`"session_validity_seconds":3601`, "session_validity_seconds", "out_of_range"},
		{`"session_validity_seconds":9223372036854775807`, "session_validity_seconds", "out_of_range"},
		{`"session_validity_seconds":9223372036854775808`, "session_validity_seconds", "invalid_type"},
		{`"session_validity_seconds":1.5`, "session_validity_seconds", "invalid_type"},
		{`"session_validity_seconds":"3600"`, "session_validity_seconds", "invalid_type"},
		{`"session_validity_seconds":true`, "session_validity_seconds", "invalid_type"},
		{`"name":""`, "name", "required"},
		{`"name":" a"`, "name", "invalid_format"},
		{`"name":"` + strings.Repeat("é", 51) + `"`, "name", "out_of_range"},
		{`"name":"a\u0000b"`, "name", "invalid_format"},
		{`"name":"a\r\nb"`, "name", "invalid_format"},
		{`"name":"a\u202eb"`, "name", "invalid_format"},
		{`"name":"a\u2066b"`, "name", "invalid_format"},
		{`"name":"a\u200eb"`, "name", "invalid_format"},
		{`"name":"a\u2028b"`, "name", "invalid_format"},
		{`"name":7`, "name", "invalid_type"},
		{`"description":"a\u0007b"`, "description", "invalid_format"},
		{`"description":"` + strings.Repeat("x", 1001) + `"`, "description", "out_of_range"},
		{`"enabled":"true"`, "enabled", "invalid_type"},
		{`"expires_at":"2020-01-01T00:00:00Z"`, "expires_at", "out_of_range"},
		{`"expires_at":"2026-01-02T03:04:05Z"`, "expires_at", "out_of_range"}, // now
		{`"expires_at":"9999-12-31T23:59:59-12:00"`, "expires_at", "out_of_range"},
		{`"expires_at":"tomorrow"`, "expires_at", "invalid_format"},
		{`"expires_at":1893456000`, "expires_at", "invalid_format"},
		{`"expires_at":"2030-02-30T00:00:00Z"`, "expires_at", "invalid_format"},
		{`"allowed_cidrs":["192.0.2.1/24"]`, "allowed_cidrs[0]", "invalid_format"},
		{`"allowed_cidrs":["192.0.2.0/24","192.0.2.1"]`, "allowed_cidrs[1]", "invalid_format"},
		{`"allowed_cidrs":["::ffff:192.0.2.0/120"]`, "allowed_cidrs[0]", "invalid_format"},
		{`"allowed_cidrs":["fe80::%eth0/64"]`, "allowed_cidrs[0]", "invalid_format"},
		{`"allowed_cidrs":["0.0.0.0/33"]`, "allowed_cidrs[0]", "invalid_format"},
		{`"allowed_cidrs":[null]`, "allowed_cidrs[0]", "invalid_format"},
		{`"allowed_cidrs":"192.0.2.0/24"`, "allowed_cidrs", "invalid_type"},
		{`"allowed_cidrs":[` + many(65, func(i int) string { return fmt.Sprintf(`"10.0.%d.0/24"`, i) }) + `]`, "allowed_cidrs", "too_many"},
		{`"labels":{"-a":"b"}`, "labels", "invalid_format"},
		{`"labels":{"":"b"}`, "labels", "invalid_format"},
		{`"labels":{"` + strings.Repeat("k", 64) + `":"b"}`, "labels", "invalid_format"},
		{`"labels":{"a":"` + strings.Repeat("v", 256) + `"}`, "labels.a", "out_of_range"},
		{`"labels":{"a":"\u001b[2J"}`, "labels.a", "invalid_format"},
		{`"labels":{"a":1}`, "labels", "invalid_type"},
		{`"labels":{` + many(33, func(i int) string { return fmt.Sprintf(`"k%d":""`, i) }) + `}`, "labels", "too_many"},
		{`"role_id":""`, "role_id", "required"},
		{`"role_id":{"$ne":""}`, "role_id", "invalid_type"},
		{`"name":"a","name":"b"`, "name", "duplicate_field"},
		{`"labels":{"a":"1","a":"2"}`, "labels.a", "duplicate_field"},
		{`"Name":"a"`, "Name", "unknown_field"},
		{`"nonsense":1`, "nonsense", "unknown_field"},
	}
	for _, c := range cases {
		a := w.do(w.admin, "PATCH", "/v1/keys/"+w.viewer.ID, `{`+c.member+`}`)
		require.Equal(t, 400, a.status, "%s: %s", c.member, a.raw)
		require.Equal(t, map[string]string{c.field: c.code}, a.fields(), "PATCH %s", c.member)

		body := `{` + c.member
		for _, needed := range []string{`"name":"a"`, `"role_id":"` + w.viewerRole + `"`} {
			if name, _, _ := strings.Cut(needed, ":"); !strings.HasPrefix(c.member, name) {
				body += "," + needed
			}
		}
		body += `}`
		a = w.do(w.admin, "POST", "/v1/keys", body)
		require.Equal(t, 400, a.status, "%s: %s", body, a.raw)
		require.Equal(t, map[string]string{c.field: c.code}, a.fields(), "POST %s", body)
	}
	require.EqualValues(t, 5, w.do(w.admin, "GET", "/v1/keys", "").body["total"], "nothing refused was stored")
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(w.admin, "POST", "/v1/keys", `{"session_validity_seconds":1,"allowed_cidrs":["x"]}`)
	require.Equal(t, "validation_failed", a.code())
	require.Equal(t, map[string]string{"name": "required", "role_id": "required", "session_validity_seconds": "out_of_range", "allowed_cidrs[0]": "invalid_format"}, a.fields())
	require.Equal(t, map[string]string{"customer_id": "required"}, w.asLocal("POST", "/v1/keys", `{"name":"a","role_id":"role_operator"}`).fields())
}

func TestWhatACallerMayNotSetIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, field := range []string{"id", "client_id", "client_secret", "secret_sha256", "customer_id", "microtenant_id", "lock", "source", "managed_by",
		"editable", "deletable", "hash", "verifier", "secrets", "state", "created_at", "created_by", "modified_at", "revision", "last_used_at"} {
		a := w.do(w.admin, "PATCH", "/v1/keys/"+w.viewer.ID, `{"name":"changed","`+field+`":"x"}`)
		require.Equal(t, 400, a.status, field)
		require.Equal(t, "unknown_field", a.code(), field)
		require.Equal(t, map[string]string{field: "unknown_field"}, a.fields())
	}
	for _, field := range []string{"id", "client_secret", "lock", "source", "hash", "verifier", "secrets", "state", "created_by"} {
		a := w.do(w.admin, "POST", "/v1/keys", `{"name":"x","role_id":"`+w.viewerRole+`","`+field+`":"x"}`)
		require.Equal(t, 400, a.status, field)
		require.Equal(t, map[string]string{field: "unknown_field"}, a.fields())
	}
	require.Equal(t, "viewer", w.do(w.admin, "GET", "/v1/keys/"+w.viewer.ID, "").body["name"])
}

func TestHostileTextIsStoredLiterally(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, name := range []string{`'; DROP TABLE keys;--`, `{{.Secret}} ${x}`, `*)(uid=*))(|(uid=*`, `<script>alert(1)</script>`, `{env.HOME}`, `%00%0d%0a`, "é", "\u0645\u06cc\u200c\u062e"} {
		made := w.do(w.admin, "POST", "/v1/keys", `{"name":`+quoted(name)+`,"role_id":"`+w.viewerRole+`","description":"line 1\n\tline 2"}`)
		require.Equal(t, 201, made.status, made.raw)
		require.Equal(t, name, made.body["name"])
		require.NotContains(t, made.raw, "<script>", "not even for a client that sniffs")
		got := w.do(w.admin, "GET", "/v1/keys/"+made.body["id"].(string), "")
		require.Equal(t, name, got.body["name"], i)
		found := w.do(w.admin, "GET", "/v1/keys?q="+escaped(name), "")
		require.Equal(t, []string{name}, found.names(), "and found by it")
	}
	a := w.do(w.admin, "POST", "/v1/keys", `{"name":"e\u0301","role_id":"`+w.viewerRole+`"}`)
	require.Equal(t, 409, a.status, "the same name in another normal form")
	require.Equal(t, "name_taken", a.code())
}

func TestBodiesThatAreNoJSONObjectAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, body := range []string{`{`, `[]`, `null`, `"a"`, `{"name":"a"}{}`, `{"name":}`, "{\"name\":\"\xff\"}", strings.Repeat(`[`, 100000), `{"labels":` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat(`}`, 5001)} {
		a := w.do(w.admin, "POST", "/v1/keys", body)
		require.Equal(t, 400, a.status, "%.40s: %s", body, a.raw)
		require.Equal(t, "malformed_json", a.code(), "%.40s", body)
	}
	empty := w.do(w.admin, "POST", "/v1/keys", "", "Content-Type", "application/json")
	require.Equal(t, 400, empty.status)
}

func TestBodySizeAndTypeAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	padded := func(n int) string { return `{"name":"a"` + strings.Repeat(" ", n-12) + `}` }
	require.Equal(t, 400, w.do(w.admin, "POST", "/v1/keys", padded(maxBody)).status, "read, and found to lack a role")
	require.Equal(t, 413, w.do(w.admin, "POST", "/v1/keys", padded(maxBody+1)).status)

	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", "application/json; charset=utf-16", "application/jsonx", "nonsense/"} {
		a := w.do(w.admin, "POST", "/v1/keys", `{}`, "Content-Type", contentType)
		require.Equal(t, 415, a.status, contentType)
	}
	path := "/v1/keys/" + w.viewer.ID
	a := w.do(w.admin, "PATCH", path, `{}`, "Content-Type", "application/json-patch+json")
	require.Equal(t, 415, a.status)
	require.Equal(t, "application/merge-patch+json, application/json", a.header.Get("Accept-Patch"))
	for _, contentType := range []string{"application/merge-patch+json", "application/json", "application/json; charset=UTF-8"} {
		require.Equal(t, 200, w.do(w.admin, "PATCH", path, `{}`, "Content-Type", contentType).status, contentType)
	}
}

func TestOddQueriesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for query, field := range map[string]string{
		"page=-1": "page", "page=0": "page", "page=1000000000": "page", "page=1e3": "page", "page=99999999999999999999": "page",
		"page_size=0": "page_size", "page_size=-1": "page_size", "page_size=501": "page_size", "page_size=x": "page_size",
		"state=odd": "state", "sort=secret": "sort", "sort=-": "sort", "sort=name;drop": "", "sort=name,id": "sort",
		"stat=active": "stat", "State=active": "State", "state=active&state=locked": "state", "q=" + strings.Repeat("x", 201): "q", "q=%ff": "q",
		"page=2&cursor=x": "page", "page=%zz": "",
	} {
		a := w.do(w.admin, "GET", "/v1/keys?"+query, "")
		require.Equal(t, 400, a.status, "%s: %s", query, a.raw)
		if field != "" {
			require.Contains(t, a.fields(), field, query)
		}
	}
	require.Equal(t, 400, w.do(w.admin, "DELETE", "/v1/keys/"+w.viewer.ID+"?forse=1", "").status)
	require.Equal(t, 200, w.do(w.admin, "GET", "/v1/keys/"+w.viewer.ID, "").status, "still there")
}

func TestMergePatchKeepsResetsAndMerges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.key(lifecycle.NewKey{Name: "k", Description: "d", RoleID: w.viewerRole, CustomerID: "acme", AllowedCIDRs: []string{"10.0.0.0/8"},
		Labels: map[string]string{"a": "1", "b": "2"}, SessionValiditySeconds: lifecycle.Some[int64](120)})
	path := "/v1/keys/" + k.ID
	a := w.do(w.admin, "PATCH", path, `{"labels":{"a":null,"c":"3"},"session_validity_seconds":60}`)
	require.Equal(t, 200, a.status, a.raw)
	require.Equal(t, map[string]any{"b": "2", "c": "3"}, a.body["labels"])
	require.EqualValues(t, 60, a.body["session_validity_seconds"])
	require.Equal(t, "d", a.body["description"], "what is left out stays")
	require.Equal(t, []any{"10.0.0.0/8"}, a.body["allowed_cidrs"])

	a = w.do(w.admin, "PATCH", path, `{"description":null,"session_validity_seconds":null,"expires_at":null,"allowed_cidrs":null,"labels":null}`)
	require.Equal(t, 200, a.status, a.raw)
	require.Equal(t, "", a.body["description"])
	require.Nil(t, a.body["session_validity_seconds"])
	require.Equal(t, []any{}, a.body["allowed_cidrs"])
	require.Equal(t, map[string]any{}, a.body["labels"])

	for _, field := range []string{"name", "role_id", "enabled"} {
		require.Equal(t, map[string]string{field: "required"}, w.do(w.admin, "PATCH", path, `{"`+field+`":null}`).fields())
	}
	before := w.do(w.admin, "GET", path, "")
	a = w.do(w.admin, "PATCH", path, before.only("name", "enabled", "role_id", "expires_at", "labels", "allowed_cidrs"))
	require.Equal(t, before.header.Get("ETag"), a.header.Get("ETag"), "a patch that changes nothing writes nothing")
}
