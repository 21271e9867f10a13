package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// Place is one end of a move: a store by itself, or as a configuration names it.
type Place struct {
	// Store is named as in a Caddyfile: sqlite:path, or a DSN of PostgreSQL.
	Store string
	// Config is a Caddyfile or JSON configuration, in place of Store.
	Config string
}

// Migration is a move of everything from one store to another.
type Migration struct {
	From, To Place
	// MasterKeyFiles are those that the store depends on, to check seals with; none where
	// a configuration names them.
	MasterKeyFiles []string
	// AnyTrail moves an audit trail that is not proved as it is.
	AnyTrail bool
	// Progress hears how far it is, from one goroutine.
	Progress func(sqlstore.CopyProgress)
}

var migrateGroup = Group{
	Name:  "migrate",
	Short: "Move everything to another key store",
	Configure: func(cmd *cobra.Command, env Env) {
		s := newGroup(cmd, env, "migrate", "Move everything to another key store", migrateLong, migrateExample)
		var m Migration
		cmd.Args = func(c *cobra.Command, args []string) error { return s.finish(c, verb{}.checkArgs(args)) }
		cmd.ValidArgsFunction = cobra.NoFileCompletions
		cmd.RunE = func(c *cobra.Command, _ []string) error { return s.finish(c, s.migrate(c, m)) }
		flags := cmd.Flags()
		flags.StringVar(&m.From.Store, "from", "", "the store to move from, such as sqlite:/var/lib/caddy/keyreeve.db")
		flags.StringVar(&m.To.Store, "to", "", "the store to move to, such as postgres://gate@db.example.com/keyreeve")
		flags.StringVar(&m.From.Config, "from-config", "", "move from the store that this Caddyfile or JSON configuration names")
		flags.StringVar(&m.To.Config, "to-config", "", "move to the store that this one names")
		flags.StringArrayVar(&m.MasterKeyFiles, "master-key-file", nil, "check the audit trail's seals with this master key; may be repeated\n(default: those of the configuration)")
		flags.BoolVar(&m.AnyTrail, "unproved-audit", false, "move an audit trail that is not proved as it is")
		for _, unused := range []string{"address", "url", "allow-http", "timeout", "config"} {
			_ = cmd.PersistentFlags().MarkHidden(unused) // newGroup has made each
		}
	},
}

const migrateLong = `
Copy everything in one key store to another: from SQLite to PostgreSQL, back, or
to another of the same kind. Keys with their secrets, sessions, signing keys,
locks, roles, tenants, sources and the audit trail go along, and tokens issued
before are good after. The source is left as it is.

Stop the gates on both stores first; where one runs, nothing is done. What is
written is read back and compared, and the audit trail is followed to its end,
before any of it counts: interrupted or refused, nothing is in the target, and
the same command starts over. A target must be empty, or hold an earlier copy of
the same store that nobody has used.

A store is named sqlite:PATH, postgres://… or by keywords (host=… dbname=…), or by
the configuration that uses it. A password has no place in a command line, where
others on the machine see it: put {env.NAME} or {file./path} in place of it or of
the whole, or use PGPASSWORD or a passfile.

Exit codes: 0 moved, 1 failed or refused, 2 wrong usage, 6 a store is in use.`

const migrateExample = `
  PROGRAM migrate --from-config Caddyfile --to '{env.KEYREEVE_DSN}'
  PROGRAM migrate --from-config Caddyfile --to-config Caddyfile.new
  PROGRAM migrate --from sqlite:/var/lib/caddy/keyreeve.db --to postgres://gate@db.example.com/keyreeve --master-key-file master.key
  PROGRAM migrate --from '{file./run/secrets/dsn}' --to sqlite:copy.db -o json`

// migration is what is told of a finished move.
type migration struct {
	sqlstore.CopyReport
	Seconds float64 `json:"seconds"`
}

func (s *console) migrate(cmd *cobra.Command, m Migration) error {
	if err := s.out.check(); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return err
	}
	for _, reach := range []string{"address", "url", "allow-http", "timeout", "config"} {
		if cmd.Flags().Changed(reach) {
			return usagef("--%s does not belong to migrate: it works on stores, see --from and --from-config", reach)
		}
	}
	if s.env.Migrate == nil {
		return usagef("this build cannot open stores")
	}
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	shown := s.newProgress()
	m.Progress = shown.tell
	began := time.Now()
	report, err := s.env.Migrate(ctx, m)
	shown.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("interrupted; the target is as it was")
	case errors.Is(err, keystore.ErrInDoubt):
		return fmt.Errorf("whether everything was moved is not known, run this again: %w", err)
	case errors.Is(err, keystore.ErrInUse):
		return &codedError{ExitConflict, "nothing was moved: " + err.Error()}
	case err != nil:
		return fmt.Errorf("nothing was moved: %w", err)
	}
	if err := s.writeMigration(migration{report, time.Since(began).Round(time.Millisecond).Seconds()}); err != nil {
		return err
	}
	s.note("%s", proved(report.Audit))
	s.note("next: name %s in the configuration of every gate, with the same master keys, and start them; start none on %s again, and keep it as a backup until all is well", printable(report.To), printable(report.From))
	return nil
}

// check finds what cannot be meant.
func (m *Migration) check() error {
	for _, end := range []struct {
		Place
		flag string
	}{{m.From, "--from"}, {m.To, "--to"}} {
		switch {
		case end.Store == "" && end.Config == "":
			return usagef("%s is missing: a store such as sqlite:/path/to/keyreeve.db or postgres://gate@host/keyreeve, or %s-config with a configuration", end.flag, end.flag)
		case end.Store != "" && end.Config != "":
			return usagef("%s and %s-config exclude each other", end.flag, end.flag)
		}
	}
	return nil
}

func proved(t sqlstore.TrailProof) string {
	switch t.Proved {
	case sqlstore.TrailSeals:
		return fmt.Sprintf("audit trail: %d events in %d chains, proved by their seals", t.Events, t.Chains)
	case sqlstore.TrailLinks:
		return fmt.Sprintf("audit trail: %d events in %d chains, each following on the one before; without --master-key-file their seals were not checked", t.Events, t.Chains)
	}
	return "audit trail: not proved, moved as it is: " + printable(t.Problem)
}

func (s *console) writeMigration(done migration) error {
	body, err := json.Marshal(done)
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(done.Tables))
	for _, t := range done.Tables {
		rows = append(rows, []string{t.Name, strconv.FormatInt(t.Rows, 10)})
	}
	switch s.out.form {
	case formJSON:
		return writeJSON(s.env.Stdout, body)
	case formYAML:
		return writeYAML(s.env.Stdout, body)
	case formCSV:
		return newCSV(s.env.Stdout).all(append([][]string{{"table", "rows"}}, rows...))
	}
	return writeTable(s.env.Stdout, []string{"TABLE", "ROWS"}, append(rows, []string{"in all", strconv.FormatInt(done.Rows, 10)}))
}

// migrateFunc is Env.Migrate.
type migrateFunc = func(ctx context.Context, m Migration) (sqlstore.CopyReport, error)
