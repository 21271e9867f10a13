package keystore

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// lockShards spreads copies on write; reads take no lock whatever the number.
const lockShards = 256

// clearedMemory is how long a cleared count is kept, so that a late, older
// reading of it is recognised as older and cannot come back.
const clearedMemory = 10 * time.Minute

// lockTable holds every failure count and lock, exactly: nothing is ever
// evicted, so a flood of other clients cannot push a lock out. Reading takes no
// lock and allocates nothing.
type lockTable struct {
	shards [lockShards]lockShard
	keys   atomic.Int64 // entries over all shards: 0 is the common case
}

type lockShard struct {
	mu sync.Mutex // serialises writers
	m  atomic.Pointer[map[string]*tallies]
}

// tallies are the counts of one key. Immutable once published.
type tallies struct {
	whole   Tally
	sources map[netip.Prefix]Tally
	touched time.Duration // Instant.Since of the latest change
}

func (t *lockTable) shard(keyID string) *lockShard {
	h := uint32(2166136261) // FNV-1a over the tail: ids are random there
	for i := max(0, len(keyID)-8); i < len(keyID); i++ {
		h = (h ^ uint32(keyID[i])) * 16777619
	}
	return &t.shards[h%lockShards]
}

// get is the counts of a key, nil if it has none.
func (t *lockTable) get(keyID string) *tallies {
	if t.keys.Load() == 0 {
		return nil
	}
	m := t.shard(keyID).m.Load()
	if m == nil {
		return nil
	}
	return (*m)[keyID]
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
		t.change(c.KeyID, func(old *tallies) *tallies { return old.with(c, now) })
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

// change replaces the counts of one key by what fn makes of them; nil removes.
func (t *lockTable) change(keyID string, fn func(*tallies) *tallies) {
	s := t.shard(keyID)
	s.mu.Lock()
	defer s.mu.Unlock()
	var m map[string]*tallies
	if p := s.m.Load(); p != nil {
		m = *p
	}
	old := m[keyID]
	next := fn(old)
	if next == old {
		return
	}
	m = maps.Clone(m)
	if m == nil {
		m = make(map[string]*tallies, 1)
	}
	switch {
	case next == nil:
		delete(m, keyID)
		t.keys.Add(-1)
	default:
		m[keyID] = next
		if old == nil {
			t.keys.Add(1)
		}
	}
	s.m.Store(&m)
}

// sweep forgets counts that mean nothing any more.
func (t *lockTable) sweep(l policy.Lockout, now policy.Instant) {
	for i := range t.shards {
		p := t.shards[i].m.Load()
		if p == nil {
			continue
		}
		for id, ts := range *p {
			if ts.forgettable(l, now) {
				t.change(id, func(current *tallies) *tallies {
					if current == nil || current.forgettable(l, now) {
						return nil
					}
					return current
				})
			}
		}
	}
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

// len counts the keys that have counts.
func (t *lockTable) len() int { return int(t.keys.Load()) }
