package bench

import (
	"context"
	"net/http"
	"net/http/httptest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// identityHeaders are those that a gate may have set.
var identityHeaders = [...]string{
	"Keyreeve-Client-Id", "Keyreeve-Key-Id", "Keyreeve-Key-Name", "Keyreeve-Customer-Id", "Keyreeve-Microtenant-Id", "Keyreeve-Role",
}

// call is one request, sent again and again: reset makes it new, at a cost that
// the benchmark of the plain handler consists of.
type call struct {
	request  *http.Request
	response *discard
	header   []field
	server   *serverContext
}

type field struct {
	name   string
	values []string
}

// serverContext stands at the root of the request's context and has the
// replacer, which alone must be new for each request: whoever maps a function
// into it adds to a list that cannot be cut.
type serverContext struct {
	context.Context
	replacer *caddy.Replacer
}

func (c *serverContext) Value(key any) any {
	if key == caddy.ReplacerCtxKey {
		return c.replacer
	}
	return c.Context.Value(key)
}

// routeGroupKey is in the place of a key that Caddy does not export.
type routeGroupKey struct{}

// newCall prepares a request as Caddy's server does before the first handler: a
// context with as many layers, in that order.
func newCall(method, target string, key lifecycle.CreatedKey) *call {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "203.0.113.7:40312"
	r.SetBasicAuth(key.ClientID, key.ClientSecret)
	for name, value := range map[string]string{
		"Accept":          "application/json",
		"Accept-Encoding": "gzip, deflate, br",
		"Accept-Language": "en-GB,en;q=0.9",
		"Cache-Control":   "no-cache",
		"Content-Type":    "application/json",
		"Traceparent":     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"User-Agent":      "python-requests/2.32.3",
	} {
		r.Header.Set(name, value)
	}
	server := &serverContext{Context: context.Background()}
	var ctx context.Context = server
	ctx = context.WithValue(ctx, caddyhttp.ServerCtxKey, &caddyhttp.Server{})
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: false, caddyhttp.ClientIPVarKey: "203.0.113.7"})
	ctx = context.WithValue(ctx, routeGroupKey{}, map[string]struct{}{})
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, *r)
	ctx = context.WithValue(ctx, caddyhttp.ExtraLogFieldsCtxKey, new(caddyhttp.ExtraLogFields))
	c := &call{request: r.WithContext(ctx), response: &discard{header: http.Header{}}, server: server}
	for name, values := range r.Header {
		c.header = append(c.header, field{name, values})
	}
	c.reset()
	return c
}

// reset undoes what a handler may have done to the request.
func (c *call) reset() {
	h := c.request.Header
	clear(h) // deleting one by one would leave tombstones, and the map would be made anew now and then
	for i := range c.header {
		h[c.header[i].name] = c.header[i].values
	}
	c.server.replacer = caddy.NewReplacer()
	c.server.replacer.Map(httpVars) // as the server does
}

func httpVars(string) (any, bool) { return nil, false }

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
