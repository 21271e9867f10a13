package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// applicationID marks the files that are ours ("KREV", at offset 68 of the
	// header; https://www.sqlite.org/fileformat2.html section 1.3).
	applicationID = 0x4b524556
	headerSize    = 100
	headerMagic   = "SQLite format 3\x00"
	// checkUpTo is the size up to which the whole file is checked at the start
	// (some 5 ms a MiB); damage in a larger one shows where it is read.
	checkUpTo = 8 << 20
)

// prepareFile makes an empty file of ours, or looks at the one that is there
// without changing it.
func prepareFile(ctx context.Context, path string, o Options) error {
	found, err := Examine(ctx, path)
	switch {
	case err != nil:
		return err
	case !found.Exists:
		return createFile(ctx, path)
	case o.Visit && found.Schema > 0 && found.Schema < found.Newest: // 0 is one that was never finished
		return fmt.Errorf("%s has schema %d, this program uses %d; start the server of this version once, it migrates: %w",
			path, found.Schema, found.Newest, ErrOlder)
	}
	return protect(path, o.Logger)
}

// Examination is what can be told of a database without changing it.
type Examination struct {
	// Exists is false for a file that is missing or empty, to be made.
	Exists bool
	// Schema is the version the database is at, Newest what this program brings it to.
	Schema, Newest int64
	// Mode are the file's permissions.
	Mode fs.FileMode
	// MasterKeyIDs are the master keys of secrets, and the one that was used last.
	// What else depends on one is only known of an open store.
	MasterKeyIDs []string
}

// Examine looks at a database file without changing it. The error says why it
// could not be opened: damaged, of another program, of a newer version.
func Examine(ctx context.Context, path string) (Examination, error) {
	e := Examination{Newest: schema.Newest()}
	header, err := readHeader(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(header) == 0:
		return e, nil
	case err != nil:
		return e, fmt.Errorf("reading the key store: %w", err)
	case len(header) < headerSize || string(header[:len(headerMagic)]) != headerMagic:
		return e, fmt.Errorf("%s is not an SQLite database, or its header is damaged; name another path or restore a backup", path)
	case binary.BigEndian.Uint32(header[68:]) != applicationID:
		return e, fmt.Errorf("%s is an SQLite database of another program; name another path for the key store", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return e, fmt.Errorf("reading the key store: %w", err)
	}
	e.Exists, e.Mode = true, info.Mode().Perm()
	e.Schema, e.MasterKeyIDs, err = inspect(ctx, path)
	return e, err
}

// readHeader is the first bytes of the file.
func readHeader(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	header := make([]byte, headerSize)
	n, err := io.ReadFull(f, header)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return header[:n], nil
}

// createFile makes the file readable by its owner only (SQLite gives its
// companions -wal and -shm the same mode) and marks it as ours before anything
// else is in it: whatever moment the process may die at, what it leaves behind
// is empty or recognised.
func createFile(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("creating the key store: %w", err)
	}
	err = errors.Join(f.Chmod(0o600), f.Close())
	if err != nil {
		return fmt.Errorf("creating the key store: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "_synchronous=FULL"))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("creating the key store %s: %w", path, storeError(ctx, err))
	}
	return nil
}

// inspect reads the schema's version and checks a small file as a whole, on a
// connection that cannot write.
func inspect(ctx context.Context, path string) (version int64, masterKeys []string, err error) {
	settings := "mode=ro&_query_only=1"
	if _, err := os.Stat(path + "-journal"); err == nil {
		settings = "" // died in its first transaction: to be undone before anything can be read
	}
	db, err := sql.Open("sqlite", dsn(path, settings+"&_busy_timeout=5000"))
	if err != nil {
		return 0, nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	damaged := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the key store %s is damaged or cut short; restore a backup: %w", path, err)
	}
	if version, err = schema.Version(ctx, db); err != nil {
		return 0, nil, damaged(err)
	}
	if version > schema.Newest() {
		return version, nil, fmt.Errorf("%s has schema %d and this program knows up to %d; run the newer version, or restore a backup made by this one: %w",
			path, version, schema.Newest(), keystore.ErrNewer)
	}
	if version > 0 {
		if masterKeys, err = secretKeys(ctx, db); err != nil {
			return version, nil, damaged(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > checkUpTo {
		return version, masterKeys, err
	}
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return version, masterKeys, damaged(err)
	}
	if verdict != "ok" {
		return version, masterKeys, damaged(errors.New(verdict))
	}
	return version, masterKeys, nil
}

// secretKeys are the master keys by columns that every schema has.
func secretKeys(ctx context.Context, db *sql.DB) (ids []string, err error) {
	rows, err := db.QueryContext(ctx, "SELECT master_key_id FROM secrets UNION SELECT master_key_id FROM state WHERE master_key_id <> '' ORDER BY 1")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// protect takes away what others may do with the files: there are verifiers and
// an audit trail in them.
func protect(path string, logger *zap.Logger) error {
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err := os.Chmod(name, 0o600); err != nil {
			return fmt.Errorf("the key store is open to others and that cannot be changed: %w", err)
		}
		logger.Warn("the key store was open to others; now only its owner can read it",
			zap.String("path", name), zap.Stringer("was", info.Mode().Perm()))
	}
	return nil
}
