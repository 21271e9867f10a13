package cli

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"
)

// SchemaUpgrade is what is to be done with the tables of a key store.
type SchemaUpgrade struct {
	// Place is the store, named so that its user is the owner of the tables.
	Place
	// Grant is the user that the gates come as, who is given the rights on the tables
	// that a gate needs; "" for nobody.
	Grant string
}

// SchemaReport is what was done.
type SchemaReport struct {
	Store string `json:"store"`
	// From is the version that the tables were of, 0 for none, and To what they are of now.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Granted is the user who was given rights.
	Granted string `json:"granted,omitempty"`
}

var schemaGroup = Group{
	Name:  "schema",
	Short: "Make the tables of a shared key store, or upgrade them",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "schema", "Make the tables of a shared key store, or upgrade them", schemaLong, schemaExample)
		var u SchemaUpgrade
		c := s.add(cmd, verb{use: "upgrade", short: "Make the tables, or bring them to this version, as their owner", long: schemaLong, example: schemaExample})
		c.ValidArgsFunction = cobra.NoFileCompletions
		c.RunE = func(c *cobra.Command, _ []string) error { return s.finish(c, s.upgradeSchema(c, u)) }
		c.Flags().StringVar(&u.Store, "store", "", "the store, such as postgres://keyreeve_owner@db.example.com/keyreeve")
		c.Flags().StringVar(&u.Grant, "grant", "", "give this user, that the gates come as, the rights that a gate needs")
		for _, unused := range []string{"address", "url", "allow-http", "timeout"} {
			_ = cmd.PersistentFlags().MarkHidden(unused) // newGroup has made each
		}
	},
}

const schemaLong = `
Make the tables of a PostgreSQL key store, or bring them to what this version
uses, without running a gate. It is done as the user that owns the tables, or is
to own them; the gates' own user may do neither, and should not.

With --grant that user has the rights of a gate on what is there then, no more:
those of docs/postgres-grants.sql. Done again it changes nothing.

What is in the tables stays. Make a backup first: an older version cannot read
them any more. Gates of an older version that run go on only where the release
says so.

The store is named by its DSN, or by a configuration (--config) that has the
owner's. A password has no place in a command line: put {env.NAME} or
{file./path} in place of it or of the whole, or use PGPASSWORD or a passfile.

Exit codes: 0 done, 1 failed, and nothing is changed, 2 wrong usage.`

const schemaExample = `
  PROGRAM schema upgrade --store '{env.OWNER_DSN}' --grant keyreeve_gate
  PROGRAM schema upgrade --store postgres://keyreeve_owner@db.example.com/keyreeve
  PROGRAM schema upgrade --config owner.Caddyfile -o json`

func (s *console) upgradeSchema(cmd *cobra.Command, u SchemaUpgrade) error {
	if err := s.out.check(); err != nil {
		return err
	}
	for _, reach := range []string{"address", "url", "allow-http", "timeout"} {
		if cmd.Flags().Changed(reach) {
			return usagef("--%s does not belong to schema: it works on the store, see --store and --config", reach)
		}
	}
	switch u.Config = s.reach.config; {
	case u.Store == "" && u.Config == "":
		return usagef("--store is missing: a DSN such as postgres://keyreeve_owner@host/keyreeve, or --config with a configuration")
	case u.Store != "" && u.Config != "":
		return usagef("--store and --config exclude each other")
	case s.env.Schema == nil:
		return usagef("this build cannot open stores")
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	done, err := s.env.Schema(ctx, u)
	if err != nil {
		return err
	}
	if err := s.writeSchema(done); err != nil {
		return err
	}
	switch {
	case done.From == done.To:
		s.note("%s has schema %d already", printable(done.Store), done.To)
	case done.From == 0:
		s.note("%s has its tables now, of schema %d", printable(done.Store), done.To)
	default:
		s.note("%s was brought from schema %d to %d", printable(done.Store), done.From, done.To)
	}
	if done.Granted == "" {
		s.note("next: let --grant, or docs/postgres-grants.sql, give the gates' user its rights, unless they come as this one")
	}
	return nil
}

func (s *console) writeSchema(done SchemaReport) error {
	body, err := json.Marshal(done)
	if err != nil {
		return err
	}
	head := []string{"store", "from", "to", "granted"}
	row := []string{done.Store, strconv.FormatInt(done.From, 10), strconv.FormatInt(done.To, 10), done.Granted}
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	case formCSV:
		return newCSV(s.env.Stdout).all([][]string{head, row})
	}
	return writeTable(s.env.Stdout, []string{"STORE", "FROM", "TO", "GRANTED"}, [][]string{row})
}

// schemaFunc is Env.Schema.
type schemaFunc = func(ctx context.Context, u SchemaUpgrade) (SchemaReport, error)
