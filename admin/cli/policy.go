package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

const (
	policyRoutesPath = "/v1/policy/routes"
	policyCheckPath  = "/v1/policy/check"
)

var policyGroup = Group{
	Name:  "policy",
	Short: "Show the rules of the gates, and explain decisions",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "policy", "Show the rules of the gates, and explain decisions", policyLong, policyExample)
		s.addPolicyRoutes(cmd)
		s.addPolicyCheck(cmd)
		s.addPolicyExplain(cmd)
	},
}

const policyLong = `
Show the rules of the gates, and explain decisions: what a gate would decide on
a request of a key or role, and why it denied a recent one. The gates that run
are asked, so it needs a running server and not --config.

Exit codes: 0 done, whatever the decision, 1 error (with --exit-code also:
denied), 2 wrong usage, 4 not authorised, 5 not found, 6 conflict.`

const policyExample = `
  PROGRAM policy routes
  PROGRAM policy check --key ci-deploy GET /customers/42/orders
  PROGRAM policy explain 4e1b0a9c-6f0e-4c8f-9d7a-0b5a2f8f3c11`

// gateRef is a gate as the admin API names it.
type gateRef struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Shadow bool   `json:"shadow"`
}

func (g gateRef) label() string {
	words := strconv.Itoa(g.Number) + " " + printable(g.Name)
	if g.Shadow {
		words += " (shadow: lets everything through)"
	}
	return words
}

// ruleItem is a rule as the admin API lists it.
type ruleItem struct {
	Gate             gateRef  `json:"gate"`
	Pattern          string   `json:"pattern"`
	Methods          []string `json:"methods"`
	Public           bool     `json:"public"`
	Resource         string   `json:"resource"`
	Group            string   `json:"group"`
	Title            string   `json:"title"`
	Action           string   `json:"action"`
	CustomerParam    string   `json:"customer_param"`
	MicrotenantQuery string   `json:"microtenant_query"`
	Encoded          bool     `json:"encoded"`
	Origin           string   `json:"origin"`
}

// asks is the permission that the rule asks for.
func (r *ruleItem) asks() string {
	switch {
	case r.Public:
		return "public"
	case r.Action != "":
		return r.Resource + ":" + r.Action
	}
	return r.Resource
}

var ruleList = listingOf(policyRoutesPath, "rules",
	[]string{"GATE", "METHODS", "PATTERN", "ASKS FOR", "GROUP", "ORIGIN"},
	[]string{"gate", "gate_name", "methods", "pattern", "public", "resource", "group", "title", "action", "customer_param", "microtenant_query", "encoded", "origin"},
	func(r *ruleItem, _ bool) []string {
		return []string{strconv.Itoa(r.Gate.Number) + " " + printable(r.Gate.Name), printable(strings.Join(r.Methods, ",")), printable(r.Pattern),
			printable(r.asks()), orDash(r.Group), printable(r.Origin)}
	},
	func(r *ruleItem) []string {
		return []string{strconv.Itoa(r.Gate.Number), r.Gate.Name, strings.Join(r.Methods, " "), r.Pattern, strconv.FormatBool(r.Public), r.Resource,
			r.Group, r.Title, r.Action, r.CustomerParam, r.MicrotenantQuery, strconv.FormatBool(r.Encoded), r.Origin}
	})

func (s *console) addPolicyRoutes(parent *cobra.Command) {
	var gate, search, resource string
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "routes",
		short: "List the rules of the gates",
		long: `
List the rules of the gates, in the order of the configuration. Of the rules that
match a request the most specific one decides, wherever it stands.`,
		example: `
  PROGRAM policy routes
  PROGRAM policy routes --gate api.example.com -q orders
  PROGRAM policy routes --all -o csv`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			set(q, map[string]string{"gate": gate, "q": search, "resource": resource})
			return c.list(ctx, ruleList, q, f.all)
		},
	})
	cmd.Flags().StringVar(&gate, "gate", "", "of this gate, by number or name")
	cmd.Flags().StringVarP(&search, "search", "q", "", "with this in pattern, resource or title")
	cmd.Flags().StringVar(&resource, "resource", "", "of this resource")
	f.register(cmd.Flags(), "rules")
	for _, plain := range []string{"gate", "search", "resource"} {
		s.complete(cmd, plain)
	}
}
