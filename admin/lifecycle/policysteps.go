package lifecycle

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// The steps of an examination, in its order.
const (
	stepPath       = "path"
	stepCredential = "credential"
	stepClient     = "client"
	stepSource     = "source"
	stepRoute      = "route"
	stepTenant     = "tenant"
	stepRole       = "role"
)

// caller is who a checked request is supposed to come from: a key, a role alone,
// or nobody that is known.
type caller struct {
	key      *keystore.Key
	role     *keystore.Role
	standing *Standing
	// refused is why the recorded request's credential was refused, Allowed if it
	// was not: it cannot be shown again.
	refused policy.Decision
}

// stand takes over how the gates see the key.
func (c *caller) stand(s Standing) {
	c.standing, c.role = &s, s.Role
	if s.Key != nil {
		c.key = s.Key
	}
}

// answer is what an answer says of the caller.
func (c *caller) answer() PolicyAnswer {
	out := PolicyAnswer{Results: []GateCheck{}}
	if k := c.key; k != nil {
		out.Key = &CheckedKey{ID: k.ID, Name: k.Name, ClientID: k.ClientID, CustomerID: k.CustomerID, MicrotenantID: optional(k.MicrotenantID)}
	}
	if c.role != nil {
		out.Role = &CheckedRole{ID: c.role.ID, Name: c.role.Name}
	}
	return out
}

// known reports whether there is anybody whose tenant and rights can be judged.
func (c *caller) known() bool {
	return c.standing == nil && c.role != nil || c.standing != nil && c.standing.Key != nil && c.standing.Role != nil
}

// subject is the caller in the policy's terms. A role alone is held by a key of
// the role's customer, or of the one that the path names, which has whatever
// microtenant it names.
func (c *caller) subject(pathCustomer string) policy.Subject {
	switch {
	case c.standing != nil:
		return c.standing.Subject
	case c.role == nil:
		return policy.Subject{}
	}
	return policy.Subject{
		CustomerID: cmp.Or(c.role.CustomerID, pathCustomer), Permissions: c.role.Permissions,
		Microtenant: func(_, _ string) (enabled, known bool) { return true, true },
	}
}

// examination collects the steps of one gate.
type examination struct {
	policy.Decision
	steps  []PolicyStep
	failed bool
}

func (x *examination) pass(step, detail string, args ...any) {
	ok := true
	x.steps = append(x.steps, PolicyStep{Step: step, OK: &ok, Detail: fmt.Sprintf(detail, args...)})
}

// skip notes a step that is not judged.
func (x *examination) skip(step, detail string) {
	x.steps = append(x.steps, PolicyStep{Step: step, Detail: detail})
}

// fail notes a refusal; the first one is the answer.
func (x *examination) fail(step string, d policy.Decision, detail string) {
	ok := false
	x.steps = append(x.steps, PolicyStep{Step: step, OK: &ok, Detail: detail})
	if !x.failed {
		d.Detail = detail
		x.failed, x.Decision = true, d
	}
}

// examine tells what one gate would decide. Each step is judged by what the gate
// judges it by, in the gate's order; all steps are judged, so that one answer
// shows everything that is wrong.
func (s *Service) examine(a Actor, g gateAt, who caller, q asked) GateCheck {
	var x examination
	out := GateCheck{Gate: g.ref(), Grants: []PolicyGrant{}, Tried: []PolicyTrial{}, Rules: len(g.Set.Routes())}
	path, query, class, ok := decidable(q.target)
	if !ok {
		x.fail(stepPath, policy.Deny(policy.AmbiguousPath), "two programs could read this path differently")
		x.caller(who, q, query, false)
		for _, step := range []string{stepRoute, stepTenant, stepRole} {
			x.skip(step, "no rule is looked for with such a path")
		}
		out.Decision, out.Steps = s.decided(x.Decision), x.steps
		return out
	}
	odd := class == credential.PathOdd
	match, _ := g.Set.Match(q.method, path, odd)
	customer := ""
	if match.Route != nil {
		query = q.withMicrotenant(query, match.Route.MicrotenantQuery)
		customer = match.Route.CustomerIn(path)
	}
	e := g.Set.Explain(q.method, path, odd, query, who.subject(customer))
	x.path(e, class)
	public := e.Route != nil && e.Route.Public || q.preflight && e.Route != nil
	x.caller(who, q, query, public)
	x.route(a, e, len(e.Tried), out.Rules)
	x.tenantAndRole(who, e, public)
	if !x.failed {
		switch x.Decision = e.Decision; {
		case q.preflight:
			x.Decision = policy.Decision{Allow: true, Reason: policy.Public, Detail: "a preflight is let through where its request has a rule"}
		case !public && !who.known():
			x.Decision = policy.Deny(policy.CredentialsRequired)
			x.Detail = "the caller is not known"
		}
	}
	out.Decision, out.Steps = s.decided(x.Decision), x.steps
	out.describe(a, e)
	return out
}

// decidable is the path that a gate would decide on, and the query, of a request
// with this target.
func decidable(target string) (path, query string, class credential.PathClass, ok bool) {
	_, query, _ = strings.Cut(target, "?")
	u, err := url.ParseRequestURI(target) // as net/http reads it
	if err != nil {
		return "", query, 0, false
	}
	path, class, ok = credential.DecidablePath(u, target)
	return path, u.RawQuery, class, ok
}

// withMicrotenant is the query with the microtenant that was asked about, named by
// the parameter that the rule looks at, "" for none.
func (q asked) withMicrotenant(query, parameter string) string {
	added := ""
	switch {
	case parameter == "":
		return query
	case q.ambiguous:
		added = parameter + "&" + parameter
	case q.microtenant != "":
		added = parameter + "=" + url.QueryEscape(q.microtenant)
	}
	if query == "" || added == "" {
		return query + added
	}
	return query + "&" + added
}

func (x *examination) path(e policy.Explanation, class credential.PathClass) {
	switch {
	case e.Reason == policy.AmbiguousPath:
		x.fail(stepPath, e.Decision, "it holds %2F, %25, `;` or `//`, and no rule takes it so")
	case class == credential.PathOdd:
		x.pass(stepPath, "it holds %%2F, %%25, `;` or `//`, which the rule takes (encoded)")
	default:
		x.pass(stepPath, "every program reads it alike")
	}
}

// caller judges credential, client and source.
func (x *examination) caller(who caller, q asked, query string, public bool) {
	if public {
		for _, step := range []string{stepCredential, stepClient, stepSource} {
			x.skip(step, "nobody is asked who calls")
		}
		return
	}
	x.credential(who, query)
	switch {
	case who.standing != nil:
		x.standing(who, q)
	case who.role != nil:
		x.skip(stepClient, "a role alone, of no key")
		x.skip(stepSource, "a role alone, of no key")
	default:
		x.skip(stepClient, "the caller is not known")
		x.skip(stepSource, "the caller is not known")
	}
}

// credential supposes a right one in a header; what the query holds is judged.
func (x *examination) credential(who caller, query string) {
	right := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("id:secret"))}}
	_, problem := credential.Extract(right, query, credential.FormBasic)
	switch {
	case problem == credential.Ambiguous:
		x.fail(stepCredential, policy.Deny(policy.InvalidRequest), "the query holds access_token or client_secret, which belong in a header")
	case who.refused.Reason != policy.Allowed && who.standing == nil:
		x.fail(stepCredential, who.refused, "as recorded; the credential is not kept and cannot be tried again")
	case who.refused.Reason != policy.Allowed:
		x.skip(stepCredential, "the recorded credential is not kept; supposed to be right")
	case !who.known() && who.standing == nil:
		x.skip(stepCredential, "the caller is not known")
	default:
		x.pass(stepCredential, "supposed to be right: a check shows none")
	}
}

// standing judges the key and where it is used from.
func (x *examination) standing(who caller, q asked) {
	s := who.standing
	switch {
	case !s.Allow && !s.Network:
		x.fail(stepClient, s.Decision, s.Detail)
	case s.Network:
		x.pass(stepClient, "enabled, not expired, its customer and microtenant enabled")
	default:
		x.pass(stepClient, "enabled, not expired, not locked, its customer and microtenant enabled")
	}
	switch {
	case s.Key == nil:
		x.skip(stepSource, "the key is not known")
	case len(s.Key.AllowedCIDRs) == 0:
		x.pass(stepSource, "the key may be used from anywhere")
	case !q.address.IsValid():
		x.skip(stepSource, "no source address is known; the key may be used from "+networks(s.Key.AllowedCIDRs))
	case s.Network || !s.Key.AllowsAddress(q.address):
		d := s.Decision
		if !s.Network { // refused for something else first, so this is not the answer
			d = policy.Deny(policy.InvalidClient)
		}
		x.fail(stepSource, d, fmt.Sprintf("%s is outside the networks that the key may be used from, %s", q.address, networks(s.Key.AllowedCIDRs)))
	default:
		x.pass(stepSource, "%s is in a network that the key may be used from", q.address)
	}
}

func networks(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}

func (x *examination) route(a Actor, e policy.Explanation, near, rules int) {
	switch {
	case e.Route != nil:
		x.pass(stepRoute, "%s (%s)", e.Route, a.origin(e.Route))
	case e.Reason == policy.AmbiguousPath:
		x.skip(stepRoute, "the path was refused before")
	case near == 0:
		x.fail(stepRoute, e.Decision, fmt.Sprintf("no rule names this path; %d were tried", rules))
	default:
		x.fail(stepRoute, e.Decision, fmt.Sprintf("no rule permits this method and path; %d of %d come near, see the rules tried", near, rules))
	}
}

// tenantAndRole tells what Decide decided of both. The role is judged even where
// the tenant already failed.
func (x *examination) tenantAndRole(who caller, e policy.Explanation, public bool) {
	switch {
	case e.Route == nil:
		x.skip(stepTenant, "without a rule there is nothing to compare")
		x.skip(stepRole, "without a rule there is no permission to look for")
		return
	case public:
		x.skip(stepTenant, "nobody is asked who calls")
		x.skip(stepRole, "nobody is asked who calls")
		return
	case !who.known():
		x.skip(stepTenant, "the caller is not known")
		x.skip(stepRole, "the caller is not known")
		return
	}
	switch e.Reason {
	case policy.AmbiguousQuery, policy.MicrotenantRequired, policy.TenantMismatch:
		x.fail(stepTenant, e.Decision, e.Detail)
	default:
		x.pass(stepTenant, "%s", tenantWords(who, e))
	}
	needs := fmt.Sprintf("%s is needed, %s holds %s", e.Scope(), who.role.Name, heldWords(e))
	if !e.Held.Has(e.Action) {
		d := e.Decision
		d.Reason = policy.PermissionDenied
		x.fail(stepRole, d, needs)
		return
	}
	x.pass(stepRole, "%s", needs)
}

// tenantWords says what was compared.
func tenantWords(who caller, e policy.Explanation) string {
	words := "the path names no customer"
	if e.Route.CustomerParam != "" {
		words = "customer " + e.Tenant.CustomerID + " is the key's"
		if who.standing == nil {
			words = "supposed: a key of customer " + e.Tenant.CustomerID
		}
	}
	switch {
	case e.Route.MicrotenantQuery == "":
		return words + "; the rule looks at no microtenant"
	case e.Tenant.MicrotenantID == "":
		return words + "; no microtenant is named"
	}
	return words + "; microtenant " + e.Tenant.MicrotenantID + " may be named"
}

// heldWords is such as `read, by segments and *`.
func heldWords(e policy.Explanation) string {
	if len(e.Grants) == 0 {
		return "nothing on it"
	}
	entries := make([]string, len(e.Grants))
	for i, g := range e.Grants {
		entries[i] = g.Entry
	}
	return strings.Join(e.Held.Names(), ", ") + ", by " + strings.Join(entries, " and ")
}

// decided is a decision as an answer would carry it.
func (s *Service) decided(d policy.Decision) PolicyDecision {
	v := PolicyDecision{Allow: d.Allow, Code: d.Reason.Code(), Detail: d.Detail}
	if !d.Allow {
		v.Status = optional(s.cfg.Gatekeeper.Status(d.Reason))
	}
	return v
}

// describe adds what the explanation says of rules and permissions.
func (g *GateCheck) describe(a Actor, e policy.Explanation) {
	if r := e.Route; r != nil {
		g.Route = &PolicyRuleRef{Pattern: r.Pattern, Methods: methodsOf(r), Resource: optional(r.Resource), Origin: a.origin(r)}
		if !r.Public && e.Action != 0 {
			g.Route.Action = optional(e.Action.String())
			g.Needed = &PolicyNeed{Resource: r.Resource, Group: optional(r.Group), Action: e.Action.String()}
		}
	}
	for _, grant := range e.Grants {
		g.Grants = append(g.Grants, PolicyGrant{Entry: grant.Entry, Actions: grant.Mask.Names()})
	}
	for _, t := range e.Tried {
		g.Tried = append(g.Tried, PolicyTrial{Pattern: t.Route.Pattern, Methods: methodsOf(t.Route), Origin: a.origin(t.Route),
			Matched: t.Outcome == policy.TrialTaken, Outcome: t.Outcome.Code(), Why: t.Why})
	}
}
