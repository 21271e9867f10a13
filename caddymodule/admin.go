package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/admin/zpa"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

func init() {
	caddy.RegisterModule(new(Admin))
	caddy.RegisterModule(new(adminEndpoint))
}

const (
	on  = "on"
	off = "off"
)

// Admin serves the API Keys page, the admin API, and the ZPA-compatible face to
// keys, on a site. It answers their paths only and passes every other on.
type Admin struct {
	// Whether the API Keys page is served, at `/keyreeve/`, with `/` leading there:
	// `on` or `off`. Default: `on`.
	Page string `json:"page,omitempty"`
	// Whether the admin API is served: `on` or `off`. Default: `on`.
	API string `json:"api,omitempty"`
	// Whether the ZPA-compatible face is served, at
	// `/mgmtconfig/v1/admin/customers/{customerId}/apiKeys`: `on` or `off`. Default:
	// `off`.
	ZPAAPI string `json:"zpa_api,omitempty"`

	app *App
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keyreeve_admin", New: func() caddy.Module { return new(Admin) }}
}

// Provision finds the app.
func (a *Admin) Provision(ctx caddy.Context) error {
	if err := onOrOff(&a.Page, "page", on); err != nil {
		return err
	}
	if err := onOrOff(&a.API, "api", on); err != nil {
		return err
	}
	if err := onOrOff(&a.ZPAAPI, "zpa_api", off); err != nil {
		return err
	}
	app, err := ctx.App("keyreeve")
	if err != nil {
		return err
	}
	a.app = app.(*App)
	return nil
}

// onOrOff fills in a word's default and refuses any other.
func onOrOff(word *string, name, otherwise string) error {
	switch *word {
	case "":
		*word = otherwise
	case on, off:
	default:
		return fmt.Errorf("%s %q: expected on or off", name, *word)
	}
	return nil
}

// ServeHTTP answers the paths of what is on.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	face := a.ZPAAPI == on && zpa.Match(r)
	site := a.Page == on && page.Match(r)
	if !face && !site && (a.API == off || !strings.HasPrefix(r.URL.Path, "/v1/")) {
		return next.ServeHTTP(w, r)
	}
	run := a.app.ready(r.Context())
	if run == nil {
		w.Header().Set("Retry-After", "5")
		return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("the key store is not open yet"))
	}
	switch {
	case face:
		run.face.ServeHTTP(w, r)
	case site:
		run.page.ServeHTTP(w, r)
	case run.api.Match(r.URL.Path):
		run.api.ServeHTTP(w, r)
	default:
		return next.ServeHTTP(w, r)
	}
	return nil
}

// adminForms are the credentials an administrator's program may sign in with.
const adminForms = credential.FormBasic | credential.FormBearer

// authenticate proves the caller of the admin API, by the same mechanism and the
// same count as the gate.
func (run *running) authenticate(r *http.Request) (lifecycle.Actor, *api.AuthProblem) {
	if isEarlyData(r) {
		return lifecycle.Actor{}, authProblem(policy.Deny(policy.TooEarly))
	}
	cred, problem := credential.Extract(r.Header, r.URL.RawQuery, adminForms)
	switch problem {
	case credential.Missing:
		return run.fromPage(r)
	case credential.Ambiguous:
		return lifecycle.Actor{}, authProblem(policy.Deny(policy.InvalidRequest))
	case credential.MalformedToken:
		return lifecycle.Actor{}, authProblem(policy.Deny(policy.InvalidToken))
	}
	defer run.store.keys.End(run.store.keys.Aside())
	now := run.store.clock.Now()
	if problem == credential.MalformedClient {
		return lifecycle.Actor{}, authProblem(run.auth.Malformed(now).Decision)
	}
	from := clientAddress(r)
	address := func() netip.Addr { return from }
	var res authn.Result
	if cred.Form == credential.FormBearer {
		res = run.auth.Bearer(r.Context(), cred.Token, address, now)
	} else {
		res = run.auth.Secret(r.Context(), cred.ClientID, cred.Secret, address, now)
	}
	if !res.Allow {
		run.noteFailure(r, &res)
		return lifecycle.Actor{}, authProblem(res.Decision)
	}
	run.auth.Used(&res, "", address, now.Since)
	shown := ""
	if from.IsValid() {
		shown = from.String()
	}
	return lifecycle.ForKey(res.Key, res.Role, shown, requestID(r)), nil
}

func authProblem(d policy.Decision) *api.AuthProblem {
	a := answers[d.Reason]
	return &api.AuthProblem{Status: a.status, Code: d.Reason.Code(), Detail: a.detail, RetryAfter: d.RetryAfter}
}

// adminEndpoint mounts the admin API on Caddy's own admin endpoint under
// /keyreeve/, for the CLI.
type adminEndpoint struct{}

// CaddyModule returns the Caddy module information.
func (*adminEndpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.keyreeve", New: func() caddy.Module { return new(adminEndpoint) }}
}

// Routes lists the endpoint's route.
func (*adminEndpoint) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: localPrefix + "/", Handler: caddy.AdminHandlerFunc(serveLocal)}}
}

const localPrefix = "/keyreeve"

// serveLocal answers on behalf of the app in force. Who reaches Caddy's admin
// endpoint can change the whole configuration, so no credential is asked for.
func serveLocal(w http.ResponseWriter, r *http.Request) error {
	app := active.Load()
	if app == nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("no configuration with keyreeve is running")}
	}
	if app.LocalAdmin == localAdminOff {
		return caddy.APIError{HTTPStatus: http.StatusForbidden, Err: errors.New("local_admin is off")}
	}
	run := app.ready(r.Context())
	if run == nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the key store is not open yet")}
	}
	http.StripPrefix(localPrefix, run.local).ServeHTTP(w, r)
	return nil
}

// localAPI is the admin API acting as `local`: with full rights only for who is
// on this machine.
func (a *App) localAPI(run *running) http.Handler {
	return a.newAPI(run, func(r *http.Request) (lifecycle.Actor, *api.AuthProblem) {
		return lifecycle.Local("admin endpoint", a.LocalAdmin != localAdminFull || !isLocal(r)), nil
	})
}

func (a *App) newAPI(run *running, auth api.Authenticate) *api.API {
	h := api.New(run.keys, auth)
	h.RequestID = requestID
	h.Report = a.reportTo("admin API")
	return h
}

// newFace is the ZPA-compatible face over the same operations, for the same callers.
func (a *App) newFace(run *running) http.Handler {
	h := zpa.New(run.keys, run.authenticate)
	h.Report = a.reportTo("ZPA-compatible API")
	return h
}

// reportTo logs why a request to this door ended in a fault.
func (a *App) reportTo(door string) func(*http.Request, error) {
	return func(r *http.Request, err error) {
		a.logger.Error(door, zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	}
}

// isLocal reports a peer on this machine: a loopback address, or a unix socket,
// whose peers have no address.
func isLocal(r *http.Request) bool {
	if r.RemoteAddr == "" || r.RemoteAddr == "@" || strings.HasPrefix(r.RemoteAddr, "/") {
		return true
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Admin)(nil)
	_ caddyhttp.MiddlewareHandler = (*Admin)(nil)
	_ caddy.AdminRouter           = (*adminEndpoint)(nil)
)
