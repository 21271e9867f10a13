package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
)

func init() {
	caddy.RegisterModule(new(Gate))
}

// Values of identity and error_format.
const (
	identityHeaders   = "headers"
	identityAssertion = "assertion"
	identityOff       = "off"

	formatProblem = "problem"
	formatZPA     = "zpa"
	formatCaddy   = "caddy"
)

// Gate lets a request through to the next handler if its credential is good, a
// route names its method and path, and the caller's role permits it. Everything
// else is refused.
type Gate struct {
	// The forms in which a client may present its credential: `bearer`, `basic`,
	// `header` (X-Client-Id and X-Client-Secret) and `apikey` (X-API-Key:
	// <id>.<secret>). Default: `bearer` and `basic`.
	Credentials []string `json:"credentials,omitempty"`

	// Confirms that access logs filter X-Client-Secret and X-API-Key: unlike
	// Authorization, Caddy logs them before any handler runs. Required for
	// `header` and `apikey`.
	UnsafeLogsFiltered bool `json:"unsafe_logs_filtered,omitempty"`

	// Policy files of this gate, besides the app's.
	Policy []string `json:"policy,omitempty"`

	// Routes of this gate, besides those of the policy files.
	Routes []policy.RouteSpec `json:"routes,omitempty"`

	// Origins that browsers may call from (`https://app.example.com`, or `*`):
	// their preflights are answered, and every answer, denials too, carries the
	// CORS headers.
	CORS []string `json:"cors,omitempty"`

	// How the upstream learns who calls: `headers`, `assertion` (the headers, and a
	// signed JWT in Keyreeve-Assertion) or `off`. Default: `headers`.
	Identity string `json:"identity,omitempty"`

	// The form of a refusal: `problem` (RFC 9457), `zpa`, or `caddy` (the error is
	// returned, for handle_errors). Default: `problem`.
	ErrorFormat string `json:"error_format,omitempty"`

	// Passes the client's credentials on to the upstream.
	ForwardCredentials bool `json:"forward_credentials,omitempty"`

	// Passes headers on that override the method or URL for some upstreams.
	ForwardOverrides bool `json:"forward_overrides,omitempty"`

	// Decides and logs, but lets everything through: nothing is counted as a
	// failure and no identity is passed on.
	Shadow bool `json:"shadow,omitempty"`

	app    *App
	set    *policy.Set
	forms  credential.Forms
	cors   corsPolicy
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.keyreeve", New: func() caddy.Module { return new(Gate) }}
}

// Provision compiles the policy. A broken one is an error here, so that the
// running configuration stays.
func (g *Gate) Provision(ctx caddy.Context) error {
	g.logger = ctx.Logger()
	app, err := ctx.App("keyreeve")
	if err != nil {
		return err
	}
	g.app = app.(*App)
	if err := g.provisionForms(); err != nil {
		return err
	}
	switch g.Identity {
	case "":
		g.Identity = identityHeaders
	case identityHeaders, identityAssertion, identityOff:
	default:
		return fmt.Errorf("identity %q: expected headers, assertion or off", g.Identity)
	}
	switch g.ErrorFormat {
	case "":
		g.ErrorFormat = formatProblem
	case formatProblem, formatZPA, formatCaddy:
	default:
		return fmt.Errorf("error_format %q: expected problem, zpa or caddy", g.ErrorFormat)
	}
	if g.cors, err = newCORSPolicy(g.CORS); err != nil {
		return err
	}
	files, err := loadPolicyFiles(g.Policy)
	if err != nil {
		return err
	}
	if g.set, err = policy.Compile(append(slices.Clone(g.app.files), files...), g.Routes); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	sets := append(slices.Clone(g.app.sets), g.set)
	if err := policy.Agree(sets...); err != nil {
		return fmt.Errorf("policy: the gates of one configuration disagree: %w", err)
	}
	g.app.sets = sets
	g.app.gates = append(g.app.gates, g)
	if len(g.set.Routes()) == 0 {
		g.logger.Warn("no routes: every request is refused; add a policy file, or route and public lines")
	}
	return nil
}

// credentialForms maps the configuration's words.
var credentialForms = map[string]credential.Forms{
	"basic":  credential.FormBasic,
	"bearer": credential.FormBearer,
	"header": credential.FormHeader,
	"apikey": credential.FormAPIKey,
}

func (g *Gate) provisionForms() error {
	words := g.Credentials
	if len(words) == 0 {
		words = []string{"bearer", "basic"}
	}
	for _, w := range words {
		f, ok := credentialForms[w]
		switch {
		case !ok:
			return fmt.Errorf("credentials %q: expected bearer, basic, header or apikey", w)
		case g.forms&f != 0:
			return fmt.Errorf("credentials: %s stands twice", w)
		}
		g.forms |= f
	}
	if g.forms&(credential.FormHeader|credential.FormAPIKey) != 0 && !g.UnsafeLogsFiltered {
		return fmt.Errorf("credentials header and apikey: Caddy logs these headers before any handler runs; filter them in every access log, then add %s", logsFiltered)
	}
	return nil
}

// loadPolicyFiles reads policy files, placeholders in their names replaced.
func loadPolicyFiles(names []string) ([]*policy.File, error) {
	files := make([]*policy.File, 0, len(names))
	for _, name := range names {
		path, err := caddy.NewReplacer().ReplaceOrErr(name, true, true)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", name, err)
		}
		f, err := policy.LoadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			// A relative path begins at the working directory, so say where that led.
			if abs, err := filepath.Abs(path); err == nil {
				path = abs
			}
			return nil, fmt.Errorf("policy %s: no such file: %s", name, path)
		}
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// corsPolicy is which browser origins may call.
type corsPolicy struct {
	any     bool
	origins map[string]bool
}

func newCORSPolicy(origins []string) (corsPolicy, error) {
	p := corsPolicy{origins: make(map[string]bool, len(origins))}
	for _, o := range origins {
		if o == "*" {
			p.any = true
			continue
		}
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || o != u.Scheme+"://"+strings.ToLower(u.Host) {
			return p, fmt.Errorf("cors %q: expected an origin such as https://app.example.com (scheme, lower-case host, port if not the usual; no path), or *", o)
		}
		p.origins[o] = true
	}
	return p, nil
}

func (p corsPolicy) allows(origin string) bool { return p.any || p.origins[origin] }

func (p corsPolicy) enabled() bool { return p.any || len(p.origins) > 0 }

// Interface guards
var (
	_ caddy.Provisioner           = (*Gate)(nil)
	_ caddyhttp.MiddlewareHandler = (*Gate)(nil)
)
