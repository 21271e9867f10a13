package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// Migrations bring a database's schema to what this version uses.
type Migrations struct {
	// Files are migrations/*.sql, named by their padded numbers.
	Files fs.FS
	// Dialect is goose's word for the database.
	Dialect goose.Dialect
	// Exists counts the tables of a bound name.
	Exists string
}

// Newest is the version of the last migration, by its file name.
func (m Migrations) Newest() int64 {
	names, err := fs.Glob(m.Files, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		panic("no migrations embedded")
	}
	last := strings.TrimPrefix(names[len(names)-1], "migrations/") // Glob sorts; names are padded
	number, _, _ := strings.Cut(last, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		panic(err)
	}
	return version
}

// Version is the version a database is at, 0 for a new one.
func (m Migrations) Version(ctx context.Context, db *sql.DB) (int64, error) {
	var tables int
	if err := db.QueryRowContext(ctx, m.Exists, goose.DefaultTablename).Scan(&tables); err != nil {
		return 0, err
	}
	if tables == 0 {
		return 0, nil
	}
	var version int64
	err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+goose.DefaultTablename+" WHERE is_applied").Scan(&version)
	return version, err
}

// Up applies what is missing. One process at a time may do so. The error is the
// driver's.
func (m Migrations) Up(ctx context.Context, db *sql.DB) error {
	version, err := m.Version(ctx, db)
	if err != nil || version == m.Newest() {
		return err
	}
	files, err := fs.Sub(m.Files, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(m.Dialect, db, files, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating from schema %d to %d: %w", version, m.Newest(), err)
	}
	return nil
}
