package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Explanation is a decision and how it came about.
type Explanation struct {
	// Decision is that of Match and Decide, whose work Explain leaves to them.
	Decision
	// Tried lists the rules that could be meant, in the order of the policy: those
	// whose pattern matches the path, and those that would match another spelling of it.
	Tried []Trial
	// Tenant is what the request says of tenants.
	Tenant TenantNamed
	// Grants are the entries of the caller's permissions that cover the rule's
	// resource, by name; none before a rule matched or on a public one.
	Grants []Grant
	// Held is what Grants add up to.
	Held Mask
}

// Trial is one rule held against a request.
type Trial struct {
	Route   *Route
	Outcome TrialOutcome
	// Why is for people.
	Why string
}

// TrialOutcome is what became of a rule that was tried.
type TrialOutcome uint8

// The outcomes of a trial.
const (
	// TrialTaken: the rule that the request falls under.
	TrialTaken TrialOutcome = iota + 1
	// TrialShadowed: it matches, a more specific one was taken.
	TrialShadowed
	// TrialMethod: the path matches, the method does not.
	TrialMethod
	// TrialSpelling: another spelling of the path would match.
	TrialSpelling
	// TrialBlocks: another spelling of the path would match, and the rule is more
	// specific than the one that the path falls under as it is written, so there is
	// no route.
	TrialBlocks
	// TrialRefused: it matches, but another rule blocks it, or the path holds what
	// only a route with `encoded` takes.
	TrialRefused
)

var trialCodes = [...]string{
	TrialTaken: "taken", TrialShadowed: "shadowed", TrialMethod: "method", TrialSpelling: "spelling",
	TrialBlocks: "blocks", TrialRefused: "refused",
}

// Code is the outcome's stable machine-readable name.
func (o TrialOutcome) Code() string { return trialCodes[o] }

// TenantNamed is what a request says of tenants, "" where it does not or is not asked.
type TenantNamed struct {
	// CustomerID is in the path.
	CustomerID string
	// MicrotenantID is in the query.
	MicrotenantID string
	// Ambiguous: the query names a microtenant in a way that parsers could disagree on.
	Ambiguous bool
}

// Grant is one entry of a role that covers a resource.
type Grant struct {
	// Entry is the name that the role uses: the resource, its group, or `*`.
	Entry string
	Mask  Mask
}

// Explain decides by Match and Decide and tells how that came about. path, odd
// and rawQuery are theirs. It looks at every rule and is for people, not for a gate.
func (s *Set) Explain(method, path string, odd bool, rawQuery string, who Subject) Explanation {
	match, reason := s.Match(method, path, odd)
	var e Explanation
	if reason == Allowed {
		e.Decision = s.Decide(match, path, rawQuery, who)
	} else {
		e.Decision = Deny(reason)
	}
	e.Tried = s.try(method, path, odd, match.Route, reason)
	if r := match.Route; r != nil && !r.Public {
		e.Tenant = r.tenantIn(path, rawQuery)
		e.Grants, e.Held = who.Permissions.covering(r.Resource, r.Group)
	}
	return e
}

// tenantIn is what a request that matched says of tenants.
func (r *Route) tenantIn(path, rawQuery string) (named TenantNamed) {
	named.CustomerID = r.CustomerIn(path)
	if r.MicrotenantQuery != "" {
		named.MicrotenantID, named.Ambiguous = QueryValue(rawQuery, r.MicrotenantQuery)
	}
	return named
}

// CustomerIn is the customer that a path names which matched the route, "" where
// the route does not ask for one.
func (r *Route) CustomerIn(path string) string {
	if r.customerAt < 0 {
		return ""
	}
	return r.customerIn(path)
}

// MicrotenantIn is the microtenant that a query names for the route, see TenantNamed.
func (r *Route) MicrotenantIn(rawQuery string) (id string, ambiguous bool) {
	if r.MicrotenantQuery == "" {
		return "", false
	}
	return QueryValue(rawQuery, r.MicrotenantQuery)
}

// covering lists the entries that On adds up, and their sum.
func (p Permissions) covering(resource, group string) (grants []Grant, held Mask) {
	entries := []string{resource, group, "*"}
	if strings.HasPrefix(resource, OwnPrefix) {
		entries = []string{resource, OwnPrefix + "*"}
	}
	for _, entry := range entries {
		if m := p[entry]; m != 0 && entry != "" {
			grants = append(grants, Grant{entry, m})
		}
	}
	return grants, p.On(resource, group)
}

// ValidMethod reports whether m could be a request's method (RFC 9110 section
// 5.6.2, a token; at most 64 bytes).
func ValidMethod(m string) bool { return methodToken(m) || m == AnyMethod }

// attempt is one request held against rules one at a time.
type attempt struct {
	method, path string
	index        int
	odd          bool
	// normal is path in normal form, without its leading slash; dots as of normalPath.
	normal string
	dots   bool
	// found is the route that the path falls under as it is written, nil if none.
	found *Route
	// taken and reason are Match's answer.
	taken  *Route
	reason Reason
}

// try holds every rule against a request. Each is looked for in a tree of its
// own by the searches that decide, so that it cannot be told apart by other rules.
func (s *Set) try(method, path string, odd bool, taken *Route, reason Reason) (tried []Trial) {
	a := attempt{method: method, path: path, index: methodIndex(method), odd: odd, taken: taken, reason: reason}
	a.normal, a.dots = normalPath(path)
	if strings.HasPrefix(path, "/") {
		if m := s.written.find(path[1:], a.index, method); m != nil {
			a.found = m.Route
		}
	}
	for _, r := range s.routes {
		if t := a.hold(r); t.Outcome != 0 {
			tried = append(tried, t)
		}
	}
	return tried
}

// hold is the trial of one rule; its outcome is 0 where the rule has nothing to
// do with the request.
func (a *attempt) hold(r *Route) Trial {
	_, admits := r.admits(a.method)
	written := a.matchesWritten(r)
	switch {
	case written && !admits:
		return Trial{r, TrialMethod, "the path matches; the rule is for " + r.methodWords() + ", not " + a.method}
	case written && r == a.taken:
		return Trial{r, TrialTaken, "method and path match, and no rule that matches is more specific"}
	case written && r == a.found:
		return Trial{r, TrialRefused, a.refusal(r)}
	case admits && a.found != nil && a.reason == NoRoute && a.matchesNormal(r, a.found):
		return Trial{r, TrialBlocks, fmt.Sprintf("a server could read the path as one of this rule (%s), which is more specific than %s: "+
			"no spelling of a path may slip past a rule to a broader one", a.difference(r), a.found)}
	case written:
		return Trial{r, TrialShadowed, "matches; " + a.found.String() + " comes first: " + a.precedence(r)}
	case !admits || !a.matchesNormal(r, everything):
		return Trial{}
	}
	return Trial{r, TrialSpelling, "does not match as written: " + a.difference(r)}
}

// refusal says why the rule that the path falls under is not taken.
func (a *attempt) refusal(r *Route) string {
	switch {
	case a.odd && !r.Encoded:
		return "matches, but the path holds %2F, %25, `;` or `//`, which only a rule with `encoded` takes"
	case a.odd && strings.HasPrefix(a.path, "//"):
		return "matches, but a path that begins with // is never taken: other parsers read an authority there"
	case a.odd && a.dots:
		return "matches, but the path holds a dot segment once it is decoded"
	}
	return "matches, but a more specific rule would match another spelling of the path"
}

// precedence says why found comes before r, which matches as well.
func (a *attempt) precedence(r *Route) string {
	if r.segments.compare(a.found.segments, false) != equal {
		return "its path is more specific"
	}
	if r.Methods == nil {
		return "it names the method and this rule takes any"
	}
	return "it names " + a.method + " and this rule takes it for its GET"
}

// difference says in which way a path that is not r's would have to be respelt.
func (a *attempt) difference(r *Route) string {
	lowered := *r
	lowered.segments = r.segments.lowered()
	low := strings.ToLower(a.path)
	respelt := func(path string, to *Route) bool {
		b := *a
		b.path = path
		return b.matchesWritten(to)
	}
	switch {
	case respelt(strings.TrimSuffix(a.path, "/"), r):
		return "the path ends in a slash that the rule does not have"
	case respelt(a.path+"/", r):
		return "the path lacks the slash that the rule has there"
	case respelt(low, &lowered):
		return "upper and lower case differ"
	case respelt(strings.TrimSuffix(low, "/"), &lowered), respelt(low+"/", &lowered):
		return "upper and lower case and the slash at the end differ"
	case strings.IndexByte(a.path, '%') >= 0:
		return "the path is percent-encoded"
	case a.odd:
		return "the path holds `;` or `//`"
	}
	return "the path is spelt otherwise"
}

// lowered is the pattern with its literals in lower case.
func (p pattern) lowered() pattern {
	low := slices.Clone(p)
	for i, s := range low {
		if s.kind == literal {
			low[i].text = strings.ToLower(s.text)
		}
	}
	return low
}

// matchesWritten reports whether r's pattern alone matches the path as it is,
// whatever the method.
func (a *attempt) matchesWritten(r *Route) bool {
	if !strings.HasPrefix(a.path, "/") {
		return false
	}
	method := r.anyAdmitted()
	var alone node
	alone.insert(r.segments, r)
	alone.finish()
	return alone.find(a.path[1:], methodIndex(method), method) != nil
}

// anyAdmitted is a method that the route admits.
func (r *Route) anyAdmitted() string {
	if r.Methods == nil {
		return methods[methodGet].name
	}
	return r.Methods[0]
}

// everything is a rule within which every other lies.
var everything = &Route{folded: &leaf{shape: pattern{{kind: rest}}}}

// matchesNormal reports whether r's normal form alone takes the path's normal
// form, for the request's method, from a request that fell under from.
func (a *attempt) matchesNormal(r, from *Route) bool {
	var alone node
	alone.insert(r.folded.shape, r)
	alone.finish()
	e := evasion{route: from, index: a.index, method: a.method}
	return e.in(&alone, a.normal, a.normal == "")
}

// methodWords is the methods for a sentence.
func (r *Route) methodWords() string {
	if r.Methods == nil {
		return "methods whose action is known"
	}
	return strings.Join(r.Methods, ", ")
}
