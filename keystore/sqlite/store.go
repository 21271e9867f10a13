// Package sqlite is the embedded key store: one SQLite file, written ahead
// (WAL) and synced on every commit, shared by any number of processes of one
// machine. Times are kept in UTC to the millisecond, those of failure counts to
// the nanosecond; Put rounds the caller's record in place, so that what is read
// back equals what was put.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Store is a keystore.Store in an SQLite file.
type Store struct {
	path string
	// file is the file that was opened under path.
	file   os.FileInfo
	clock  keystore.Clock
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

	// sealer is what the audit trail is sealed with, nil until it is known.
	sealer atomic.Pointer[keystore.AuditSealer]

	mu     sync.RWMutex // guards closed
	closed bool
	using  sync.WaitGroup
}

// enter registers a call, so that Close waits for it.
func (s *Store) enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return keystore.ErrClosed
	}
	s.using.Add(1)
	return nil
}

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
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.using.Wait()
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
		if _, err := c.exec(ctx, pragma); err != nil {
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

// View runs fn on one snapshot: everything committed before it began, nothing
// of what is committed meanwhile. A call of the store from within fn is not part
// of the snapshot.
func (s *Store) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return s.view(ctx, s.readers, func(r *reader) error { return fn(r) })
}

func (s *Store) view(ctx context.Context, from *pool, fn func(*reader) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.using.Done()
	c, err := from.get(ctx)
	if err != nil {
		return err
	}
	defer from.put(c)
	r := &reader{conn: c, now: s.now()}
	if err := r.beginBy(ctx, "BEGIN"); err != nil {
		return err
	}
	defer r.end("ROLLBACK")
	// A snapshot begins with its first read, not with BEGIN.
	if _, err := r.Head(ctx); err != nil {
		return err
	}
	return fn(r)
}

// Update runs fn in the one write transaction of the moment. fn must not call
// Update, Fail or Succeed of this store: they wait for fn.
func (s *Store) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	return s.update(ctx, func(t *tx) error { return fn(t) })
}

func (s *Store) update(ctx context.Context, fn func(*tx) error) (keystore.Revision, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.using.Done()
	if err := s.inPlace(); err != nil {
		return 0, err
	}
	c, err := s.writes.get(ctx)
	if err != nil {
		return 0, err
	}
	defer s.writes.put(c)
	t := &tx{reader: reader{conn: c, now: s.now(), writing: true}, sealer: s.auditSealer()}
	if err := t.beginBy(ctx, "BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	// Also when fn panics or ends its goroutine; after a commit it does nothing.
	defer t.end("ROLLBACK")
	if err := t.begin(ctx); err != nil {
		return 0, err
	}
	if err := fn(t); err != nil {
		return 0, err
	}
	return t.commit(ctx)
}

// KeyByClientID finds a key in one statement, which is a snapshot of its own.
func (s *Store) KeyByClientID(ctx context.Context, clientID string) (*keystore.Key, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.using.Done()
	c, err := s.readers.get(ctx)
	if err != nil {
		return nil, err
	}
	defer s.readers.put(c)
	r := &reader{conn: c, now: s.now()}
	// The lookup takes microseconds: watching ctx through it would cost more.
	return r.KeyByClientID(context.WithoutCancel(ctx), clientID)
}

// now is the clock's instant, without what a database cannot keep.
func (s *Store) now() policy.Instant {
	now := s.clock.Now()
	now.Wall = now.Wall.Round(0).UTC()
	return now
}

// MasterKeyIDs walks an index from each id to the next, so that it costs a few
// lookups however many secrets there are.
func (s *Store) MasterKeyIDs(ctx context.Context) ([]string, error) {
	var ids []string
	err := s.view(ctx, s.readers, func(r *reader) error {
		var err error
		ids, err = list(ctx, r, func(scan scanner) (id string, err error) { return id, scan(&id) }, `
			WITH RECURSIVE used (id) AS (
				SELECT min(master_key_id) FROM secrets
				UNION ALL
				SELECT (SELECT min(master_key_id) FROM secrets WHERE master_key_id > used.id) FROM used WHERE used.id IS NOT NULL
			)
			SELECT id FROM used WHERE id IS NOT NULL
			UNION SELECT master_key_id FROM state WHERE master_key_id <> ''
			UNION SELECT master_key_id FROM signing_keys WHERE sign_until > ?
			UNION SELECT master_key_id FROM audit_heads WHERE master_key_id <> ''
			UNION SELECT master_key_id FROM audit_root WHERE master_key_id <> ''
			UNION SELECT trimmed_master_key_id FROM audit_heads WHERE trimmed_master_key_id <> ''
			ORDER BY 1`, millis(r.now.Wall))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("master keys in use: %w", err)
	}
	return ids, nil
}

var _ keystore.Store = (*Store)(nil)
