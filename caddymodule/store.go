package caddymodule

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
)

func init() {
	caddy.RegisterModule(new(SQLiteStore))
}

// StoreOpener is a module of the namespace keyreeve.stores.
type StoreOpener interface {
	// Identity names the database before it is opened; configurations that name
	// the same one share it.
	Identity() (string, error)
	// Open opens the database, made and migrated as needed.
	Open(ctx context.Context, clock keystore.Clock) (keystore.Store, error)
	// Embedded tells that the database belongs to this machine, so that a master
	// key may be made for it.
	Embedded() bool
}

// examiner is a StoreOpener that can look at its database without making,
// migrating or changing it.
type examiner interface {
	Examine(ctx context.Context) (examination, error)
}

// examination is what can be told of a database that is not open.
type examination struct {
	// where is a file's path, or the identity of another database.
	where string
	// exists is false for one that is to be made.
	exists bool
	// schema is the version it is at, newest what this program brings it to.
	schema, newest int64
	// mode are a file's permissions, 0 where it is none.
	mode fs.FileMode
	// masterKeyIDs are those of secrets, and the one that was used last.
	masterKeyIDs []string
	// postgres is what else is known of such a database, nil of others.
	postgres *postgres.Examination
}

// SQLiteStore keeps keys in a file on this machine.
type SQLiteStore struct {
	// The database file; placeholders are replaced. Its directory is made if
	// missing. Default: `keyreeve/keyreeve.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SQLiteStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "keyreeve.stores.sqlite", New: func() caddy.Module { return new(SQLiteStore) }}
}

func (s *SQLiteStore) file() (string, error) {
	if s.Path == "" {
		return filepath.Join(caddy.AppDataDir(), "keyreeve", "keyreeve.db"), nil
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return "", fmt.Errorf("store sqlite %s: %w", s.Path, err)
	}
	return path, nil
}

// Validate finds a path that cannot be resolved. It looks at no file.
func (s *SQLiteStore) Validate() error {
	_, err := s.file()
	return err
}

// Identity is the database file's path.
func (s *SQLiteStore) Identity() (string, error) {
	path, err := s.file()
	if err != nil {
		return "", err
	}
	return sqlite.Identity(path)
}

// Open opens the file.
func (s *SQLiteStore) Open(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	path, err := s.file()
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, sqlite.Options{Path: path, Clock: clock, Logger: logger()})
}

// Visit opens the file for a command.
func (s *SQLiteStore) Visit(ctx context.Context, clock keystore.Clock) (keystore.Store, error) {
	path, err := s.file()
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, sqlite.Options{Path: path, Clock: clock, Logger: logger(), Visit: true})
}

// Examine looks at the file and makes nothing.
func (s *SQLiteStore) Examine(ctx context.Context) (examination, error) {
	path, err := s.file()
	if err != nil {
		return examination{}, err
	}
	found, err := sqlite.Examine(ctx, path)
	return examination{where: path, exists: found.Exists, schema: found.Schema, newest: found.Newest, mode: found.Mode, masterKeyIDs: found.MasterKeyIDs}, err
}

// Embedded is true: the file is this machine's.
func (*SQLiteStore) Embedded() bool { return true }

// Interface guards
var (
	_ StoreOpener     = (*SQLiteStore)(nil)
	_ examiner        = (*SQLiteStore)(nil)
	_ visitor         = (*SQLiteStore)(nil)
	_ caddy.Validator = (*SQLiteStore)(nil)
)
