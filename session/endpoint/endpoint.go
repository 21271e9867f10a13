// Package endpoint serves the auth endpoints over HTTP: sign-in and sign-out, the
// OAuth 2.0 token endpoint (RFC 6749), introspection (RFC 7662), revocation (RFC
// 7009), authorization server metadata (RFC 8414) and the published keys (RFC
// 7517). It knows no Caddy.
package endpoint

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

// The paths that are answered.
const (
	pathSignIn     = "/signin"
	pathSignOut    = "/signout"
	pathToken      = "/oauth2/v1/token"
	pathIntrospect = "/oauth2/v1/introspect"
	pathRevoke     = "/oauth2/v1/revoke"
	pathJWKS       = "/.well-known/jwks.json"
	pathMetadata   = "/.well-known/oauth-authorization-server"
)

// Clock tells the time that tokens are issued and judged by.
type Clock interface{ Now() policy.Instant }

// Config is what the endpoints work with. All but RequestID, Propagate and Observe is required.
type Config struct {
	Auth   *authn.Authenticator
	Tokens *session.Tokens
	Clock  Clock
	// Issuer is the configured issuer if it is a URL, else "": then no metadata is
	// served.
	Issuer string
	// Address is where a request comes from, as far as proxies are trusted.
	Address func(*http.Request) netip.Addr
	// EarlyData reports a request that could be a replay (RFC 8470).
	EarlyData func(*http.Request) bool
	// RequestID names a request in the audit trail; nil names none.
	RequestID func(*http.Request) string
	// Enter marks the store as in use until leave is called, so that it is not closed;
	// proofs are marked as decisions by themselves.
	Enter func() (leave func())
	// Propagate waits, no longer than that, for all nodes to have a revision; nil where
	// there is one node.
	Propagate func(ctx context.Context, r keystore.Revision, wait time.Duration) keystore.Propagation
	// Observe is told what became of each credential, for logs and counters. err
	// is set where a proven caller got no answer because the store failed.
	Observe func(r *http.Request, endpoint string, res authn.Result, err error)
}

// Handler answers the endpoints. It keeps no state and needs no closing.
type Handler struct {
	Config
	paths    Paths
	metadata []byte
}

// New makes the handler.
func New(c Config) *Handler {
	if c.Observe == nil {
		c.Observe = func(*http.Request, string, authn.Result, error) {}
	}
	h := &Handler{Config: c, paths: NewPaths(c.Issuer)}
	if c.Issuer != "" {
		h.metadata = newMetadata(c.Issuer)
	}
	return h
}

// endpoint is one resource.
type endpoint struct {
	// name is the path's own, whatever stands before it.
	name string
	// get: GET and HEAD are answered; otherwise POST is.
	get bool
	// zpa: errors have the form that clients of the modelled product read.
	zpa   bool
	serve func(*call)
}

var served = []endpoint{
	{name: pathSignIn, zpa: true, serve: (*call).signIn},
	{name: pathSignOut, zpa: true, serve: (*call).signOut},
	{name: pathToken, serve: (*call).token},
	{name: pathIntrospect, serve: (*call).introspect},
	{name: pathRevoke, serve: (*call).revoke},
	{name: pathJWKS, get: true, serve: (*call).jwks},
}

// Paths maps the escaped paths that are answered. Exact: any other spelling is
// another path, for whoever is asked next.
type Paths map[string]endpoint

// NewPaths lists the paths for a configured issuer, "" for none that is a URL.
// Where the issuer has a path of its own, the endpoints are below it too, as the
// metadata says, and the metadata is where RFC 8414 section 3.1 puts it: between
// the host and that path.
func NewPaths(issuer string) Paths {
	p := make(Paths)
	for _, e := range served {
		p[e.name] = e
	}
	if issuer == "" {
		return p
	}
	base := issuerPath(issuer)
	for _, e := range served {
		p[base+e.name] = e
	}
	p[pathMetadata+base] = endpoint{name: pathMetadata, get: true, serve: (*call).serverMetadata}
	return p
}

// issuerPath is the issuer's escaped path, "" if it has none.
func issuerPath(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.EscapedPath(), "/")
}

// Match reports whether a request is for one of the endpoints, whatever its method.
func (p Paths) Match(r *http.Request) bool {
	_, ok := p[r.URL.EscapedPath()]
	return ok
}

// Match reports whether a request is for one of the endpoints, whatever its method.
func (h *Handler) Match(r *http.Request) bool { return h.paths.Match(r) }

// call is one request on its way.
type call struct {
	*Handler
	endpoint
	w http.ResponseWriter
	r *http.Request
}

// ServeHTTP answers a request that Match has matched.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e, ok := h.paths[r.URL.EscapedPath()]
	if !ok {
		http.NotFound(w, r)
		return
	}
	c := &call{Handler: h, endpoint: e, w: w, r: r}
	switch {
	case e.get && r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		c.fail(wrongMethod)
	case !e.get && r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		c.fail(wrongMethod)
	case !e.get && h.EarlyData(r): // a replayed read harms nobody
		c.fail(tooEarly)
	default:
		e.serve(c)
	}
}

// address is asked where something depends on where the caller is.
func (c *call) address() netip.Addr { return c.Address(c.r) }

func (c *call) observe(res authn.Result, err error) { c.Observe(c.r, c.name, res, err) }

var _ http.Handler = (*Handler)(nil)
