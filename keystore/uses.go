package keystore

import (
	"context"
	"errors"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// useWindow is how finely last use is known: of a secret's uses in one window,
	// the first is recorded.
	useWindow = 10 * time.Second
	// useSlots is how many uses of a window are remembered, a power of two. Where
	// two secrets share a slot, their uses are recorded more often than needed.
	useSlots = 1 << 16
	// useStripes spreads the lock of the uses that wait to be written.
	useStripes = 16
	// maxPendingUses bounds the uses that wait, about 20 MB of them. Of those beyond
	// it none is kept, and each next use of the same secret is tried again.
	maxPendingUses = 50_000
	// writeUsesEvery is how often those that wait are written.
	writeUsesEvery = 2 * time.Second
	// useChunk is how many are written in one transaction, so that other writers
	// are not kept waiting for all.
	useChunk = 1000
	// useTimeout bounds one such transaction.
	useTimeout = 5 * time.Second
)

// Kinds of use, each of which has slots of its own: a client that alternates
// between them is not recorded each time, and none hides the others.
const (
	useOnRoute = iota
	useElsewhere
	useRetired
	useKinds
)

// uses collects last uses behind the requests and writes them in batches. What a
// request pays is a hash and one look into a table of atomics: no lock and no
// allocation while its secret was seen in this window.
type uses struct {
	store  Store
	clock  Clock
	logger *zap.Logger

	seed maphash.Seed
	// seen holds a mark of the secret that was used last and of the window, for
	// each slot; 0 is none.
	seen    [useSlots]atomic.Uint64
	waiting [useStripes]useStripe

	// writing is held by who writes: those who wait for what is pending to be
	// written wait for what is being written too.
	writing chan struct{}
	failing bool // belongs to who holds writing: writing fails, and it was said

	retired Striped
	dropped atomic.Uint64
	calls   calls
}

type useStripe struct {
	mu      sync.Mutex
	pending map[useID]Use
}

// useID is what one use of is kept waiting.
type useID struct {
	secretID string
	retired  bool
}

func newUses(store Store, clock Clock, logger *zap.Logger) *uses {
	return &uses{store: store, clock: clock, logger: logger, seed: maphash.MakeSeed(), writing: make(chan struct{}, 1)}
}

// Used notes that a key was proven by this secret, or by a token that was issued
// for it: whatever was decided then, since a refusal for want of a permission is a
// use of the secret too. route is the pattern that the caller was let in on, ""
// for such a refusal, a sign-in and the admin API. from is asked only where the
// use is recorded, once in ten seconds; since is the Since of the proof's instant,
// by which these are told apart. A use after Close is forgotten.
func (c *Cached) Used(key *Key, secretID, route string, from func() netip.Addr, since time.Duration) {
	kind := uint64(useOnRoute)
	if route == "" {
		kind = useElsewhere
	}
	slot, mark := c.uses.slot(secretID, kind, since)
	if slot.Load() != mark {
		c.uses.note(slot, mark, Use{KeyID: key.ID, SecretID: secretID, Route: route}, from())
	}
}

// Retired notes that a secret was shown that is no longer good but remembered.
// It is true for the first time in ten seconds, when somebody should be told.
func (c *Cached) Retired(key *Key, secretID string, from func() netip.Addr, now policy.Instant) (first bool) {
	c.uses.retired.Add()
	slot, mark := c.uses.slot(secretID, useRetired, now.Since)
	if slot.Swap(mark) == mark {
		return false
	}
	c.uses.note(slot, mark, Use{KeyID: key.ID, SecretID: secretID, Retired: true}, from())
	return true
}

// slot is where a use is remembered, and as what: bits of the secret's hash other
// than those that choose the slot, and the number of the window (24 bits: five
// years of windows). A mark that another secret has too hides one window of one.
func (u *uses) slot(secretID string, kind uint64, since time.Duration) (*atomic.Uint64, uint64) {
	const windowBits = 24
	hash := maphash.String(u.seed, secretID)
	window := uint64(since)/uint64(useWindow) + 1 // never 0, which is no mark
	return &u.seen[(hash*useKinds+kind)%useSlots], hash&^(1<<windowBits-1) | window&(1<<windowBits-1)
}

// note keeps a use for the next writing. Its slot is marked only then: whoever
// finds the mark may rely on the use being there or written. Without room it is
// not, so that the next use is tried again.
func (u *uses) note(slot *atomic.Uint64, mark uint64, use Use, from netip.Addr) {
	// The key is the cache's, but a secret's id may be a piece of a token's claims.
	use.SecretID, use.At, use.Address = strings.Clone(use.SecretID), u.clock.Now().Wall, addressName(from)
	if u.keep(use) {
		slot.Store(mark)
	} else {
		slot.CompareAndSwap(mark, 0)
	}
}

// keep puts a use among those that wait, the latest of each secret; false if there
// is no room.
func (u *uses) keep(use Use) bool {
	id := useID{use.SecretID, use.Retired}
	s := &u.waiting[maphash.String(u.seed, use.SecretID)>>32%useStripes]
	s.mu.Lock()
	defer s.mu.Unlock()
	before, there := s.pending[id]
	switch {
	case there && before.At.After(use.At):
		return true
	case !there && len(s.pending) >= maxPendingUses/useStripes:
		u.dropped.Add(1)
		return false
	case s.pending == nil:
		s.pending = make(map[useID]Use)
	}
	s.pending[id] = use
	return true
}

// take is what waits; it waits no longer.
func (u *uses) take() (all []Use) {
	for i := range u.waiting {
		s := &u.waiting[i]
		s.mu.Lock()
		pending := s.pending
		s.pending = nil
		s.mu.Unlock()
		for _, use := range pending {
			all = append(all, use)
		}
	}
	return all
}

// FlushUses writes every use and call that was noted before it was called, so that
// what is then read of them is not old.
func (c *Cached) FlushUses(ctx context.Context) error { return c.uses.write(ctx, true) }

// write writes the last uses that wait, and the calls if asked to or if it is their
// time. What could not be written waits on, for the next time.
func (u *uses) write(ctx context.Context, withCalls bool) error {
	select {
	case u.writing <- struct{}{}:
		defer func() { <-u.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	all := u.take()
	if now := u.clock.Now(); withCalls || u.calls.due(now.Since) {
		u.calls.take(now.Wall, now.Since)
	}
	for len(all) > 0 || len(u.calls.pending) > 0 {
		chunk, calls := all[:min(useChunk, len(all))], u.calls.chunk(useChunk)
		if err := u.writeChunk(ctx, chunk, calls); err != nil {
			for _, use := range all {
				u.keep(use)
			}
			u.told(err)
			return err
		}
		u.told(nil)
		all = all[len(chunk):]
		u.calls.done(calls)
	}
	return nil
}

func (u *uses) writeChunk(ctx context.Context, chunk []Use, calls []Calls) error {
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	return u.store.Use(ctx, chunk, calls...)
}

// told says once that writing fails, and once that it works again.
func (u *uses) told(err error) {
	switch {
	case err == nil && u.failing:
		u.failing = false
		u.logger.Info("last uses of keys are written again")
	case err != nil && !u.failing && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed):
		u.failing = true
		u.logger.Warn("last uses of keys could not be written; they are kept and tried again", zap.Error(err))
	}
}

// run writes what waits until ctx ends.
func (u *uses) run(ctx context.Context) {
	tick := time.NewTicker(writeUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = u.write(ctx, false) // told there, and tried again
		}
	}
}

// close writes what still waits.
func (u *uses) close() {
	ctx, cancel := context.WithTimeout(context.Background(), useTimeout)
	defer cancel()
	if err := u.write(ctx, true); err != nil {
		u.logger.Warn("last uses and calls of keys are lost that were not yet written", zap.Int("secrets", len(u.take())),
			zap.Int("hours_of_calls", len(u.calls.pending)), zap.Error(err))
	}
}
