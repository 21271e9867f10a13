package caddymodule

import (
	"errors"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keyreeve/keyreeve/session/authn"
	"github.com/keyreeve/keyreeve/session/endpoint"
)

func init() {
	caddy.RegisterModule(new(Auth))
	httpcaddyfile.RegisterHandlerDirective("keyreeve_auth", parseAuth)
}

// Auth serves the auth endpoints on a site: `/signin`, `/signout`,
// `/oauth2/v1/token`, `/oauth2/v1/introspect`, `/oauth2/v1/revoke`,
// `/.well-known/jwks.json` and, where an issuer is configured,
// `/.well-known/oauth-authorization-server`. It passes every other path on.
type Auth struct {
	app    *App
	logger *zap.Logger
	paths  endpoint.Paths

	// handler is made with the first request, when the store is open.
	making  sync.Once
	handler *endpoint.Handler
}

// CaddyModule returns the Caddy module information.
func (*Auth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keyreeve_auth", New: func() caddy.Module { return new(Auth) }}
}

// Provision finds the app.
func (a *Auth) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	app, err := ctx.App("keyreeve")
	if err != nil {
		return err
	}
	a.app = app.(*App)
	a.paths = endpoint.NewPaths(a.app.sessions.Issuer)
	return nil
}

// ServeHTTP answers the endpoints' paths.
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !a.paths.Match(r) {
		return next.ServeHTTP(w, r)
	}
	run := a.app.ready(r.Context())
	if run == nil {
		w.Header().Set("Retry-After", "5")
		return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("the key store is not open yet"))
	}
	a.making.Do(func() { a.handler = a.newHandler(run) })
	a.handler.ServeHTTP(w, r)
	return nil
}

func (a *Auth) newHandler(run *running) *endpoint.Handler {
	return endpoint.New(endpoint.Config{
		Auth: run.auth, Tokens: run.tokens, Clock: run.store.clock, Issuer: a.app.sessions.Issuer,
		Address: clientAddress, RequestID: requestID, EarlyData: isEarlyData, Observe: a.observe,
		Enter: func() func() {
			use := run.store.keys.Aside()
			return func() { run.store.keys.End(use) }
		},
		Propagate: run.store.keys.Propagate,
	})
}

// observe tells operators what clients are not told.
func (a *Auth) observe(r *http.Request, name string, res authn.Result, err error) {
	observeSignIn(name, res, err)
	a.app.noteFailure(r, &res)
	level, message := zap.DebugLevel, "denied"
	switch {
	case res.Outcome.Locked || res.Outcome.SourceLocked:
		level, message = zap.WarnLevel, "client locked"
	case err != nil: // of a proven client, so nobody else can fill the log
		level, message = zap.WarnLevel, "auth endpoint could not answer"
	case res.Allow:
		message = "client proven"
	}
	c := a.logger.Check(level, message)
	if c == nil {
		return
	}
	c.Write(authFields(r, name, res)...)
}

func authFields(r *http.Request, name string, res authn.Result) []zapcore.Field {
	fields := []zap.Field{
		zap.String("endpoint", name), zap.String("reason", res.Reason.Code()), zap.String("detail", res.Detail),
		zap.Stringer("client_ip", clientAddress(r)),
	}
	if res.Key != nil {
		fields = append(fields, zap.String("client_id", res.Key.ClientID), zap.String("key_id", res.Key.ID))
	}
	return fields
}

func parseAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	a := new(Auth)
	return a, a.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads `keyreeve_auth`, which has no options.
func (*Auth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.Errf("unexpected argument %q after keyreeve_auth: expected nothing; tokens are configured by sessions in the global options", d.Val())
	}
	if d.NextBlock(0) {
		return d.Errf("unexpected block with %q: expected keyreeve_auth alone; tokens are configured by sessions in the global options", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Auth)(nil)
	_ caddyhttp.MiddlewareHandler = (*Auth)(nil)
	_ caddyfile.Unmarshaler       = (*Auth)(nil)
)
