package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

// maxPlanLines bounds the plan that is shown before it is carried out; --dry-run
// shows all of it.
const maxPlanLines = 200

var applyGroup = Group{
	Name:  "apply",
	Short: "Make customers, roles and keys what a file says",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "apply", "Make customers, roles and keys what a file says", applyLong, applyExample)
		f := &applyFlags{}
		f.register(cmd)
		cmd.Args = func(c *cobra.Command, args []string) error { return s.finish(c, verb{}.checkArgs(args)) }
		cmd.ValidArgsFunction = cobra.NoFileCompletions
		cmd.RunE = func(c *cobra.Command, args []string) error {
			return s.finish(c, s.run(c, verb{run: func(ctx context.Context, api *client, _ []string) error {
				return s.apply(ctx, api, f)
			}}, args))
		}
	},
}

const applyLong = `
Make customers, microtenants, roles, sources and keys what a file says, in the
form that export writes (YAML or JSON). What is there and as described is left
alone, so that a second run has nothing to do. Members that the file leaves out
stay as they are; null takes a value away.

The plan is shown first. It is carried out in the order of the file and stops at
the first failure; run it again once that is mended, what is done stays done.

A key is found by its client_id, else by customer, microtenant and name. Secrets
of new keys are written to standard output as JSON lines, or to --secrets-out; a
key with a secret_sha256 keeps the secret it has elsewhere. Keys that external
sources own are changed there.

With --prune, records that the file does not name are deleted: only in sections
that it has, and of customers that it names; customers themselves never. The
file must end with "complete: true", as export writes it: what was cut off lacks
that, and would have everything deleted that it lacks.

A role is named by its id or its name. A name that could mean several, or that is
another's id, is refused; "id:" before an id says that nothing else is meant.`

const applyExample = `
  PROGRAM apply -f state.yaml --dry-run
  PROGRAM apply -f state.yaml --secrets-out new-keys.jsonl
  PROGRAM export --customer acme | PROGRAM apply -f - --url https://other.example.com
  PROGRAM apply -f state.yaml --prune --yes`

// applyFlags say what to apply, and how.
type applyFlags struct {
	file, customer, secretsOut string
	prune, yes, dryRun         bool
}

func (f *applyFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "the state file, - for standard input (required)")
	flags.StringVar(&f.customer, "customer", "", "id of the customer of what names none (default your own, or the only one in the file)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the whole plan and change nothing")
	flags.BoolVar(&f.prune, "prune", false, "delete what the file does not name; asks first")
	flags.BoolVar(&f.yes, "yes", false, "do not ask before deleting")
	flags.StringVar(&f.secretsOut, "secrets-out", "", "write the secrets of new keys to this file, which must not exist (mode 0600)")
}

// applier is one run of apply.
type applier struct {
	*client
	flags *applyFlags
	file  *stateFile
	there *stateIndex
	me    whoami
	// run names its requests, so that one sent twice is carried out once.
	run string
	// sections and customers are those that the file names.
	sections, customers map[string]bool
	// only is the file's customer where it names one.
	only string
	// seen are the records of this walk, by section and ident, with their place.
	seen    map[string]string
	secrets *secretsOut
	plan    plan
	done    counts
}

// whoami is who the API takes us for.
type whoami struct {
	KeyID         string `json:"key_id"`
	CustomerID    string `json:"customer_id"`
	MicrotenantID string `json:"microtenant_id"`
	AllCustomers  bool   `json:"all_customers"`
}

func (s *console) apply(ctx context.Context, c *client, f *applyFlags) error {
	if f.file == "" {
		return usagef("--file is missing: a state file, or - for standard input")
	}
	if f.dryRun && f.secretsOut != "" {
		return usagef("--dry-run makes no keys: leave out --secrets-out")
	}
	file, err := s.readState(f.file)
	if err != nil {
		return err
	}
	a := &applier{client: c, flags: f, file: file, there: newStateIndex(c), run: rand.Text()}
	a.there.progress = s.progress
	if err := a.whoAmI(ctx); err != nil {
		return err
	}
	if err := a.makePlan(ctx); err != nil {
		return err
	}
	if f.dryRun {
		return a.showPlan(ctx)
	}
	a.notePlan()
	if a.plan.idle() {
		s.note("nothing to do")
		return nil
	}
	if a.plan.delete > 0 {
		if err := a.mayPrune(ctx); err != nil {
			return err
		}
	}
	return a.carryOut(ctx)
}

func (a *applier) whoAmI(ctx context.Context) error {
	r, err := a.do(ctx, call{method: http.MethodGet, path: "/v1/me"})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(r.body, &a.me); err != nil {
		return fmt.Errorf("reading who you are from %s: %w", a.where, err)
	}
	return nil
}

func (a *applier) mayPrune(ctx context.Context) error {
	s := a.console
	if !a.flags.yes && a.flags.file == "-" {
		return usagef("--yes is missing: standard input is the file, so nothing can be asked")
	}
	if err := s.askable(a.flags.yes); err != nil {
		return err
	}
	if !a.flags.yes && !s.confirm(ctx, fmt.Sprintf("Delete %d records for good?", a.plan.delete)) {
		return errors.New("nothing was changed")
	}
	return nil
}

// progress shows on a terminal how far it is; an empty what takes it away.
func (s *console) progress(done int, total, what string) {
	if !isTerminal(s.env.Stderr) {
		return
	}
	if what == "" {
		fmt.Fprint(s.env.Stderr, "\r\x1b[K")
		return
	}
	fmt.Fprintf(s.env.Stderr, "\r\x1b[K%d of %s %s ", done, total, what)
}
