// Package load floods a running gate in the ways in which gateways were brought down,
// and looks at what that does to callers who do nothing wrong: each of their requests is
// answered with 200 and reaches the upstream, the memory stays bounded, and what the
// flood held is let go. With KEYREEVE_SOAK the floods are many times larger and the
// callers' p99 is judged too.
package load

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// unknownCap is how many unknown client IDs the gate under test remembers: few, so that
// a short flood passes it.
const unknownCap = 500

var binary string

func TestMain(m *testing.M) {
	scratch, err := os.MkdirTemp("", "kr-load-")
	if err == nil {
		binary, err = proctest.Binary(scratch)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

// soaking is how many times larger the floods are: KEYREEVE_SOAK, or 1.
func soaking() int {
	if n, err := strconv.Atoi(os.Getenv("KEYREEVE_SOAK")); err == nil && n > 1 {
		return n
	}
	return 1
}

type key struct {
	ID       string `json:"id"`
	ClientID string `json:"client_id"`
	Secret   string `json:"client_secret"`
	Name     string `json:"name"`
}

func (k key) basic() string { return basic(k.ClientID, k.Secret) }

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// gate is a running program: over HTTP/1 and unencrypted HTTP/2 at plain, over HTTP/3 at
// secure, in front of an upstream that counts who came.
type gate struct {
	*proctest.Process
	dir, plain, secure string
	path               string // which the keys below may read
	operator, full     key
	local              *http.Client // Caddy's own admin endpoint
	arrived            atomic.Int64 // at the upstream, with full's identity
	strangers          atomic.Int64 // at the upstream, with any other
}

// newGate seeds a store by the demo and runs a gate of its own on it.
func newGate(t *testing.T) *gate {
	t.Helper()
	// A unix socket's path is bounded, so t.TempDir with the test's name is too long.
	dir, err := os.MkdirTemp("", "kr-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	g := &gate{dir: dir, plain: proctest.FreeAddress(), secure: proctest.FreeAddress()}
	g.seed(t)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	upstream := &http.Server{Handler: g}
	go func() { _ = upstream.Serve(listener) }() // returns when closed
	t.Cleanup(func() { require.NoError(t, upstream.Close()) })

	require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(`version: 1
resources:
  things: {title: Things}
routes:
  - {methods: [GET, POST], path: "/things/{name}", resource: things, action: read}
`), 0o600))
	_, plainPort, _ := net.SplitHostPort(g.plain)
	_, securePort, _ := net.SplitHostPort(g.secure)
	g.path = "/things/one"
	config := fmt.Sprintf(`{
	admin unix/%[1]s/admin.sock
	skip_install_trust
	auto_https disable_redirects
	log {
		level WARN
	}
	servers {
		protocols h1 h2 h2c h3
	}
	keyreeve {
		store sqlite %[1]s/keyreeve.db
		master_key_file %[1]s/config/caddy/keyreeve/master.key
		cache {
			unknown %[2]d
		}
	}
}
(site) {
	bind 127.0.0.1
	keyreeve_auth
	keyreeve {
		policy %[1]s/policy.yaml
	}
	reverse_proxy %[3]s
}
http://:%[4]s {
	import site
}
https://localhost:%[5]s {
	tls internal
	import site
}
`, dir, unknownCap, listener.Addr(), plainPort, securePort)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(config), 0o600))
	g.Process, err = proctest.Launch(binary, dir, nil, "run", "--config", filepath.Join(dir, "Caddyfile"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Stop(), "it said:\n%s", g.Said()) })
	g.local = &http.Client{Timeout: proctest.Patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "admin.sock"))
	}}}
	t.Cleanup(g.local.CloseIdleConnections)
	g.until(t, "the admin endpoint answers", func() bool {
		resp, err := g.local.Get("http://caddy/keyreeve/v1/roles")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	g.until(t, "the gate listens", func() bool {
		conn, err := net.DialTimeout("tcp", g.plain, time.Second)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return g
}

// seed runs the demo once for its customer, roles and keys.
func (g *gate) seed(t *testing.T) {
	t.Helper()
	p, err := proctest.Launch(binary, g.dir, nil, "demo", "--dir", g.dir, "-o", "json",
		"--listen", proctest.FreeAddress(), "--admin-listen", proctest.FreeAddress())
	require.NoError(t, err)
	line, err := p.Stdout.ReadBytes('\n')
	require.NoError(t, err, p.Said())
	require.NoError(t, p.Stop())
	var out struct {
		Keys []key `json:"keys"`
	}
	require.NoError(t, json.Unmarshal(line, &out))
	for _, k := range out.Keys {
		switch k.Name {
		case "operator":
			g.operator = k
		case "full":
			g.full = k
		}
	}
	require.NotEmpty(t, g.operator.Secret)
	require.NotEmpty(t, g.full.Secret)
}

// ServeHTTP is the upstream.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // as far as it comes
	if r.Header.Get("Keyreeve-Client-Id") == g.full.ClientID {
		g.arrived.Add(1)
	} else {
		g.strangers.Add(1)
	}
	_, _ = io.WriteString(w, "served\n") // the caller may be gone
}

// until waits for something that should have happened long before.
func (g *gate) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	require.Eventually(t, done, proctest.Patience, 20*time.Millisecond, what)
}

// api calls the admin API over Caddy's admin endpoint and reads the answer into v.
func (g *gate) api(t *testing.T, method, path, body string, v any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://caddy/keyreeve"+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.local.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Less(t, resp.StatusCode, 300, "%s %s: status", method, path)
	require.NoError(t, json.Unmarshal(text, v), "%s %s", method, path)
}

// metric is the value of one series of the program's metrics.
func (g *gate) metric(t *testing.T, series string) float64 {
	t.Helper()
	resp, err := g.local.Get("http://caddy/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), series+" "); found {
			value, err := strconv.ParseFloat(text, 64)
			require.NoError(t, err)
			return value
		}
	}
	t.Fatalf("no series %s", series)
	return 0
}
