package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

const (
	// busyTimeout is how long a statement waits for another process's turn to write.
	busyTimeout = 5 * time.Second
	// maxReaders bounds the connections that read at one time; each is opened when
	// it is first needed.
	maxReaders = 8
	// writeCache is how many bytes one transaction may change before pages of it are
	// written out early, and read and written again: a source's list is many keys.
	writeCache = 32 << 20
)

// Options say where the store is.
type Options struct {
	// Path of the database file. It and its directory are made when missing.
	Path string
	// Clock is the time that locks and snapshots go by. Required.
	Clock keystore.Clock
	// Logger is for what an operator should know; nil is silence.
	Logger *zap.Logger
	// Visit opens for a command, beside the processes that decide on requests and may
	// be of an older version: what is there is not migrated but refused (ErrOlder),
	// and nobody waits for what a visitor has seen.
	Visit bool
}

// ErrOlder: the database has the schema of an older version.
var ErrOlder = errors.New("older schema")

// Open opens the store, making or migrating the file as needed. Several
// processes may open one file at one time. A file that is refused is left as it
// was, byte for byte.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Clock == nil {
		return nil, errors.New("opening the key store: no clock given")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	path, err := canonical(o.Path)
	if err != nil {
		return nil, err
	}
	// Creating and migrating is for one process at a time.
	unlock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return nil, fmt.Errorf("the directory of the key store %s must be writable: %w", path, err)
	}
	defer unlock()
	if err := prepareFile(ctx, path, o); err != nil {
		return nil, err
	}
	s := &Store{path: path, logger: o.Logger}
	s.Store = sqlstore.New(database{s}, o.Clock)
	if !o.Visit {
		err = s.join(ctx)
	}
	if err == nil {
		err = s.connect(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the key store %s: %w", path, err), s.closeAll())
	}
	return s, nil
}

// Identity is what Store.Identity will be for this path. It makes the directory
// when missing.
func Identity(path string) (string, error) {
	path, err := canonical(path)
	if err != nil {
		return "", err
	}
	return identity(path), nil
}

// canonical makes the directory and resolves links, so that one file has one name.
func canonical(path string) (string, error) {
	if path == "" {
		return "", errors.New("opening the key store: no path given")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path of the key store: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("making the directory of the key store: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		path, err = filepath.EvalSymlinks(path)
		if err != nil {
			return "", fmt.Errorf("path of the key store: %w", err)
		}
		return path, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("path of the key store: %w", err)
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

// connect opens the connections and brings the database up to date.
func (s *Store) connect(ctx context.Context) error {
	// What a statement needs to be undone is kept in memory (temp_store): in a file it
	// is a few system calls for every page that a large change touches.
	writer := s.database(fmt.Sprintf("_foreign_keys=on&_synchronous=FULL&_journal_mode=WAL&_pragma=fullfsync(1)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-%d)", writeCache>>10))
	s.writes = newPool(writer, 1)
	c, err := s.writes.get(ctx)
	if err != nil {
		return fmt.Errorf("the file cannot be opened for writing: %w", err)
	}
	if s.file, err = os.Stat(s.path); err != nil {
		s.writes.put(c)
		return err
	}
	var mode string
	err = c.value(ctx, &mode, "PRAGMA journal_mode")
	s.writes.put(c)
	if err != nil {
		return err
	}
	if !strings.EqualFold(mode, "wal") {
		return fmt.Errorf("the file system does not support a write-ahead log (journal mode %q); use a local disk", mode)
	}
	if err := migrate(ctx, s.database("_txlock=immediate&_foreign_keys=on&_synchronous=FULL")); err != nil {
		return err
	}
	// Prepared before the migration, the statement would know the old schema.
	s.readers = newPool(s.database("_query_only=1"), maxReaders)
	s.feed = newPool(s.database("_query_only=1"), 1)
	return s.Prepare(ctx)
}

// database is a handle with the given settings. It keeps no idle connections:
// those in use are held by a pool.
func (s *Store) database(settings string) *sql.DB {
	db, err := sql.Open("sqlite", dsn(s.path, fmt.Sprintf("_busy_timeout=%d&_defensive=1&_dqs=0&_error_rc=1&%s", busyTimeout.Milliseconds(), settings)))
	if err != nil {
		// Only an unknown driver fails here, and this package imports it.
		panic(err)
	}
	db.SetMaxIdleConns(-1)
	s.dbs = append(s.dbs, db)
	return db
}

// dsn names a file as a URI, so that no character of its path is taken for a setting.
func dsn(path, settings string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a Windows drive
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: settings}).String()
}
