package keystore

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// failBatch bounds how many failures one transaction counts.
	failBatch = 1024
	// failTimeout bounds one such transaction. Past it the store counts as out of
	// reach and this node counts on its own.
	failTimeout = 5 * time.Second
)

// Attempt is one failed proof, to be counted.
type Attempt struct {
	KeyID string
	// Source is the network of the caller; the zero Prefix in strict mode.
	Source netip.Prefix
	// Address is the caller's address, for the audit.
	Address     netip.Addr
	Fingerprint uint64
}

func (a Attempt) failure() Failure {
	return Failure{KeyID: a.KeyID, Source: sourceName(a.Source), Address: a.Address.String(), Fingerprint: a.Fingerprint}
}

func sourceName(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// counter counts failures into the store and keeps the exact table of locks.
// Failures that arrive while a transaction is under way are counted together in
// the next one, so a storm costs the store a bounded rate of commits.
type counter struct {
	store  Store
	clock  Clock
	logger *zap.Logger
	table  lockTable

	queue chan *failRequest
	trust chan trustRequest
	// alone: the latest batch could not be stored.
	alone atomic.Bool
	// stopped is closed when nobody takes from queue any more.
	stopped chan struct{}
	// trusting holds what is in trust, so that one source is queued once.
	trusting sync.Map

	// owed are failures counted here while the store was out of reach.
	owedMu sync.Mutex
	owed   []owedFailure
}

type failRequest struct {
	lockout policy.Lockout
	attempt Attempt
	done    chan policy.Outcome
}

type owedFailure struct {
	lockout policy.Lockout
	attempt Attempt
}

func newCounter(store Store, clock Clock, logger *zap.Logger) *counter {
	return &counter{store: store, clock: clock, logger: logger,
		queue: make(chan *failRequest, failBatch), trust: make(chan trustRequest, trustQueue), stopped: make(chan struct{})}
}

// locked is how much longer a caller is locked out.
func (c *counter) locked(l policy.Lockout, keyID string, source netip.Prefix, now policy.Instant) time.Duration {
	ts := c.table.of(keyID)
	if ts == nil {
		return 0
	}
	whole, src := ts.pair(source)
	return l.Locked(whole, src, now)
}

// fail counts an attempt and returns once it is counted: in the store, or here
// while the store is out of reach. A caller that hangs up is counted all the same.
func (c *counter) fail(l policy.Lockout, a Attempt) policy.Outcome {
	req := &failRequest{lockout: l, attempt: a, done: make(chan policy.Outcome, 1)}
	select {
	case c.queue <- req:
	case <-c.stopped:
		return c.failHere(l, a)
	}
	select {
	case out := <-req.done:
		return out
	case <-c.stopped:
	}
	select {
	case out := <-req.done: // counted in the last batch
		return out
	default:
		return c.failHere(l, a)
	}
}

// run counts what is queued until ctx ends, then what is still queued.
func (c *counter) run(ctx context.Context) {
	defer close(c.stopped)
	for {
		select {
		case req := <-c.queue:
			c.countBatch(c.take(req))
		case <-ctx.Done():
			for {
				select {
				case req := <-c.queue:
					c.countBatch(c.take(req))
				default:
					return
				}
			}
		}
	}
}

// take gathers the requests that wait behind first.
func (c *counter) take(first *failRequest) []*failRequest {
	batch := []*failRequest{first}
	for len(batch) < failBatch {
		select {
		case req := <-c.queue:
			batch = append(batch, req)
		default:
			return batch
		}
	}
	return batch
}

func (c *counter) countBatch(batch []*failRequest) {
	// A reload can put two policies into one batch; each run of one is a transaction.
	for len(batch) > 0 {
		n := 1
		for n < len(batch) && batch[n].lockout == batch[0].lockout {
			n++
		}
		c.countRun(batch[:n])
		batch = batch[n:]
	}
}

func (c *counter) countRun(run []*failRequest) {
	failures := make([]Failure, len(run))
	for i, req := range run {
		failures[i] = req.attempt.failure()
	}
	ctx, cancel := context.WithTimeout(context.Background(), failTimeout)
	defer cancel()
	results, err := c.store.Fail(ctx, run[0].lockout, failures)
	if err != nil {
		if !c.alone.Swap(true) { // said once, not for each batch of a storm
			c.logger.Error("failures could not be stored; this node counts them on its own until the store is back", zap.Error(err))
		}
		for _, req := range run {
			req.done <- c.failHere(req.lockout, req.attempt)
		}
		return
	}
	if c.alone.Swap(false) {
		c.logger.Info("failures are stored again")
	}
	now := c.clock.Now()
	for i, req := range run {
		c.table.apply(now, results[i].Whole, results[i].Source)
		req.done <- results[i].Outcome
	}
}

// failHere counts on this node alone and remembers to tell the store. What is
// owed is bounded: a client locked here owes nothing more until the lock ends.
func (c *counter) failHere(l policy.Lockout, a Attempt) policy.Outcome {
	var out policy.Outcome
	now := c.clock.Now()
	c.table.update(a.KeyID, func(old *tallies) *tallies {
		whole, src := old.pair(a.Source)
		whole, src, out = l.Fail(whole, src, now, a.Fingerprint)
		if !out.Counted {
			return old
		}
		return old.counted(a.KeyID, a.Source, whole, src, now)
	})
	if out.Counted {
		c.owedMu.Lock()
		c.owed = append(c.owed, owedFailure{l, a})
		c.owedMu.Unlock()
	}
	return out
}

// settle tells the store what it missed. The store counts on top of its own, so
// the stricter of both views stands.
func (c *counter) settle(ctx context.Context) error {
	c.owedMu.Lock()
	defer c.owedMu.Unlock()
	for len(c.owed) > 0 {
		n := 1
		for n < len(c.owed) && n < failBatch && c.owed[n].lockout == c.owed[0].lockout {
			n++
		}
		failures := make([]Failure, n)
		for i, o := range c.owed[:n] {
			failures[i] = o.attempt.failure()
		}
		results, err := c.store.Fail(ctx, c.owed[0].lockout, failures)
		if err != nil {
			return err
		}
		now := c.clock.Now()
		for _, r := range results {
			c.table.update(r.Whole.KeyID, func(old *tallies) *tallies { return old.stricter(r, now) })
		}
		c.owed = c.owed[n:]
	}
	c.owed = nil
	return nil
}

// stricter merges what the store says with a lock this node made on its own,
// keeping a local lock that lasts longer.
func (ts *tallies) stricter(r FailResult, now policy.Instant) *tallies {
	if r.Whole.KeyID == "" {
		return ts // the key is gone, and its locks with it
	}
	keep := func(stored, local Tally) Tally {
		if local.Remaining(now) > stored.Remaining(now) {
			stored.LockedAt, stored.LockedFor = local.LockedAt, local.LockedFor
		}
		return stored
	}
	whole, source := r.Whole, r.Source
	if ts != nil {
		whole = keep(whole, ts.whole)
	}
	ts = ts.with(whole, now)
	if source.KeyID == "" {
		return ts
	}
	if p, err := netip.ParsePrefix(source.Source); err == nil && ts != nil {
		source = keep(source, ts.sources[p])
	}
	return ts.with(source, now)
}

// succeed clears the counts after a right secret. False: the caller is locked by
// now and the success came too late. It touches the store only where there is
// something to clear (strict) or to remember (guard).
func (c *counter) succeed(ctx context.Context, l policy.Lockout, keyID string, source netip.Prefix, now policy.Instant) bool {
	ts := c.table.of(keyID)
	if ts == nil && l.Mode == policy.Strict {
		return true
	}
	whole, src := ts.pair(source)
	if l.Locked(whole, src, now) > 0 {
		return false
	}
	if l.Mode == policy.Strict && whole.Failures == 0 {
		return true
	}
	if l.Mode == policy.Guard && src.Failures == 0 {
		if now.Wall.Sub(src.TrustedAt) >= trustEvery {
			c.remember(trustRequest{trustID{keyID, source}, l})
		}
		return true
	}
	ok, err := c.clear(ctx, l, keyID, source)
	if err != nil {
		c.logger.Warn("a success could not be stored; counts are cleared on this node only", zap.Error(err))
		return c.clearHere(l, keyID, source, now)
	}
	return ok
}

func (c *counter) clear(ctx context.Context, l policy.Lockout, keyID string, source netip.Prefix) (bool, error) {
	// A caller that hangs up must not leave the count standing half-told.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), failTimeout)
	defer cancel()
	r, err := c.store.Succeed(ctx, l, keyID, sourceName(source))
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	c.table.apply(c.clock.Now(), r.Whole, r.Source)
	return r.OK, nil
}

func (c *counter) clearHere(l policy.Lockout, keyID string, source netip.Prefix, now policy.Instant) bool {
	ok := true
	c.table.update(keyID, func(old *tallies) *tallies {
		whole, src := old.pair(source)
		if whole, src, ok = l.Succeed(whole, src, now); !ok || old == nil {
			return old
		}
		return old.counted(keyID, source, whole, src, now)
	})
	return ok
}

// counted is ts with counts made on this node. They keep the seq of what they
// were made from, so that whatever the store says next is news.
func (ts *tallies) counted(keyID string, source netip.Prefix, whole, src policy.Tally, now policy.Instant) *tallies {
	var was tallies
	if ts != nil {
		was = *ts
	}
	next := ts.with(Tally{KeyID: keyID, Tally: whole, Seq: was.whole.Seq}, now)
	if source.IsValid() {
		next = next.with(Tally{KeyID: keyID, Source: sourceName(source), Tally: src, Seq: was.sources[source].Seq}, now)
	}
	return next
}
