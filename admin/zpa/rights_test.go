package zpa

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func lockout() policy.Lockout { return policy.DefaultLockout() }

func TestWhoMayNotIsRefusedAndNothingIsDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.create(w.operator, acmeKeys, `{"name":"subject","roleId":"28"}`)
	before := w.stored(id)
	const body = `{"name":"changed","roleId":"28"}`
	writes := map[string]string{"POST": acmeKeys, "PUT": acmeKeys + "/" + id, "DELETE": acmeKeys + "/" + id}
	reads := []string{acmeKeys, acmeKeys + "/" + id}
	for method, path := range writes {
		w.do(w.viewer, method, path, body).refused(t, 403, "permission.denied", "keyreeve/keys")
		w.do(w.nobody, method, path, body).refused(t, 403, "permission.denied", "keyreeve/keys")
		w.do(w.foreign, method, path, body).refused(t, 404, "resource.not.found")
	}
	for _, path := range reads {
		require.Equal(t, 200, w.do(w.viewer, "GET", path, "").status)
		w.do(w.nobody, "GET", path, "").refused(t, 403, "permission.denied")
		w.do(w.foreign, "GET", path, "").refused(t, 404, "resource.not.found")
		there := strings.Replace(path, "acme", "umbrella", 1)
		w.do(w.admin, "GET", there, "").refused(t, 404, "resource.not.found", "no such customer")
		w.do(w.operator, "GET", strings.Replace(path, "acme", "nowhere", 1), "").refused(t, 404, "resource.not.found", "no such customer")
	}
	w.do(w.operator, "GET", "/mgmtconfig/v1/admin/customers/umbrella/apiKeys/"+id, "").refused(t, 404, "resource.not.found")
	require.Equal(t, before, w.stored(id))
	require.Equal(t, []string{"foreign"}, w.do(w.operator, "GET", "/mgmtconfig/v1/admin/customers/umbrella/apiKeys", "").names())
	w.create(w.operator, "/mgmtconfig/v1/admin/customers/umbrella/apiKeys", `{"name":"by the operator","roleId":"28"}`)
}

func TestNobodyMintsAStrongerKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do(w.admin, "POST", acmeKeys, `{"name":"x","roleId":"`+keystore.RoleOperator+`"}`).refused(t, 403, "exceeds.own.rights", "only an Operator")
	w.do(w.admin, "PUT", acmeKeys+"/"+w.operator.ID, `{"name":"x","roleId":"28"}`).refused(t, 403, "exceeds.own.rights")
	w.do(w.admin, "DELETE", acmeKeys+"/"+w.operator.ID, "").refused(t, 403, "exceeds.own.rights")
	w.do(w.admin, "PUT", acmeKeys+"/"+w.admin.ID, `{"name":"admin","roleId":"28","enabled":true}`).refused(t, 403, "exceeds.own.rights", "own role")
}

// The gate's tenancy table, held by the face.
func TestTheMicrotenantParameterDecidesByTheGatesTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inside := w.key(lifecycle.NewKey{Name: "inside", RoleID: keystore.RoleReadOnly, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")}).ID
	other := w.key(lifecycle.NewKey{Name: "other", RoleID: keystore.RoleReadOnly, CustomerID: "acme", MicrotenantID: lifecycle.Some("apac")}).ID
	level := w.key(lifecycle.NewKey{Name: "level", RoleID: keystore.RoleReadOnly, CustomerID: "acme"}).ID
	const ok = ""
	for _, c := range []struct {
		as             lifecycle.CreatedKey
		value          string
		read, write    string // the id of the refusal, ok for none
		sees, seesNone []string
	}{
		{w.tenant, "", "microtenant.required", "microtenant.required", nil, nil},
		{w.tenant, "emea", ok, ok, []string{inside}, []string{other, level}},
		{w.tenant, "0", "tenant.mismatch", "tenant.mismatch", nil, nil},
		{w.tenant, "null", "tenant.mismatch", "tenant.mismatch", nil, nil},
		{w.tenant, "apac", "tenant.mismatch", "tenant.mismatch", nil, nil},
		{w.tenant, "nowhere", "tenant.mismatch", "tenant.mismatch", nil, nil},
		{w.admin, "", ok, ok, []string{level, inside, other}, nil},
		{w.admin, "0", ok, ok, []string{level}, []string{inside, other}},
		{w.admin, "null", ok, "tenant.mismatch", []string{level, inside, other}, nil},
		{w.admin, "emea", ok, ok, []string{inside}, []string{other, level}},
		{w.admin, "shut", "tenant.mismatch", "tenant.mismatch", nil, nil},
		{w.admin, "nowhere", "tenant.mismatch", "tenant.mismatch", nil, nil},
	} {
		query := ""
		if c.value != "" {
			query = "?microtenantId=" + c.value
		}
		list := w.do(c.as, "GET", acmeKeys+query, "")
		made := w.do(c.as, "POST", acmeKeys+query, `{"name":"made","roleId":"role_api_read_only"}`)
		if c.read != ok {
			list.refused(t, 403, c.read)
			w.do(c.as, "GET", acmeKeys+"/"+inside+query, "").refused(t, 403, c.read)
		} else {
			require.Equal(t, 200, list.status, list.raw)
		}
		for _, id := range c.sees {
			require.Equal(t, 200, w.do(c.as, "GET", acmeKeys+"/"+id+query, "").status, c)
		}
		for _, id := range c.seesNone {
			w.do(c.as, "GET", acmeKeys+"/"+id+query, "").refused(t, 404, "resource.not.found")
			w.do(c.as, "PUT", acmeKeys+"/"+id+query, `{"name":"x","roleId":"28"}`).refused(t, 404, "resource.not.found")
			w.do(c.as, "DELETE", acmeKeys+"/"+id+query, "").refused(t, 404, "resource.not.found")
		}
		if c.write != ok {
			made.refused(t, 403, c.write)
			w.do(c.as, "DELETE", acmeKeys+"/"+inside+query, "").refused(t, 403, c.write)
			continue
		}
		require.Equal(t, 201, made.status, made.raw)
		want := c.value
		if want == "" {
			want = "0"
		}
		require.Equal(t, want, made.body["microtenantId"])
		require.Equal(t, 204, w.do(c.as, "DELETE", acmeKeys+"/"+made.body["id"].(string)+query, "").status)
	}
	atLevel := []string{"admin", "level", "nobody", "operator", "viewer"}
	require.Equal(t, atLevel, w.do(w.admin, "GET", acmeKeys, "").names(), "no microtenant named: the customer level")
	require.Equal(t, atLevel, w.do(w.admin, "GET", acmeKeys+"?microtenantId=0", "").names())
	require.Equal(t, []string{"inside", "tenant"}, w.do(w.admin, "GET", acmeKeys+"?microtenantId=emea", "").names())
	require.Equal(t, "8", w.do(w.admin, "GET", acmeKeys+"?microtenantId=null", "").body["totalCount"])
	for _, odd := range []string{"microtenantId=emea&microtenantId=emea", "MicrotenantId=emea", "microtenantId[]=emea", "microtenant%49d=emea", "microtenantId=%65mea", "a=1;microtenantId=emea"} {
		w.do(w.admin, "GET", acmeKeys+"?"+odd, "").refused(t, 400, "ambiguous.query", "microtenantId")
	}
}

func TestWhoIsNotSignedInLearnsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{acmeKeys, acmeKeys + "/x", "/mgmtconfig/v1/admin/customers/nowhere/apiKeys", "/elsewhere"} {
		for _, method := range []string{"GET", "POST", "PATCH"} {
			a := w.do(lifecycle.CreatedKey{}, method, path, "")
			a.refused(t, 401, "access.denied")
			require.Equal(t, []string{`Bearer realm="keyreeve"`, `Basic realm="keyreeve", charset="UTF-8"`}, a.header.Values("WWW-Authenticate"))
			require.Empty(t, a.header.Get("Retry-After"))
		}
	}
	a := w.do(lifecycle.CreatedKey{}, "GET", acmeKeys, "", "Accept", "text/html")
	require.Equal(t, []string{`Bearer realm="keyreeve"`}, a.header.Values("WWW-Authenticate"), "no password prompt")
}

func TestIDsMakeClientsDoTheRightThing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for code, want := range map[string]struct {
		status int
		id     string
	}{
		"invalid_client": {401, "access.denied"}, "credentials_required": {401, "access.denied"}, "invalid_request": {400, "invalid.request"},
		"invalid_token": {401, "SESSION_NOT_VALID"}, "client_inactive": {401, "SESSION_NOT_VALID"}, "client_locked": {401, "SESSION_NOT_VALID"},
	} {
		req := httptest.NewRequest("GET", acmeKeys, nil)
		req.SetBasicAuth("x", code)
		rec := httptest.NewRecorder()
		w.face.ServeHTTP(rec, req)
		require.Equal(t, want.status, rec.Code)
		require.JSONEq(t, `{"id":"`+want.id+`","reason":"No."}`, rec.Body.String())
	}
}

func TestAStoreOutOfReachIsReportedAndNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := httptest.NewRequest("GET", acmeKeys, nil)
	req.SetBasicAuth(w.operator.ClientID, "")
	actor, problem := w.authenticate(req)
	require.Nil(t, problem)
	var reported []error
	face := New(w.svc, func(*http.Request) (lifecycle.Actor, *api.AuthProblem) { return actor, nil })
	face.Report = func(_ *http.Request, err error) { reported = append(reported, err) }
	require.NoError(t, w.store.Close())
	rec := httptest.NewRecorder()
	face.ServeHTTP(rec, req)
	require.Equal(t, []any{503, "1"}, []any{rec.Code, rec.Header().Get("Retry-After")})
	require.Contains(t, rec.Body.String(), `"id":"store.unavailable"`)
	require.Len(t, reported, 1)
	require.NotContains(t, rec.Body.String(), reported[0].Error())
}

func TestOnlyPlainSpellingsOfItsPathsAreTheFaces(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]bool{
		acmeKeys: true, acmeKeys + "?a=b": true, acmeKeys + "/key_1": true, acmeKeys + "/a.b": true, "http://gate.test" + acmeKeys: true,
		acmeKeys + "/": false, acmeKeys + "/a/b": false, acmeKeys + "/a/": false, "/" + acmeKeys: false, acmeKeys + "//a": false,
		acmeKeys + "/.": false, acmeKeys + "/..": false, acmeKeys + "/%2e%2e": false, acmeKeys + "/a%2Fb": false, acmeKeys + "/a%5Cb": false,
		acmeKeys + "/a%00": false, acmeKeys + "/a%252F": false, acmeKeys + ";x": false, acmeKeys + "/a;b": false, acmeKeys + "%2Fa": false,
		"/mgmtconfig/v1/admin/customers//apiKeys": false, "/mgmtconfig/v1/admin/customers/apiKeys": false, "/mgmtconfig/v1/admin/customers/acme/apikeys": false,
		"/mgmtconfig/v1/admin/customers/acme/api%4Beys": false, "/mgmtconfig/v1/admin/./customers/acme/apiKeys": false, "/mgmtconfig/v1/admin/customers/a/../acme/apiKeys": false,
		"/MGMTCONFIG/v1/admin/customers/acme/apiKeys": false, "/x/mgmtconfig/v1/admin/customers/acme/apiKeys": false, "/mgmtconfig/v1/admin/customers/acme/application": false,
	} {
		u, err := url.ParseRequestURI(target)
		require.NoError(t, err, target)
		require.Equal(t, want, Match(&http.Request{URL: u, RequestURI: target}), target)
	}
}

func TestOtherMethodsAreRefusedWithThoseThereAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
		a := w.do(w.operator, method, acmeKeys, "")
		a.refused(t, 405, "method.not.allowed")
		require.Equal(t, "GET, HEAD, POST", a.header.Get("Allow"))
	}
	a := w.do(w.operator, "POST", acmeKeys+"/x", "")
	a.refused(t, 405, "method.not.allowed")
	require.Equal(t, "DELETE, GET, HEAD, PUT", a.header.Get("Allow"))
	require.Equal(t, 200, w.do(w.operator, "HEAD", acmeKeys, "").status)
	require.Equal(t, 404, w.do(w.operator, "HEAD", acmeKeys+"/x", "").status)
}
