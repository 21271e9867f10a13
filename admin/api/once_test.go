package api

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func (w *world) total() int {
	w.t.Helper()
	return int(w.do(w.operator, "GET", "/v1/keys", "").body["total"].(float64))
}

func TestARetryUnderItsNameIsAnsweredAsBeforeWithoutTheSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct{ path, body string }{
		"create": {"/v1/keys", `{"name":"a","role_id":"` + w.viewerRole + `"}`},
		"rotate": {"/v1/keys/" + w.viewer.ID + "/secrets", `{"previous_expires_in":60}`},
		"batch":  {"/v1/keys/batch", `{"action":"unlock","ids":["` + w.viewer.ID + `","key_none"]}`},
	} {
		named := []string{"Idempotency-Key", "name-of-" + name}
		first := w.do(w.admin, "POST", c.path, c.body, named...)
		require.Less(t, first.status, 300, first.raw)
		require.Empty(t, first.header.Get("Idempotency-Replayed"))
		total := w.total()
		again := w.do(w.admin, "POST", c.path, c.body, named...)
		require.Equal(t, first.status, again.status)
		require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
		require.Equal(t, first.header.Get("ETag"), again.header.Get("ETag"))
		require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
		require.Equal(t, "no-store", again.header.Get("Cache-Control"))
		require.NotContains(t, again.body, "client_secret")
		require.NotContains(t, again.raw, "krs_")
		delete(first.body, "client_secret")
		if items, are := first.body["items"].([]any); are { // a batch shows no keys again
			require.Contains(t, items[0], "key")
			delete(items[0].(map[string]any), "key")
		}
		require.Equal(t, first.body, again.body)
		require.Equal(t, total, w.total())

		other := w.do(w.admin, "POST", c.path, strings.Replace(c.body, "}", " }", 1), named...)
		require.Equal(t, 422, other.status, "a body of other bytes is another request")
		require.Equal(t, "idempotency_key_reused", other.code())
	}
	elsewhere := w.do(w.admin, "POST", "/v1/keys/batch", `{"name":"a","role_id":"`+w.viewerRole+`"}`, "Idempotency-Key", "name-of-create")
	require.Equal(t, 400, elsewhere.status, "which is refused for itself")
	reused := w.do(w.admin, "POST", "/v1/keys/"+w.viewer.ID+"/secrets", `{"previous_expires_in":0}`, "Idempotency-Key", "name-of-create")
	require.Equal(t, 422, reused.status)
}

func TestNamesOfRequestsAreTheActorsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := `{"name":"a","role_id":"` + w.viewerRole + `"}`
	for _, actor := range []lifecycle.CreatedKey{w.admin, w.tenant, w.foreign} {
		made := w.do(actor, "POST", "/v1/keys", body, "Idempotency-Key", "one")
		require.Equal(t, 201, made.status, made.raw)
		require.Contains(t, made.body, "client_secret")
	}
}

func TestANameOfARequestIsVisibleASCII(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := `{"name":"a","role_id":"` + w.viewerRole + `"}`
	for _, bad := range []string{"", "a b", "é", strings.Repeat("k", 256)} {
		a := w.do(w.admin, "POST", "/v1/keys", body, "Idempotency-Key", bad)
		require.Equal(t, 400, a.status, bad)
		require.Equal(t, map[string]string{"Idempotency-Key": "invalid_format"}, a.fields())
	}
	req := httptest.NewRequest("POST", "/v1/keys", strings.NewReader(body))
	req.SetBasicAuth(w.admin.ClientID, w.admin.ClientSecret)
	req.Header["Idempotency-Key"] = []string{"a", "b"}
	res := httptest.NewRecorder()
	w.api.ServeHTTP(res, req)
	require.Equal(t, 400, res.Code, "two names are none")
	require.Equal(t, 201, w.do(w.admin, "POST", "/v1/keys", body, "Idempotency-Key", strings.Repeat("~", 255)).status)
}

func TestARefusedRequestDoesNotUseUpItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := []string{"Idempotency-Key", "one"}
	good := `{"name":"a","role_id":"` + w.viewerRole + `"}`
	for body, status := range map[string]int{
		`{"name":"viewer","role_id":"` + w.viewerRole + `"}`: 409, `{"name":""}`: 400, `{`: 400, `{"name":"` + strings.Repeat("x", maxBody) + `"}`: 413,
	} {
		require.Equal(t, status, w.do(w.admin, "POST", "/v1/keys", body, named...).status)
	}
	require.Equal(t, 415, w.do(w.admin, "POST", "/v1/keys", good, append(named, "Content-Type", "text/plain")...).status)
	require.Equal(t, 201, w.do(w.admin, "POST", "/v1/keys", good, named...).status)
}

func TestOfTwoAtOnceUnderOneNameTheSecondIsToldToWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	land, ok := w.api.flights.start(flight{w.admin.ID, "one"})
	require.True(t, ok)
	body := `{"name":"a","role_id":"` + w.viewerRole + `"}`
	second := w.do(w.admin, "POST", "/v1/keys", body, "Idempotency-Key", "one")
	require.Equal(t, 409, second.status)
	require.Equal(t, "idempotency_in_progress", second.code())
	require.Equal(t, "1", second.header.Get("Retry-After"))
	require.Equal(t, 201, w.do(w.tenant, "POST", "/v1/keys", body, "Idempotency-Key", "one").status, "another actor's is another")
	require.Equal(t, 201, w.do(w.admin, "POST", "/v1/keys", strings.Replace(body, `"a"`, `"b"`, 1), "Idempotency-Key", "two").status)
	land()
	require.Equal(t, 201, w.do(w.admin, "POST", "/v1/keys", strings.Replace(body, `"a"`, `"c"`, 1), "Idempotency-Key", "one").status)
	require.Empty(t, w.api.flights.all, "nothing is left behind")
}

func TestManyAtOnceUnderOneNameMakeOneKeyAndShowOneSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := `{"name":"a","role_id":"` + w.viewerRole + `"}`
	const clients = 16
	answers := make([]answer, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { answers[i] = w.do(w.admin, "POST", "/v1/keys", body, "Idempotency-Key", "one") })
	}
	all.Wait()
	secrets, ids := 0, map[any]bool{}
	for _, a := range answers {
		if a.status == 409 {
			require.Equal(t, "idempotency_in_progress", a.code())
			continue
		}
		require.Equal(t, 201, a.status, a.raw)
		ids[a.body["id"]] = true
		if a.body["client_secret"] != nil {
			secrets++
		}
	}
	require.Equal(t, 1, secrets)
	require.Len(t, ids, 1)
	require.Equal(t, 200, w.do(w.admin, "GET", "/v1/keys?q=a", "").status)
}

// A client whose connection breaks before the answer comes sends it again.
func TestARetryAfterADroppedConnectionMakesOneKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.total()
	at, err := url.Parse(w.url)
	require.NoError(t, err)
	body := `{"name":"a","role_id":"` + w.viewerRole + `"}`
	conn, err := net.Dial("tcp", at.Host)
	require.NoError(t, err)
	req, err := http.NewRequest("POST", w.url+"/v1/keys", nil)
	require.NoError(t, err)
	req.SetBasicAuth(w.admin.ClientID, w.admin.ClientSecret)
	_, err = io.WriteString(conn, "POST /v1/keys HTTP/1.1\r\nHost: "+at.Host+"\r\nAuthorization: "+req.Header.Get("Authorization")+
		"\r\nContent-Type: application/json\r\nIdempotency-Key: one\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
	require.NoError(t, err)
	first := make([]byte, 1)
	_, err = io.ReadFull(conn, first) // the answer is on its way, and is lost
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	again := w.do(w.admin, "POST", "/v1/keys", body, "Idempotency-Key", "one")
	require.Equal(t, 201, again.status, again.raw)
	require.Equal(t, "true", again.header.Get("Idempotency-Replayed"))
	require.Equal(t, before+1, w.total())
}

func TestABodyCutShortIsNotTakenForTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req := httptest.NewRequest("POST", "/v1/keys", struct{ io.Reader }{io.MultiReader(strings.NewReader(`{"name":"a","role_id":"`+w.viewerRole+`"}`), broken{io.ErrUnexpectedEOF})})
	req.SetBasicAuth(w.admin.ClientID, w.admin.ClientSecret)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "one")
	res := httptest.NewRecorder()
	w.api.ServeHTTP(res, req)
	require.Equal(t, 400, res.Code)
	require.Contains(t, res.Body.String(), "malformed_json")
}

func TestFlightsAreBounded(t *testing.T) {
	t.Parallel()
	var f flights
	for i := range maxFlights + 10 {
		_, ok := f.start(flight{"a", strconv.Itoa(i)})
		require.True(t, ok, "one too many is let through, for the store to sort out")
	}
	require.Len(t, f.all, maxFlights)
}

func TestEveryPostThatMakesSomethingTakesAName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name string }
		}
	}
	require.NoError(t, json.Unmarshal(w.api.spec, &doc))
	for path, item := range doc.Paths {
		for method, op := range item {
			takes := false
			for _, p := range op.Parameters {
				takes = takes || p.Name == onceHeader
			}
			unnamed := path == "/v1/policy/check" || path == "/v1/nodes/accept-restore" // which is done once for all
			require.Equal(t, method == "post" && !unnamed, takes, "%s %s", method, path)
		}
	}
}
