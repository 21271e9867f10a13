// Package postgres is the key store of many nodes: one PostgreSQL database (13 or
// newer) that any number of processes share. What it has in common with other
// databases is in package sqlstore.
//
// Who writes changes takes turns, over all processes, by an advisory lock that is
// held from before the first read until the commit is over: revisions appear in their
// order and without gaps, and whoever has the turn reads nothing that another is
// about to change. Counts, uses and sign-ins are no changes and are written beside
// them; they hold the keys that they are about.
package postgres

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// Store is a keystore.Store in a PostgreSQL database.
type Store struct {
	*sqlstore.Store
	identity string
	logger   *zap.Logger
	pool     *pgxpool.Pool
	// way is how connections are made at present, see Reconnect.
	way atomic.Pointer[way]

	// Of the pool's connections one is for the turn to write, and some are for what is
	// written beside and for snapshots: whoever waits for the turn of another process or
	// for a key, or reads for long, leaves one to lookups and one to counting, which is one
	// at a time by itself (see sqlstore's ledger); of the fewest that there may be those
	// two share one.
	writing, beside, reading slots
	signIns                  keyTurns

	calls        calls
	dials        dials
	answerWithin time.Duration // of one statement, 0 for what the server's settings say

	waker *waker
	// timeline is how the database's clock stands beside this machine's.
	timeline timeline
	registry registry
}

// slots bound how many connections are used for one thing at one time.
type slots chan struct{}

func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) free() { <-s }

// database is the store as package sqlstore sees it.
type database struct{ *Store }

// Dialect is PostgreSQL's.
func (database) Dialect() *sqlstore.Dialect { return &dialect }

// Keeper is the store's timeline.
func (d database) Keeper() sqlstore.Keeper { return &d.timeline }

func (d database) slots(access sqlstore.Access) slots {
	switch access {
	case sqlstore.Write:
		return d.writing
	case sqlstore.Beside:
		return d.beside
	case sqlstore.Read:
		return d.reading
	}
	return nil
}

// Acquire waits for a connection.
func (d database) Acquire(ctx context.Context, access sqlstore.Access) (sqlstore.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	life := d.calls.now()
	inner, done := within(ctx, life, d.answerWithin)
	defer done()
	if s := d.slots(access); s != nil {
		if err := s.take(inner); err != nil {
			return nil, connectError(ctx, interrupted(inner, err))
		}
	}
	c, err := d.connect(inner)
	if err != nil {
		if s := d.slots(access); s != nil {
			s.free()
		}
		return nil, connectError(ctx, interrupted(inner, err))
	}
	own := wrap(c, access)
	own.life, own.bound = life, d.answerWithin
	return own, nil
}

// Release gives a connection back. The pool closes one that is in a transaction.
func (d database) Release(c sqlstore.Conn) {
	own := c.(*conn)
	s := d.slots(own.access)
	pooled := own.c
	own.c = nil
	pooled.Release()
	if s != nil {
		s.free()
	}
}

// Error is a driver's error in the words of package keystore.
func (d database) Error(ctx context.Context, err error) error {
	// One that ended under its user is mostly not the only one: the server was started
	// anew. Those that wait to be used are tried by nobody then.
	if ctx.Err() == nil && (lost(err) || readsOnly(err)) {
		d.pool.Reset()
	}
	return storeError(ctx, err)
}

// Identity names the database by where it is.
func (s *Store) Identity() string { return s.identity }

// Close waits for calls under way and closes all connections. Closing again does
// nothing.
func (s *Store) Close() error {
	if !s.Shut() {
		return nil
	}
	s.closeAll()
	return nil
}

func (s *Store) closeAll() {
	if s.waker != nil {
		s.waker.stop()
	}
	defer s.dials.cut(closeWithin).Stop()
	s.pool.Close()
}

var (
	_ keystore.Store      = (*Store)(nil)
	_ keystore.Waker      = (*Store)(nil)
	_ keystore.KeyUpdater = (*Store)(nil)
	_ sqlstore.Database   = database{}
	_ sqlstore.Conn       = (*conn)(nil)
	_ sqlstore.TimedConn  = (*conn)(nil)
	_ sqlstore.Keeper     = (*timeline)(nil)
)
