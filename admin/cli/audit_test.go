package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// audit runs an `audit` command over the local reach.
func (h *house) audit(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, Env{}, nil, append([]string{"audit", "--address", h.address}, args...)...)
}

// startHandler serves h on an address.
func startHandler(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// fill appends n events to acme's trail.
func (h *house) fill(t *testing.T, n int) {
	t.Helper()
	_, err := h.store.Update(t.Context(), func(tx keystore.Tx) error {
		for range n {
			if err := tx.AddAudit(t.Context(), &keystore.Audit{At: testNow, CustomerID: "acme", ActorKind: "system", Action: "test.fill"}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
}

func TestAuditListShowsWhoDidWhatToWhat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.mustKey(t, "create", "nightly", "--role", "API Read Only", "--customer", "acme", "--microtenant", "emea")
	h.mustKey(t, "disable", "nightly")
	got := h.audit(t, "list", "--action", "key.")
	require.Zero(t, got.code, got.errOut)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 3)
	for _, want := range []string{"key.update", "nightly", "local", "enabled", "acme", "emea"} {
		require.Contains(t, lines[1], want)
	}
	got = h.audit(t, "list", "--all", "--sort", "at", "-o", "csv")
	rows, err := csv.NewReader(strings.NewReader(got.out)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, auditList.columns, rows[0])
	require.Len(t, rows, 6)
	require.Equal(t, "customer.create", rows[1][11])
	got = h.audit(t, "list", "--target", "nobody", "-o", "json")
	require.JSONEq(t, `{"items":[],"next_cursor":null,"total":0}`, got.out)
}

func TestAuditFlagsReachTheServerAsItsParameters(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: `{"items":[],"next_cursor":null,"total":0}`}
	address := server.start(t)
	got := run(t, Env{}, nil, "audit", "list", "--address", address, "--customer", "c", "--microtenant", "m", "--actor", "a", "--action", "key.",
		"--target-kind", "key", "--target", "t", "--request", "r", "--since", "2026-01-01", "--until", "36h", "--sort", "at")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, "action=key.&actor_id=a&customer_id=c&microtenant_id=m&request_id=r&since=2026-01-01T00%3A00%3A00Z&sort=at&target_id=t&target_kind=key&until=2026-04-30T00%3A00%3A00Z",
		server.last.URL.RawQuery)
	got = run(t, Env{}, nil, "audit", "list", "--address", address, "--no-customer", "--since", "90d")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, "no_customer=true&since=2026-01-31T12%3A00%3A00Z", server.last.URL.RawQuery)
	calls := server.calls
	for _, args := range [][]string{
		{"list", "--since", "tomorrow"}, {"list", "--until", "-5h"}, {"list", "--since", "-3d"}, {"export", "--format", "xml"}, {"export", "-o", "json"},
		{"verify", "--head", "5"}, {"verify", "--master-key-file", "x"}, {"verify", "--file", "x", "--customer", "acme"}, {"verify", "--file", "x", "--head", "1:00"},
	} {
		got := run(t, Env{}, nil, append([]string{"audit", "--address", address}, args...)...)
		require.Equal(t, ExitUsage, got.code, args)
	}
	require.Equal(t, calls, server.calls, "nothing was sent")
}

// exportTo exports the trail to a file.
func (h *house) exportTo(t *testing.T, args ...string) string {
	t.Helper()
	got := h.audit(t, append([]string{"export"}, args...)...)
	require.Zero(t, got.code, got.errOut)
	path := filepath.Join(t.TempDir(), "trail.ndjson")
	require.NoError(t, os.WriteFile(path, []byte(got.out), 0o600))
	return path
}

func TestAnExportIsVerifiedWithoutAnyServer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fill(t, 1100)
	path := h.exportTo(t, "--customer", "acme")
	offline := func(args ...string) result {
		return run(t, Env{}, nil, append([]string{"audit", "verify", "--file"}, args...)...)
	}
	got := offline(path)
	require.Zero(t, got.code, got.errOut)
	require.Contains(t, got.out, "proved")
	require.Contains(t, got.out, "1102")
	require.Contains(t, got.errOut, "agrees with itself")

	got = offline(path, "-o", "json")
	var out lifecycle.AuditVerification
	require.NoError(t, json.Unmarshal([]byte(got.out), &out))
	head := fmt.Sprintf("%d:%s", out.Chains[0].Head.Seq, out.Chains[0].Head.Hash)
	for _, args := range [][]string{{"--head", head}, {"--head", "acme:" + head}} {
		got = offline(append([]string{path}, args...)...)
		require.Zero(t, got.code, got.errOut)
		require.Contains(t, got.errOut, "that no chain was left out, takes --master-key-file")
	}
	require.Equal(t, ExitError, offline(path, "--head", "globex:"+head).code)
	require.Equal(t, ExitError, offline(path, "--head", "7:"+out.Chains[0].Head.Hash).code)

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	piped := run(t, Env{}, nil, "audit", "verify", "--file", "-")
	require.Equal(t, ExitError, piped.code, "standard input is empty here")
	require.Contains(t, piped.errOut, "truncated_export")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), `"name":"test"`, `"name":"tess"`, 1)), 0o600))
	got = offline(path)
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.out, "changed_event")
	require.Contains(t, got.errOut, "not proved")
	require.Equal(t, ExitError, offline(filepath.Join(t.TempDir(), "none")).code)
}

func TestAMasterKeyFileChecksTheSealsOfAnExport(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := h.masterKey
	_, _, err := h.service.CreateCustomer(t.Context(), here, lifecycle.NewCustomer{ID: "new", Name: "new"})
	require.NoError(t, err)
	path := h.exportTo(t, "--customer", "new")
	got := run(t, Env{}, nil, "audit", "verify", "--file", path, "--master-key-file", key)
	require.Zero(t, got.code, got.errOut+got.out)
	require.Empty(t, got.errOut)
	got = run(t, Env{}, nil, "audit", "verify", "--file", path, "--master-key-file", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, ExitError, got.code)
	other := filepath.Join(t.TempDir(), "other.key")
	_, err = credential.CreateMasterKeyFile(other)
	require.NoError(t, err)
	got = run(t, Env{}, nil, "audit", "verify", "--file", path, "--master-key-file", other)
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.out, "unknown_master_key")
	got = run(t, Env{}, nil, "audit", "verify", "--file", path, "--master-key-file", other, "--master-key-file", key)
	require.Zero(t, got.code, got.errOut)
}

func TestAuditVerifyAsksTheServer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.audit(t, "verify")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, 2, strings.Count(got.out, " proved "), got.out)
	require.Empty(t, got.errOut)
	got = h.audit(t, "verify", "--customer", "acme", "--head", "1:"+strings.Repeat("0", 64), "-o", "csv")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.out, "published_head_mismatch")
	require.Equal(t, ExitNotFound, h.audit(t, "verify", "--customer", "nobody").code)
	got = h.audit(t, "verify", "-o", "yaml")
	require.Zero(t, got.code)
	require.Contains(t, got.out, "ok: true")
}

func TestAnExportAsCSVIsTheServers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, args := range [][]string{{"--format", "csv"}, {"-o", "csv"}} {
		got := h.audit(t, append([]string{"export"}, args...)...)
		require.Zero(t, got.code, got.errOut)
		rows, err := csv.NewReader(strings.NewReader(got.out)).ReadAll()
		require.NoError(t, err)
		require.Equal(t, auditList.columns, rows[0], "the columns of `audit list -o csv`")
		require.Len(t, rows, 4)
	}
}

func TestAnExportThatIsNotWholeFails(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("{}\n{}\n"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"without an end": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}\n{}\n")) },
		"a wrong count": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("{}\n{\"end\":true,\"count\":2}\n"))
		},
	} {
		offline := Env{Offline: func(context.Context, string) (http.Handler, func() error, error) {
			return handler, func() error { return nil }, nil
		}}
		for _, args := range [][]string{{"--config", "x"}, {"--address", startHandler(t, handler)}} {
			got := run(t, offline, nil, append([]string{"audit", "export"}, args...)...)
			require.Equal(t, ExitError, got.code, "%s %v", name, args)
			require.Regexp(t, "broke off|not whole", got.errOut, name)
		}
	}
}

func TestAServerThatStallsInAnExportIsGivenUp(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	address := startHandler(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("{}\n"))
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	got := run(t, Env{}, nil, "audit", "export", "--address", address, "--timeout", "100ms")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "nothing came for 100ms")
}

// TestAnAnswerInThisProcessIsReadWhileItIsWritten: a handler that writes more than
// memory holds is read piece by piece, and is done when the body is closed.
func TestAnAnswerInThisProcessIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	written, done := 0, false
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done = true }()
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 1<<16))
			written += n
			if err != nil {
				return
			}
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/", nil)
	require.NoError(t, err)
	resp, err := inProcess{handler: handler}.RoundTrip(req)
	require.NoError(t, err)
	_, err = resp.Body.Read(make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.True(t, done)
	require.Less(t, written, 1<<20)

	resp, err = inProcess{handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}.RoundTrip(req)
	require.Error(t, err)
	require.Nil(t, resp)
}
