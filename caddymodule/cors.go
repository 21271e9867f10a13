package caddymodule

import (
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keyreeve/keyreeve/policy"
)

// preflightMaxAge is how long, in seconds, a browser may remember a preflight.
// Short: a policy change is to reach browsers within minutes.
const preflightMaxAge = "600"

// isPreflight reports a true CORS preflight (Fetch standard, section "CORS
// protocol") from an origin that may call. Any other OPTIONS is a request like
// another and needs a credential.
func (g *Gate) isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions &&
		len(r.Header["Origin"]) == 1 && g.cors.allows(r.Header["Origin"][0]) &&
		len(r.Header["Access-Control-Request-Method"]) == 1
}

// decidePreflight lets a preflight pass where the request it announces has a
// route. It proves nobody: the request that follows is examined in full.
func decidePreflight(m policy.Match) policy.Decision {
	if m.Route == nil {
		return policy.Deny(policy.NoRoute)
	}
	return policy.Decision{Allow: true, Reason: policy.Public, Route: m.Route, Detail: "preflight"}
}

// answerPreflight tells the browser that it may send the request it asked about.
func (g *Gate) answerPreflight(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	g.cors.set(h, r)
	h.Set("Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
	if names := r.Header.Get("Access-Control-Request-Headers"); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	h.Set("Access-Control-Max-Age", preflightMaxAge)
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// set writes the headers of an answer. Credentials here are headers that the
// page's code sets itself, never cookies, so Allow-Credentials is not sent.
func (p corsPolicy) set(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !p.allows(origin) {
		return
	}
	if p.any {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
}

// decorate adds the CORS headers to whatever answers, once, in place of the
// upstream's own.
func (p corsPolicy) decorate(w http.ResponseWriter, r *http.Request) *corsWriter {
	return &corsWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, policy: p, request: r}
}

type corsWriter struct {
	*caddyhttp.ResponseWriterWrapper
	policy  corsPolicy
	request *http.Request
	wrote   bool
}

func (w *corsWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.apply()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// apply puts the headers in, once.
func (w *corsWriter) apply() {
	if w.wrote {
		return
	}
	w.wrote = true
	h := w.Header()
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	w.policy.set(h, w.request)
}

func (w *corsWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom keeps the fast path of the writer below, after the headers.
func (w *corsWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}
