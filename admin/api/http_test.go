package api

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// untouchable is a body that must not be read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body of an unauthenticated request was read")
	return 0, io.EOF
}

func (untouchable) Close() error { return nil }

func TestWhoIsNotSignedInLearnsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var first string
	for _, r := range []struct{ method, path, contentType string }{
		{"GET", "/v1/keys", ""}, {"GET", "/v1/keys/" + w.viewer.ID, ""}, {"GET", "/v1/keys/none", ""}, {"GET", "/v1/keys/none/such/path", ""},
		{"PUT", "/v1/keys", ""}, {"POST", "/v1/keys", "text/plain"}, {"POST", "/v1/keys", "application/json"},
		{"GET", "/v1/openapi.json", ""}, {"GET", "/v1/keys?page=-1", ""}, {"GET", "/v1/keys?%zz", ""}, {"BREW", "/v1/roles", ""},
	} {
		for _, secret := range []string{"", "wrong"} {
			req := httptest.NewRequest(r.method, r.path, untouchable{t})
			req.Header.Set("Content-Type", r.contentType)
			if secret != "" {
				req.SetBasicAuth(w.admin.ClientID, secret)
			}
			res := httptest.NewRecorder()
			w.api.ServeHTTP(res, req)
			require.Equal(t, 401, res.Code, "%s %s", r.method, r.path)
			require.Empty(t, res.Header().Get("Allow"))
			require.Equal(t, "no-store", res.Header().Get("Cache-Control"))
			var body map[string]any
			require.NoError(t, json.Unmarshal(res.Body.Bytes(), &body))
			delete(body, "request_id")
			delete(body, "code") // credentials_required or invalid_client
			text, err := json.Marshal(body)
			require.NoError(t, err)
			if first == "" {
				first = string(text)
			}
			require.Equal(t, first, string(text), "%s %s", r.method, r.path)
		}
	}
}

func TestABrowserIsNeverAskedForBasic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nobody := lifecycle.CreatedKey{}
	a := w.do(nobody, "GET", "/v1/keys", "")
	require.Equal(t, []string{`Bearer realm="keyreeve"`, `Basic realm="keyreeve", charset="UTF-8"`}, a.header.Values("WWW-Authenticate"))
	for _, h := range [][2]string{{"Sec-Fetch-Mode", "navigate"}, {"Sec-Fetch-Mode", "cors"}, {"Accept", "text/html,application/xhtml+xml"}, {"Accept", "application/json, Text/HTML;q=0.1"}} {
		a := w.do(nobody, "GET", "/v1/keys", "", h[0], h[1])
		require.Equal(t, []string{`Bearer realm="keyreeve"`}, a.header.Values("WWW-Authenticate"), h)
	}
}

func TestRefusalsOfTheDoorAreAnsweredAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range []AuthProblem{
		{Status: 400, Code: "invalid_request"}, {Status: 403, Code: "source_not_allowed", Detail: "not from here"}, {Status: 503, Code: "store_unavailable", RetryAfter: 1500e6},
	} {
		api := New(w.svc, func(*http.Request) (lifecycle.Actor, *AuthProblem) { return lifecycle.Actor{}, &p })
		api.RequestID = func(*http.Request) string { return "req-7" }
		res := httptest.NewRecorder()
		api.ServeHTTP(res, httptest.NewRequest("GET", "/v1/keys", nil))
		require.Equal(t, p.Status, res.Code)
		require.Empty(t, res.Header().Values("WWW-Authenticate"), "only 401 has a challenge")
		require.Contains(t, res.Body.String(), `"code":"`+p.Code+`"`)
		require.Contains(t, res.Body.String(), `"request_id":"req-7"`)
		if p.RetryAfter > 0 {
			require.Equal(t, "2", res.Header().Get("Retry-After"), "whole seconds, rounded up")
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for path, want := range map[string]bool{
		"/v1/keys": true, "/v1/keys/": true, "/v1/keys/x/y/z": true, "/v1/roles": true, "/v1/openapi.json": true,
		"/": false, "/v1": false, "/v1/": false, "/v1/keysx": false, "/v1/KEYS": false, "/v1/other": false, "//v1/keys": false, "/x/v1/keys": false, "/v1/../v1/keys": false,
	} {
		require.Equal(t, want, w.api.Match(path), path)
	}
	for _, r := range []struct{ method, path, allow string }{
		{"PUT", "/v1/keys", "GET, HEAD, POST"}, {"OPTIONS", "/v1/keys", "GET, HEAD, POST"}, {"POST", "/v1/keys/x", "DELETE, GET, HEAD, PATCH"},
		{"POST", "/v1/keys/x/lock", "DELETE, GET, HEAD"}, {"DELETE", "/v1/roles", "GET, HEAD, POST"}, {"POST", "/v1/openapi.json", "GET, HEAD"}, {"BREW", "/v1/me", "GET, HEAD"},
	} {
		a := w.do(w.admin, r.method, r.path, "")
		require.Equal(t, 405, a.status, "%s %s", r.method, r.path)
		require.Equal(t, r.allow, a.header.Get("Allow"))
	}
	id := w.viewer.ID
	for _, path := range []string{"/v1/keys/", "/v1/keys//" + id, "/v1/keys/" + id + "/", "/v1/keys/./" + id, "/v1/keys/x/../" + id, "/v1/keys/..", "/v1/keys/%2e%2e",
		"/v1/keys/" + id + "%2flock", "/v1/keys/" + id + "/LOCK", "/v1/keys/" + id + "/lock/x", "/v1/roles/"} {
		a := w.do(w.admin, "GET", path, "")
		require.Equal(t, 404, a.status, path)
	}
	require.Equal(t, 200, w.do(w.admin, "GET", "/v1/%6beys", "").status, "an escaped letter is that letter")
}

func TestWritesAreVersioned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.do(w.admin, "POST", "/v1/keys", `{"name":"a","role_id":"`+w.viewerRole+`"}`)
	require.Equal(t, 201, made.status)
	path := made.header.Get("Location")
	require.Equal(t, "/v1/keys/"+made.body["id"].(string), path)
	require.NotEmpty(t, made.header.Get("Keyreeve-Revision"))
	require.Equal(t, "confirmed=1; pending=0", made.header.Get("Keyreeve-Propagation"))
	tag := made.header.Get("ETag")
	require.Equal(t, `"r`+made.header.Get("Keyreeve-Revision")+`"`, tag)
	require.Equal(t, tag, w.do(w.admin, "GET", path, "").header.Get("ETag"))

	changed := w.do(w.admin, "PATCH", path, `{"description":"x"}`, "If-Match", tag)
	require.Equal(t, 200, changed.status, changed.raw)
	require.NotEqual(t, tag, changed.header.Get("ETag"))
	require.NotEmpty(t, changed.header.Get("Keyreeve-Revision"))
	for _, stale := range []string{tag, "W/" + changed.header.Get("ETag"), `""`, "r", `"r0", "r1"`} {
		for _, method := range []string{"PATCH", "DELETE"} {
			a := w.do(w.admin, method, path, `{"description":"y"}`, "If-Match", stale)
			require.Equal(t, 412, a.status, "%s %s", method, stale)
			require.Equal(t, "revision_mismatch", a.code())
		}
	}
	require.Equal(t, "x", w.do(w.admin, "GET", path, "").body["description"])
	require.Equal(t, 404, w.do(w.admin, "DELETE", "/v1/keys/key_none", "", "If-Match", "*").status)
	require.Equal(t, 200, w.do(w.admin, "PATCH", path, `{"description":"z"}`, "If-Match", "*").status)
	current := w.do(w.admin, "GET", path, "").header.Get("ETag")
	gone := w.do(w.admin, "DELETE", path, "", "If-Match", `"r1", `+current)
	require.Equal(t, 204, gone.status)
	require.Empty(t, gone.raw)
	require.NotEmpty(t, gone.header.Get("Keyreeve-Revision"))
	require.Equal(t, 404, w.do(w.admin, "GET", path, "").status)
}

func TestLocationNamesThePathTheClientUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := httptest.NewServer(http.StripPrefix("/keyreeve", w.api))
	defer server.Close()
	w.url = server.URL
	made := w.do(w.admin, "POST", "/keyreeve/v1/keys", `{"name":"a","role_id":"`+w.viewerRole+`"}`)
	require.Equal(t, "/keyreeve/v1/keys/"+made.body["id"].(string), made.header.Get("Location"))
	require.Equal(t, 200, w.do(w.admin, "GET", made.header.Get("Location"), "").status)
}

func TestASecretIsShownOnceAndAnImportedOneNever(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.do(w.admin, "POST", "/v1/keys", `{"name":"a","role_id":"`+w.viewerRole+`"}`)
	secret := made.body["client_secret"].(string)
	path := "/v1/keys/" + made.body["id"].(string)
	again := []answer{w.do(w.admin, "GET", path, ""), w.do(w.admin, "PATCH", path, `{"description":"x"}`), w.do(w.admin, "GET", "/v1/keys", ""),
		w.do(w.admin, "POST", "/v1/keys", `{"name":"a","role_id":"`+w.viewerRole+`"}`)}
	for _, a := range again {
		require.NotContains(t, a.raw, secret)
		require.NotContains(t, a.raw, "client_secret")
	}
	signedIn := lifecycle.CreatedKey{Key: lifecycle.Key{ClientID: made.body["client_id"].(string)}, ClientSecret: secret}
	require.Equal(t, 200, w.do(signedIn, "GET", "/v1/keys", "").status, "the secret works")

	digest := w.ring.Digest("an old secret of ours")
	for i, text := range []string{hexOf(digest[:]), base64Of(digest[:])} {
		id := []string{"legacy.client~1", "legacy.client~2"}[i]
		imported := w.do(w.admin, "POST", "/v1/keys", `{"name":"`+id+`","role_id":"`+w.viewerRole+`","client_id":"`+id+`","secret_sha256":"`+text+`"}`)
		require.Equal(t, 201, imported.status, imported.raw)
		require.NotContains(t, imported.body, "client_secret")
		old := lifecycle.CreatedKey{Key: lifecycle.Key{ClientID: id}, ClientSecret: "an old secret of ours"}
		require.Equal(t, 200, w.do(old, "GET", "/v1/keys", "").status, "its old secret goes on working")
	}
	taken := w.do(w.admin, "POST", "/v1/keys", `{"name":"c","role_id":"`+w.viewerRole+`","client_id":"legacy.client~1"}`)
	require.Equal(t, 409, taken.status)
	require.Equal(t, "client_id_taken", taken.code())
	for _, bad := range []string{`"secret_sha256":"` + hexOf(digest[:]) + `"`, `"client_id":"a","secret_sha256":"abcd"`, `"client_id":"a:b"`, `"client_id":""`} {
		require.Equal(t, 400, w.do(w.admin, "POST", "/v1/keys", `{"name":"c","role_id":"`+w.viewerRole+`",`+bad+`}`).status, bad)
	}
}

func TestLocksAreShownAndUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	lockout := policy.DefaultLockout()
	path := "/v1/keys/" + w.viewer.ID
	fail := func() {
		_, err := w.store.Count(t.Context(), lockout, []keystore.Proof{{KeyID: w.viewer.ID, Address: "192.0.2.9", Fingerprint: 7}})
		require.NoError(t, err)
	}
	fail()
	lock := w.do(w.admin, "GET", path+"/lock", "")
	require.Equal(t, map[string]any{"locked": false, "failed_attempts": 1.0, "locked_until": nil,
		"recent_failures": []any{map[string]any{"at": "2026-01-02T03:04:05Z", "address": "192.0.2.9", "secret": "A"}}}, lock.body)
	fail()
	fail()
	shown := w.do(w.admin, "GET", path, "")
	require.Equal(t, "locked", shown.body["state"])
	require.Equal(t, map[string]any{"locked": true, "failed_attempts": 3.0, "locked_until": "2026-01-02T03:34:05Z"}, shown.body["lock"])
	require.Equal(t, []string{"viewer"}, w.do(w.admin, "GET", "/v1/keys?state=locked", "").names())
	refused := w.do(w.admin, "DELETE", path+"/lock?reason="+strings.Repeat("x", 201), "")
	require.Equal(t, []any{400, "reason"}, []any{refused.status, refused.body["errors"].([]any)[0].(map[string]any)["field"]})
	require.Equal(t, 204, w.do(w.admin, "DELETE", path+"/lock?reason=not%20deployed%20yet", "").status)
	event := w.do(w.operator, "GET", "/v1/audit-events?action=key.unlock", "").body["items"].([]any)[0].(map[string]any)
	require.Equal(t, "not deployed yet", event["after"].(map[string]any)["reason"])
	shown = w.do(w.admin, "GET", path, "")
	require.Equal(t, "active", shown.body["state"])
	require.Equal(t, map[string]any{"locked": false, "failed_attempts": 0.0, "locked_until": nil}, shown.body["lock"])

	fail()
	w.clock.Advance(lockout.ResetAfter)
	require.EqualValues(t, 0, w.do(w.admin, "GET", path+"/lock", "").body["failed_attempts"], "an outdated failure does not count")
}

func TestUsageOfAKeyIsShownByTheHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/keys/" + w.viewer.ID + "/usage"
	require.NoError(t, w.store.Use(t.Context(), nil, keystore.Calls{KeyID: w.viewer.ID, Hour: w.clock.Now().Wall.Truncate(time.Hour), Calls: 12}))
	usage := w.do(w.admin, "GET", path, "")
	require.Equal(t, 200, usage.status, usage.raw)
	hours := usage.body["hours"].([]any)
	require.Len(t, hours, 24)
	require.Equal(t, map[string]any{"from": "2026-01-02T03:00:00Z", "calls": 12.0}, hours[23])
	require.Equal(t, map[string]any{"from": "2026-01-01T04:00:00Z", "calls": 0.0}, hours[0])
	require.EqualValues(t, 12, usage.body["calls_24h"])
	require.Equal(t, 404, w.do(w.admin, "GET", "/v1/keys/key_none/usage", "").status)
}

func TestAStoreThatIsAwayIs503(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var reported []error
	w.api.auth = func(*http.Request) (lifecycle.Actor, *AuthProblem) { return local, nil }
	w.api.Report = func(_ *http.Request, err error) { reported = append(reported, err) }
	require.NoError(t, w.store.Close())
	for _, r := range [][3]string{{"GET", "/v1/keys", ""}, {"GET", "/v1/keys/x", ""}, {"POST", "/v1/keys", `{"name":"a","role_id":"b","customer_id":"c"}`}, {"DELETE", "/v1/keys/x/lock", ""}} {
		a := w.do(w.admin, r[0], r[1], r[2])
		require.Equal(t, 503, a.status, a.raw)
		require.Equal(t, "store_unavailable", a.code())
		require.Equal(t, "1", a.header.Get("Retry-After"))
		require.NotContains(t, a.raw, "closed", "the cause stays inside")
	}
	require.Len(t, reported, 4)
	require.ErrorIs(t, reported[0], keystore.ErrClosed)
	require.NoError(t, reopen(w))
}

func TestAFullDiskIs507AndAnythingElseUnknownIs503(t *testing.T) {
	t.Parallel()
	c := &call{api: &API{}, r: httptest.NewRequest("POST", "/v1/keys", nil), id: "x"}
	require.Equal(t, 507, c.problem(errors.Join(errors.New("commit"), keystore.ErrFull)).Status)
	require.Equal(t, 503, c.problem(io.ErrUnexpectedEOF).Status)
	require.NotContains(t, c.problem(errors.New("dsn with password")).Detail, "password")
}

func TestTheDescriptionIsOpenAPI31OfWhatIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.do(w.viewer, "GET", "/v1/openapi.json", "")
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.True(t, strings.HasPrefix(a.body["openapi"].(string), "3.1"))
	require.NotContains(t, a.raw, "$schema")
	require.NotContains(t, a.raw, "ErrorModel")
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters  []struct{ Name, In string }
			RequestBody struct {
				Content map[string]any
			}
			Responses map[string]struct{ Headers map[string]any }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.raw), &doc))
	served := map[string][]string{}
	for _, r := range w.api.router.routes {
		served[r.path] = r.methods
	}
	for path, item := range doc.Paths {
		for method, op := range item {
			require.Contains(t, served[path], strings.ToUpper(method), path)
			names := map[string]bool{}
			for _, p := range op.Parameters {
				names[p.In+" "+p.Name] = true
			}
			require.Equal(t, strings.Contains(path, "{id}"), names["path id"], "%s %s", method, path)
			require.Contains(t, op.Responses, "default")
		}
		delete(served, path)
	}
	require.Equal(t, map[string][]string{"/v1/openapi.json": {"GET", "HEAD"}}, served, "all else is described")
	require.Contains(t, doc.Paths["/v1/keys/{id}"]["patch"].RequestBody.Content, "application/merge-patch+json")
	require.Contains(t, doc.Paths["/v1/keys"]["post"].Responses["201"].Headers, "Keyreeve-Revision")
	require.Contains(t, w.do(w.viewer, "GET", "/v1/keys", "").raw, `"items"`)
}

func TestOtherUsersOfHumaInTheProcessKeepTheirErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, 400, w.do(w.admin, "GET", "/v1/keys?page=x", "").status)
	theirs := huma.NewError(422, "theirs")
	require.IsType(t, &huma.ErrorModel{}, theirs)
	require.Equal(t, 422, theirs.GetStatus())
}
