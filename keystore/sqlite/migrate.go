package sqlite

import (
	"context"
	"database/sql"
	"embed"

	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

var schema = sqlstore.Migrations{Files: migrations, Dialect: goose.DialectSQLite3, Exists: "SELECT count(*) FROM sqlite_schema WHERE name = ?"}

// migrate applies what is missing. The caller holds the lock file.
func migrate(ctx context.Context, db *sql.DB) error {
	return storeError(ctx, schema.Up(ctx, db))
}
