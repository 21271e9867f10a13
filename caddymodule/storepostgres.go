package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/docs"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
)

func init() {
	caddy.RegisterModule(new(PostgresStore))
}

// PostgresStore keeps keys in a PostgreSQL database (13 or newer), which any number
// of gates share.
type PostgresStore struct {
	// How the database is reached: a connection URI
	// (`postgres://gate@db.example.com/keyreeve?sslmode=verify-full`) or keywords and
	// values, with the options and environment variables of libpq. Placeholders are
	// replaced: `{env.KEYREEVE_DSN}`, or `{file./run/secrets/dsn}` for a file that holds
	// it. Leave the password out of the configuration: in one of these, in `PGPASSWORD` or in
	// a passfile. Required.
	DSN string `json:"dsn,omitempty"`

	// The most connections of this process to the database, at least 5. One that is
	// changed takes effect when the store is opened anew. Default: 8.
	MaxConns int `json:"max_conns,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*PostgresStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keyreeve.stores.postgres", New: func() caddy.Module { return new(PostgresStore) }}
}

// Validate finds a dsn that cannot be meant. It connects to nothing.
func (s *PostgresStore) Validate() error {
	if s.MaxConns != 0 && s.MaxConns < postgres.MinMaxConns {
		return fmt.Errorf("store postgres: max_conns %d: expected at least %d", s.MaxConns, postgres.MinMaxConns)
	}
	_, err := s.Identity()
	return err
}

var (
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	// inClear is a password in a URI, or as a keyword or parameter.
	inClear = regexp.MustCompile(`://[^/@]*:[^/@]+@|(?i)\bpassword\s*=\s*[^\s&']|\bpassword\s*=\s*'[^']`)
)

// passwordInClear is what is said of a dsn whose password everybody sees who sees the
// configuration.
const passwordInClear = "the dsn of the key store holds a password in clear, and whoever may see the configuration sees it: " +
	"put the dsn into a file and write {file./path}, or into the environment and write {env.NAME}"

// passwordInClear reports whether the configuration itself holds the password.
func (s *PostgresStore) passwordInClear() bool {
	return inClear.MatchString(placeholder.ReplaceAllString(s.DSN, ""))
}

// options are where the database is. No error of it repeats what may be a password.
func (s *PostgresStore) options() (postgres.Options, error) {
	if strings.TrimSpace(s.DSN) == "" {
		return postgres.Options{}, errors.New("store postgres: a dsn is required, such as postgres://gate@db.example.com/keyreeve?sslmode=verify-full or {env.KEYREEVE_DSN}")
	}
	dsn, err := caddy.NewReplacer().ReplaceOrErr(s.DSN, true, true)
	if err != nil {
		return postgres.Options{}, fmt.Errorf("store postgres: a placeholder of the dsn has no value%s", namedIn(s.DSN))
	}
	return postgres.Options{DSN: strings.TrimSpace(dsn), MaxConns: s.MaxConns}, nil
}

// namedIn lists the placeholders of a dsn that are no pieces of a password: a brace
// may stand in one.
func namedIn(dsn string) string {
	var names []string
	for _, name := range placeholder.FindAllString(dsn, -1) {
		if strings.HasPrefix(name, "{env.") || strings.HasPrefix(name, "{file.") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ": is " + strings.Join(names, " or ") + " set?"
}

// Identity names the database by its hosts, port, name and schema, not by who
// connects to it.
func (s *PostgresStore) Identity() (string, error) {
	o, err := s.options()
	if err != nil {
		return "", err
	}
	identity, err := postgres.Identity(o.DSN)
	if err != nil {
		return "", fmt.Errorf("store postgres: %w", err)
	}
	return identity, nil
}

// Open opens the database, its tables made and migrated as needed.
func (s *PostgresStore) Open(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	return s.open(ctx, clock, false)
}

// Visit opens the database for a command.
func (s *PostgresStore) Visit(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	return s.open(ctx, clock, true)
}

func (s *PostgresStore) open(ctx context.Context, clock keystore.Clock, visit bool) (keystore.Store, error) {
	o, err := s.options()
	if err != nil {
		return nil, err
	}
	o.Clock, o.Logger, o.Visit = clock, logger(), visit
	if visit && o.Logger.Core().Enabled(zap.InfoLevel) { // a command's own words are what is read there
		o.Logger = o.Logger.WithOptions(zap.IncreaseLevel(zap.WarnLevel))
	}
	store, err := postgres.Open(ctx, o)
	if err != nil {
		return nil, err // not a Store that is nil inside
	}
	return store, nil
}

// Examine looks at the database and makes nothing.
func (s *PostgresStore) Examine(ctx context.Context) (examination, error) {
	o, err := s.options()
	if err != nil {
		return examination{}, err
	}
	found, err := postgres.Examine(ctx, o)
	e := examination{exists: found.Schema > 0, schema: found.Schema, newest: found.Newest, masterKeyIDs: found.MasterKeyIDs, postgres: &found}
	if e.where, _ = s.Identity(); e.where == "" {
		e.where = "store postgres"
	}
	return e, err
}

// Upgrade makes the tables or brings them to this version, and gives a user a gate's rights.
func (s *PostgresStore) Upgrade(ctx context.Context, grant string) (from, to int64, err error) {
	o, err := s.options()
	if err != nil {
		return 0, 0, err
	}
	if from, to, err = postgres.Upgrade(ctx, o); err == nil && grant != "" {
		err = postgres.Grant(ctx, o, grant, strings.ReplaceAll(docs.PostgresGrants, `:"gate"`, pgx.Identifier{grant}.Sanitize()))
	}
	return from, to, err
}

// Way is the dsn with all that was put into it. It is for comparing, and shown to nobody.
func (s *PostgresStore) Way() string {
	o, err := s.options()
	if err != nil {
		return ""
	}
	return o.DSN
}

// Reconnect makes an open store connect by this dsn from now on. One that is not open
// yet will be opened by it.
func (s *PostgresStore) Reconnect(store keystore.Store) error {
	o, err := s.options()
	if err != nil {
		return err
	}
	if open, ok := keystore.As[*postgres.Store](store); ok {
		return open.Reconnect(o)
	}
	return nil
}

// conns is how many connections a process takes, as far as the configuration tells.
func (s *PostgresStore) conns() int { return cmp.Or(s.MaxConns, postgres.DefaultMaxConns) }

// Embedded is false: every gate needs the same master key.
func (*PostgresStore) Embedded() bool { return false }

// logger is for stores, which outlive the configuration that happens to come first.
func logger() *zap.Logger { return caddy.Log().Named("keyreeve") }

// UnmarshalCaddyfile reads `postgres <dsn> { max_conns <number> }`.
func (s *PostgresStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	const syntax = "a dsn such as {env.KEYREEVE_DSN}, or {file./path} for one that a file holds"
	d.Next()
	if !d.NextArg() {
		return d.Errf("store postgres: expected %s", syntax)
	}
	s.DSN = d.Val()
	if d.NextArg() {
		// Not repeated: keywords and values without quotes hold the password here.
		return d.Errf("unexpected argument after the dsn: expected one argument, %s; keywords and values stand in one pair of quotes", syntax)
	}
	at := d.Token()
	err := eachOption(d, "postgres", options{
		"max_conns": func() error { return intArg(d, &s.MaxConns) },
	})
	if err == nil && s.MaxConns != 0 && s.MaxConns < postgres.MinMaxConns {
		return wrapAt(at, fmt.Errorf("max_conns %d: expected at least %d", s.MaxConns, postgres.MinMaxConns))
	}
	return err
}

// Interface guards
var (
	_ StoreOpener           = (*PostgresStore)(nil)
	_ examiner              = (*PostgresStore)(nil)
	_ visitor               = (*PostgresStore)(nil)
	_ caddy.Validator       = (*PostgresStore)(nil)
	_ reconnecter           = (*PostgresStore)(nil)
	_ upgrader              = (*PostgresStore)(nil)
	_ caddyfile.Unmarshaler = (*PostgresStore)(nil)
)
