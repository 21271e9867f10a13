package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

var migrations = sqlstore.Migrations{Files: files, Dialect: goose.DialectPostgres, Exists: "SELECT count(*) FROM pg_class WHERE oid = to_regclass($1)"}

// migrate applies what is missing, one process at a time. Where nothing is, no right
// is needed for it.
func migrate(ctx context.Context, cfg *pgx.ConnConfig, visit bool) (err error) {
	cfg = cfg.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0" // a large table takes its time
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	done, err := upToDate(ctx, db, visit)
	if err != nil || done {
		return err
	}
	lock, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer lock.Close() // and the session's lock with it, as the handle is closed too
	if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_lock("+migrationLock+")"); err != nil {
		return fmt.Errorf("waiting for another process that makes or migrates the store: %w", err)
	}
	if done, err = upToDate(ctx, db, visit); err != nil || done {
		return err
	}
	return mayNotMake(storeError(ctx, migrations.Up(ctx, db)))
}

// mayNotMake says what to do where a user may not make or change the tables, as a gate's
// own should not. No right to use a schema looks as if it, or its
// tables, were not there.
func mayNotMake(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (slices.Contains([]string{codeNoPrivilege, codeNoSchema, codeNoTable}, pg.Code)) {
		return fmt.Errorf("the user of the dsn may not make or migrate the tables: run `keyreeve schema upgrade` with the dsn of their owner, and --grant for this user: %w", err)
	}
	return err
}

// upToDate reports whether the schema is the one this program uses.
func upToDate(ctx context.Context, db *sql.DB, visit bool) (bool, error) {
	version, err := migrations.Version(ctx, db)
	if err != nil {
		return false, storeError(ctx, err)
	}
	return fits(version, migrations.Newest(), visit)
}

// fits reports whether a schema is the newest; the error is that it may not become it.
func fits(version, newest int64, visit bool) (bool, error) {
	switch {
	case version > newest:
		return false, fmt.Errorf("the database has schema %d and this program knows up to %d; run the newer version, or restore a backup made by this one: %w",
			version, newest, keystore.ErrNewer)
	case visit && 0 < version && version < newest:
		return false, fmt.Errorf("the database has schema %d, this program uses %d; let the owner of its tables run `keyreeve schema upgrade`: %w",
			version, newest, ErrOlder)
	}
	return version == newest, nil
}
