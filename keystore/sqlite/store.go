// Package sqlite is the embedded key store: one SQLite file, written ahead
// (WAL) and synced on every commit, shared by any number of processes of one
// machine. What it has in common with other databases is in package sqlstore.
package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// Store is a keystore.Store in an SQLite file.
type Store struct {
	*sqlstore.Store
	path string
	// file is the file that was opened under path.
	file   os.FileInfo
	logger *zap.Logger

	// writes holds the one connection that writes; whoever has it has the turn.
	writes  *pool
	readers *pool
	// feed is a connection of its own for Head, which is asked many times a second
	// and must not wait behind long reads.
	feed *pool

	dbs []*sql.DB
	// users is held while this store is one of those that have the file open, nil for
	// a visitor.
	users *os.File
}

// database is the store as package sqlstore sees it.
type database struct{ *Store }

var dialect = sqlstore.Dialect{
	Local:     true,
	BeginRead: "BEGIN", BeginWrite: "BEGIN IMMEDIATE", BeginFree: "BEGIN IMMEDIATE",
	Each: "SELECT value FROM json_each(?)",
	List: func(values []string) (any, error) {
		if values == nil {
			values = []string{}
		}
		data, err := json.Marshal(values)
		return string(data), err
	},
	Contains:   "instr",
	Label:      labels + ")",
	LabelValue: labels + " AND l.value = ?)",
	KeyRow:     "k.rowid",
	Unindexed:  "+", // the same value, but no index's
}

const labels = "EXISTS (SELECT 1 FROM json_each(nullif(k.labels, '')) l WHERE l.key = ?"

// Dialect is SQLite's.
func (database) Dialect() *sqlstore.Dialect { return &dialect }

// Acquire waits for a connection, of which one writes.
func (d database) Acquire(ctx context.Context, access sqlstore.Access) (sqlstore.Conn, error) {
	from := d.readers
	if access != sqlstore.Lookup && access != sqlstore.Read {
		if err := d.inPlace(); err != nil {
			return nil, err
		}
		from = d.writes
	}
	c, err := from.get(ctx)
	if err != nil {
		return nil, err // not c, which would be no nil interface
	}
	return c, nil
}

// Release gives a connection back.
func (database) Release(c sqlstore.Conn) {
	own := c.(*conn)
	own.pool.put(own)
}

// Error is a driver's error in the words of package keystore.
func (database) Error(ctx context.Context, err error) error { return storeError(ctx, err) }

// Identity is the canonical path of the file: two stores opened through
// different links to one directory share state.
func (s *Store) Identity() string { return identity(s.path) }

// inPlace answers an error once another file stands where the opened one was: a
// backup moved over it, or the file deleted. Connections go on with the old one,
// which nobody else sees.
func (s *Store) inPlace() error {
	now, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("the key store's file is gone: %w; put it back and restart", err)
	}
	if !os.SameFile(s.file, now) {
		return fmt.Errorf("%s was replaced by another file while it was open; restart to use that one", s.path)
	}
	return nil
}

func identity(path string) string { return "sqlite:" + path }

// Close waits for calls under way, moves what is in the write-ahead log into
// the database file and releases it. Closing again does nothing.
func (s *Store) Close() error {
	if !s.Shut() {
		return nil
	}
	s.checkpoint()
	return s.closeAll()
}

// checkpoint empties the write-ahead log. It may stay as it is: another process
// still reads from it, or the disk is full. Nothing is lost then.
func (s *Store) checkpoint() {
	ctx := context.Background()
	c, err := s.writes.get(ctx)
	if err != nil {
		return
	}
	defer s.writes.put(c)
	for _, pragma := range []string{"PRAGMA busy_timeout = 100", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := c.Exec(ctx, pragma); err != nil {
			s.logger.Debug("the write-ahead log was left as it is", zap.String("path", s.path), zap.Error(err))
			return
		}
	}
}

func (s *Store) closeAll() error {
	var errs []error
	for _, p := range []*pool{s.feed, s.readers, s.writes} {
		errs = append(errs, p.close())
	}
	for _, db := range s.dbs {
		errs = append(errs, db.Close())
	}
	errs = append(errs, s.leave())
	return errors.Join(errs...)
}

var (
	_ keystore.Store    = (*Store)(nil)
	_ sqlstore.Database = database{}
)
