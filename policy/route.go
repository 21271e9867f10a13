package policy

import (
	"fmt"
	"strings"
)

// off is the word that turns a check off.
const off = "off"

// RouteSpec is one route as a policy file, a Caddyfile line or JSON writes it.
type RouteSpec struct {
	// Methods the route admits, in capitals; `*` alone is every method.
	// HEAD is admitted where GET is. Required.
	Methods []string `json:"methods,omitempty"`
	// Path is the pattern: literal segments, `{name}` for one segment, a last
	// `{name...}` for the rest of the path. Case and trailing slash count. Required.
	Path string `json:"path,omitempty"`
	// Resource the caller needs a permission on. Required unless Public.
	Resource string `json:"resource,omitempty"`
	// Action the caller needs: read, create, update or delete. Default: by method
	// (GET, HEAD, OPTIONS read; POST create; PUT, PATCH update; DELETE delete).
	Action string `json:"action,omitempty"`
	// Public lets everyone through without asking who calls. Default: false.
	Public bool `json:"public,omitempty"`
	// Tenant names the path parameter that must be the caller's customer, or is
	// `off`. Default: the policy's customer parameter (customerId) where the path has it.
	Tenant string `json:"tenant,omitempty"`
	// Microtenant names the query parameter that selects a microtenant, or is
	// `off`. Default: the policy's (microtenantId).
	Microtenant string `json:"microtenant,omitempty"`
	// Encoded lets parameter values hold %2F, %25, `;` and `//`. Default: false.
	Encoded bool `json:"encoded,omitempty"`
	// ForwardCredentials lets a public route pass the client's credentials to
	// the upstream. Default: false.
	ForwardCredentials bool `json:"forward_credentials,omitempty"`
	// Origin is where the route was written, `file:line`, for messages only.
	Origin string `json:"origin,omitempty"`
}

// Check finds what is wrong with a route taken alone. Compile calls it; a
// parser may call it earlier, while it still knows the line.
func (s RouteSpec) Check() error {
	if err := checkMethods(s.Methods); err != nil {
		return err
	}
	p, err := parsePattern(s.Path)
	if err != nil {
		return err
	}
	if s.Public {
		return s.checkPublic()
	}
	if s.ForwardCredentials {
		return fmt.Errorf("forward_credentials on a route is for public routes: elsewhere it is an option of the whole gate")
	}
	if err := checkSlug("resource", s.Resource); err != nil {
		return err
	}
	if s.Action == "" {
		for _, m := range s.Methods {
			if m != AnyMethod && methodIndex(m) == methodOther {
				return fmt.Errorf("what %s does is not known: name an action, read, create, update or delete", m)
			}
		}
	} else if _, err := ParseAction(s.Action); err != nil {
		return err
	}
	if s.Tenant != "" && s.Tenant != off {
		if err := checkTenantParam(p, s.Tenant); err != nil {
			return err
		}
	}
	return checkQueryName(s.Microtenant)
}

func (s RouteSpec) checkPublic() error {
	for _, f := range []struct{ name, value string }{
		{"resource", s.Resource}, {"action", s.Action}, {"tenant", s.Tenant}, {"microtenant", s.Microtenant},
	} {
		if f.value != "" {
			return fmt.Errorf("a public route asks nobody who calls, so it has no %s: leave %s out", f.name, f.name)
		}
	}
	return nil
}

func checkTenantParam(p pattern, name string) error {
	at := p.index(name)
	switch {
	case at < 0:
		return fmt.Errorf("path pattern %q has no parameter {%s} to hold the customer: name one it has, or write off", p, name)
	case p[at].kind == rest:
		return fmt.Errorf("{%s...} in %q holds the rest of the path, a customer is one segment: write {%s}", name, p, name)
	}
	return nil
}

// checkQueryName requires a name that is spelt the same encoded and decoded.
func checkQueryName(name string) error {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
		default:
			return fmt.Errorf("the query parameter name %q must be letters, digits and -._~", name)
		}
	}
	return nil
}

// maxSlugLength bounds the name of a resource or group, in bytes.
const maxSlugLength = 64

// checkSlug requires a resource or group name: it travels in scopes, metric
// labels and role definitions.
func checkSlug(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("no %s: name one, such as application-segments", what)
	case strings.HasPrefix(name, OwnPrefix):
		return fmt.Errorf("%s %q: names under %s are Keyreeve's own", what, name, OwnPrefix)
	case name == "*":
		return fmt.Errorf("%s *: that is every resource together, name one", what)
	case len(name) > maxSlugLength:
		return fmt.Errorf("%s name is %d bytes long, the limit is %d", what, len(name), maxSlugLength)
	}
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (c != '-' || i == 0) {
			return fmt.Errorf("%s %q must be lower-case letters, digits and hyphens, such as application-segments", what, name)
		}
	}
	return nil
}

// Route is one compiled rule. Routes are shared: never modify one.
type Route struct {
	// Methods it admits; nil is any. HEAD is admitted where GET is.
	Methods []string
	// Pattern is the path pattern as written.
	Pattern string
	// Resource the caller needs a permission on, "" on a public route.
	Resource string
	// Group the resource belongs to, "" if none.
	Group string
	// Title of the resource for people, "" if none.
	Title string
	// Public routes ask nobody who calls.
	Public bool
	// ForwardCredentials (public only) passes the client's credentials on.
	ForwardCredentials bool
	// Encoded lets parameter values hold %2F, %25, `;` and `//`.
	Encoded bool
	// CustomerParam is the path parameter that must be the caller's customer, "" for no check.
	CustomerParam string
	// MicrotenantQuery is the query parameter that selects a microtenant, "" for off.
	MicrotenantQuery string
	// Action the caller needs, 0 for the one that the method implies.
	Action Mask
	// Origin is where the route was written, `file:line`.
	Origin string

	segments pattern
	// customerAt is the segment that holds the customer, -1 for none.
	customerAt int
	// customerFrom is the byte at which that segment begins in every path that
	// matches, -1 where a parameter before it makes that differ.
	customerFrom int
	// folded is the route's place among the normal forms.
	folded *leaf
	// guarded: some route is more specific once both are in normal form, so a
	// path that is not in normal form has to be looked at again.
	guarded bool
	// guardedPlain: one of those is not written in normal form itself, so that
	// even a path in normal form has to be looked at again.
	guardedPlain bool
}

// String is the route as an error message or a log names it: `GET,PUT /path`.
func (r *Route) String() string {
	return r.MethodList() + " " + r.Pattern
}

// MethodList is the methods as a Caddyfile writes them: `GET,PUT` or `*`.
func (r *Route) MethodList() string {
	if r.Methods == nil {
		return AnyMethod
	}
	return strings.Join(r.Methods, ",")
}

// newRoute compiles one checked spec under the policy's tenancy.
func newRoute(s RouteSpec, t Tenancy) (*Route, error) {
	p, err := parsePattern(s.Path)
	if err != nil {
		return nil, err
	}
	r := &Route{
		Pattern: s.Path, Resource: s.Resource, Public: s.Public,
		ForwardCredentials: s.ForwardCredentials, Encoded: s.Encoded,
		Origin: s.Origin, segments: p, customerAt: -1,
	}
	if s.Methods[0] != AnyMethod {
		r.Methods = append([]string(nil), s.Methods...)
	}
	if s.Public {
		return r, nil
	}
	if s.Action != "" {
		if r.Action, err = ParseAction(s.Action); err != nil {
			return nil, err
		}
	}
	if r.CustomerParam = s.Tenant; s.Tenant == "" && p.index(t.CustomerParam) >= 0 {
		r.CustomerParam = t.CustomerParam
	}
	if r.CustomerParam == off {
		r.CustomerParam = ""
	}
	if r.CustomerParam != "" {
		if err := checkTenantParam(p, r.CustomerParam); err != nil {
			return nil, err
		}
		r.customerAt = p.index(r.CustomerParam)
		r.customerFrom = p.literalPrefix(r.customerAt)
	}
	if r.MicrotenantQuery = s.Microtenant; s.Microtenant == "" {
		r.MicrotenantQuery = t.MicrotenantQuery
	}
	if r.MicrotenantQuery == off {
		r.MicrotenantQuery = ""
	}
	return r, nil
}
