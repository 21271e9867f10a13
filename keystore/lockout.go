package keystore

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// countBatch bounds how many keys one transaction counts for.
	countBatch = 1024
	// countProofs bounds how many proofs it counts, but for those of one key more.
	countProofs = 4096
	// countTimeout bounds one such transaction.
	countTimeout = 5 * time.Second
	// countWait bounds how long an answer waits for its failure to be stored. Past
	// it the store counts as out of reach: the failure is counted here already. As long
	// as that takes to be noticed: who keeps the store busy, at several nodes, must not
	// have guesses answered at each before any other has heard of them.
	countWait = headTimeout
	// clearWait is the same for a success that clears a count: as long as a commit
	// takes where the disk is well, so that whoever reads the store next sees it,
	// and no longer, since nothing depends on it.
	clearWait = 25 * time.Millisecond
	// retryEvery is how often a store that was out of reach is tried again.
	retryEvery = 200 * time.Millisecond
	// trustEvery is how often a success from a known source is written again.
	trustEvery = 24 * time.Hour
)

// Attempt is one failed proof, to be counted.
type Attempt struct {
	KeyID string
	// Source is the network of the caller; the zero Prefix in strict mode.
	Source netip.Prefix
	// Address is the caller's address, and RequestID that of its request, for the audit.
	Address     netip.Addr
	RequestID   string
	Fingerprint uint64 // of the wrong secret, see Proof
}

func sourceName(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// addressName is "" for a caller without an address.
func addressName(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// counter counts proofs. Each takes effect in the table at once, so that a guess
// under way is held against the next one before any disk has heard of it; the
// store is told in the same order, key by key, by one worker. What comes while a
// transaction is under way goes into the next one, so a storm on one client
// costs the store a bounded rate of commits. With the store out of reach the
// table alone counts, and what it owes is told later, each with its own time.
type counter struct {
	store  Store
	clock  Clock
	logger *zap.Logger
	table  lockTable

	mu    sync.Mutex
	dirty map[string]struct{} // keys with proofs the store has not heard of
	// alone: the latest batch could not be stored. Nobody waits for the store then.
	alone bool
	wake  chan struct{}
	// stopped is closed when nobody tells the store any more.
	stopped chan struct{}
}

func newCounter(store Store, clock Clock, logger *zap.Logger) *counter {
	return &counter{store: store, clock: clock, logger: logger,
		dirty: make(map[string]struct{}), wake: make(chan struct{}, 1), stopped: make(chan struct{})}
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

// fail counts an attempt and returns once the store has it, or at once while the
// store is out of reach. The outcome is the store's if it was heard in time. A caller
// that hangs up is counted all the same.
func (c *counter) fail(l policy.Lockout, a Attempt) policy.Outcome {
	now := c.clock.Now()
	p := &pendingProof{lockout: l, source: a.Source, stored: make(chan struct{}), Proof: Proof{
		KeyID: a.KeyID, Source: sourceName(a.Source), Address: addressName(a.Address), RequestID: a.RequestID, Fingerprint: a.Fingerprint, At: now,
	}}
	alone := c.isAlone()
	c.table.update(a.KeyID, func(old *tallies) *tallies {
		next, out, _ := old.add(p, now)
		p.outcome = out
		if alone {
			p.owe()
		}
		return next
	})
	if !p.outcome.Counted {
		return p.outcome
	}
	c.tell(p, countWait)
	if answer := p.answer.Load(); answer != nil {
		return *answer
	}
	return p.outcome
}

func (c *counter) isAlone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alone
}

// succeed clears the counts after a right secret, in the table at once and in
// the store behind the request if that is slow. False: the caller is locked by now and the
// success came too late.
func (c *counter) succeed(l policy.Lockout, keyID string, source netip.Prefix, now policy.Instant) bool {
	ts := c.table.of(keyID)
	if ts == nil && l.Mode == policy.Strict {
		return true
	}
	whole, src := ts.pair(source)
	switch {
	case l.Locked(whole, src, now) > 0:
		return false
	case l.Mode == policy.Strict && whole.Failures == 0,
		l.Mode == policy.Guard && src.Failures == 0 && now.Wall.Sub(src.TrustedAt) < trustEvery:
		return true // nothing to clear, nothing to remember
	}
	// Not the time at which the request began: what failed since then and is counted
	// comes before this success.
	now = c.clock.Now()
	p := &pendingProof{lockout: l, source: source, stored: make(chan struct{}),
		Proof: Proof{KeyID: keyID, Source: sourceName(source), At: now, Success: true}}
	ok := true
	c.table.update(keyID, func(old *tallies) *tallies {
		var next *tallies
		next, _, ok = old.add(p, now)
		return next
	})
	if ok {
		c.tell(p, clearWait)
	}
	return ok
}

// tell hands a proof that the table has to the worker, and waits until the store
// has it too, but no longer than that; not at all while the store is out of reach.
func (c *counter) tell(p *pendingProof, wait time.Duration) {
	c.mu.Lock()
	c.dirty[p.KeyID] = struct{}{}
	alone := c.alone
	c.mu.Unlock()
	if alone {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.stored:
	case <-c.stopped:
	case <-timer.C:
	}
}

// run tells the store until ctx ends, then what is still owed.
func (c *counter) run(ctx context.Context) {
	defer close(c.stopped)
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case <-c.wake:
		case <-retry.C:
		case <-ctx.Done():
			c.tellAll()
			return
		}
		c.tellAll()
	}
}

// tellAll stores batch after batch until nothing is owed or the store fails.
func (c *counter) tellAll() {
	for {
		keys := c.take()
		if len(keys) == 0 || !c.storeBatch(keys) {
			return
		}
	}
}

func (c *counter) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys := make([]string, 0, min(len(c.dirty), countBatch))
	for id := range c.dirty {
		if len(keys) == countBatch {
			break
		}
		keys = append(keys, id)
		delete(c.dirty, id)
	}
	return keys
}

// owedRun is what one transaction tells of one key.
type owedRun struct {
	keyID  string
	proofs []*pendingProof
}

// storeBatch stores what is pending for these keys. False: it could not be, and
// is owed still.
func (c *counter) storeBatch(keys []string) bool {
	var batch []owedRun
	proofs := 0
	for i, id := range keys {
		if proofs >= countProofs {
			c.again(keys[i:])
			keys = keys[:i]
			break
		}
		if sent := c.send(id); len(sent) > 0 {
			batch = append(batch, owedRun{id, sent})
			proofs += len(sent)
		}
	}
	for len(batch) > 0 {
		// A reload can put two policies into one batch; each is a transaction.
		l := batch[0].proofs[0].lockout
		n := 1
		for n < len(batch) && batch[n].proofs[0].lockout == l {
			n++
		}
		if err := c.storeRuns(l, batch[:n]); err != nil {
			c.owe(keys, err)
			return false
		}
		batch = batch[n:]
	}
	c.reached()
	return true
}

// send marks the pending proofs of a key as under way: those of one policy. What
// is left comes with the next batch.
func (c *counter) send(keyID string) (sent []*pendingProof) {
	c.table.update(keyID, func(old *tallies) *tallies {
		if old == nil || len(old.pending) == 0 {
			return old
		}
		next := *old
		for next.sent < len(next.pending) && next.pending[next.sent].lockout == next.pending[0].lockout {
			next.sent++
		}
		sent = next.pending[:next.sent]
		return &next
	})
	if len(sent) > 0 && c.table.of(keyID).sent < len(c.table.of(keyID).pending) {
		c.again([]string{keyID})
	}
	return sent
}

// again marks keys for another batch.
func (c *counter) again(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range keys {
		c.dirty[id] = struct{}{}
	}
}

func (c *counter) storeRuns(l policy.Lockout, runs []owedRun) error {
	var proofs []Proof
	for _, r := range runs {
		for _, p := range r.proofs {
			proofs = append(proofs, p.told())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	results, err := c.store.Count(ctx, l, proofs)
	if err != nil {
		return err
	}
	now := c.clock.Now()
	for _, r := range runs {
		n := len(r.proofs)
		c.table.update(r.keyID, func(old *tallies) *tallies { return old.told(results[:n], now) })
		for i, p := range r.proofs {
			p.answer.Store(&results[i].Outcome)
			p.release()
		}
		results = results[n:]
	}
	return nil
}

// owe keeps what could not be stored and lets nobody wait for it.
func (c *counter) owe(keys []string, err error) {
	c.mu.Lock()
	if !c.alone { // said once, not for each batch of a storm
		c.logger.Error("failures cannot be stored; this node counts them on its own until the store is back", zap.Error(err))
	}
	c.alone = true
	c.mu.Unlock()
	c.again(keys)
	now := c.clock.Now()
	for _, id := range keys {
		c.table.update(id, func(old *tallies) *tallies {
			if old == nil {
				return nil
			}
			next := old.copy(id, now)
			for _, p := range next.pending {
				p.owe()
			}
			next.answered(next.sent, now)
			for _, p := range next.pending {
				p.release()
			}
			return next
		})
	}
}

// unlocked notes that an administrator has cleared the counts of a key. See
// tallies.unlocked.
func (c *counter) unlocked(keyID string, u *Unlocked, followed int64) {
	now := c.clock.Now()
	c.table.update(keyID, func(old *tallies) *tallies { return old.unlocked(u, followed, now) })
}

func (c *counter) reached() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone {
		c.logger.Info("failures are stored again")
	}
	c.alone = false
}
