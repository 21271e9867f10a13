package keystore

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
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
)

// lockTable holds every failure count and lock, by key id.
type lockTable struct{ exactMap[*tallies] }

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
}

// pendingProof is a proof on its way to the store.
type pendingProof struct {
	Proof
	lockout policy.Lockout
	source  netip.Prefix
	// outcome is what it did to the counts as this node knows them.
	outcome policy.Outcome
	// stored is closed once the store has it or nobody is to wait for that.
	stored  chan struct{}
	waiting sync.Once
}

func (p *pendingProof) release() { p.waiting.Do(func() { close(p.stored) }) }

// apply counts p on top of whole and src.
func (p *pendingProof) apply(whole, src policy.Tally) (policy.Tally, policy.Tally, policy.Outcome, bool) {
	if p.Success {
		whole, src, ok := p.lockout.Succeed(whole, src, p.At)
		return whole, src, policy.Outcome{}, ok
	}
	whole, src, out := p.lockout.Fail(whole, src, p.At, p.Fingerprint)
	return whole, src, out, out.Counted
}

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
}

// apply publishes what the store says of tallies, unless newer is known.
func (t *lockTable) apply(now policy.Instant, changed ...Tally) {
	for _, c := range changed {
		if c.KeyID == "" {
			continue
		}
		t.update(c.KeyID, func(old *tallies) *tallies {
			next := old.copy(c.KeyID, now)
			if !next.take(c) {
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
	whole, src, out, counted = p.apply(whole, src)
	if !counted {
		return ts, out, false
	}
	next = ts.copy(p.KeyID, now)
	latest := whole
	if p.lockout.Mode == policy.Guard {
		latest = src
	}
	if p.Success || latest.Failures == 1 {
		// The count of this source starts over here, so the failures before do not
		// matter any more, whenever the store hears of it: what is owed to a store
		// that is out of reach stays bounded. A success before a failure does: it is
		// why the count starts over.
		next.pending = slices.DeleteFunc(slices.Clone(next.pending), func(o *pendingProof) bool {
			if o.source != p.source || o.Success && !p.Success {
				return false
			}
			o.release()
			return true
		})
	}
	next.pending = append(slices.Clip(next.pending), p)
	next.see(p.source, whole, src)
	return next, out, true
}

// see publishes counts with a pending proof in them.
func (ts *tallies) see(source netip.Prefix, whole, src policy.Tally) {
	ts.seen.whole = whole
	if !source.IsValid() {
		return
	}
	ts.seen.sources = maps.Clone(ts.seen.sources)
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
		if whole, src, _, counted := p.apply(whole, src); counted {
			ts.see(p.source, whole, src)
		}
	}
}

// take notes what the store says of one tally; false if newer is known.
func (ts *tallies) take(c Tally) bool {
	if c.Source == "" {
		if c.Seq < ts.whole.Seq {
			return false
		}
		ts.whole = c.stricter(ts.whole)
		return true
	}
	source, err := netip.ParsePrefix(c.Source)
	if err != nil || c.Seq < ts.sources[source].Seq {
		return false
	}
	c = c.stricter(ts.sources[source])
	ts.sources = maps.Clone(ts.sources)
	if ts.sources == nil {
		ts.sources = make(map[netip.Prefix]Tally, 1)
	}
	ts.sources[source] = c
	if len(ts.sources) > maxSources {
		ts.dropSource(source)
	}
	return true
}

// stricter is c with the lock of what was known before a store that went
// backwards began its seqs anew, see startOver.
func (t Tally) stricter(before Tally) Tally {
	if before.Seq == 0 && before.LockedFor > 0 && t.LockedFor == 0 {
		t.LockedAt, t.LockedFor = before.LockedAt, before.LockedFor
	}
	return t
}

// dropSource forgets the source that changed longest ago and is not locked, but
// never the one just noted. The map is the receiver's own.
func (ts *tallies) dropSource(but netip.Prefix) {
	var oldest netip.Prefix
	for p, t := range ts.sources {
		if p == but || t.LockedFor > 0 {
			continue
		}
		if !oldest.IsValid() || t.Seq < ts.sources[oldest].Seq {
			oldest = p
		}
	}
	delete(ts.sources, oldest)
}

// told is ts after the store has counted p.
func (ts *tallies) told(p *pendingProof, r CountResult, now policy.Instant) *tallies {
	if ts == nil {
		return nil
	}
	if r.Whole.KeyID == "" {
		return nil // the key is gone, and its counts with it
	}
	next := ts.copy(p.KeyID, now)
	next.pending = slices.DeleteFunc(slices.Clone(ts.pending), func(o *pendingProof) bool { return o == p })
	next.take(r.Whole)
	if r.Source.KeyID != "" {
		next.take(r.Source)
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
