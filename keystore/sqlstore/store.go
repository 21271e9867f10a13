// Package sqlstore is the key store in SQL, as far as databases agree: records and
// their encoding, queries, constraints, the change log, the audit chain, counting
// and trimming. Packages sqlite and postgres bring the connections, the schema and
// a Dialect. Times are kept in UTC to the millisecond, those of failure counts to
// the nanosecond; Put rounds the caller's record in place, so that what is read
// back equals what was put.
package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Store is a keystore.Store but for Identity and Close.
type Store struct {
	db      Database
	dialect *Dialect
	clock   keystore.Clock
	// keeper keeps the database's time, nil where that is the machine's.
	keeper Keeper

	// sealer is what the audit trail is sealed with, nil until it is known.
	sealer atomic.Pointer[keystore.AuditSealer]

	mu     sync.RWMutex // guards closed
	closed bool
	using  sync.WaitGroup

	ledger ledger

	followed sync.Mutex // guards answered and answers
	answered answers
	answers  int // that were given so far
}

// New is the store in a database whose schema is there.
func New(db Database, clock keystore.Clock) *Store {
	s := &Store{db: db, dialect: db.Dialect(), clock: clock, ledger: newLedger()}
	if timed, ok := db.(interface{ Keeper() Keeper }); ok {
		s.keeper = timed.Keeper()
	}
	return s
}

// Prepare makes what every store holds: the predefined roles as this version has
// them, what a search looks in, the beginning of the audit trail; and carries locks
// into the running boot. To be called before anything else.
func (s *Store) Prepare(ctx context.Context) error {
	_, err := s.update(ctx, func(t *tx) error {
		if err := t.predefine(ctx); err != nil {
			return err
		}
		if err := t.fillSearch(ctx); err != nil {
			return err
		}
		if err := t.beginTrail(ctx); err != nil {
			return err
		}
		if s.dialect.Moved != "" {
			if err := t.exec(ctx, s.dialect.Moved); err != nil {
				return err
			}
		}
		return t.rebase(ctx, 0)
	})
	return err
}

// Enter registers a call, so that Shut waits for it.
func (s *Store) Enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return keystore.ErrClosed
	}
	s.using.Add(1)
	return nil
}

// Leave ends what Enter registered.
func (s *Store) Leave() { s.using.Done() }

// Shut refuses calls from now on and waits for those under way. False: it was shut
// already.
func (s *Store) Shut() bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed = true
	s.mu.Unlock()
	s.using.Wait()
	return true
}

// View runs fn on one snapshot: everything committed before it began, nothing
// of what is committed meanwhile. A call of the store from within fn is not part
// of the snapshot.
func (s *Store) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return s.view(ctx, func(r *reader) error { return fn(r) })
}

func (s *Store) view(ctx context.Context, fn func(*reader) error) (err error) {
	for try := range maxTries {
		began := false
		err = s.viewOnce(ctx, func(r *reader) error {
			began = true
			return fn(r)
		})
		if began || !again(ctx, err, try) {
			break
		}
	}
	return err
}

func (s *Store) viewOnce(ctx context.Context, fn func(*reader) error) error {
	return s.inEra(ctx, func() error { return s.viewNow(ctx, fn) })
}

func (s *Store) viewNow(ctx context.Context, fn func(*reader) error) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Leave()
	c, err := s.db.Acquire(ctx, Read)
	if err != nil {
		return err
	}
	defer s.db.Release(c)
	r := s.reader(c)
	if err := s.beginTimed(ctx, r, s.dialect.BeginRead); err != nil {
		return err
	}
	defer r.end("ROLLBACK")
	if s.dialect.Local {
		if _, err := r.Head(ctx); err != nil {
			return err
		}
	}
	return fn(r)
}

func (s *Store) reader(c Conn) *reader {
	return &reader{conn: c, db: s.db, dialect: s.dialect, clock: s.clock, keeper: s.keeper, now: s.now()}
}

// Update runs fn in the one write transaction of the moment. fn must not call
// Update or Count of this store: they wait for fn.
func (s *Store) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	return s.update(ctx, func(t *tx) error { return fn(t) })
}

func (s *Store) update(ctx context.Context, fn func(*tx) error) (rev keystore.Revision, err error) {
	for try := range maxTries {
		rev, err = s.transact(ctx, Write, fn)
		if errors.Is(err, keystore.ErrInDoubt) {
			rev, err = s.resolve(ctx, err)
		}
		if !again(ctx, err, try) {
			break
		}
	}
	return rev, err
}

// transact runs fn in one transaction, with the turn to write or beside others. The
// error is ErrAgain where the transaction was lost and nothing of it is stored.
func (s *Store) transact(ctx context.Context, access Access, fn func(*tx) error) (rev keystore.Revision, err error) {
	err = s.inEra(ctx, func() (err error) {
		rev, err = s.transactOnce(ctx, access, false, fn)
		return err
	})
	return rev, err
}

// transactOnce does so in the current era, or where none has begun since the database's
// clock was set, if that is what fn is for.
func (s *Store) transactOnce(ctx context.Context, access Access, settling bool, fn func(*tx) error) (keystore.Revision, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	c, err := s.db.Acquire(ctx, access)
	if err != nil {
		return 0, err
	}
	defer s.db.Release(c)
	t := &tx{reader: *s.reader(c), sealer: s.auditSealer(), beside: !access.inTurn() && s.dialect.LockKeys != ""}
	t.writing = true
	var begun error
	if t.beside {
		begun = s.beginTimed(ctx, &t.reader, s.dialect.BeginFree)
	} else {
		begun = t.beginBy(ctx, s.dialect.BeginWrite)
	}
	if begun != nil {
		return 0, begun
	}
	// Also when fn panics or ends its goroutine; after a commit it does nothing.
	defer t.end("ROLLBACK")
	if err := t.begin(ctx); err != nil {
		return 0, err
	}
	if t.keeper != nil && t.frame == nil && !settling {
		return 0, errEra
	}
	if err := fn(t); err != nil {
		if errors.Is(t.err, ErrAgain) || errors.Is(t.err, errTurn) {
			return 0, t.err // whatever fn made of it
		}
		return 0, err
	}
	return t.commit(ctx)
}

// KeyByClientID finds a key in one statement, which is a snapshot of its own.
func (s *Store) KeyByClientID(ctx context.Context, clientID string) (key *keystore.Key, err error) {
	for try := range maxTries {
		if key, err = s.keyByClientID(ctx, clientID); !again(ctx, err, try) {
			break
		}
	}
	return key, err
}

func (s *Store) keyByClientID(ctx context.Context, clientID string) (*keystore.Key, error) {
	if err := s.Enter(); err != nil {
		return nil, err
	}
	defer s.Leave()
	c, err := s.db.Acquire(ctx, Lookup)
	if err != nil {
		return nil, err
	}
	defer s.db.Release(c)
	if s.dialect.Local {
		ctx = context.WithoutCancel(ctx)
	}
	return s.reader(c).KeyByClientID(ctx, clientID)
}

// now is the instant of the store's time, without what a database cannot keep.
func (s *Store) now() policy.Instant {
	if s.keeper != nil {
		return s.keeper.Now()
	}
	now := s.clock.Now()
	now.Wall = now.Wall.Round(0).UTC()
	return now
}

// MasterKeyIDs walks an index from each id to the next, so that it costs a few
// lookups however many secrets there are.
func (s *Store) MasterKeyIDs(ctx context.Context) ([]string, error) {
	var ids []string
	err := s.view(ctx, func(r *reader) error {
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
