package keystore

import (
	"maps"
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// clearedMemory is how long a cleared count is kept, so that a late, older
// reading of it is recognised as older and cannot come back.
const clearedMemory = 10 * time.Minute

// lockTable holds every failure count and lock, by key id.
type lockTable struct{ exactMap[*tallies] }

// tallies are the counts of one key. Immutable once published.
type tallies struct {
	whole   Tally
	sources map[netip.Prefix]Tally
	touched time.Duration // Instant.Since of the latest change
}

// of is the counts of a key, nil if it has none.
func (t *lockTable) of(keyID string) *tallies {
	ts, _ := t.get(keyID)
	return ts
}

func (ts *tallies) pair(source netip.Prefix) (whole, src policy.Tally) {
	if ts == nil {
		return policy.Tally{}, policy.Tally{}
	}
	return ts.whole.Tally, ts.sources[source].Tally
}

// apply publishes a tally unless a newer one is known.
func (t *lockTable) apply(now policy.Instant, changed ...Tally) {
	for _, c := range changed {
		if c.KeyID == "" {
			continue
		}
		t.update(c.KeyID, func(old *tallies) *tallies { return old.with(c, now) })
	}
}

// with is old with c in it; old itself where c is not news.
func (ts *tallies) with(c Tally, now policy.Instant) *tallies {
	next := tallies{touched: now.Since}
	if ts != nil {
		next.whole, next.sources = ts.whole, ts.sources
	}
	if c.Source == "" {
		if c.Seq < next.whole.Seq {
			return ts
		}
		next.whole = c
		return &next
	}
	source, err := netip.ParsePrefix(c.Source)
	if err != nil || c.Seq < next.sources[source].Seq {
		return ts
	}
	next.sources = maps.Clone(next.sources)
	if next.sources == nil {
		next.sources = make(map[netip.Prefix]Tally, 1)
	}
	next.sources[source] = c
	return &next
}

// update replaces the counts of one key by what fn makes of them; nil removes.
func (t *lockTable) update(keyID string, fn func(*tallies) *tallies) {
	t.change(keyID, func(old *tallies, _ bool) (*tallies, bool) {
		next := fn(old)
		return next, next != nil
	})
}

func (ts *tallies) forgettable(l policy.Lockout, now policy.Instant) bool {
	if now.Since-ts.touched < clearedMemory || !ts.whole.Empty(l, now) {
		return false
	}
	for _, s := range ts.sources {
		if !s.Empty(l, now) {
			return false
		}
	}
	return true
}
