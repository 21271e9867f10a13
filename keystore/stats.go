package keystore

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// statsSample is how many entries of a cache are measured to estimate the rest.
	statsSample = 64
	// ristrettoEntry is what ristretto keeps around an entry, in bytes: an item of
	// its store (56) and a cost of its policy (16), in maps filled to two thirds.
	ristrettoEntry = 112
	// unknownEntry is the same for the cache of unknown clients: an element of its
	// list (112) and a place in a map (24).
	unknownEntry = 152
	// cachedLabel is what a label takes besides its text: two string headers in a map.
	cachedLabel = 48
)

// Stats is what a Cached has done since it was opened, and what it holds now.
type Stats struct {
	Counts
	// Keys and Unknown are the caches of known keys and of unknown client IDs.
	Keys, Unknown CacheHolds
	// Revision is the newest change seen, Age how long ago the change log was
	// asked for newer ones with success.
	Revision Revision
	Age      time.Duration
	// LockedClients are those locked as a whole.
	LockedClients int
	// EndedSessions are those remembered because their tokens would still be good.
	EndedSessions int
}

// Counts only grow.
type Counts struct {
	KeyLookups, UnknownLookups CacheCounts
	// Counted and Uncounted are wrong secrets; the latter changed no count: a
	// repetition (guard), or the client was locked meanwhile.
	Counted, Uncounted uint64
	// ClientLocks and SourceLocks are locks that began here.
	ClientLocks, SourceLocks uint64
	// RetiredUses is how often a secret was shown that is no longer good but
	// remembered.
	RetiredUses uint64
	// DroppedUses are last uses that were not recorded for want of room.
	DroppedUses uint64
}

// CacheCounts is how often a cache was asked: a miss of Keys asks Unknown, and a
// miss of Unknown the store.
type CacheCounts struct{ Hits, Misses uint64 }

// CacheHolds is what a cache holds. Bytes is an estimate: the mean size of some
// entries, with what the cache keeps around each, times their number. Tables of
// a fixed size are not in it.
type CacheHolds struct {
	Entries int
	Bytes   int64
}

// EstimateRistretto is the estimate for a ristretto cache that counts each entry
// as 1: visit calls back for its values until told to stop.
func EstimateRistretto[V any](cost, remaining int64, visit func(func(V) (stop bool)), size func(V) int) CacheHolds {
	h := CacheHolds{Entries: int(max(0, cost-remaining))}
	measured, bytes := 0, 0
	visit(func(v V) bool {
		measured++
		bytes += size(v)
		return measured >= statsSample
	})
	if measured > 0 {
		h.Bytes = int64(h.Entries) * int64(ristrettoEntry+bytes/measured)
	}
	return h
}

// failureCounts are the counts of failures and locks.
type failureCounts struct {
	counted, uncounted, clientLocks, sourceLocks atomic.Uint64
}

func (f *failureCounts) note(out policy.Outcome) {
	if out.Counted {
		f.counted.Add(1)
	} else {
		f.uncounted.Add(1)
	}
	if out.Locked {
		f.clientLocks.Add(1)
	}
	if out.SourceLocked {
		f.sourceLocks.Add(1)
	}
}

// Counts is the part of Stats that costs nothing to gather. It may still be
// asked for after Close.
func (c *Cached) Counts() Counts {
	return Counts{
		KeyLookups: c.keys.counts.known(), UnknownLookups: c.keys.counts.unknown(),
		Counted: c.failures.counted.Load(), Uncounted: c.failures.uncounted.Load(),
		ClientLocks: c.failures.clientLocks.Load(), SourceLocks: c.failures.sourceLocks.Load(),
		RetiredUses: c.uses.retired.Load(), DroppedUses: c.uses.dropped.Load(),
	}
}

// Stats gathers everything. It takes no lock that a decision or a write waits for
// and does not ask the store; its cost grows with the number of failure counts held.
func (c *Cached) Stats() Stats {
	now, synced := c.clock.Now(), c.synced.Load()
	return Stats{
		Counts:        c.Counts(),
		Keys:          c.keys.holdsKnown(),
		Unknown:       c.keys.holdsUnknown(),
		Revision:      synced.position,
		Age:           passed(synced.at, now),
		LockedClients: c.counter.table.lockedClients(now),
		EndedSessions: c.ended.len(),
	}
}

// Followed is how far the change log was followed: the newest revision that was
// seen, when the log was last asked with success, and whether it cannot be now.
func (c *Cached) Followed() (position Revision, at time.Time, lost bool) {
	s := c.synced.Load()
	return s.position, s.at.Wall, s.lost
}

// SnapshotCounts are those of a node's snapshot since it was started; none where it
// keeps none.
type SnapshotCounts struct {
	// Rewritings are snapshots that were written whole, Errors what could not be written.
	Rewritings, Errors int64
}

// SnapshotCounts costs nothing to gather.
func (c *Cached) SnapshotCounts() SnapshotCounts {
	if c.journal == nil {
		return SnapshotCounts{}
	}
	return SnapshotCounts{Rewritings: c.journal.sizes.rewritings.Load(), Errors: c.journal.sizes.errors.Load()}
}

// lookupCounts are how the lookups of keys ended. The found ones are the hot path's.
type lookupCounts struct{ found, remembered, asked Striped }

func (l *lookupCounts) hit(again bool) {
	if !again {
		l.found.Add()
	}
}

func (l *lookupCounts) known() CacheCounts {
	return CacheCounts{Hits: l.found.Load(), Misses: l.remembered.Load() + l.asked.Load()}
}

func (l *lookupCounts) unknown() CacheCounts {
	return CacheCounts{Hits: l.remembered.Load(), Misses: l.asked.Load()}
}

func (c *keyCache) holdsKnown() CacheHolds {
	return EstimateRistretto(c.known.MaxCost(), c.known.RemainingCost(), c.known.IterValues, (*cachedKey).size)
}

// holdsUnknown measures the entry of each shard that is the next to go.
func (c *keyCache) holdsUnknown() (h CacheHolds) {
	measured, bytes := 0, 0
	for _, shard := range c.unknown {
		h.Entries += shard.Len()
		if id, _, ok := shard.GetOldest(); ok {
			measured++
			bytes += len(id)
		}
	}
	if measured > 0 {
		h.Bytes = int64(h.Entries) * int64(unknownEntry+bytes/measured)
	}
	return h
}

// size is what a cached key takes in memory, in bytes.
func (v *cachedKey) size() int {
	k := v.key
	n := int(unsafe.Sizeof(*v)+unsafe.Sizeof(*k)) + len(k.ClientID) + // as the cache's own
		len(k.ID) + len(k.ClientID) + len(k.Name) + len(k.Description) + len(k.CustomerID) + len(k.MicrotenantID) + len(k.RoleID) +
		len(k.Source) + len(k.CreatedBy) + len(k.ModifiedBy)
	for i := range k.AllowedCIDRs {
		n += int(unsafe.Sizeof(k.AllowedCIDRs[i]))
	}
	for name, value := range k.Labels {
		n += cachedLabel + len(name) + len(value)
	}
	for i := range k.Secrets {
		s := &k.Secrets[i]
		n += int(unsafe.Sizeof(*s)) + len(s.ID) + len(s.MasterKeyID) + len(s.Hint)
	}
	return n
}

// lockedClients counts clients that are locked as a whole.
func (t *lockTable) lockedClients(now policy.Instant) (n int) {
	for ts := range t.all {
		if ts.seen.whole.Remaining(now) > 0 {
			n++
		}
	}
	return n
}
