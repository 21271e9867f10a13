package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// policyCheck is the body of a check.
type policyCheck struct {
	KeyID         string `json:"key_id,omitempty"`
	RoleID        string `json:"role_id,omitempty"`
	RequestID     string `json:"request_id,omitempty"`
	Method        string `json:"method,omitempty"`
	Path          string `json:"path,omitempty"`
	MicrotenantID string `json:"microtenant_id,omitempty"`
	SourceAddress string `json:"source_address,omitempty"`
	Gate          string `json:"gate,omitempty"`
}

func (s *console) addPolicyCheck(parent *cobra.Command) {
	var in narrow
	var key, role string
	var ask policyCheck
	var exitCode bool
	cmd := s.add(parent, verb{
		use:   "check {--key KEY | --role ROLE} METHOD PATH",
		short: "Explain what a gate decides on a request",
		long: `
Explain what a gate decides on a request of a key, or of a role alone: the
decision, each step on the way, the permission that is needed, the entries of the
role that count, and every rule that was tried.

PATH is written as it is on the wire, percent-encoded where it has to be, and may
have a query. The credential is supposed to be right; that the key is disabled,
expired, locked or used from elsewhere is judged. Without --from its networks are
not. A role alone is judged as held by a key of the customer that the path names.

Every gate is asked unless --gate names one. The exit code is 0 whatever the
decision; with --exit-code it is 1 where any gate that was asked refuses.`,
		example: `
  PROGRAM policy check --key ci-deploy GET /customers/42/orders
  PROGRAM policy check --role "API Read Only" POST '/customers/42/orders?page=2'
  PROGRAM policy check --key ci-deploy --microtenant 7 --from 192.0.2.9 --gate 1 --exit-code DELETE /customers/42/orders/1`,
		args: []string{"METHOD", "PATH"},
		run: func(ctx context.Context, c *client, args []string) error {
			if (key == "") == (role == "") {
				return usagef("one of --key and --role is needed")
			}
			ask.Method, ask.Path = args[0], args[1]
			if err := c.name(ctx, &ask, key, role, in); err != nil {
				return err
			}
			return c.explain(ctx, ask, exitCode)
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&key, "key", "", "the key, by id, client ID or name")
	flags.StringVar(&role, "role", "", "the role, by id or name")
	flags.StringVar(&ask.MicrotenantID, "microtenant", "", "the microtenant that the request names")
	flags.StringVar(&ask.SourceAddress, "from", "", "the address that it comes from")
	flags.StringVar(&ask.Gate, "gate", "", "ask this gate alone, by number or name")
	flags.StringVar(&in.customer, "customer", "", "look for the name of the key or role at this customer")
	flags.BoolVar(&exitCode, "exit-code", false, "exit with 1 where a gate refuses")
	s.completeKey(cmd)
	s.completeRole(cmd)
	for _, plain := range []string{"microtenant", "from", "gate", "customer"} {
		s.complete(cmd, plain)
	}
}

// name finds the key or role by what the caller calls it.
func (c *client) name(ctx context.Context, ask *policyCheck, key, role string, in narrow) error {
	if role != "" {
		id, err := c.findRole(ctx, role, in.customer)
		ask.RoleID = id
		return err
	}
	k, err := c.findKeyID(ctx, key, in)
	if err == nil {
		ask.KeyID = k.ID
	}
	return err
}

func (s *console) addPolicyExplain(parent *cobra.Command) {
	var exitCode bool
	cmd := s.add(parent, verb{
		use:   "explain REQUEST_ID",
		short: "Explain why a gate denied a recent request",
		long: `
Explain why a gate denied a recent request, by the request_id in its answer (the
uuid in Caddy's access log): what was decided then, and what the gate would decide
on the same request now. Each node keeps its latest 10,000 denials in memory, for
as long as it runs. Of the query only the microtenant is kept, and no credential;
a refusal of that is supposed to be mended.`,
		example: `
  PROGRAM policy explain 4e1b0a9c-6f0e-4c8f-9d7a-0b5a2f8f3c11
  PROGRAM policy explain 4e1b0a9c-6f0e-4c8f-9d7a-0b5a2f8f3c11 -o json | jq .changed`,
		args: []string{"REQUEST_ID"},
		run: func(ctx context.Context, c *client, args []string) error {
			if args[0] == "" {
				return usagef("REQUEST_ID is empty")
			}
			return c.explain(ctx, policyCheck{RequestID: args[0]}, exitCode)
		},
	})
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 where the gate would refuse it now")
}

// explain asks and shows the answer.
func (c *client) explain(ctx context.Context, ask policyCheck, exitCode bool) error {
	r, err := c.do(ctx, call{method: http.MethodPost, path: policyCheckPath, body: ask})
	if err != nil {
		return err
	}
	var a policyAnswer
	if err := json.Unmarshal(r.body, &a); err != nil {
		return fmt.Errorf("reading the explanation: %w", err)
	}
	if err := c.console.writeAnswer(&a, r.body); err != nil {
		return err
	}
	for _, g := range a.Results {
		if exitCode && !g.Decision.Allow {
			return &codedError{code: ExitError, text: "gate " + g.Gate.label() + " refuses: " + printable(g.Decision.Code)}
		}
	}
	return nil
}
