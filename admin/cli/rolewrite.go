package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/policy"
)

// maxGrants bounds a file of permissions, in bytes: what the API takes.
const maxGrants = 1 << 20

// grantFlags are a role's permissions as flags.
type grantFlags struct {
	grants []string
	file   string
}

func (f *grantFlags) register(cmd *cobra.Command, grant, file string) {
	cmd.Flags().StringArrayVar(&f.grants, "grant", nil, grant)
	cmd.Flags().StringVarP(&f.file, "grants-file", "f", "", file)
}

// read is the permissions as the API takes them: those of the file, then those
// of --grant over them. nil stands for taking an entry away, which patch allows.
func (f *grantFlags) read(s *console, patch bool) (map[string]any, error) {
	grants := map[string]any{}
	if f.file != "" {
		text, err := s.readFile(f.file, "file of permissions", maxGrants)
		if err != nil {
			return nil, err
		}
		var masks map[string]policy.Mask
		if err := json.Unmarshal(text, &masks); err != nil {
			return nil, fmt.Errorf(`%s is no JSON object of permissions such as {"segments": "full", "servers": ["read", "update"]}: %w`, f.file, err)
		}
		for resource, mask := range masks {
			grants[resource] = mask
		}
	}
	for _, g := range f.grants {
		resource, mask, err := parseGrant(g, patch)
		if err != nil {
			return nil, err
		}
		if grants[resource] = mask; mask == 0 {
			grants[resource] = nil
		}
	}
	return grants, nil
}

// parseGrant reads resource=level, or with removal allowed `resource-`, whose mask is 0.
func parseGrant(text string, removal bool) (resource string, mask policy.Mask, err error) {
	resource, level, found := strings.Cut(text, "=")
	if name, taken := strings.CutSuffix(text, "-"); !found && removal && taken && name != "" {
		return name, 0, nil
	}
	hint := "resource=full, resource=view or resource=read,update"
	if removal {
		hint += ", or resource- to take one away"
	}
	if !found || resource == "" || level == "" {
		return "", 0, usagef("--grant %q grants nothing, expected %s", printable(text), hint)
	}
	switch level {
	case "full":
		return resource, policy.Full, nil
	case "view":
		return resource, policy.View, nil
	}
	for _, word := range strings.Split(level, ",") {
		action, err := policy.ParseAction(word)
		if err != nil {
			return "", 0, usagef("--grant %q: %w; or full or view", printable(text), err)
		}
		mask |= action
	}
	return resource, mask, nil
}

func rolePath(id string) string { return rolesPath + "/" + url.PathEscape(id) }

func (s *console) addRoleCreate(parent *cobra.Command) {
	var f grantFlags
	var description, customer string
	every := false
	cmd := s.add(parent, verb{
		use:   "create NAME",
		short: "Make a role",
		long: `
Make a role of a customer, or with --every-customer one that the keys of every
customer may be given, which takes an Operator. It grants what --grant and
--grants-file say, and nothing without them.`,
		example: `
  PROGRAM role create Deployers --customer acme --grant segments=full --grant servers=view
  PROGRAM role create Auditors --every-customer --grant '*=view' --grant keyreeve/audit=view
  PROGRAM role create Deployers --customer acme -f permissions.json`,
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			if every && customer != "" {
				return usagef("--customer and --every-customer exclude each other")
			}
			grants, err := f.read(s, false)
			if err != nil {
				return err
			}
			body := map[string]any{"name": args[0], "description": description, "permissions": grants}
			switch {
			case every:
				body["customer_id"] = nil
			case customer != "":
				body["customer_id"] = customer
			}
			r, err := c.do(ctx, call{method: http.MethodPost, path: rolesPath, body: body})
			if err != nil {
				return err
			}
			return writeRecord(s, roleList, r.body, (*roleItem).details)
		},
	})
	f.register(cmd,
		"resource=level, level being full, view, or some of read,create,update,delete;\nmay be repeated; * is every resource of the upstreams, keyreeve/* every one of Keyreeve's own",
		`file with all permissions, a JSON object such as {"segments": "full"}; - for standard input`)
	cmd.Flags().StringVar(&description, "description", "", "what the role is for")
	cmd.Flags().StringVar(&customer, "customer", "", "id of the customer it belongs to (default your own)")
	cmd.Flags().BoolVar(&every, "every-customer", false, "a role for every customer")
}

// foundRole is a role as the API gave it.
type foundRole struct {
	roleItem
	reply *reply
}

// getRole is the role that ref names.
func (c *client) getRole(ctx context.Context, ref, customer string) (*foundRole, error) {
	id, err := c.findRole(ctx, ref, customer)
	if err != nil {
		return nil, err
	}
	r, err := c.do(ctx, call{method: http.MethodGet, path: rolePath(id)})
	if err != nil {
		return nil, err
	}
	f := &foundRole{reply: r}
	if err := json.Unmarshal(r.body, &f.roleItem); err != nil {
		return nil, fmt.Errorf("reading the role from %s: %w", c.where, err)
	}
	return f, nil
}

// registerRoleCustomer adds the flag that tells roles of one name apart.
func registerRoleCustomer(cmd *cobra.Command, customer *string) {
	cmd.Flags().StringVar(customer, "customer", "", "id of the customer, where several have a role of that name")
}

func (s *console) addRoleShow(parent *cobra.Command) {
	var customer string
	cmd := s.add(parent, verb{
		use:   "show ROLE",
		short: "Show one role",
		long:  "Show one role, named by its id or its name: what it grants, and how many keys have it.",
		example: `
  PROGRAM role show Deployers
  PROGRAM role show role_operator -o json`,
		args: []string{"ROLE"},
		run: func(ctx context.Context, c *client, args []string) error {
			r, err := c.getRole(ctx, args[0], customer)
			if err != nil {
				return err
			}
			return writeRecord(s, roleList, r.reply.body, (*roleItem).details)
		},
	})
	registerRoleCustomer(cmd, &customer)
}

func (s *console) addRoleEdit(parent *cobra.Command) {
	var f grantFlags
	var customer, name, description string
	var cmd *cobra.Command
	cmd = s.add(parent, verb{
		use:   "edit ROLE",
		short: "Change a role",
		long: `
Change what the flags name and leave the rest as it is. --grant changes single
permissions; --grants-file replaces all of them. The keys that have the role can
do what it grants from the answer on. The change is refused (exit code 6) when
someone else changed the role at the same time.`,
		example: `
  PROGRAM role edit Deployers --name Releasers --grant servers=full
  PROGRAM role edit Deployers --grant servers-
  PROGRAM role edit Deployers -f permissions.json`,
		args: []string{"ROLE"},
		run: func(ctx context.Context, c *client, args []string) error {
			patch := map[string]any{}
			if cmd.Flags().Changed("name") {
				patch["name"] = name
			}
			if cmd.Flags().Changed("description") {
				patch["description"] = description
			}
			if len(patch) == 0 && len(f.grants) == 0 && f.file == "" {
				return usagef("nothing to change: no flag names a setting")
			}
			grants, err := f.read(s, true)
			if err != nil {
				return err
			}
			return c.editRole(ctx, args[0], customer, patch, grants, f.file != "")
		},
	})
	f.register(cmd,
		"resource=level to set a permission, resource- to take it away; may be repeated",
		"file with all permissions, a JSON object; replaces what the role had; - for standard input")
	cmd.Flags().StringVar(&name, "name", "", "new name")
	cmd.Flags().StringVar(&description, "description", "", "what the role is for")
	registerRoleCustomer(cmd, &customer)
}

// editRole sends a patch; with replace, permissions that grants does not name go.
func (c *client) editRole(ctx context.Context, ref, customer string, patch, grants map[string]any, replace bool) error {
	r, err := c.getRole(ctx, ref, customer)
	if err != nil {
		return err
	}
	for resource := range r.Permissions {
		if _, named := grants[resource]; replace && !named {
			grants[resource] = nil
		}
	}
	if len(grants) > 0 {
		patch["permissions"] = grants
	}
	changed, err := c.do(ctx, call{method: http.MethodPatch, path: rolePath(r.ID), body: patch, merge: true, match: r.reply.etag})
	if err != nil {
		return err
	}
	return writeRecord(c.console, roleList, changed.body, (*roleItem).details)
}

func (s *console) addRoleDelete(parent *cobra.Command) {
	var customer string
	yes := false
	cmd := s.add(parent, verb{
		use:   "delete ROLE",
		short: "Delete a role that no key has",
		long: `
Delete a role that no key has: give its keys another role first. Asks first on a
terminal; elsewhere --yes is needed.`,
		example: `
  PROGRAM role delete Deployers --yes`,
		args: []string{"ROLE"},
		run: func(ctx context.Context, c *client, args []string) error {
			if err := s.askable(yes); err != nil {
				return err
			}
			r, err := c.getRole(ctx, args[0], customer)
			if err != nil {
				return err
			}
			if err := s.agreed(ctx, yes, fmt.Sprintf("Delete the role %s (%s)?", r.Name, r.ID)); err != nil {
				return err
			}
			if _, err := c.do(ctx, call{method: http.MethodDelete, path: rolePath(r.ID)}); err != nil {
				return err
			}
			s.note("deleted %s (%s)", printable(r.Name), printable(r.ID))
			return nil
		},
	})
	registerRoleCustomer(cmd, &customer)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
}
