package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// joined repeats a piece of JSON, whose %d is its place, with commas between.
func joined(n int, piece string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(piece, "%d", fmt.Sprint(i))
	}
	return strings.Join(parts, ",")
}

// Not parallel, as it measures what the whole process allocates.
func TestTheMemoryForABodyGrowsAsTheBodyDoes(t *testing.T) {
	const long = 20_000 // bytes of a name above members and elements that might repeat it
	for name, body := range map[string]func(n int) string{
		"members below a long name": func(n int) string {
			return `{"` + strings.Repeat("x", n*long) + `":{` + joined(n*1000, `"a%d":1`) + `}}`
		},
		"elements below a long name": func(n int) string { return `{"` + strings.Repeat("x", n*long) + `":[` + joined(n*5000, `1`) + `]}` },
		"duplicates below a long name": func(n int) string {
			return `{"` + strings.Repeat("x", n*long) + `":{` + joined(n*1000, `"a":1`) + `}}`
		},
		"long duplicates": func(n int) string { return `{` + joined(n*100, `"`+strings.Repeat("x", 500)+`":1`) + `}` },
		"unknown members": func(n int) string { return `{` + joined(n*1000, `"a%d":1`) + `}` },
	} {
		allocated := func(n int) float64 {
			text := body(n)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 3 {
				req := httptest.NewRequest("POST", "/", strings.NewReader(text))
				req.Header.Set("Content-Type", typeJSON)
				require.Error(t, decode(httptest.NewRecorder(), req, maxBody, &createBody{}, []string{typeJSON}))
			}
			runtime.ReadMemStats(&after)
			return float64(after.TotalAlloc - before.TotalAlloc)
		}
		allocated(1) // whatever is set up once
		require.Less(t, allocated(8)/allocated(1), 16.0, "%s: eight times the body; the square of it would be 64 times", name)
	}
}

// Not parallel, either.
func TestAListThatHoldsNoKeysCostsNoMemoryForKeys(t *testing.T) {
	for _, element := range []string{`0`, `{}`, `[]`, `{"name":""}`} {
		text := `{"keys":[` + strings.Repeat(element+",", min(maxBody/len(element), maxElements-1)) + element + `]}`
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		req := httptest.NewRequest("PUT", "/", strings.NewReader(text))
		req.Header.Set("Content-Type", typeJSON)
		var body pushBody
		require.NoError(t, decode(httptest.NewRecorder(), req, maxListBody, &body, []string{typeJSON}))
		runtime.ReadMemStats(&after)
		require.Less(t, float64(after.TotalAlloc-before.TotalAlloc)/float64(len(text)), 100.0, "%s: bytes for each of the body's", element)
		_, err := body.push(&pushInput{})
		var refused *lifecycle.Error
		require.ErrorAs(t, err, &refused)
		require.Len(t, refused.Fields, lifecycle.MaxFaults)
	}
}

func TestWhoLacksTheRightIsRefusedBeforeTheBodyIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var doc struct {
		Paths map[string]map[string]struct{ RequestBody map[string]any }
	}
	require.NoError(t, json.Unmarshal(w.api.spec, &doc))
	tried := 0
	for path, item := range doc.Paths {
		for method, op := range item {
			if op.RequestBody == nil {
				continue
			}
			tried++
			target := strings.NewReplacer("{id}", w.viewer.ID, "{name}", "idp").Replace(path)
			req := httptest.NewRequest(strings.ToUpper(method), target, untouchable{t})
			req.ContentLength = 1 << 30
			req.SetBasicAuth(w.bystander.ClientID, w.bystander.ClientSecret)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", "x")
			res := httptest.NewRecorder()
			w.api.ServeHTTP(res, req)
			require.Equal(t, 403, res.Code, "%s %s: %s", method, path, res.Body)
			require.Contains(t, res.Body.String(), `"code":"permission_denied"`)
		}
	}
	require.Greater(t, tried, 15)
	_, _, err := w.svc.CreateKey(t.Context(), lifecycle.Actor{Kind: lifecycle.ActorKey, ID: w.bystander.ID}, lifecycle.NewKey{})
	var refused *lifecycle.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, refused.Detail, w.do(w.bystander, "POST", "/v1/keys", `not JSON`).body["detail"], "in the words of the operation itself")
}

func TestARightThatTheBodyDecidesOnIsLookedAtBoth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warden := w.warden("warden", "acme", "", policy.Full) // sessions and locks alone
	batch := func(action string) string { return `{"action":"` + action + `","ids":["` + w.viewer.ID + `"]}` }
	require.Equal(t, 200, w.do(warden, "POST", "/v1/keys/batch", batch("unlock")).status, "any right that a batch may need opens the body")
	require.Equal(t, 403, w.do(warden, "POST", "/v1/keys/batch", batch("disable")).status, "and the operation looks at the one it needs")
	require.Equal(t, 403, w.do(warden, "POST", "/v1/policy/check", `{}`).status)
	require.Equal(t, 400, w.do(w.viewer, "POST", "/v1/policy/check", `{}`).status)
}

func TestAnAnswerNamesNoMoreThanTheFirstHundredFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	needed := `"name":"a","role_id":"` + w.viewerRole + `",`
	long := strings.Repeat("k", 100_000)
	for _, c := range []struct {
		method, path, body string
		named              int
		detail             string
	}{
		{"POST", "/v1/keys", `{` + needed + joined(5000, `"a%d":1`) + `}`, 100, "and 4900 more were found"},
		{"POST", "/v1/keys", `{` + needed + joined(5000, `"a":1`) + `}`, 100, "more"},
		{"PUT", "/v1/me/preferences", `{` + joined(5000, `"a":1`) + `}`, 100, "and 4899 more were found"},
		{"POST", "/v1/keys", `{` + needed + `"labels":{` + joined(5000, `"-%d":"x"`) + `}}`, 1, ""},
		{"POST", "/v1/keys", `{` + needed + `"labels":{` + joined(5000, `"k%d":null`) + `}}`, 1, ""},
		{"POST", "/v1/roles", `{"name":"a","permissions":{` + joined(5000, `"-%d":7`) + `}}`, 1, ""},
		{"PATCH", "/v1/roles/" + w.viewerRole, `{"permissions":{` + joined(5000, `"-%d":7`) + `}}`, 100, "and 4900 more were found"},
		{"POST", "/v1/keys", `{` + needed + `"` + long + `":1}`, 1, ""},
		{"POST", "/v1/keys", `{` + needed + `"` + long + `":{"` + long + `":{"a":1,"a":2}}}`, 2, ""},
		{"POST", "/v1/keys", `{` + needed + `"labels":{"` + long + `":"x"}}`, 1, ""},
		{"POST", "/v1/roles", `{"name":"a","permissions":{"` + long + `":"full"}}`, 1, ""},
	} {
		a := w.do(w.operator, c.method, c.path, c.body)
		require.Equal(t, 400, a.status, a.raw)
		require.Len(t, a.body["errors"], c.named, "%s %s %.80s", c.method, c.path, c.body)
		require.Contains(t, a.body["detail"], c.detail)
		require.Less(t, len(a.raw), 20_000)
	}
}

func TestTimesAreThoseOfRFC3339(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	auditor := w.operator
	for _, text := range []string{"2030-01-01T00:00:00+24:00", "2030-01-01T00:00:00+23:60", "2030-01-01T00:00:00,5Z", "2030-01-01T0:00:00Z", "2030-01-01T00:00:00", "2030-01-01 00:00:00Z"} {
		a := w.do(w.admin, "PATCH", "/v1/keys/"+w.viewer.ID, `{"expires_at":"`+text+`"}`)
		require.Equal(t, map[string]string{"expires_at": "invalid_format"}, a.fields(), text)
		for _, param := range []string{"created_after", "created_before", "expires_before"} {
			a = w.do(w.admin, "GET", "/v1/keys?"+param+"="+escaped(text), "")
			require.Equal(t, map[string]string{param: "invalid_format"}, a.fields(), text)
		}
		for _, param := range []string{"since", "until"} {
			a = w.do(auditor, "GET", "/v1/audit-events?"+param+"="+escaped(text), "")
			require.Equal(t, map[string]string{param: "invalid_format"}, a.fields(), text)
		}
	}
	for _, text := range []string{"2030-01-01T00:00:00Z", "2030-01-01T00:00:00.5Z", "2030-01-01T00:00:00.123456+23:59", "2030-01-01T00:00:00-00:00"} {
		a := w.do(w.admin, "PATCH", "/v1/keys/"+w.viewer.ID, `{"expires_at":"`+text+`"}`)
		require.Equal(t, 200, a.status, a.raw)
		require.Equal(t, 200, w.do(w.admin, "GET", "/v1/keys?created_after="+escaped(text), "").status, text)
		require.Equal(t, 200, w.do(auditor, "GET", "/v1/audit-events?until="+escaped(text), "").status, text)
	}
}

func TestAParameterHasTheOneSpellingOfItsType(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, loose := range []string{"page=", "page_size=", "page=+1", "page=%2B1", "page=01", "page=1.0", "page=0x1", "page=1_0", "page=%201", "page=-0",
		"never_used=1", "never_used=", "locked=TRUE", "locked=t", "locked=True"} {
		name, _, _ := strings.Cut(loose, "=")
		a := w.do(w.admin, "GET", "/v1/keys?"+loose, "")
		require.Equal(t, 400, a.status, loose)
		require.Equal(t, map[string]string{name: "invalid_type"}, a.fields(), loose)
	}
	require.Equal(t, 400, w.do(w.admin, "DELETE", "/v1/keys/"+w.viewer.ID+"/secrets/x?force=1", "").status)
	for _, exact := range []string{"page=1", "page_size=500", "never_used=true", "locked=false", "page=1&page_size=1"} {
		require.Equal(t, 200, w.do(w.admin, "GET", "/v1/keys?"+exact, "").status, exact)
	}
	minus := w.do(w.admin, "POST", "/v1/keys/"+w.viewer.ID+"/secrets", `{"previous_expires_in":-0}`)
	require.Equal(t, map[string]string{"previous_expires_in": "invalid_type"}, minus.fields(), "it would end the secret at once")
}

func TestABodyHasNoContentCoding(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := "/v1/keys/" + w.viewer.ID
	for _, coding := range []string{"gzip", "deflate", "br", "identity, gzip", "x"} {
		a := w.do(w.admin, "PATCH", path, `{"description":"coded"}`, "Content-Encoding", coding)
		require.Equal(t, 415, a.status, coding)
		require.Equal(t, "unsupported_media_type", a.code())
		require.Equal(t, "identity", a.header.Get("Accept-Encoding"))
	}
	require.Equal(t, "", w.do(w.admin, "GET", path, "").body["description"])
	require.Equal(t, http.StatusOK, w.do(w.admin, "PATCH", path, `{"description":"plain"}`, "Content-Encoding", "Identity").status)
}
