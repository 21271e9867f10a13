package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// guarded is a gate that pages of one origin may call, and a key for what it guards.
type guarded struct {
	url, socket, clientID, secret string
	process                       *proctest.Process

	mu sync.Mutex
	// received are the requests that reached the upstream.
	received []string
}

// guard starts it.
func guard(t *testing.T, origin string) *guarded {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr-br-") // short: a socket's path has room for 107 bytes
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	g := &guarded{socket: filepath.Join(dir, "admin.sock")}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.received = append(g.received, r.Method+" "+r.URL.Path+" for "+r.Header.Get("Keyreeve-Client-Id"))
		g.mu.Unlock()
		_, _ = io.WriteString(w, "a thing")
	}))
	t.Cleanup(upstream.Close)
	address := proctest.FreeAddress()
	g.url = "http://" + address
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	config := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `{
	admin unix/%s
	persist_config off
	keyreeve {
		store sqlite %s
	}
}
http://:%s {
	bind 127.0.0.1
	keyreeve_auth
	keyreeve {
		route * /things/{rest...} things
		cors %s
	}
	reverse_proxy %s
}
`, g.socket, filepath.Join(dir, "keyreeve.db"), port, origin, upstream.URL), 0o600))
	g.process, err = proctest.Launch(binary, dir, nil, "run", "--config", config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.process.Stop(), g.process.Said()) })
	require.Eventually(t, func() bool { return g.ask(t, "GET", "/v1/roles", nil) != nil }, patience, 20*time.Millisecond)

	customer := g.ask(t, "POST", "/v1/customers", map[string]any{"name": "ACME"})["id"]
	role := g.ask(t, "POST", "/v1/roles", map[string]any{"name": "readers", "customer_id": customer, "permissions": map[string]any{"things": "view"}})["id"]
	made := g.ask(t, "POST", "/v1/keys", map[string]any{"name": "of the page", "customer_id": customer, "role_id": role})
	g.clientID, g.secret = made["client_id"].(string), made["client_secret"].(string)
	return g
}

// ask asks the gate's local admin endpoint; nil if it is not answered with a success.
func (g *guarded) ask(t *testing.T, method, path string, body any) (answer map[string]any) {
	t.Helper()
	text, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/keyreeve"+path, bytes.NewReader(text))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", g.socket)
	}}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode/100 != 2 || json.NewDecoder(res.Body).Decode(&answer) != nil {
		return nil
	}
	return answer
}

// reached is what the upstream received since it was asked last.
func (g *guarded) reached() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := strings.Join(g.received, ", ")
	g.received = nil
	return all
}

// token signs the key in.
func (g *guarded) token(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/oauth2/v1/token", strings.NewReader("grant_type=client_credentials"))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(g.clientID, g.secret)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	return answer.AccessToken
}

// origin serves an empty page, and is what a page there is of.
func origin(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,"></head><body></body></html>`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// fetch is what a script of the page learns of a call with a bearer token: the status, the
// code of a refusal or the text, and the challenge; or that it learns nothing.
func (b *tab) fetch(url, method, token string) string {
	b.Helper()
	eval[int](b, fmt.Sprintf(`window.learnt = null;
		fetch(%q, {method: %q, headers: {Authorization: "Bearer " + %q}})
			.then(async (r) => { const text = await r.text(); let code = text; try { code = JSON.parse(text).code } catch {}; window.learnt = r.status + " " + code })
			.catch((e) => { window.learnt = e.name }); 0`, url, method, token))
	b.until("window.learnt !== null")
	return eval[string](b, "window.learnt")
}

// TestAPageOfAnAllowedOriginCallsTheGateAndAForeignOneLearnsNothing has the browser itself
// ask before each call, since it carries a token, and decide who may read the answer.
//
// Case: cors-preflight
func TestAPageOfAnAllowedOriginCallsTheGateAndAForeignOneLearnsNothing(t *testing.T) {
	friend, stranger := origin(t), origin(t)
	g := guard(t, friend)
	token := g.token(t)
	b := openTab(t)
	thing := g.url + "/things/1"

	b.do(chromedp.Navigate(friend))
	require.Equal(t, "200 a thing", b.fetch(thing, "GET", token))
	require.Equal(t, "GET /things/1 for "+g.clientID, g.reached(), "once, and no preflight")
	// What is refused tells the page why.
	require.Equal(t, "403 permission_denied", b.fetch(thing, "DELETE", token))
	require.Equal(t, "401 invalid_token", b.fetch(thing, "GET", token+"x"))
	// A preflight passes where there is a route, and nowhere else.
	require.Equal(t, "TypeError", b.fetch(g.url+"/THINGS/1", "GET", token))
	require.Empty(t, g.reached())

	b.do(chromedp.Navigate(stranger))
	require.Equal(t, "TypeError", b.fetch(thing, "GET", token))
	require.Equal(t, "TypeError", b.fetch(thing, "GET", token+"x"))
	require.Empty(t, g.reached(), "the browser was told by its preflight not to call")
}
