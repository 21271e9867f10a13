package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// echoed is a request as an upstream received it: the shape of the demo's echo.
type echoed struct {
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	RawQuery   string      `json:"raw_query"`
	Headers    http.Header `json:"headers"`
	Trailers   http.Header `json:"trailers"`
	BodySHA256 string      `json:"body_sha256"`
}

// identity are the headers that say who calls, under any spelling that an
// upstream could take for one of them.
func (e echoed) identity() map[string]string {
	found := map[string]string{}
	for _, from := range []http.Header{e.Headers, e.Trailers} {
		for name, values := range from {
			plain := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
			if strings.HasPrefix(plain, "keyreeve-") {
				found[name] = strings.Join(values, " | ")
			}
		}
	}
	return found
}

// upstream echoes like the demo's own, and remembers: each request by its X-Case,
// and every byte that came over the wire.
type upstream struct {
	url string

	mu   sync.Mutex
	seen map[string][]echoed
	wire bytes.Buffer
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u := &upstream{url: "http://" + listener.Addr().String(), seen: map[string][]echoed{}}
	server := &http.Server{Handler: u}
	go func() { _ = server.Serve(tapListener{listener, u}) }() // returns when closed
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return u
}

// ServeHTTP echoes; it agrees to a WebSocket and sends one line over it.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	_, err := io.Copy(hash, r.Body)
	path, query, _ := strings.Cut(r.RequestURI, "?")
	e := echoed{Method: r.Method, Path: path, RawQuery: query, Headers: r.Header.Clone(), Trailers: r.Trailer,
		BodySHA256: hex.EncodeToString(hash.Sum(nil))}
	e.Headers.Set("Host", r.Host)
	u.mu.Lock()
	id := r.Header.Get("X-Case")
	u.seen[id] = append(u.seen[id], e)
	u.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
		_ = conn.Close()
		return
	}
	for name := range r.Header {
		if rest, found := strings.CutPrefix(name, "Answer-"); found { // headers to answer with
			w.Header().Set(rest, r.Header.Get(name))
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(e) // the caller may be gone
}

// received is what arrived of the requests marked with this id.
func (u *upstream) received(id string) []echoed {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]echoed(nil), u.seen[id]...)
}

// total is how many requests arrived.
func (u *upstream) total() (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, list := range u.seen {
		n += len(list)
	}
	return n
}

// bytes is all that came over the wire.
func (u *upstream) bytes() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.wire.String()
}

// tapListener keeps what its connections read.
type tapListener struct {
	net.Listener
	u *upstream
}

func (l tapListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tapConn{conn, l.u}, nil
}

type tapConn struct {
	net.Conn
	u *upstream
}

func (c tapConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.u.mu.Lock()
	c.u.wire.Write(p[:n])
	c.u.mu.Unlock()
	return n, err
}

func itoa(n int) string { return strconv.Itoa(n) }

func sha(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}
