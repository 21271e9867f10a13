package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const sourcesPath = "/v1/sources"

// sourceRules are what a source lets administrators do with its keys.
var sourceRules = []string{"read_only", "locked"}

var sourceGroup = Group{
	Name:  "source",
	Short: "Let external systems own keys",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "source", "Let external systems own keys", sourceLong, sourceExample)
		s.addSourceList(cmd)
		s.addSourceShow(cmd)
		s.addSourceCreate(cmd)
		s.addSourceEdit(cmd)
		s.addSourceDelete(cmd)
		s.addSourcePush(cmd)
	},
}

const sourceLong = `
Let external systems own keys: an identity product, a vault, a repository. What
such a source pushes is the full list of its keys; here they can be looked at,
unlocked and switched off, and nothing else.

No key of a source may have a role beyond its highest one (--max-role).`

const sourceExample = `
  PROGRAM source create idp --owner "Identity team" --rule read_only --max-role role_api_read_only
  PROGRAM source push idp -f keys.yaml --dry-run
  PROGRAM source push idp -f keys.yaml
  PROGRAM source list`

// sourceItem is a source as the admin API represents it.
type sourceItem struct {
	Name       string `json:"name"`
	CustomerID string `json:"customer_id"`
	Owner      string `json:"owner"`
	Rule       string `json:"rule"`
	MaxRoleID  string `json:"max_role_id"`
	KeyCount   int    `json:"key_count"`
	LastSync   string `json:"last_sync_at"`
	LastSyncBy string `json:"last_sync_by"`
	Created    string `json:"created_at"`
	Modified   string `json:"modified_at"`
}

var sourceList = listingOf(sourcesPath, "sources",
	[]string{"NAME", "CUSTOMER", "OWNER", "RULE", "HIGHEST ROLE", "KEYS", "LAST SYNC"},
	[]string{"name", "customer_id", "owner", "rule", "max_role_id", "key_count", "last_sync_at", "last_sync_by", "created_at", "modified_at"},
	func(s *sourceItem, _ bool) []string {
		return []string{printable(s.Name), printable(s.CustomerID), orDash(s.Owner), printable(s.Rule), printable(s.MaxRoleID),
			strconv.Itoa(s.KeyCount), firstOf(shortTime(s.LastSync), "never")}
	},
	func(s *sourceItem) []string {
		return []string{s.Name, s.CustomerID, s.Owner, s.Rule, s.MaxRoleID, strconv.Itoa(s.KeyCount), s.LastSync, s.LastSyncBy, s.Created, s.Modified}
	})

// details are a source's fields for reading.
func (s *sourceItem) details() [][]string {
	return [][]string{
		{"Name", printable(s.Name)},
		{"Customer", printable(s.CustomerID)},
		{"Owner", printable(s.Owner)},
		{"Rule", printable(s.Rule)},
		{"Highest role", printable(s.MaxRoleID)},
		{"Keys", strconv.Itoa(s.KeyCount)},
		{"Last sync", strings.TrimSpace(firstOf(shortTime(s.LastSync), "never") + by(s.LastSyncBy))},
		{"Created", shortTime(s.Created)},
		{"Modified", shortTime(s.Modified)},
	}
}

// sourceRef is how a command line names a source.
type sourceRef struct{ customer string }

func (r *sourceRef) register(flags *pflag.FlagSet) {
	flags.StringVar(&r.customer, "customer", "", "id of the customer (default your own, or the only one with such a source)")
}

// doSource is do for a call about a source. A name that sources of several
// customers have is the conflict that it is with keys; the API, which cannot take
// one of them either, calls it an incomplete request.
func (c *client) doSource(ctx context.Context, in call) (*reply, error) {
	r, err := c.do(ctx, in)
	var refused *problem
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest && !in.query.Has("customer_id") {
		for _, e := range refused.Errors {
			if e.Field == "customer_id" {
				return nil, &codedError{code: ExitConflict, text: "sources of several customers have that name; say whose by --customer, `source list` shows them"}
			}
		}
	}
	return r, err
}

// on is a call about the source of that name.
func (r *sourceRef) on(name, method string) call {
	c := call{method: method, path: sourcesPath + "/" + url.PathEscape(name), query: url.Values{}}
	set(c.query, map[string]string{"customer_id": r.customer})
	return c
}

func (s *console) addSourceList(parent *cobra.Command) {
	var text, customer string
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: "List sources",
		long:  "List the external sources of keys, by name.",
		example: `
  PROGRAM source list
  PROGRAM source list --customer acme -o json`,
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			set(q, map[string]string{"q": text, "customer_id": customer})
			return c.list(ctx, sourceList, q, f.all)
		},
	})
	cmd.Flags().StringVarP(&text, "query", "q", "", "found in name or owner")
	cmd.Flags().StringVar(&customer, "customer", "", "id of the customer")
	f.register(cmd.Flags(), "sources")
}

func (s *console) addSourceShow(parent *cobra.Command) {
	var ref sourceRef
	cmd := s.add(parent, verb{
		use:     "show NAME",
		short:   "Show one source",
		long:    "Show one source: its owner, its rule, and when its list was last pushed, by whom.",
		example: "  PROGRAM source show idp",
		args:    []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			r, err := c.doSource(ctx, ref.on(args[0], http.MethodGet))
			if err != nil {
				return err
			}
			return writeRecord(s, sourceList, r.body, (*sourceItem).details)
		},
	})
	ref.register(cmd.Flags())
}

// sourceFlags are a source's settings.
type sourceFlags struct {
	sourceRef
	owner, rule, maxRole string
}

func (f *sourceFlags) register(s *console, cmd *cobra.Command) {
	f.sourceRef.register(cmd.Flags())
	cmd.Flags().StringVar(&f.owner, "owner", "", "who to turn to about its keys, for people")
	cmd.Flags().StringVar(&f.rule, "rule", "", "read_only: its keys are changed there; locked: neither here nor there")
	cmd.Flags().StringVar(&f.maxRole, "max-role", "", "id or name of the highest role that its keys may have")
	s.complete(cmd, "rule", sourceRules...)
}

func (s *console) addSourceCreate(parent *cobra.Command) {
	var f sourceFlags
	cmd := s.add(parent, verb{
		use:   "create NAME",
		short: "Make a source",
		long: `
Make a source. It owns no keys until it pushes its first list. You cannot let it
give more than you hold yourself.`,
		example: `
  PROGRAM source create idp --owner "Identity team" --rule read_only --max-role role_api_read_only`,
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			if f.rule == "" || f.maxRole == "" {
				return usagef("--rule and --max-role are needed: what may be done here with its keys, and what they may do at most")
			}
			role, err := c.findRole(ctx, f.maxRole, f.customer)
			if err != nil {
				return err
			}
			body := map[string]any{"name": args[0], "rule": f.rule, "max_role_id": role, "owner": f.owner}
			if f.customer != "" {
				body["customer_id"] = f.customer
			}
			r, err := c.do(ctx, call{method: http.MethodPost, path: sourcesPath, body: body})
			if err != nil {
				return err
			}
			return writeRecord(s, sourceList, r.body, (*sourceItem).details)
		},
	})
	f.register(s, cmd)
}

func (s *console) addSourceEdit(parent *cobra.Command) {
	var f sourceFlags
	var cmd *cobra.Command
	cmd = s.add(parent, verb{
		use:   "edit NAME",
		short: "Change a source",
		long: `
Change what the flags name. The change is refused (exit code 6) when someone else
changed the source, or pushed its list, at the same time.`,
		example: `
  PROGRAM source edit idp --owner "Platform team" --rule locked`,
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			patch := map[string]any{}
			for flag, member := range map[string]string{"owner": "owner", "rule": "rule"} {
				if cmd.Flags().Changed(flag) {
					patch[member] = cmd.Flags().Lookup(flag).Value.String()
				}
			}
			if len(patch) == 0 && f.maxRole == "" {
				return usagef("nothing to change: no flag names a setting")
			}
			return c.editSource(ctx, args[0], &f, patch)
		},
	})
	f.register(s, cmd)
}

func (c *client) editSource(ctx context.Context, name string, f *sourceFlags, patch map[string]any) error {
	was, err := c.doSource(ctx, f.on(name, http.MethodGet))
	if err != nil {
		return err
	}
	var item sourceItem
	if err := json.Unmarshal(was.body, &item); err != nil {
		return fmt.Errorf("reading the source from %s: %w", c.where, err)
	}
	if f.maxRole != "" {
		if patch["max_role_id"], err = c.findRole(ctx, f.maxRole, item.CustomerID); err != nil {
			return err
		}
	}
	edit := f.on(name, http.MethodPatch)
	edit.query.Set("customer_id", item.CustomerID)
	edit.body, edit.merge, edit.match = patch, true, was.etag
	r, err := c.do(ctx, edit)
	if err != nil {
		return err
	}
	return writeRecord(c.console, sourceList, r.body, (*sourceItem).details)
}

func (s *console) addSourceDelete(parent *cobra.Command) {
	var ref sourceRef
	yes := false
	cmd := s.add(parent, verb{
		use:   "delete NAME",
		short: "Delete a source that owns no keys",
		long: `
Delete a source that owns no keys; push an empty list first. Asks first on a
terminal; elsewhere --yes is needed.`,
		example: `
  PROGRAM source delete idp --yes`,
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			if err := s.askable(yes); err != nil {
				return err
			}
			if err := s.agreed(ctx, yes, fmt.Sprintf("Delete the source %s?", args[0])); err != nil {
				return err
			}
			if _, err := c.doSource(ctx, ref.on(args[0], http.MethodDelete)); err != nil {
				return err
			}
			s.note("deleted %s", printable(args[0]))
			return nil
		},
	})
	ref.register(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
}
