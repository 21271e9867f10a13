package postgres

import (
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Examination is what can be told of a database without changing it.
type Examination struct {
	// Server is the server's version, such as 17.2.
	Server string
	// Schema is the version the tables are at, 0 for none, and Newest what this program
	// brings them to.
	Schema, Newest int64
	// MasterKeyIDs are the master keys of secrets, and the one that was used last.
	// What else depends on one is only known of an open store.
	MasterKeyIDs []string
	// TLS is the version of TLS on the connection, "" for none, and Local that it does
	// not leave this machine.
	TLS   string
	Local bool
	// Ahead is how far the database's clock is ahead of this process's, known to within
	// Within either way.
	Ahead, Within time.Duration
	// MayMake: there are no tables yet, and this user may make them.
	MayMake bool
	// MayMigrate: this user may change the tables that there are.
	MayMigrate bool
	// Missing are rights that a gate needs and this user lacks, as "UPDATE on keys".
	Missing []string
	// Superuser: the user may do anything, on the server as well.
	Superuser bool
	// MaxConns is how many connections the server takes of ordinary users, and Conns how
	// many there are, of everybody.
	MaxConns, Conns int
}

// Examine looks at a database without changing it. The error says why it could not be
// opened: out of reach, refused, of a newer version.
func Examine(ctx context.Context, o Options) (e Examination, err error) {
	e.Newest = migrations.Newest()
	cfg, err := o.config()
	if err != nil {
		return e, err
	}
	where := identity(cfg)
	failed := func(err error) (Examination, error) {
		return e, fmt.Errorf("looking at the key store %s: %w", where, err)
	}
	connection := cfg.ConnConfig.Copy()
	connection.RuntimeParams["default_transaction_read_only"] = "on"
	c, err := pgx.ConnectConfig(ctx, connection)
	if err != nil {
		return failed(connectError(ctx, err))
	}
	defer c.Close(context.WithoutCancel(ctx))
	if err := e.server(ctx, c); err != nil {
		return failed(storeError(ctx, err))
	}
	if encoding := c.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return failed(fmt.Errorf("the database's encoding is %s, expected UTF8", encoding))
	}
	db := stdlib.OpenDB(*connection)
	defer db.Close()
	if e.Schema, err = migrations.Version(ctx, db); err != nil {
		return failed(storeError(ctx, err))
	}
	if _, err := fits(e.Schema, e.Newest, false); err != nil {
		return failed(err)
	}
	if e.Schema > 0 {
		err = e.tables(ctx, c)
	} else { // the current schema is none where the user may use none
		err = c.QueryRow(ctx, "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)").Scan(&e.MayMake)
	}
	if err != nil {
		return failed(storeError(ctx, err))
	}
	return e, nil
}

// server looks at the server and the way to it.
func (e *Examination) server(ctx context.Context, c *pgx.Conn) error {
	switch socket := c.PgConn().Conn().(type) {
	case *tls.Conn:
		e.TLS = tls.VersionName(socket.ConnectionState().Version)
	default:
		e.Local = socket.RemoteAddr().Network() == "unix"
	}
	var number int
	var at time.Time
	sent := time.Now()
	err := c.QueryRow(ctx, `SELECT clock_timestamp(), current_setting('server_version_num')::int, current_setting('server_version'),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
		(SELECT rolsuper FROM pg_roles WHERE rolname = current_user)`).
		Scan(&at, &number, &e.Server, &e.MaxConns, &e.Conns, &e.Superuser)
	if err != nil {
		return err
	}
	e.Within = time.Since(sent) / 2
	e.Ahead = at.Sub(sent.Add(e.Within))
	if number < oldestVersion {
		return fmt.Errorf("the server is PostgreSQL %d, expected 13 or newer", number/10000)
	}
	return nil
}

// tables looks at what is in the database, and at what this user may do with it.
func (e *Examination) tables(ctx context.Context, c *pgx.Conn) error {
	var user string
	err := c.QueryRow(ctx, "SELECT current_user").Scan(&user)
	if err != nil {
		return err
	}
	if e.Missing, err = missing(ctx, c, user); err != nil || len(e.Missing) > 0 {
		return err
	}
	err = c.QueryRow(ctx, "SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE') FROM pg_class WHERE oid = to_regclass('state')").Scan(&e.MayMigrate)
	if err != nil {
		return err
	}
	// From each to the next by an index, as there may be very many secrets.
	rows, err := c.Query(ctx, `
		WITH RECURSIVE used (id) AS (
			SELECT min(master_key_id) FROM secrets
			UNION ALL
			SELECT (SELECT min(master_key_id) FROM secrets WHERE master_key_id > used.id) FROM used WHERE used.id IS NOT NULL
		)
		SELECT id FROM used WHERE id IS NOT NULL UNION SELECT master_key_id FROM state WHERE master_key_id <> '' ORDER BY 1`)
	if err != nil {
		return err
	}
	e.MasterKeyIDs, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// missing are the rights that a gate needs and a user lacks. Who asks sees the tables.
func missing(ctx context.Context, c *pgx.Conn, user string) ([]string, error) {
	rows, err := c.Query(ctx, `
		SELECT privilege || ' on ' || name FROM unnest($1::text[]) AS t (name), unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (privilege)
		WHERE NOT has_table_privilege($3::name, to_regclass(name), privilege) AND (name <> 'state' OR privilege IN ('SELECT', 'UPDATE'))
		UNION ALL
		SELECT 'USAGE on ' || name FROM unnest($2::text[]) AS s (name) WHERE NOT has_sequence_privilege($3::name, to_regclass(name), 'USAGE')
		UNION ALL
		SELECT 'USAGE on the schema ' || current_schema() WHERE NOT has_schema_privilege($3::name, current_schema(), 'USAGE')
		ORDER BY 1`, made("TABLE"), made("SEQUENCE"), user)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// made are the names of what the migrations make: all that a gate needs rights on.
func made(kind string) (names []string) {
	statement := regexp.MustCompile(`(?m)^CREATE ` + kind + ` (?:IF NOT EXISTS )?(\w+)`)
	paths, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for _, path := range paths {
		text, err := files.ReadFile(path)
		if err != nil {
			panic(err) // it is embedded
		}
		for _, found := range statement.FindAllSubmatch(text, -1) {
			names = append(names, string(found[1]))
		}
	}
	return names
}
