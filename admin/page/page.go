// Package page is the browser's door to lifecycle's operations: HTML rendered on
// the server, which works as plain pages and forms, and is faster with script.
// It decides nothing itself.
package page

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
)

// root is what all paths of the page are below.
const root = "/keyreeve/"

// Config is what a Page works with. Service, Door and Keyring are required.
type Config struct {
	Service *lifecycle.Service
	Door    Door
	// Keyring holds the keys that cookies are sealed with.
	Keyring *credential.Keyring
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Address is the client's, through trusted proxies; nil is the bare peer.
	Address func(*http.Request) netip.Addr
	// Secure reports a request that came over TLS, here or at a trusted proxy in
	// front; nil looks at this connection alone.
	Secure func(*http.Request) bool
	// BaseURL is where the upstreams' callers reach the gate, for lines to copy; ""
	// where that is not known.
	BaseURL string
	// Lockout tells how many wrong secrets lock a client, and for how long.
	Lockout func() (attempts int, duration time.Duration)
	// RequestID names a request in answers and the audit trail; nil does not.
	RequestID func(*http.Request) string
	// Report is told why a request ended in 500, 503 or 507; nil tells nobody.
	Report func(*http.Request, error)
}

// Page serves the administrator's page at and below /keyreeve/, and sends `/` there.
type Page struct {
	cfg      Config
	svc      *lifecycle.Service
	cookies  *sealer
	mux      *http.ServeMux
	served   map[string]bool // the patterns of mux
	throttle *throttle
	turns    *turns
}

// New makes the page.
func New(cfg Config) *Page {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Address == nil {
		cfg.Address = peer
	}
	if cfg.Secure == nil {
		cfg.Secure = func(r *http.Request) bool { return r.TLS != nil }
	}
	p := &Page{cfg: cfg, svc: cfg.Service, cookies: newSealer(cfg.Keyring), mux: http.NewServeMux(), served: map[string]bool{}, throttle: newThrottle(cfg.Now), turns: newTurns()}
	p.addRoutes()
	return p
}

// Match reports whether a request is the page's to answer.
func Match(r *http.Request) bool {
	return r.URL.Path == "/" || r.URL.Path+"/" == root || strings.HasPrefix(r.URL.Path, root)
}

// securityPolicy lets the page's own files in and nothing else.
const securityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP answers a request that matches.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", securityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "HX-Request")
	p.mux.ServeHTTP(w, r)
}

func peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr) // none over a unix socket
	return at.Addr().Unmap().WithZone("")
}

var _ http.Handler = (*Page)(nil)
