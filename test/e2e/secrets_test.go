package e2e

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// canary is a secret that is known to the test, under a name to tell it by: a failing
// test prints that, never the secret.
type canary struct{ name, value string }

// spellings are the forms in which a canary could be left somewhere: as it is, in hex, for
// a URL, in base64 at each of the three places where it may begin, and its halves, where
// they are long enough to be no accident.
func (c canary) spellings() map[string]string {
	found := map[string]string{
		"raw": c.value, "URL-encoded": url.QueryEscape(c.value),
		"hex": hex.EncodeToString([]byte(c.value)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(c.value))),
	}
	for shift, name := range []string{"base64", "base64 one on", "base64 two on"} {
		// The ends share their characters with what stands around.
		from := (shift*8 + 5) / 6
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + c.value))
		text = text[from : len(text)-2]
		found[name] = text
		found[name+" for URLs"] = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	}
	if half := len(c.value) / 2; half >= 16 {
		found["first half"], found["second half"] = c.value[:half], c.value[half:]
	}
	return found
}

// absent requires that a place holds none of the canaries, and does hold what shows that
// it was searched at all.
func absent(t *testing.T, place, text, marker string, canaries []canary) {
	t.Helper()
	if !strings.Contains(text, marker) {
		t.Errorf("%s (%d bytes): %q is not there, so that nothing was searched", place, len(text), marker)
	}
	for _, c := range canaries {
		for form, spelling := range c.spellings() {
			if at := strings.Index(text, spelling); at >= 0 {
				t.Errorf("%s: %s, %s, after %q", place, c.name, form, text[max(0, at-80):at])
			}
		}
	}
}

// canaryRequests are the requests that carry a value in the place of a secret or of a token,
// in every form and malformed form, to every entrance.
func canaryRequests(h *house, id, value string) (toGate, toAdmin []string) {
	path := h.applications()
	form := func(target, text string, lines ...string) string {
		lines = append(lines, "Content-Type: application/x-www-form-urlencoded", "Content-Length: "+itoa(len(text)))
		return request("POST", target, lines...) + text
	}
	document := func(method, target, text string, lines ...string) string {
		lines = append(lines, "Content-Type: application/json", "Content-Length: "+itoa(len(text)))
		return request(method, target, lines...) + text
	}
	pair := id + ":" + value
	credentials := [][]string{
		{basic(id, value)},
		{"authorization: bAsIc " + base64.StdEncoding.EncodeToString([]byte(pair))},
		{"Authorization: Basic " + pair}, {"Authorization: Basic " + value}, {"Authorization: " + value},
		{"Authorization: Basic " + base64.RawURLEncoding.EncodeToString([]byte(pair))},
		{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(value))},
		{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair+"\x00"))},
		{"Authorization: Bearer " + value}, {"Authorization: Bearer  " + value}, {"Authorization: Digest " + value},
		{"Authorization: Bearer " + value + "." + value + "." + value}, {"Proxy-Authorization: Basic " + value},
		{basic(id, value), basic(id, value)}, {basic(id, value), "Authorization: Bearer " + value},
		{"X-Client-Id: " + id, "X-Client-Secret: " + value}, {"X-Api-Key: " + id + "." + value}, {"X-API-KEY: " + value},
		{"x-client-secret: " + value}, {"X_Client_Secret: " + value}, {"X_Api_Key: " + value}, {"X-Client-Id: " + id, "X-Client-Secret: " + value, "X-Client-Secret: " + value},
		{"Cookie: keyreeve_session=" + value}, {"Cookie: __Host-keyreeve_session=" + value},
		{basic(id, value), "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="},
		{basic(id, value), "Upgrade: h2c", "Connection: Upgrade"}, {basic(id, value), "Content-Type: application/grpc"},
		{basic(id, value), "Keyreeve-Min-Revision: 99999999"}, {basic(id, value), "Accept: text/html"},
	}
	for _, lines := range credentials {
		toGate = append(toGate, request("GET", path, lines...), request("POST", path, lines...), request("GET", "/nowhere", lines...),
			request("GET", path+"//x", lines...), request("OPTIONS", path, append(lines, "Origin: https://page.test", "Access-Control-Request-Method: GET")...),
			request("GET", "/healthz", lines...), request("POST", "/signout", lines...), request("PUT", "/signin", lines...),
			request("POST", "/oauth2/v1/token", lines...), form("/oauth2/v1/introspect", "token=x", lines...), form("/oauth2/v1/revoke", "token=x", lines...))
		toAdmin = append(toAdmin, request("GET", "/v1/keys", lines...), request("GET", "/v1/me", lines...), request("TRACE", "/v1/keys", lines...),
			request("GET", "/keyreeve/", lines...), document("POST", "/v1/keys", "{", lines...),
			request("GET", "/mgmtconfig/v1/admin/customers/"+h.customer+"/apiKeys", lines...))
	}
	escaped := url.QueryEscape(value)
	for _, query := range []string{"client_secret=" + escaped, "access_token=" + escaped, "a=b&client_secret=" + escaped + "&client_id=" + id,
		"Client_Secret=" + escaped, "ACCESS_TOKEN=" + escaped, "client%5Fsecret=" + escaped, "a=b;access_token=" + escaped, "%2561ccess_token=" + escaped} {
		toGate = append(toGate, request("GET", path+"?"+query), request("GET", path, "Referer: https://gate.test/?"+query), request("POST", "/signin?"+query), request("POST", "/oauth2/v1/token?"+query))
		toAdmin = append(toAdmin, request("GET", "/v1/keys?"+query))
	}
	credential := "client_id=" + id + "&client_secret=" + escaped
	for _, text := range []string{credential, credential + "&" + credential, "client_secret=" + escaped, credential + "&grant_type=client_credentials",
		"token=" + escaped, "token=" + escaped + "&" + credential, credential + "&a=%zz", credential + "&grant_type=password&audience=" + "x"} {
		for _, target := range []string{"/signin", "/oauth2/v1/token", "/oauth2/v1/introspect", "/oauth2/v1/revoke"} {
			toGate = append(toGate, form(target, text), form(target, text, basic(id, value)), document("POST", target, text))
		}
		toAdmin = append(toAdmin, form("/keyreeve/signin", text), form("/v1/keys", text))
	}
	operator := h.operator.basic()
	quoted, _ := json.Marshal(value) // a string always can be
	for _, member := range []string{"client_secret", "secret", "hash", "secret_sha256", "expires_at", "role_id", "session_validity_seconds", "allowed_cidrs", "labels"} {
		text := `{"name":"x","customer_id":"` + h.customer + `","role_id":"role_api_full_access","` + member + `":` + string(quoted) + `}`
		for _, target := range []string{"/v1/keys", "/v1/keys/batch", "/v1/roles", "/v1/customers", "/v1/microtenants", "/v1/policy/check"} {
			toAdmin = append(toAdmin, document("POST", target, text, operator))
		}
		toAdmin = append(toAdmin, document("PUT", "/v1/sources/canary/keys", text, operator), document("PATCH", "/v1/keys/none", text, operator))
	}
	toAdmin = append(toAdmin, document("POST", "/v1/keys", `{"name":`+string(quoted), operator),
		document("POST", "/v1/keys", `{"client_secret":"`+value+strings.Repeat("x", 1<<20)+`"}`, operator))
	return toGate, toAdmin
}

// TestNoSecretIsLeftAnywhere sends a good secret and token, and ones that are nobody's, in
// every form to every entrance of a gate that logs all it can, and then searches all that
// the gate wrote, keeps or shows.
//
// Case: secret-canary-answers
func TestNoSecretIsLeftAnywhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	filter := h.logFilter(t)
	g := h.run(t, &site{
		global: "log {\n level DEBUG\n output file " + h.path("process.log") + "\n" + filter + "}\n",
		handlers: "log {\n output file " + h.path("access.log") + "\n" + filter + "}\n" +
			"keyreeve_auth\n",
		gate:     "policy " + h.policyFile(t) + "\n public GET /healthz\n credentials bearer basic header apikey unsafe_logs_filtered\n cors https://page.test\n",
		upstream: up.url,
	})
	k := g.create(t, "canary-marker", "role_api_full_access")
	a := g.send(t, "POST", "/signin?x=y", "Content-Length: 0")
	require.NotEqual(t, 200, a.status)
	token := g.canaryToken(t, k)
	canaries := []canary{{"a good secret", k.secret}, {"a good token", token},
		{"a wrong secret", "canary+wrong/secret=that~nobody_has-0123456789"}, {"the operator's secret", h.operator.secret}}
	require.Equal(t, 200, g.get(t, h.applications(), k.basic()).status)

	var answers strings.Builder
	for _, c := range canaries[:3] {
		toGate, toAdmin := canaryRequests(h, k.clientID, c.value)
		for address, list := range map[string][]string{g.address: toGate, g.admin: toAdmin} {
			for _, raw := range list {
				a, err := trySend(address, raw)
				line, _, _ := strings.Cut(raw, "?")
				require.NoError(t, err, "%s: %.60q", c.name, strings.SplitN(line, "\r\n", 2)[0])
				if a.status == http.StatusOK && strings.Contains(a.body, `"access_token"`) {
					continue // what was asked for, a token that nothing below knows
				}
				answers.WriteString(a.body + "\n")
				require.NoError(t, a.header.Write(&answers))
			}
		}
	}
	require.True(t, g.lock(t, k).Locked, "the wrong secret was compared")
	absent(t, "the answers", answers.String(), `"code":"invalid_client"`, canaries)
	absent(t, "the upstream", up.bytes(), "Keyreeve-Client-Id: "+k.clientID, canaries)
	absent(t, "the audit trail", g.cli(t, "audit", "export"), "canary-marker", canaries)
	absent(t, "the audit list", g.cli(t, "audit", "list", "--all", "-o", "json"), "canary-marker", canaries)
	absent(t, "the export", g.cli(t, "export"), "canary-marker", canaries)
	absent(t, "the list of keys", g.cli(t, "key", "list", "-o", "json"), "canary-marker", canaries)
	stored, err := os.ReadFile(h.db)
	require.NoError(t, err)
	log, err := os.ReadFile(h.db + "-wal") // the newest writes are in one of the two
	require.NoError(t, err)
	absent(t, "the database", string(stored)+string(log), "canary-marker", canaries)
	doctor := h.command(t, "doctor", "--config", h.path("Caddyfile"))
	absent(t, "the doctor", doctor.stdout+doctor.stderr, "store", canaries)
	for path, marker := range map[string]string{"/metrics": "keyreeve_decisions_total", "/config/": h.db,
		"/debug/pprof/goroutine?debug=2": "goroutine ", "/debug/pprof/heap?debug=1": "heap profile", "/debug/pprof/cmdline": "run"} {
		absent(t, path, h.local(t, path), marker, canaries)
	}
	for name, marker := range map[string]string{"process.log": `"level":"debug"`, "access.log": "handled request"} {
		data, err := os.ReadFile(h.path(name))
		require.NoError(t, err)
		absent(t, name, string(data), marker, canaries)
		require.Contains(t, string(data), `"request":{`, name)
	}
	absent(t, "standard error", g.Said()+" end", " end", canaries)
}

// canaryToken signs the key in, by its secret.
func (g *gate) canaryToken(t *testing.T, k key) string {
	t.Helper()
	text := "grant_type=client_credentials"
	a := send(t, g.address, request("POST", "/oauth2/v1/token", k.basic(), "Content-Type: application/x-www-form-urlencoded", "Content-Length: "+itoa(len(text)))+text)
	require.Equal(t, 200, a.status, "status of the sign-in")
	var made struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &made))
	require.NotEmpty(t, made.Token)
	return made.Token
}

// logFilter is what the example of filtered logs has its users write.
func (h *house) logFilter(t *testing.T) string {
	t.Helper()
	example, err := os.ReadFile(filepath.Join("..", "..", "examples", "log-filter", "Caddyfile"))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(example), "(without_secrets) {\n")
	require.True(t, found)
	filter, _, found := strings.Cut(after, "\n}\n")
	require.True(t, found)
	return filter + "\n"
}

// local reads a path of Caddy's own admin endpoint.
func (h *house) local(t *testing.T, path string) string {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.socket())
		}}}
	resp, err := client.Get("http://caddy" + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, path)
	return string(text)
}
