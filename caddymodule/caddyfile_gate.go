package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keyreeve/keyreeve/policy"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("keyreeve_admin", parseAdmin)
	httpcaddyfile.RegisterHandlerDirective("keyreeve", parseGate)
	// Each goes right before basic_auth, so behind the one named before it.
	httpcaddyfile.RegisterDirectiveOrder("keyreeve_auth", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("keyreeve_admin", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("keyreeve", httpcaddyfile.Before, "basic_auth")
}

func parseGate(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	g := new(Gate)
	return g, g.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the gate's directive. Syntax:
//
//	keyreeve {
//	    credentials bearer|basic|header|apikey... [unsafe_logs_filtered]
//	    policy <file>...
//	    route <METHOD,...|*> <pattern> <resource>[:<action>] {
//	        tenant <param>|off
//	        microtenant <param>|off
//	        encoded allow
//	    }
//	    public <METHOD,...|*> <pattern> {
//	        forward_credentials
//	    }
//	    cors <origin>...
//	    identity headers|assertion|off
//	    error_format problem|zpa|caddy
//	    forward_credentials
//	    forward_overrides
//	    shadow
//	}
func (g *Gate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := noArgs(d, "keyreeve"); err != nil {
		return err
	}
	return eachOption(d, "keyreeve", options{
		"credentials":         func() error { return g.parseCredentials(d) },
		"policy":              func() error { return someArgs(d, &g.Policy, "a policy file") },
		"route":               func() error { return g.parseRoute(d) },
		"public":              func() error { return g.parsePublic(d) },
		"cors":                func() error { return g.parseCORS(d) },
		"identity":            func() error { return wordArg(d, &g.Identity, identityHeaders, identityAssertion, identityOff) },
		"error_format":        func() error { return wordArg(d, &g.ErrorFormat, formatProblem, formatZPA, formatCaddy) },
		"forward_credentials": func() error { g.ForwardCredentials = true; return noMore(d, "forward_credentials alone") },
		"forward_overrides":   func() error { g.ForwardOverrides = true; return noMore(d, "forward_overrides alone") },
		"shadow":              func() error { g.Shadow = true; return noMore(d, "shadow alone") },
	})
}

const logsFiltered = "unsafe_logs_filtered"

func (g *Gate) parseCredentials(d *caddyfile.Dispenser) error {
	if err := someArgs(d, &g.Credentials, "bearer, basic, header or apikey"); err != nil {
		return err
	}
	all := g.Credentials
	g.Credentials = slices.DeleteFunc(slices.Clone(all), func(w string) bool { return w == logsFiltered })
	g.UnsafeLogsFiltered = len(g.Credentials) < len(all)
	if len(g.Credentials) == 0 {
		return d.Errf("credentials %s: expected bearer, basic, header or apikey before it", logsFiltered)
	}
	if err := (&Gate{Credentials: g.Credentials, UnsafeLogsFiltered: g.UnsafeLogsFiltered}).provisionForms(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (g *Gate) parseCORS(d *caddyfile.Dispenser) error {
	if err := someArgs(d, &g.CORS, "an origin such as https://app.example.com"); err != nil {
		return err
	}
	if _, err := newCORSPolicy(g.CORS); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (g *Gate) parseRoute(d *caddyfile.Dispenser) error {
	const syntax = "route <METHOD,...|*> <pattern> <resource>[:<action>]"
	at := d.Token()
	args := d.RemainingArgs()
	if len(args) != 3 {
		return d.Errf("route has %d arguments: expected %s", len(args), syntax)
	}
	resource, action, named := strings.Cut(args[2], ":")
	if named && action == "" {
		return d.Errf("route %s: an empty action after %q: expected read, create, update or delete", args[1], ":")
	}
	spec := policy.RouteSpec{Methods: methods(args[0]), Path: args[1], Resource: resource, Action: action, Origin: origin(at)}
	err := eachOption(d, "route", options{
		"tenant":      func() (err error) { spec.Tenant, err = oneArg(d, "a path parameter or off"); return err },
		"microtenant": func() (err error) { spec.Microtenant, err = oneArg(d, "a query parameter or off"); return err },
		"encoded": func() error {
			var word string
			spec.Encoded = true
			return wordArg(d, &word, "allow")
		},
	})
	if err != nil {
		return err
	}
	return g.addRoute(at, spec)
}

func (g *Gate) parsePublic(d *caddyfile.Dispenser) error {
	const syntax = "public <METHOD,...|*> <pattern>"
	at := d.Token()
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("public has %d arguments: expected %s", len(args), syntax)
	}
	spec := policy.RouteSpec{Methods: methods(args[0]), Path: args[1], Public: true, Origin: origin(at)}
	err := eachOption(d, "public", options{
		"forward_credentials": func() error { spec.ForwardCredentials = true; return noMore(d, "forward_credentials alone") },
	})
	if err != nil {
		return err
	}
	return g.addRoute(at, spec)
}

// addRoute checks a route while its line is still known.
func (g *Gate) addRoute(at caddyfile.Token, spec policy.RouteSpec) error {
	if err := spec.Check(); err != nil {
		return wrapAt(at, err)
	}
	g.Routes = append(g.Routes, spec)
	return nil
}

func methods(list string) []string { return strings.Split(list, ",") }

// origin is where a word stands, for messages that come later.
func origin(at caddyfile.Token) string { return fmt.Sprintf("%s:%d", at.File, at.Line) }

func parseAdmin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	a := new(Admin)
	return a, a.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	keyreeve_admin {
//	    page on|off
//	    api on|off
//	    zpa_api on|off
//	}
func (a *Admin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := noArgs(d, "keyreeve_admin"); err != nil {
		return err
	}
	return eachOption(d, "keyreeve_admin", options{
		"page":    func() error { return wordArg(d, &a.Page, on, off) },
		"api":     func() error { return wordArg(d, &a.API, on, off) },
		"zpa_api": func() error { return wordArg(d, &a.ZPAAPI, on, off) },
	})
}

func sortedKeys(m options) []string { return slices.Sorted(maps.Keys(m)) }

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Gate)(nil)
	_ caddyfile.Unmarshaler = (*Admin)(nil)
)
