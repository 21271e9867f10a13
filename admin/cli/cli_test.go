package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// result is what a finished command leaves behind.
type result struct {
	code        int
	out, errOut string
}

// testNow is the time at which the commands under test believe to run.
var testNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// run executes the tree as a binary would, with vars as its environment.
func run(t *testing.T, env Env, vars map[string]string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	env.Stdin, env.Stdout, env.Stderr = strings.NewReader(""), &out, &errOut
	env.Getenv = func(name string) string { return vars[name] }
	if env.Now == nil {
		env.Now = func() time.Time { return testNow }
	}
	root := &cobra.Command{Use: "keyreeve", SilenceUsage: true}
	root.SetOut(&out)
	root.SetErr(&errOut)
	root.AddCommand(Commands(env)...)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	res := result{out: out.String(), errOut: errOut.String()}
	if err != nil {
		var coded *CodeError
		require.ErrorAs(t, err, &coded, "every failure must carry its exit code")
		res.code = coded.Code
	}
	return res
}

// serve answers every request alike, and keeps the last one.
type serve struct {
	status  int
	kind    string
	body    string
	headers map[string]string
	last    *http.Request
	calls   int
}

func (s *serve) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.last, s.calls = r, s.calls+1
	for name, value := range s.headers {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", s.kind)
	w.WriteHeader(s.status)
	_, _ = w.Write([]byte(s.body))
}

func (s *serve) start(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func refusal(status int, code string) *serve {
	body, _ := json.Marshal(map[string]any{"status": status, "title": http.StatusText(status), "detail": "refused for a reason", "code": code, "request_id": "req-1"})
	return &serve{status: status, kind: "application/problem+json", body: string(body)}
}

func TestEachRefusalHasItsExitCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		server *serve
		code   int
		says   string
	}{
		{"400 is an error", refusal(400, "invalid"), ExitError, "refused for a reason (400 invalid)"},
		{"401 is not authorised", refusal(401, "invalid_client"), ExitNotAuthorised, "KEYREEVE_CLIENT_ID"},
		{"403 is not authorised", refusal(403, "exceeds_own_rights"), ExitNotAuthorised, "exceeds_own_rights"},
		{"409 is a conflict", refusal(409, "conflict"), ExitConflict, "(409 conflict)"},
		{"412 is a conflict", refusal(412, "stale"), ExitConflict, "someone else changed it"},
		{"503 is an error", refusal(503, "store_unavailable"), ExitError, "nothing was changed"},
		{"507 is an error", refusal(507, "store_full"), ExitError, "make room on the disk"},
		{"a redirect is not followed", &serve{status: 302, headers: map[string]string{"Location": "http://192.0.2.1/"}}, ExitError, "302 Found"},
		{"an answer not in JSON is refused", &serve{status: 200, kind: "text/html", body: "<p>hello"}, ExitError, "did not answer in JSON"},
		{"a 404 of something else finds no key", &serve{status: 404, kind: "text/plain", body: "404"}, ExitError, "there is no Keyreeve admin API"},
		{"Caddy's own refusal is not authorised", &serve{status: 403, kind: "application/json", body: `{"error":"host not allowed: x"}`}, ExitNotAuthorised, "host not allowed: x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := run(t, Env{}, nil, "key", "list", "--address", tc.server.start(t))
			require.Equal(t, tc.code, got.code, got.errOut)
			require.Contains(t, got.errOut, tc.says)
			require.Equal(t, 1, strings.Count(got.errOut, "error:"), "reported once")
			require.Empty(t, got.out, "nothing but data on stdout")
			require.Equal(t, 1, tc.server.calls)
		})
	}
}

func TestFieldErrorsAndRequestIDAreShown(t *testing.T) {
	t.Parallel()
	server := &serve{status: 500, kind: "application/problem+json",
		body: `{"title":"Internal","code":"internal","request_id":"req-7","errors":[{"field":"name","detail":"too long"}]}`}
	got := run(t, Env{}, nil, "key", "list", "--address", server.start(t))
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "name: too long")
	require.Contains(t, got.errOut, "req-7")
}

func TestWrongUsageExitsTwoAndAsksNothingOfTheServer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, says string
		args       []string
	}{
		{"unknown verb", "there is no `keyreeve key explode`", []string{"explode"}},
		{"unknown flag", "unknown flag: --colour", []string{"list", "--colour"}},
		{"flag without its value", "flag needs an argument", []string{"list", "--state"}},
		{"flag of another type", "invalid argument", []string{"list", "--page", "one"}},
		{"missing argument", "KEY is missing", []string{"get"}},
		{"missing name", "NAME is missing", []string{"create", "--role", "r"}},
		{"surplus argument", "unexpected argument \"b\"", []string{"get", "a", "b"}},
		{"empty key", "named by nothing", []string{"get", ""}},
		{"unknown output", "expected table, json, yaml, csv", []string{"list", "-o", "xml"}},
		{"unknown state", "expected active, disabled, locked, expired", []string{"list", "--state", "sleeping"}},
		{"all and a page", "--all begins at the beginning", []string{"list", "--all", "--page", "2"}},
		{"page and cursor", "exclude each other", []string{"list", "--cursor", "c", "--page", "2"}},
		{"negative page", "at least 1", []string{"list", "--page", "-1"}},
		{"no role", "--role is missing", []string{"create", "ci"}},
		{"bad expiry", "is no time", []string{"create", "ci", "--role", "r", "--expires", "soon"}},
		{"expiry now", "not in the future", []string{"create", "ci", "--role", "r", "--expires", "0s"}},
		{"bad validity", "whole seconds", []string{"create", "ci", "--role", "r", "--session-validity", "1.5"}},
		{"bad network", "is no network", []string{"create", "ci", "--role", "r", "--cidr", "here"}},
		{"network with host bits", "did you mean 192.0.2.0/24?", []string{"create", "ci", "--role", "r", "--cidr", "192.0.2.1/24"}},
		{"bad label", "expected key=value", []string{"create", "ci", "--role", "r", "--label", "x"}},
		{"label twice", "given twice", []string{"create", "ci", "--role", "r", "--label", "x=1", "--label", "x=2"}},
		{"edit of nothing", "nothing to change", []string{"edit", "ci"}},
		{"delete unasked", "--yes is missing", []string{"delete", "ci"}},
		{"two reaches", "exclude each other", []string{"list", "--url", "https://admin.example.com"}},
		{"no time at all", "--timeout", []string{"list", "--timeout", "0s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := &serve{status: 200, kind: "application/json", body: `{}`}
			args := append([]string{"key", "--address", server.start(t)}, tc.args...)
			got := run(t, Env{}, nil, args...)
			require.Equal(t, ExitUsage, got.code, got.errOut)
			require.Contains(t, got.errOut, tc.says)
			require.Contains(t, got.errOut, "--help")
			require.Empty(t, got.out)
			require.Zero(t, server.calls)
		})
	}
}

func TestHelpTeachesOnStdout(t *testing.T) {
	t.Parallel()
	env := Env{Program: "caddy keyreeve"}
	for _, args := range [][]string{{"key"}, {"key", "--help"}} {
		got := run(t, env, nil, args...)
		require.Zero(t, got.code)
		require.Contains(t, got.out, "caddy keyreeve key create ci-deploy")
		require.Contains(t, got.out, "4 not authorised")
	}
	for _, verb := range []string{"create", "list", "get", "edit", "enable", "disable", "unlock", "delete"} {
		got := run(t, env, nil, "key", verb, "--help")
		require.Zero(t, got.code)
		require.Contains(t, got.out, "caddy keyreeve key "+verb, "%s has an example", verb)
		require.NotContains(t, got.out, "PROGRAM")
		require.NotContains(t, got.out, "--secret", "secrets are never flags")
	}
}

const emptyList = `{"items":[],"next_cursor":null,"total":0}`

func TestLocalReachSendsWhatCaddysEndpointChecks(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: emptyList}
	address := server.start(t)
	got := run(t, Env{}, map[string]string{"CADDY_ADMIN": "tcp/" + address, "KEYREEVE_CLIENT_ID": "id", "KEYREEVE_CLIENT_SECRET": "s"}, "key", "list", "-o", "json")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, emptyList+"\n", got.out, "JSON is the API's")
	require.Equal(t, "/keyreeve/v1/keys", server.last.URL.Path)
	require.Equal(t, address, server.last.Host)
	require.Equal(t, "http://"+address, server.last.Header.Get("Origin"))
	require.Empty(t, server.last.Header.Get("Authorization"), "nobody asks for credentials there")
}

func TestLocalReachOverAUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := &serve{status: 200, kind: "application/json", body: emptyList}
	srv := &http.Server{Handler: server, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(func() { _ = srv.Close() })

	for _, address := range []string{"unix/" + path, "unix/" + path + "|0200"} {
		got := run(t, Env{}, nil, "key", "list", "--address", address)
		require.Zero(t, got.code, got.errOut)
		require.Equal(t, "127.0.0.1", server.last.Host)
		require.Empty(t, server.last.Header["Origin"], "a socket has no origin to allow")
	}
}

func TestRemoteReachSignsInByBasic(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: emptyList}
	vars := map[string]string{"KEYREEVE_CLIENT_ID": "kr_me", "KEYREEVE_CLIENT_SECRET": "krs_canary"}
	got := run(t, Env{}, vars, "key", "list", "--url", "http://"+server.start(t)+"/base/")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, "/base/v1/keys", server.last.URL.Path)
	id, secret, ok := server.last.BasicAuth()
	require.True(t, ok)
	require.Equal(t, "kr_me", id)
	require.Equal(t, "krs_canary", secret)
	require.NotContains(t, got.out+got.errOut, "krs_canary")
}

func TestRemoteReachRefusesWhatWouldLeakTheSecret(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"KEYREEVE_CLIENT_ID": "kr_me", "KEYREEVE_CLIENT_SECRET": "krs_canary"}
	for url, says := range map[string]string{
		"http://admin.example.com":             "unencrypted",
		"https://kr_x:krs_y@admin.example.com": "must not hold credentials",
		"https://admin.example.com/?s=krs_y":   "query",
		"admin.example.com":                    "not a URL",
	} {
		got := run(t, Env{}, vars, "key", "list", "--url", url)
		require.Equal(t, ExitUsage, got.code, url)
		require.Contains(t, got.errOut, says)
		require.NotContains(t, got.errOut, "krs_")
	}
	got := run(t, Env{}, nil, "key", "list", "--url", "https://admin.example.com")
	require.Equal(t, ExitUsage, got.code)
	require.Contains(t, got.errOut, "KEYREEVE_CLIENT_SECRET")
}

func TestNoServerSaysWhatToDo(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "none.sock")
	got := run(t, Env{}, nil, "key", "unlock", "ci", "--address", "unix/"+socket)
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "is the server running")
	require.Contains(t, got.errOut, "--config")
}

func TestWrongAddressesAreUsage(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"localhost", "localhost:1-5", "http://localhost:2019", "unix/", "udp/localhost:1", "fd/3"} {
		got := run(t, Env{}, nil, "key", "list", "--address", address)
		require.Equal(t, ExitUsage, got.code, address)
	}
}

func TestOfflineOpensTheStoreOnceAndClosesIt(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: emptyList}
	closed := 0
	env := Env{Offline: func(_ context.Context, path string) (http.Handler, func() error, error) {
		require.Equal(t, "/etc/Caddyfile", path)
		return server, func() error { closed++; return nil }, nil
	}}
	got := run(t, env, nil, "key", "list", "-c", "/etc/Caddyfile", "-o", "json")
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, emptyList+"\n", got.out)
	require.Equal(t, "/v1/keys", server.last.URL.Path)
	require.Equal(t, "/v1/keys", server.last.RequestURI)
	require.Equal(t, 1, closed)

	server.status = 404
	require.Equal(t, ExitError, run(t, env, nil, "key", "list", "-c", "/etc/Caddyfile").code)
	require.Equal(t, 2, closed, "closed after a failure too")
}

func TestOfflineFailuresAreReported(t *testing.T) {
	t.Parallel()
	env := Env{Offline: func(context.Context, string) (http.Handler, func() error, error) {
		return nil, nil, errors.New("wrong master key")
	}}
	got := run(t, env, nil, "key", "list", "--config", "Caddyfile")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "opening the store of Caddyfile: wrong master key")
	require.Equal(t, ExitUsage, run(t, Env{}, nil, "key", "list", "--config", "Caddyfile").code, "a build without it")
}

func TestAcceptedButUnconfirmedNamesTheNodes(t *testing.T) {
	t.Parallel()
	server := &serve{status: 202, kind: "application/json",
		body: `{"id":"key_1","pending":[{"node":"edge-2","accepts_until":"2026-05-01T12:05:00Z"}]}`}
	got := run(t, Env{}, nil, "key", "disable", "key_1", "--address", server.start(t))
	require.Zero(t, got.code)
	require.Contains(t, got.errOut, "do not repeat it")
	require.Contains(t, got.errOut, "edge-2 may still accept until 2026-05-01T12:05:00Z")
}

func TestNodesThatHaveNotConfirmedAChangeAreCounted(t *testing.T) {
	t.Parallel()
	for header, note := range map[string]string{
		"confirmed=1; pending=2": "committed, but not yet confirmed by 2 of 3 nodes; do not repeat it\n",
		"confirmed=3; pending=0": "",
		"confirmed=0; pending=0": "committed; no node is registered that would have to hear of it\n",
		"":                       "",
		"pending":                "",
	} {
		mux := http.NewServeMux()
		mux.HandleFunc("DELETE /v1/sessions/{id}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Keyreeve-Propagation", header)
			w.WriteHeader(http.StatusNoContent)
		})
		server := httptest.NewServer(http.StripPrefix("/keyreeve", mux))
		got := run(t, Env{}, nil, "session", "end", "ses_1.0.sec_1", "--address", strings.TrimPrefix(server.URL, "http://"))
		server.Close()
		require.Zero(t, got.code, got.errOut)
		require.Equal(t, note != "", strings.Contains(got.errOut, "committed"), "%q: %s", header, got.errOut)
		require.Contains(t, got.errOut, note)
	}
}

func TestExitHookTakesTheCode(t *testing.T) {
	t.Parallel()
	mark := errors.New("mark")
	env := Env{Stderr: &bytes.Buffer{}, Exit: func(code int, err error) error {
		require.Equal(t, ExitUsage, code)
		require.Error(t, err)
		return mark
	}}
	for _, g := range Groups() {
		cmd := &cobra.Command{Use: g.Name}
		g.Configure(cmd, env)
		cmd.SetArgs([]string{"get"})
		require.ErrorIs(t, cmd.Execute(), mark)
	}
}
