package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// ledger makes sure that a proof is counted once although the answer to a commit can
// get lost, and who counted tries again later.
//
// Each store has a row in the database with the number of its latest batch, stored
// before it counts anything, which the transaction of a batch raises first of all. So while that transaction is not
// over it holds the row, and once it is over the row says how it ended:
//
//   - A batch whose commit was not answered is in doubt. Nothing is counted before it
//     is settled, so there is one in doubt at most.
//   - To settle it is to lock the row and read the number. The row was raised, and that
//     answered, before the commit was sent: so the lock waits for a transaction that
//     still goes on, however late its commit comes, and then the number is that of the
//     batch in doubt just if it was stored. A failed over database answers by what it
//     has: what it lost of a batch it lost of the row too.
//   - Of a batch that was stored the results were known before the commit. Whoever shows
//     one of its proofs again gets its result, and the proof is not counted. A proof is
//     told by its value; its time is that of the caller, to the nanosecond. One without
//     a time is counted again: nobody can tell it from another.
//   - What a process had in doubt when it ended nobody shows again: the proofs that it
//     still owed went with it.
type ledger struct {
	// turn is held by who counts.
	turn chan struct{}
	node string
	// number of the latest batch that was tried.
	number int64
	doubt  *countedBatch
	// stored are the results of what was in doubt and turned out to be stored, less
	// what was shown again since.
	stored map[keystore.Proof]keystore.CountResult
}

// maxStored bounds them: who owes a proof shows it again soon.
const maxStored = 100_000

// countedBatch is a batch and its results.
type countedBatch struct {
	number  int64
	results map[keystore.Proof]keystore.CountResult
}

// ledgerMemory is how long the row of a store that counts no more stays: longer than
// one is cut off with a batch in doubt.
const ledgerMemory = 30 * 24 * time.Hour

// settleTimeout bounds how long a transaction that still goes on is waited for. The
// server ends one whose process is gone (idle_in_transaction_session_timeout).
const settleTimeout = 5 * time.Second

func newLedger() ledger { return ledger{turn: make(chan struct{}, 1), node: rand.Text()} }

// countOnce counts those proofs that were not counted yet.
func (s *Store) countOnce(ctx context.Context, l policy.Lockout, proofs []keystore.Proof) ([]keystore.CountResult, error) {
	if err := s.Enter(); err != nil {
		return nil, err
	}
	defer s.Leave()
	g := &s.ledger
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	results := make([]keystore.CountResult, len(proofs))
	var rest []keystore.Proof
	var places []int // of rest in proofs
	for i, p := range proofs {
		r, counted := g.stored[p]
		if counted {
			delete(g.stored, p)
			results[i] = r
			continue
		}
		rest, places = append(rest, p), append(places, i)
	}
	if len(rest) == 0 {
		return results, nil
	}
	counted := make([]keystore.CountResult, len(rest))
	err := s.countBatch(ctx, l, rest, counted)
	if errors.Is(err, errUnregistered) {
		if err = s.register(ctx); err == nil {
			err = s.countBatch(ctx, l, rest, counted)
		}
	}
	if err != nil {
		return nil, err
	}
	for i, r := range counted {
		results[places[i]] = r
	}
	return results, nil
}

// countBatch counts a batch, beside other writers unless it locks.
func (s *Store) countBatch(ctx context.Context, l policy.Lockout, proofs []keystore.Proof, results []keystore.CountResult) error {
	ids := make([]string, len(proofs))
	for i, p := range proofs {
		ids[i] = p.KeyID
	}
	g := &s.ledger
	_, err := s.besideAfter(ctx, Counting, ids, s.note, func(t *tx) error { return t.countAll(ctx, l, proofs, results) })
	var lost *commitError
	if errors.As(err, &lost) {
		g.doubt = &countedBatch{number: g.number, results: make(map[keystore.Proof]keystore.CountResult, len(proofs))}
		for i, p := range proofs {
			if p.At != (policy.Instant{}) {
				g.doubt.results[p] = results[i]
			}
		}
	}
	return err
}

// note raises the number of the store's latest batch.
func (s *Store) note(ctx context.Context, t *tx) error {
	g := &s.ledger
	g.number++
	at := millis(t.now.Wall)
	err := t.one(ctx, "UPDATE "+s.dialect.Ledger+" SET batch = ?, at = ? WHERE node = ?", g.number, at, g.node)
	if errors.Is(err, keystore.ErrNotFound) {
		return errUnregistered
	}
	return err
}

// errUnregistered: the store has no row yet, or none any more: a database that was
// failed over may have lost it.
var errUnregistered = errors.New("this node has no row among those that count")

// register makes the store's row. It is there, and not about to be, before a batch
// raises it: of a row that another transaction is about to insert nobody is told.
func (s *Store) register(ctx context.Context) error {
	g := &s.ledger
	_, err := s.transact(ctx, Counting, func(t *tx) error {
		return t.exec(ctx, "INSERT INTO "+s.dialect.Ledger+" (node, batch, at) VALUES (?, ?, ?) ON CONFLICT (node) DO NOTHING", g.node, g.number, millis(t.now.Wall))
	})
	return err
}

// settle finds out about a batch in doubt.
func (s *Store) settle(ctx context.Context) error {
	g := &s.ledger
	if g.doubt == nil {
		return nil
	}
	var stored int64
	within, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var err error
	for again := true; again; again = errors.Is(err, ErrAgain) && within.Err() == nil {
		_, err = s.transact(within, Counting, func(t *tx) error {
			err := t.row(within, []any{&stored}, "SELECT batch FROM "+s.dialect.Ledger+" WHERE node = ? FOR UPDATE", g.node)
			if errors.Is(err, keystore.ErrNotFound) { // forgotten, after ledgerMemory
				return nil
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("settling what became of the counts before: %w", err)
	}
	if stored >= g.doubt.number {
		if g.stored == nil || len(g.stored) > maxStored {
			g.stored = make(map[keystore.Proof]keystore.CountResult)
		}
		maps.Copy(g.stored, g.doubt.results)
	}
	g.doubt = nil
	return nil
}
