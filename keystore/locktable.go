package keystore

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// clearedMemory is how long a cleared count is kept, so that a late, older
	// reading of it is recognised as older and cannot come back.
	clearedMemory = 10 * time.Minute
	// maxSources bounds the sources counted for one key (guard), as the store's
	// bound does.
	maxSources = 256
	// maxPending bounds the proofs of one key that the store has not heard of.
	maxPending = 512
)

// lockTable holds every failure count and lock, by key id.
type lockTable struct {
	exactMap[*tallies]
	// changed is told of each key whose counts changed, nil for nobody.
	changed func(keyID string)
}

// tallies are the counts of one key. Immutable once published.
type tallies struct {
	keyID string
	// whole and sources are as the store has them.
	whole   Tally
	sources map[netip.Prefix]Tally
	// pending are proofs that the store has not confirmed, in order.
	pending []*pendingProof
	// seen is what decisions go by: the above with pending counted in. Sources
	// that nothing pending touches are not in it.
	seen struct {
		whole   policy.Tally
		sources map[netip.Prefix]policy.Tally
	}
	touched time.Duration // Instant.Since of the latest change
	// sent of the pending proofs, the first ones, are under way to the store. A
	// reading that comes meanwhile may or may not have them in it, so it is held
	// until they are answered.
	sent int
	held []Tally
}

// pendingProof is a proof on its way to the store.
type pendingProof struct {
	Proof
	lockout policy.Lockout
	source  netip.Prefix
	// outcome is what it did to the counts as this node knows them. It locks in the store
	// what it locked here only if it is owed: the store was out of reach, and this node
	// went by its own counts. Else the store's count decides, which may have been cleared
	// by a success or an unlock that this node has not heard of yet.
	outcome policy.Outcome
	forced  atomic.Bool // it is owed, and locks in the store what it locked here
	// answer is what it did in the store, once that has said so.
	answer atomic.Pointer[policy.Outcome]
	// stored is closed once the store has it or nobody is to wait for that.
	stored  chan struct{}
	waiting sync.Once
}

// told is the proof as the store is told it.
func (p *pendingProof) told() Proof {
	if p.forced.Load() {
		return p.owed()
	}
	return p.Proof
}

// Count counts it as the store will.
func (p *pendingProof) Count(l policy.Lockout, whole, source policy.Tally) (w, s policy.Tally, out policy.Outcome, counted bool) {
	proof := p.told()
	return proof.Count(l, whole, source)
}

// owed is the proof as the store is told it by a node that went by its own counts.
func (p *pendingProof) owed() Proof {
	proof := p.Proof
	proof.Locked = p.Locked || p.outcome.Locked
	proof.SourceLocked = p.SourceLocked || p.outcome.SourceLocked
	return proof
}

// owe notes that the store was out of reach.
func (p *pendingProof) owe() { p.forced.Store(true) }

func (p *pendingProof) release() { p.waiting.Do(func() { close(p.stored) }) }

// of is the counts of a key, nil if it has none.
func (t *lockTable) of(keyID string) *tallies {
	ts, _ := t.get(keyID)
	return ts
}

// update replaces the counts of one key by what fn makes of them; nil removes.
func (t *lockTable) update(keyID string, fn func(*tallies) *tallies) {
	t.change(keyID, func(old *tallies, _ bool) (*tallies, bool) {
		next := fn(old)
		return next, next != nil
	})
	if t.changed != nil {
		t.changed(keyID)
	}
}

// apply publishes what the store says of tallies, unless newer is known.
func (t *lockTable) apply(now policy.Instant, changed ...Tally) {
	for _, c := range changed {
		if c.KeyID == "" {
			continue
		}
		t.update(c.KeyID, func(old *tallies) *tallies {
			next := old.copy(c.KeyID, now)
			if next.sent > 0 && c.Remaining(now) == 0 {
				next.held = append(slices.Clip(next.held), c)
				return next
			}
			if !next.take(c, now) {
				return old
			}
			next.count()
			return next
		})
	}
}

// pair is the counts of the client and of one of its sources.
func (ts *tallies) pair(source netip.Prefix) (whole, src policy.Tally) {
	if ts == nil {
		return policy.Tally{}, policy.Tally{}
	}
	src, ok := ts.seen.sources[source]
	if !ok {
		src = ts.sources[source].Tally
	}
	return ts.seen.whole, src
}

func (ts *tallies) copy(keyID string, now policy.Instant) *tallies {
	next := &tallies{keyID: keyID}
	if ts != nil {
		*next = *ts
	}
	next.touched = now.Since
	return next
}

// add counts a new proof; counted false changes nothing.
func (ts *tallies) add(p *pendingProof, now policy.Instant) (next *tallies, out policy.Outcome, counted bool) {
	whole, src := ts.pair(p.source)
	whole, src, out, counted = p.Count(p.lockout, whole, src)
	if !counted {
		return ts, out, false
	}
	next = ts.copy(p.KeyID, now)
	if p.lockout.Mode == policy.Strict && (p.Success || whole.Failures == 1) {
		// The count starts over here, so the failures before do not matter any more,
		// whenever the store hears of it. A success before a failure does: it is why
		// the count starts over. (In guard mode every failure also raises the level.)
		next.drop(func(o *pendingProof) bool { return p.Success || !o.Success })
	}
	if len(next.pending)-next.sent >= maxPending {
		next.dropOldest()
	}
	next.pending = append(slices.Clip(next.pending), p)
	next.seen.sources = maps.Clone(next.seen.sources)
	next.see(p.source, whole, src)
	return next, out, true
}

// drop takes back proofs that the store need not hear of. Those under way stay.
func (ts *tallies) drop(unneeded func(*pendingProof) bool) {
	kept := slices.Clone(ts.pending[:ts.sent])
	for _, p := range ts.pending[ts.sent:] {
		if unneeded(p) {
			p.release()
			continue
		}
		kept = append(kept, p)
	}
	ts.pending = kept
}

// dropOldest makes room where too much is owed: of a success, which in guard mode
// mostly renews a trust, or else of the oldest failure.
func (ts *tallies) dropOldest() {
	oldest := ts.sent
	for i, p := range ts.pending[ts.sent:] {
		if p.Success {
			oldest = ts.sent + i
			break
		}
	}
	victim := ts.pending[oldest]
	ts.drop(func(p *pendingProof) bool { return p == victim })
}

// see puts counts with a pending proof in them into seen, whose map is the
// receiver's own.
func (ts *tallies) see(source netip.Prefix, whole, src policy.Tally) {
	ts.seen.whole = whole
	if !source.IsValid() {
		return
	}
	if ts.seen.sources == nil {
		ts.seen.sources = make(map[netip.Prefix]policy.Tally, 1)
	}
	ts.seen.sources[source] = src
}

// count makes seen anew from what the store said and what is pending.
func (ts *tallies) count() {
	ts.seen.whole, ts.seen.sources = ts.whole.Tally, nil
	for _, p := range ts.pending {
		whole, src := ts.pair(p.source)
		if whole, src, _, counted := p.Count(p.lockout, whole, src); counted {
			ts.see(p.source, whole, src)
		}
	}
}

// take notes what the store says of one tally; false if newer is known.
func (ts *tallies) take(c Tally, now policy.Instant) bool {
	if c.Source == "" {
		if c.Seq < ts.whole.Seq {
			return false
		}
		ts.whole = c.stricter(ts.whole, now)
		return true
	}
	source, err := netip.ParsePrefix(c.Source)
	if err != nil || c.Seq < ts.sources[source].Seq {
		return false
	}
	ts.sources = maps.Clone(ts.sources)
	if ts.sources == nil {
		ts.sources = make(map[netip.Prefix]Tally, 1)
	}
	ts.sources[source] = c.stricter(ts.sources[source], now)
	if len(ts.sources) > maxSources {
		ts.dropSource(source, now)
	}
	return true
}

// stricter is c with the lock of what was known before a store that went
// backwards began its seqs anew, see startOver.
func (t Tally) stricter(before Tally, now policy.Instant) Tally {
	if before.Seq == 0 && before.Remaining(now) > t.Remaining(now) {
		t.LockedAt, t.LockedFor = before.LockedAt, before.LockedFor
	}
	return t
}

// dropSource forgets a source but never the one just noted: first what means
// least, as the store does, then what changed longest ago. The map is the
// receiver's own.
func (ts *tallies) dropSource(but netip.Prefix, now policy.Instant) {
	var least netip.Prefix
	for p, t := range ts.sources {
		if p == but {
			continue
		}
		if !least.IsValid() || cmp.Or(cmp.Compare(t.weight(now), ts.sources[least].weight(now)), cmp.Compare(t.Seq, ts.sources[least].Seq)) < 0 {
			least = p
		}
	}
	delete(ts.sources, least)
}

// weight is how much it would matter to forget a source's tally.
func (t Tally) weight(now policy.Instant) int {
	switch {
	case t.Remaining(now) > 0:
		return 3
	case t.Trusted(now):
		return 2
	case t.Failures > 0:
		return 1
	}
	return 0
}

// told is ts after the store has counted its first pending proofs, n of them.
func (ts *tallies) told(results []CountResult, now policy.Instant) *tallies {
	if ts == nil || results[len(results)-1].Whole.KeyID == "" {
		return nil // the key is gone, and its counts with it
	}
	next := ts.copy(ts.keyID, now)
	for _, r := range results {
		next.take(r.Whole, now)
		if r.Source.KeyID != "" {
			next.take(r.Source, now)
		}
	}
	n := min(len(results), ts.sent) // fewer where the entry was made anew meanwhile
	next.pending = slices.Clone(next.pending[n:])
	next.answered(n, now)
	return next
}

// answered notes that n proofs are not under way any more.
func (ts *tallies) answered(n int, now policy.Instant) {
	ts.sent = max(0, ts.sent-n)
	if ts.sent == 0 {
		for _, c := range ts.held {
			ts.take(c, now)
		}
		ts.held = nil
	}
	ts.count()
}

// unlocked is ts after an administrator has cleared its counts in the store: what
// this node still owed of before is cleared with them, and what the store says nothing
// of any more. What was guessed since stands, here and there.
//
// What it does say, cleared or counted since, comes with the tallies, which are followed
// next; also what is newer than followed, how far they were: of a count that was made
// beside the reading of the change nobody knows yet which came first.
func (ts *tallies) unlocked(u *Unlocked, followed int64, now policy.Instant) *tallies {
	if ts == nil {
		return nil
	}
	next := ts.copy(ts.keyID, now)
	next.drop(func(p *pendingProof) bool { return !p.At.After(u.At) })
	stale := func(source string, t Tally) bool { return t.Seq <= followed && !slices.Contains(u.Counted, source) }
	if stale("", next.whole) {
		next.whole.Tally = policy.Tally{}
	}
	next.sources = make(map[netip.Prefix]Tally, len(ts.sources))
	for p, s := range ts.sources {
		if stale(p.String(), s) {
			s.Tally = policy.Tally{TrustedAt: s.TrustedAt}
		}
		next.sources[p] = s
	}
	next.count()
	return next
}

// startOver keeps the counts of a store that went backwards, but takes whatever
// it says from now on: its seqs begin lower.
func (t *lockTable) startOver(now policy.Instant) {
	for ts := range t.all {
		t.update(ts.keyID, func(old *tallies) *tallies {
			if old == nil {
				return nil
			}
			next := old.copy(old.keyID, now)
			next.whole.Seq = 0
			next.sources = make(map[netip.Prefix]Tally, len(old.sources))
			for p, s := range old.sources {
				s.Seq = 0
				next.sources[p] = s
			}
			return next
		})
	}
}

func (ts *tallies) forgettable(l policy.Lockout, now policy.Instant) bool {
	if len(ts.pending) > 0 || now.Since-ts.touched < clearedMemory || !ts.whole.Empty(l, now) {
		return false
	}
	for _, s := range ts.sources {
		if !s.Empty(l, now) {
			return false
		}
	}
	return true
}
