package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var keyGroup = Group{
	Name:  "key",
	Short: "Manage API keys",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "key", "Manage API keys", keyLong, keyExample)
		s.addKeyCreate(cmd)
		s.addKeyList(cmd)
		s.addKeyGet(cmd)
		s.addKeyUsage(cmd)
		s.addKeyEdit(cmd)
		s.addKeyEnabled(cmd, "enable", "Let a disabled key be used again", true)
		s.addKeyEnabled(cmd, "disable", "Refuse a key until it is enabled again", false)
		s.addUnlock(cmd, "key")
		s.addKeyDelete(cmd)
	},
}

const keyLong = `
Manage API keys: client ID, secret, role and limits.

A key is named by its id, its client ID or its name. What names several, in any of
these ways, is refused (exit code 6); "id:" before an id names that key alone.

Three ways lead to the keys:
  by default   Caddy's admin endpoint on this machine (--address), no sign-in
  --url        a site that serves keyreeve_admin, signed in by the environment
               variables KEYREEVE_CLIENT_ID and KEYREEVE_CLIENT_SECRET
  --config     the store itself, with no server running; so the first key of
               an installation is made

Exit codes: 0 done, 1 error, 2 wrong usage, 4 not authorised, 5 not found,
6 conflict (also: several keys go by that name).`

const keyExample = `
  PROGRAM key create ci-deploy --role role_api_read_only --customer acme
  PROGRAM key list --state locked
  PROGRAM key unlock ci-deploy
  PROGRAM key list --url https://admin.example.com
  PROGRAM key create first --role role_operator --config /etc/caddy/Caddyfile`

// register adds the flags that tell keys of one name apart.
func (n *narrow) register(flags *pflag.FlagSet) {
	flags.StringVar(&n.customer, "customer", "", "id of the customer, where several have a key of that name")
	flags.StringVar(&n.microtenant, "microtenant", "", "id of the microtenant, likewise")
}

// registerFilter adds the same flags to a list.
func (n *narrow) registerFilter(flags *pflag.FlagSet) {
	flags.StringVar(&n.customer, "customer", "", "id of the customer")
	flags.StringVar(&n.microtenant, "microtenant", "", "id of the microtenant")
}

func (s *console) addKeyGet(parent *cobra.Command) {
	var in narrow
	cmd := s.add(parent, verb{
		use:   "get KEY",
		short: "Show one key",
		long: `
Show one key, named by its id, its client ID or its name; "id:" before an id says
that nothing else is meant. Its secret is not
stored and cannot be shown.`,
		example: `
  PROGRAM key get ci-deploy
  PROGRAM key get ci-deploy -o json | jq .lock`,
		args:   []string{"KEY"},
		keyArg: true,
		run: func(ctx context.Context, c *client, args []string) error {
			k, err := c.findKey(ctx, args[0], in)
			if err != nil {
				return err
			}
			return s.writeKey(&k.key, k.reply.body)
		},
	})
	in.register(cmd.Flags())
}

// writeKey writes one key in the chosen form.
func (s *console) writeKey(k *key, body []byte) error {
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	case formCSV:
		columns, cells := keyColumns, k.cells()
		if k.ClientSecret != "" { // of a key just made
			columns = append([]string{}, columns...)
			columns, cells = append(columns, "client_secret"), append(cells, k.ClientSecret)
		}
		return newCSV(s.env.Stdout).all([][]string{columns, cells})
	}
	return writeTable(s.env.Stdout, nil, k.details(s.colours(s.env.Stdout)))
}
