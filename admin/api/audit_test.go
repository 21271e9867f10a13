package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// auditor is a signed-in key of acme that may read the trail.
func (w *world) auditor() lifecycle.CreatedKey {
	w.t.Helper()
	r, _, err := w.svc.CreateRole(w.t.Context(), local, lifecycle.NewRole{Name: "Auditor", CustomerID: lifecycle.Some("acme"),
		Permissions: policy.Permissions{"keyreeve/audit": policy.View}})
	require.NoError(w.t, err)
	return w.key(lifecycle.NewKey{Name: "auditor", RoleID: r.ID, CustomerID: "acme"})
}

// raw asks for what is not JSON.
func (w *world) raw(as lifecycle.CreatedKey, path string, headers ...string) (*http.Response, string, error) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	require.NoError(w.t, err)
	req.SetBasicAuth(as.ClientID, as.ClientSecret)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(w.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func TestAuditEventsAreListedByPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	as := w.auditor()
	got := w.do(as, "GET", "/v1/audit-events?page_size=2&action=key.create", "")
	require.Equal(t, 200, got.status, got.raw)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	items := got.body["items"].([]any)
	require.Len(t, items, 2)
	first := items[0].(map[string]any)
	require.Equal(t, "auditor", first["target"].(map[string]any)["name"], "the newest first")
	require.ElementsMatch(t, []string{"id", "seq", "number", "at", "customer_id", "microtenant_id", "actor", "request_id", "action", "target",
		"before", "after", "changes", "hash", "mac", "master_key_id"}, members(first))
	require.Equal(t, map[string]any{"kind": "local", "id": "local", "name": "test", "address": ""}, first["actor"])
	require.EqualValues(t, 6, got.body["total"], "one of them is umbrella's")
	next := w.do(as, "GET", "/v1/audit-events?page_size=2&action=key.create&cursor="+escaped(got.body["next_cursor"].(string)), "")
	require.Equal(t, 200, next.status, next.raw)
	require.NotEqual(t, items, next.body["items"])
	require.NotContains(t, got.raw+next.raw, as.ClientSecret)
	require.Equal(t, 200, w.do(as, "HEAD", "/v1/audit-events", "").status)
}

func members(m map[string]any) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	return names
}

func TestAuditParametersAreHeldToTheirForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	as := w.auditor()
	for query, field := range map[string]string{
		"since=yesterday": "since", "until=5": "until", "action=key": "action", "sort=name": "sort", "page=0": "page", "page_size=501": "page_size",
		"cursor=AAAA": "cursor", "format=xml": "format", "format=csv&page=1": "page", "format=ndjson&cursor=x": "cursor", "format=csv&sort=at": "sort",
		"format=ndjson&page_size=5": "page_size", "no_customer=maybe": "no_customer", "customer_id=acme&no_customer=true": "no_customer",
		"since=2026-01-01T00:00:00Z&until=2025-01-01T00:00:00Z": "until", "actor=x": "actor", "action=key.&action=role.": "action",
		"since=0001-01-01T00:00:00Z": "since", "until=0001-01-01T00:00:00Z": "until",
	} {
		got := w.do(as, "GET", "/v1/audit-events?"+query, "")
		require.Equal(t, 400, got.status, "%s: %s", query, got.raw)
		require.Contains(t, got.fields(), field, query)
	}
	for query, field := range map[string]string{
		"head=5": "head", "head=0:00": "head", "head=a:b:c:d": "head", "customer=acme": "customer", "head=" + strings.Repeat("0", 64): "head",
		"customer_id=acme&no_customer=true": "no_customer",
	} {
		got := w.do(w.operator, "GET", "/v1/audit-events/verify?"+query, "")
		require.Equal(t, 400, got.status, "%s: %s", query, got.raw)
		require.Contains(t, got.fields(), field, query)
	}
	require.Equal(t, 405, w.do(as, "POST", "/v1/audit-events", "{}").status)
}

func TestTheTrailNeedsItsRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{"/v1/audit-events", "/v1/audit-events?format=csv", "/v1/audit-events?format=ndjson", "/v1/audit-events/verify"} {
		got := w.do(w.admin, "GET", path, "", "Accept", "text/csv")
		require.Equal(t, 403, got.status, path)
		require.Equal(t, "permission_denied", got.code())
		require.Equal(t, 401, w.do(lifecycle.CreatedKey{}, "GET", path, "").status)
	}
	got := w.do(w.auditor(), "GET", "/v1/audit-events/verify?customer_id=umbrella", "")
	require.Equal(t, 404, got.status)
}

func TestAnExportIsChosenByAcceptOrFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	as := w.auditor()
	const jsonType, ndjson, sheet = "application/json", "application/x-ndjson", "text/csv; charset=utf-8; header=present"
	for _, tc := range []struct{ query, accept, want string }{
		{"", "", jsonType}, {"", "*/*", jsonType}, {"", "text/html,*/*;q=0.8", jsonType}, {"", "application/x-ndjson", ndjson},
		{"", "Text/CSV", sheet}, {"", "text/csv;q=0.5, application/x-ndjson", ndjson}, {"", "application/x-ndjson;q=0", jsonType},
		{"", "application/x-ndjson;q=0.1, application/json", jsonType}, {"?format=csv", "application/x-ndjson", sheet},
		{"?format=json", "text/csv", jsonType}, {"?format=ndjson", "", ndjson},
	} {
		res, body, err := w.raw(as, "/v1/audit-events"+tc.query, "Accept", tc.accept)
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode, body)
		require.Equal(t, tc.want, res.Header.Get("Content-Type"), tc)
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	}
}

func TestAnExportOverHTTPIsProvedByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, text, err := w.raw(w.operator, "/v1/audit-events", "Accept", "application/x-ndjson")
	require.NoError(t, err)
	out, err := lifecycle.VerifyExport(strings.NewReader(text), nil, w.ring)
	require.NoError(t, err)
	require.True(t, out.OK, out)
	require.Len(t, out.Chains, 3)
	_, text, err = w.raw(w.operator, "/v1/audit-events?format=ndjson&action=nothing.at.all")
	require.NoError(t, err)
	var end lifecycle.AuditTrailer
	require.NoError(t, json.Unmarshal([]byte(text), &end))
	require.Len(t, end.MAC, 64)
	end.At, end.MAC, end.MasterKeyID = time.Time{}, "", ""
	require.Equal(t, lifecycle.AuditTrailer{End: true, Chains: []lifecycle.AuditEnds{}, Filter: map[string]string{"action": "nothing.at.all"}}, end)
}

func TestASpreadsheetIsGivenNothingToEvaluate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	as := w.auditor()
	for _, name := range []string{"=1+1", "+1", "-1", "@SUM(A1)", `quote " and, comma`} {
		w.key(lifecycle.NewKey{Name: name, RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	}
	_, text, err := w.raw(as, "/v1/audit-events?format=csv&action=key.create")
	require.NoError(t, err)
	require.Equal(t, strings.Count(text, "\n"), strings.Count(text, "\r\n"), "RFC 4180")
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, auditColumns, rows[0])
	var names []string
	for _, row := range rows[1:] {
		for _, cell := range row {
			require.NotContains(t, "=+-@", firstByte(cell), row)
		}
		names = append(names, row[14])
	}
	require.Subset(t, names, []string{"'=1+1", "'+1", "'-1", "'@SUM(A1)", `quote " and, comma`})
	_, text, err = w.raw(as, "/v1/audit-events?format=csv&action=nothing.at.all")
	require.NoError(t, err)
	require.Equal(t, strings.Join(auditColumns, ",")+"\r\n", text)
}

func firstByte(cell string) string {
	if cell == "" {
		return "none"
	}
	return cell[:1]
}

// failing is a store that answers a number of reads and no more.
type failing struct {
	lifecycle.Store
	left int
}

func (f *failing) View(ctx context.Context, fn func(keystore.Reader) error) error {
	if f.left--; f.left < 0 {
		return errors.New("disk gone")
	}
	return f.Store.View(ctx, fn)
}

// TestAnExportThatBreaksOffIsNotTakenForAWholeOne: an error before the first byte
// is a problem like any other; after it the connection ends without its end.
func TestAnExportThatBreaksOffIsNotTakenForAWholeOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.store.Update(t.Context(), func(tx keystore.Tx) error {
		for range 1200 {
			if err := tx.AddAudit(t.Context(), &keystore.Audit{At: time.Unix(1, 0), CustomerID: "acme", Action: "test.fill", ActorKind: "system"}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, form := range []string{"csv", "ndjson"} {
		for reads, begun := range map[int]bool{0: false, 1: false, 2: true, 3: true} {
			svc := lifecycle.New(lifecycle.Config{Store: &failing{w.store, reads}, Keyring: w.ring})
			var reported error
			broken := New(svc, func(*http.Request) (lifecycle.Actor, *AuthProblem) { return local, nil })
			broken.Report = func(_ *http.Request, err error) { reported = err }
			server := httptest.NewUnstartedServer(broken)
			server.Config.ErrorLog = nil
			server.Start()
			res, err := http.Get(server.URL + "/v1/audit-events?format=" + form)
			require.NoError(t, err)
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			server.Close()
			require.ErrorContains(t, reported, "disk gone")
			if !begun {
				require.NoError(t, err)
				require.Equal(t, 503, res.StatusCode)
				require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
				require.Empty(t, res.Header.Get("Content-Disposition"))
				continue
			}
			require.Error(t, err, "%s after %d reads", form, reads)
			require.NotContains(t, string(body), `"end":true`)
			require.Greater(t, bytes.Count(body, []byte("\n")), 499)
		}
	}
}

func TestVerifyingAnswersForEachChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := w.do(w.operator, "GET", "/v1/audit-events/verify", "")
	require.Equal(t, 200, got.status, got.raw)
	require.Equal(t, true, got.body["ok"])
	require.Nil(t, got.body["problem"])
	chains := got.body["chains"].([]any)
	require.Len(t, chains, 3)
	acme := chains[1].(map[string]any)
	require.ElementsMatch(t, []string{"customer_id", "ok", "events", "proved_by_head", "first_seq", "head", "problem"}, members(acme))
	head := acme["head"].(map[string]any)
	seq, hash := head["seq"].(float64), head["hash"].(string)

	noted := func(seq float64, hash string) map[string]any {
		text, err := json.Marshal(int64(seq))
		require.NoError(t, err)
		got := w.do(w.operator, "GET", "/v1/audit-events/verify?head=acme:"+string(text)+":"+hash, "")
		require.Equal(t, 200, got.status, got.raw)
		return got.body
	}
	w.key(lifecycle.NewKey{Name: "later", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	require.Equal(t, true, noted(seq, hash)["ok"])
	require.Equal(t, true, noted(seq, strings.ToUpper(hash))["ok"])
	require.Equal(t, false, noted(seq, strings.Repeat("0", 64))["ok"])
	require.Equal(t, false, noted(seq+9, hash)["ok"])
	one := w.do(w.auditor(), "GET", "/v1/audit-events/verify", "")
	require.Len(t, one.body["chains"], 1)
}
