package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// keyFlags are a key's settings as flags, of `key create` and `key edit`.
type keyFlags struct {
	cmd                                            *cobra.Command
	name, role, customer, microtenant, description string
	validity, expires                              string
	cidrs, labels                                  []string
	disabled                                       bool
}

func (f *keyFlags) given(name string) bool { return f.cmd.Flags().Changed(name) }

func (f *keyFlags) register(cmd *cobra.Command, expires, cidr, label string) {
	f.cmd = cmd
	flags := cmd.Flags()
	flags.StringVar(&f.description, "description", "", "what the key is for")
	flags.StringVar(&f.validity, "session-validity", "", "lifetime of its access tokens: seconds, or a duration such as 30m;\n\"default\" for the server's")
	flags.StringVar(&f.expires, "expires", "", expires)
	flags.StringArrayVar(&f.cidrs, "cidr", nil, cidr)
	flags.StringArrayVar(&f.labels, "label", nil, label)
}

func (s *console) addKeyCreate(parent *cobra.Command) {
	f := &keyFlags{}
	cmd := s.add(parent, verb{
		use:   "create NAME",
		short: "Make a key and show its secret, once",
		long: `
Make a key. Its client ID and secret are made by Keyreeve; the secret is shown
this one time and stored nowhere.

You cannot give a key more than you hold yourself: no stronger role, no other
customer, no wider networks, no later expiry.`,
		example: `
  PROGRAM key create ci-deploy --role "API Read Only" --customer acme
  PROGRAM key create nightly --role role_api_full_access --customer acme \
      --expires 90d --cidr 192.0.2.0/24 --label team=platform
  PROGRAM key create ci --role role_api_read_only --customer acme -o json |
      jq -r '"\(.client_id):\(.client_secret)"' > credentials`,
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			return c.createKey(ctx, args[0], f)
		},
	})
	f.register(cmd,
		"when the key ends: a time such as 2027-01-01T00:00:00Z, a day, or from now such as\n720h or 90d (default never)",
		"network the key may be used from, may be repeated (default anywhere)",
		"key=value to find the key by, may be repeated")
	cmd.Flags().StringVar(&f.role, "role", "", "id or name of the role: what the key may do (required)")
	cmd.Flags().StringVar(&f.customer, "customer", "", "id of the customer it belongs to (default your own)")
	cmd.Flags().StringVar(&f.microtenant, "microtenant", "", "id of the customer's microtenant it is confined to")
	cmd.Flags().BoolVar(&f.disabled, "disabled", false, "make it, but refuse it until it is enabled")
	s.completeRole(cmd)
}

func (c *client) createKey(ctx context.Context, name string, f *keyFlags) error {
	if f.role == "" {
		return usagef("--role is missing: the id or name of a role, such as role_api_read_only")
	}
	body := map[string]any{"name": name}
	if err := f.fields(body, c.console, false); err != nil {
		return err
	}
	for field, value := range map[string]string{"customer_id": f.customer, "microtenant_id": f.microtenant} {
		if value != "" {
			body[field] = value
		}
	}
	if f.disabled {
		body["enabled"] = false
	}
	role, err := c.findRole(ctx, f.role, f.customer)
	if err != nil {
		return err
	}
	body["role_id"] = role
	r, err := c.do(ctx, call{method: http.MethodPost, path: keysPath, body: body})
	if err != nil {
		return err
	}
	var k key
	if err := json.Unmarshal(r.body, &k); err != nil {
		return fmt.Errorf("the key was made, but the answer of %s cannot be read: %w", c.where, err)
	}
	if err := c.console.writeKey(&k, r.body); err != nil {
		return fmt.Errorf("the key %s was made, but its secret could not be written and is lost; delete it and make another: %w", k.ID, err)
	}
	if k.ClientSecret != "" {
		c.console.note("the client secret is shown only this once; store it now")
	}
	return nil
}

// fields adds the settings given as flags to a body; patch marks a merge patch,
// which can also take values away. null stands for the server's default.
func (f *keyFlags) fields(body map[string]any, s *console, patch bool) error {
	if f.given("description") {
		body["description"] = f.description
	}
	if f.given("session-validity") {
		if body["session_validity_seconds"] = nil; f.validity != "default" {
			seconds, err := parseValidity(f.validity)
			if err != nil {
				return err
			}
			body["session_validity_seconds"] = seconds
		}
	}
	if f.given("expires") {
		if body["expires_at"] = nil; f.expires != "never" {
			at, err := parseExpiry(f.expires, s.env.Now())
			if err != nil {
				return err
			}
			body["expires_at"] = at
		}
	}
	if f.given("cidr") {
		cidrs := f.cidrs
		if patch && len(cidrs) == 1 && cidrs[0] == "any" {
			cidrs = nil
		}
		networks, err := parseCIDRs(cidrs)
		if err != nil {
			return err
		}
		body["allowed_cidrs"] = networks
	}
	if f.given("label") {
		labels, err := parseLabels(f.labels, patch)
		if err != nil {
			return err
		}
		body["labels"] = labels
	}
	return nil
}

func (s *console) addKeyEdit(parent *cobra.Command) {
	f := &keyFlags{}
	var in narrow
	cmd := s.add(parent, verb{
		use:   "edit KEY",
		short: "Change a key's settings",
		long: `
Change what the flags name and leave the rest as it is. The change is refused
(exit code 6) when someone else changed the key at the same time. A key's
customer and microtenant cannot be changed; its secret neither.`,
		example: `
  PROGRAM key edit ci-deploy --name ci-release --label team=release
  PROGRAM key edit ci-deploy --role role_api_read_only
  PROGRAM key edit ci-deploy --expires never --cidr any --label team-`,
		args:   []string{"KEY"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			return c.editKey(ctx, args[0], in, f)
		},
	})
	f.register(cmd,
		"when the key ends: a time, a day, from now such as 90d, or never",
		"network the key may be used from, may be repeated; replaces all; any for anywhere",
		"key=value to set a label, key- to remove it; may be repeated")
	in.register(cmd.Flags())
	cmd.Flags().StringVar(&f.name, "name", "", "new name")
	cmd.Flags().StringVar(&f.role, "role", "", "id or name of the new role")
	s.completeRole(cmd)
}

func (c *client) editKey(ctx context.Context, ref string, in narrow, f *keyFlags) error {
	patch := map[string]any{}
	if err := f.fields(patch, c.console, true); err != nil {
		return err
	}
	if f.given("name") {
		patch["name"] = f.name
	}
	if len(patch) == 0 && !f.given("role") {
		return usagef("nothing to change: no flag names a setting")
	}
	k, err := c.findKey(ctx, ref, in)
	if err != nil {
		return err
	}
	if f.given("role") {
		if patch["role_id"], err = c.findRole(ctx, f.role, k.CustomerID); err != nil {
			return err
		}
	}
	return c.patchKey(ctx, k, patch, k.reply.etag)
}

// patchKey changes a key; match is the ETag it must still have, "" for any: a key
// is disabled whatever else became of it meanwhile.
func (c *client) patchKey(ctx context.Context, k *found, patch map[string]any, match string) error {
	r, err := c.do(ctx, call{method: http.MethodPatch, path: keyPath(k.ID), body: patch, merge: true, match: match})
	if err != nil {
		return err
	}
	var changed key
	if err := json.Unmarshal(r.body, &changed); err != nil {
		return fmt.Errorf("the key was changed, but the answer of %s cannot be read: %w", c.where, err)
	}
	return c.console.writeKey(&changed, r.body)
}

func (s *console) addKeyEnabled(parent *cobra.Command, name, short string, enabled bool) {
	var f batchFlags
	atSource := false
	effect := "It can be used again at once, unless it is locked or has expired."
	if !enabled {
		effect = "From the answer on, every request with it is refused; nothing else of it changes."
	}
	cmd := s.add(parent, verb{
		use:   name + " KEY...",
		short: short,
		long: short + ". " + effect + `

Of several keys, those that cannot be changed are told and the others are done.
A key of an external source is switched by its source; --here refuses it here
all the same, or ends that.`,
		example: strings.ReplaceAll(`
  PROGRAM key VERB ci-deploy
  PROGRAM key VERB ci-deploy nightly --dry-run
  PROGRAM key VERB from-idp --here`, "VERB", name),
		args:   []string{"KEY"},
		many:   true,
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			action, patch := name, map[string]any{"enabled": enabled}
			if atSource {
				action, patch = name+"_here", map[string]any{"disabled_here": !enabled}
			}
			if !f.one(args) {
				return c.batchByName(ctx, action, args, f)
			}
			k, err := c.findKey(ctx, args[0], f.narrow)
			if err != nil {
				return err
			}
			return c.patchKey(ctx, k, patch, "")
		},
	})
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&atSource, "here", false, "for a key of an external source, whatever its source says")
}

func (s *console) addKeyDelete(parent *cobra.Command) {
	var f batchFlags
	yes := false
	cmd := s.add(parent, verb{
		use:   "delete KEY...",
		short: "Delete a key for good",
		long: `
Delete a key for good: its client ID and secrets are refused from then on and
do not come back with a new key of the same name. Asks first on a terminal;
elsewhere --yes is needed. To stop a key for a while, disable it.

Of several keys, those that cannot be deleted are told and the others are.`,
		example: `
  PROGRAM key delete ci-deploy
  PROGRAM key delete ci-deploy --yes
  PROGRAM key delete old-1 old-2 old-3 --dry-run`,
		args:   []string{"KEY"},
		many:   true,
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			if !yes && !f.dryRun && !isTerminal(s.env.Stdin) {
				return usagef("--yes is missing: without a terminal nothing can be asked")
			}
			keys, err := c.findKeys(ctx, args, f.narrow)
			if err != nil {
				return err
			}
			if !yes && !f.dryRun && !s.confirm(ctx, deleteQuestion(keys)) {
				return fmt.Errorf("not deleted")
			}
			if !f.one(args) {
				return c.batch(ctx, "delete", keys, f.dryRun)
			}
			if _, err := c.do(ctx, call{method: http.MethodDelete, path: keyPath(keys[0].ID)}); err != nil {
				return err
			}
			s.note("deleted %s", keys[0].label())
			return nil
		},
	})
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
}

func deleteQuestion(keys []*key) string {
	if len(keys) == 1 {
		return fmt.Sprintf("Delete key %s for good?", keys[0].label())
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.label()
	}
	return fmt.Sprintf("Delete %d keys for good: %s?", len(keys), strings.Join(names, ", "))
}

// confirm asks a question on the terminal; anything but y or yes is no, an
// interrupt too.
func (s *console) confirm(ctx context.Context, question string) bool {
	fmt.Fprintf(s.env.Stderr, "%s [y/N] ", printable(question))
	answer := make(chan string, 1)
	go func() { // ends with the process where nothing is ever typed
		line, _ := bufio.NewReader(s.env.Stdin).ReadString('\n') // an end of input is a no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		return line == "y" || line == "yes"
	case <-ctx.Done():
		s.note("")
		return false
	}
}
