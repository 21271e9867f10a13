package lifecycle

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// PolicyRoute is one rule of a gate.
type PolicyRoute struct {
	Gate     GateRef  `json:"gate"`
	Pattern  string   `json:"pattern" example:"/customers/{customerId}/orders"`
	Methods  []string `json:"methods" nullable:"false" doc:"HEAD is admitted where GET is; * alone is every method."`
	Public   bool     `json:"public" doc:"Nobody is asked who calls."`
	Resource *string  `json:"resource" nullable:"true" doc:"null for a public rule."`
	Group    *string  `json:"group" nullable:"true"`
	Title    *string  `json:"title" nullable:"true"`
	Action   *string  `json:"action" nullable:"true" doc:"null where the method says it."`
	// CustomerParam and MicrotenantQuery are where it looks for tenants.
	CustomerParam    *string `json:"customer_param" nullable:"true" doc:"Path parameter that must be the key's customer; null for none."`
	MicrotenantQuery *string `json:"microtenant_query" nullable:"true" doc:"Query parameter that names a microtenant; null for none."`
	Encoded          bool    `json:"encoded" doc:"Values of parameters may hold %2F, %25, ; and //."`
	Origin           string  `json:"origin" doc:"Where it was written, file:line."`
}

func showRoute(a Actor, g gateAt, r *policy.Route) PolicyRoute {
	v := PolicyRoute{Gate: g.ref(), Pattern: r.Pattern, Methods: methodsOf(r), Public: r.Public,
		Resource: optional(r.Resource), Group: optional(r.Group), Title: optional(r.Title),
		CustomerParam: optional(r.CustomerParam), MicrotenantQuery: optional(r.MicrotenantQuery), Encoded: r.Encoded, Origin: a.origin(r)}
	if r.Action != 0 {
		v.Action = optional(r.Action.String())
	}
	return v
}

func methodsOf(r *policy.Route) []string {
	if r.Methods == nil {
		return []string{policy.AnyMethod}
	}
	return slices.Clone(r.Methods)
}

// origin is where a rule was written. Where files lie on the machine is for those
// who administer it all; the others get the file's own name.
func (a Actor) origin(r *policy.Route) string {
	if a.AllCustomers {
		return r.Origin
	}
	return path.Base(r.Origin)
}

// policyCursor is the kind of list that its cursors belong to.
const policyCursor = "policy_routes"

// PolicyRouteFilter selects rules; empty fields do not filter.
type PolicyRouteFilter struct {
	// Gate is the number or name of a gate.
	Gate string
	// Text is found in pattern, resource or title, whatever the case.
	Text string
	// Resource is the rule's.
	Resource string
	Paging
}

// ListPolicyRoutes lists the rules of the gates, in the order of the configuration.
// Who may read keys or roles may read them: they hold nothing of a tenant.
func (s *Service) ListPolicyRoutes(ctx context.Context, a Actor, f PolicyRouteFilter) (Page[PolicyRoute], error) {
	var out Page[PolicyRoute]
	err := s.view(ctx, a, func(o *op) error {
		if o.need(ResourceKeys, policy.Read) != nil {
			if err := o.need(ResourceRoles, policy.Read); err != nil {
				return err
			}
		}
		var bad FieldErrors
		checkText(&bad, f.Text)
		gates := s.pickGates(&bad, f.Gate)
		at, err := f.Paging.check(o, o.scope(policyCursor, []string{f.Gate, f.Text, f.Resource}), bad)
		if err != nil {
			return err
		}
		rules := matchingRules(gates, f)
		place := func(r placedRule) keystore.Cursor { return r.cursor() }
		out, err = pageOf(o, at, cut(at, rules, false, place), len(rules),
			func(r placedRule) (keystore.Cursor, error) { return r.cursor(), nil },
			func(r placedRule) (PolicyRoute, error) { return showRoute(o.actor, r.gate, r.route), nil })
		return err
	})
	return out, err
}

// PolicyGates names the gates of the configuration in force, in its order, for who
// may read their rules.
func (s *Service) PolicyGates(ctx context.Context, a Actor) ([]GateRef, error) {
	var out []GateRef
	err := s.view(ctx, a, func(o *op) error {
		out = []GateRef{}
		for _, g := range s.pickGates(nil, "") {
			out = append(out, g.ref())
		}
		return NeedsAny(NeedsTo(policy.Read, ResourceKeys), NeedsTo(policy.Read, ResourceRoles))(o)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// placedRule is a rule with its place in the list of all.
type placedRule struct {
	gate  gateAt
	route *policy.Route
	place int
}

// cursor is the rule's place, in digits that sort as numbers do. It holds as long
// as the configuration does.
func (r placedRule) cursor() keystore.Cursor {
	return keystore.Cursor{Values: []string{fmt.Sprintf("%04d.%07d", r.gate.number, r.place)}}
}

// matchingRules lists the rules that a filter selects.
func matchingRules(gates []gateAt, f PolicyRouteFilter) (rules []placedRule) {
	text := strings.ToLower(f.Text)
	for _, g := range gates {
		for i, r := range g.Set.Routes() {
			if f.Resource != "" && r.Resource != f.Resource ||
				!strings.Contains(strings.ToLower(r.Pattern+"\n"+r.Resource+"\n"+r.Title), text) {
				continue
			}
			rules = append(rules, placedRule{g, r, i})
		}
	}
	return rules
}
