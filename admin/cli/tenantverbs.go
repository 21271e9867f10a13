package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func (k tenantKind) addCreate(s *console, parent *cobra.Command) {
	var id, customer string
	disabled := false
	in := ""
	if k.inCustomer {
		in = " --customer acme"
	}
	cmd := s.add(parent, verb{
		use:   "create NAME",
		short: k.words("Make a NOUN"),
		long: k.words(`
Make a NOUN. With --id it has the id that it has at the upstream; else one is made
for it. The id cannot be changed.`),
		example: k.words(`
  PROGRAM NOUN create Emea`+in+`
  PROGRAM NOUN create Emea`+in) + " --id 216196257331281921",
		args: []string{"NAME"},
		run: func(ctx context.Context, c *client, args []string) error {
			body := map[string]any{"name": args[0]}
			for field, value := range map[string]string{"id": id, "customer_id": customer} {
				if value != "" {
					body[field] = value
				}
			}
			if disabled {
				body["enabled"] = false
			}
			r, err := c.do(ctx, call{method: http.MethodPost, path: k.list.path, body: body})
			if err != nil {
				return err
			}
			return k.write(s, r.body)
		},
	})
	cmd.Flags().StringVar(&id, "id", "", "id of your own choice: A-Z a-z 0-9 _ -, at most 64 (default one is made)")
	cmd.Flags().BoolVar(&disabled, "disabled", false, "make it, but refuse its keys until it is enabled")
	k.registerCustomer(cmd, &customer, "id of the customer it belongs to (default your own)")
}

func (k tenantKind) addList(s *console, parent *cobra.Command) {
	var text, customer, sort string
	var f pageFlags
	cmd := s.add(parent, verb{
		use:   "list",
		short: k.words("List NOUNs"),
		long:  k.words("List the NOUNs that you may see, by name."),
		example: k.words(`
  PROGRAM NOUN list
  PROGRAM NOUN list -q west --sort -created_at --all -o csv`),
		run: func(ctx context.Context, c *client, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			set(q, map[string]string{"q": text, "customer_id": customer, "sort": sort})
			return c.list(ctx, k.list, q, f.all)
		},
	})
	flags := cmd.Flags()
	flags.StringVarP(&text, "query", "q", "", "found in name or id")
	flags.StringVar(&sort, "sort", "", "name or created_at, with - in front from last to first (default name)")
	k.registerCustomer(cmd, &customer, "id of the customer")
	f.register(flags, k.noun+"s")
	s.complete(cmd, "sort", "name", "-name", "created_at", "-created_at")
}

// whose is the usage of --customer for verbs about one tenant.
const whose = "id of the customer, where several have one of that id or name"

func (k tenantKind) addShow(s *console, parent *cobra.Command) {
	var customer string
	cmd := s.add(parent, verb{
		use:   "show " + k.ref(),
		short: k.words("Show one NOUN"),
		long:  k.words("Show one NOUN, named by its id or its name."),
		example: k.words(`
  PROGRAM NOUN show emea
  PROGRAM NOUN show emea -o json`),
		args: []string{k.ref()},
		run: func(ctx context.Context, c *client, args []string) error {
			t, err := k.find(ctx, c, args[0], customer)
			if err != nil {
				return err
			}
			return k.write(s, t.reply.body)
		},
	})
	k.registerCustomer(cmd, &customer, whose)
}

func (k tenantKind) addEdit(s *console, parent *cobra.Command) {
	var customer, name string
	cmd := s.add(parent, verb{
		use:   "edit " + k.ref(),
		short: k.words("Rename a NOUN"),
		long: k.words(`
Rename a NOUN. Its id stays. The change is refused (exit code 6) when someone else
changed the NOUN at the same time.`),
		example: k.words(`
  PROGRAM NOUN edit emea --name "Europe and Middle East"`),
		args: []string{k.ref()},
		run: func(ctx context.Context, c *client, args []string) error {
			if name == "" {
				return usagef("nothing to change: --name is missing")
			}
			t, err := k.find(ctx, c, args[0], customer)
			if err != nil {
				return err
			}
			return k.patch(ctx, c, t, map[string]any{"name": name}, t.reply.etag)
		},
	})
	cmd.Flags().StringVar(&name, "name", "", "new name")
	k.registerCustomer(cmd, &customer, whose)
}

// patch changes a tenant; match is the ETag it must still have, "" for any: it is
// disabled whatever else became of it meanwhile.
func (k tenantKind) patch(ctx context.Context, c *client, t *foundTenant, patch map[string]any, match string) error {
	in := k.on(&t.tenantItem, http.MethodPatch)
	in.body, in.merge, in.match = patch, true, match
	r, err := c.do(ctx, in)
	if err != nil {
		return err
	}
	return k.write(c.console, r.body)
}

func (k tenantKind) addEnabled(s *console, parent *cobra.Command, name string, enabled bool) {
	var customer string
	short, long := "Let the keys of a NOUN be used again", `
Let the keys of a disabled NOUN be used again, each as far as it is enabled itself.
Sessions from before do not come back.`
	if !enabled {
		short, long = "Refuse all keys of a NOUN", `
Refuse all keys of a NOUN until it is enabled again. From the answer on none of
their requests is let through, and their sessions are over for good.`
	}
	cmd := s.add(parent, verb{
		use:     name + " " + k.ref(),
		short:   k.words(short),
		long:    k.words(long),
		example: k.words("  PROGRAM NOUN ") + name + " emea",
		args:    []string{k.ref()},
		run: func(ctx context.Context, c *client, args []string) error {
			t, err := k.find(ctx, c, args[0], customer)
			if err != nil {
				return err
			}
			return k.patch(ctx, c, t, map[string]any{"enabled": enabled}, "")
		},
	})
	k.registerCustomer(cmd, &customer, whose)
}

func (k tenantKind) addDelete(s *console, parent *cobra.Command) {
	var customer string
	yes := false
	owns := "keys, roles, sources or microtenants"
	if k.inCustomer {
		owns = "keys"
	}
	cmd := s.add(parent, verb{
		use:   "delete " + k.ref(),
		short: k.words("Delete a NOUN that owns nothing"),
		long: k.words(`
Delete a NOUN for good. It must not have `+owns) + ` any more. Asks
first on a terminal; elsewhere --yes is needed.`,
		example: k.words(`
  PROGRAM NOUN delete emea --yes`),
		args: []string{k.ref()},
		run: func(ctx context.Context, c *client, args []string) error {
			if err := s.askable(yes); err != nil {
				return err
			}
			t, err := k.find(ctx, c, args[0], customer)
			if err != nil {
				return err
			}
			if err := s.agreed(ctx, yes, fmt.Sprintf("Delete the %s %s (%s) for good?", k.noun, t.Name, t.ID)); err != nil {
				return err
			}
			if _, err := c.do(ctx, k.on(&t.tenantItem, http.MethodDelete)); err != nil {
				return err
			}
			s.note("deleted %s", t.label())
			return nil
		},
	})
	k.registerCustomer(cmd, &customer, whose)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
}
