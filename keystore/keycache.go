package keystore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

const (
	// markBuckets is how many counters the marks have: a change makes at most one
	// cached key in this many be read again needlessly.
	markBuckets = 1 << 16
	// hotSlots is how many keys are found without asking the cache proper, which
	// writes to memory that all cores share to learn what is used often.
	hotSlots = 1 << 14
	// unknownShards spreads the lock of the cache of unknown client IDs.
	unknownShards = 16
	// fillTries bounds how often a lookup starts over because its key changed
	// while it was being read.
	fillTries = 8
	// fillTimeout bounds one read of a key from the store, waiting for its turn
	// included. A connection that is given up by then may take a second for it.
	fillTimeout = 2 * time.Second
	// maxFills is how many keys are read at one time: neither a flood of unknown clients
	// nor what waited for a store to come back may keep it from being followed.
	maxFills = 8
)

// keyCache holds keys by client ID. What makes it safe is not the order in which
// the cache applies its writes (ristretto buffers them: a Set that a slow loader
// makes after a Del brings the old value back) but marks: every cached value
// carries the tick at which its reading began, every change raises the mark of
// its client ID to a new tick, and a value older than its mark is not used.
type keyCache struct {
	store *guarded
	// deciding counts those who look keys up.
	deciding *decisions
	// onRead is told of each key that was read and is held, nil for nobody.
	onRead func(*cachedKey)
	// filling holds those who read a key from the store.
	filling chan struct{}

	// ticks count applied changes on this node. Not revisions: a store that goes
	// backwards must not make old values look new.
	ticks atomic.Int64
	seed  maphash.Seed
	marks [markBuckets]atomic.Int64
	floor atomic.Int64 // the mark of every client ID

	// hot holds the keys used last, one for each slot of the hash: at once, while
	// known takes what is set behind the request. Marks guard both alike.
	hot     [hotSlots]atomic.Pointer[cachedKey]
	known   *ristretto.Cache[string, *cachedKey]
	unknown [unknownShards]*lru.Cache[string, unknownClient]
	ttl     atomic.Int64 // of an unknown client, ns
	flight  singleflight.Group
	counts  lookupCounts
}

// cachedKey is a key as read not before the tick. Immutable but for its count.
type cachedKey struct {
	key   *Key
	tick  int64
	calls callCount
}

// unknownClient is the memory that a client ID was not there.
type unknownClient struct {
	tick    int64
	expires time.Time
}

// CacheSizes bounds the caches.
type CacheSizes struct {
	// Keys is the most keys held.
	Keys int
	// Unknown is the most unknown client IDs remembered, so that a flood of one
	// of them does not reach the store.
	Unknown int
	// UnknownTTL is how long one is remembered. A key created under it is usable
	// at once all the same.
	UnknownTTL time.Duration
}

func newKeyCache(store *guarded, sizes CacheSizes) (*keyCache, error) {
	known, err := ristretto.NewCache(&ristretto.Config[string, *cachedKey]{
		// Admission counters, 4 bits each: a few times as many as keys tell a
		// frequent key from a flood of one-time ones.
		NumCounters:        int64(max(4*sizes.Keys, 1024)),
		MaxCost:            int64(sizes.Keys),
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	c := &keyCache{store: store, filling: make(chan struct{}, maxFills), seed: maphash.MakeSeed(), known: known}
	for i := range c.unknown {
		if c.unknown[i], err = lru.New[string, unknownClient](unknownPerShard(sizes)); err != nil {
			return nil, fmt.Errorf("cache of unknown clients: %w", err)
		}
	}
	c.ttl.Store(int64(sizes.UnknownTTL))
	return c, nil
}

func unknownPerShard(s CacheSizes) int { return max(1, s.Unknown/unknownShards) }

// resize applies new bounds in place.
func (c *keyCache) resize(s CacheSizes) {
	c.known.UpdateMaxCost(int64(s.Keys))
	for _, shard := range c.unknown {
		shard.Resize(unknownPerShard(s))
	}
	c.ttl.Store(int64(s.UnknownTTL))
}

func (c *keyCache) hash(clientID string) uint64 { return maphash.String(c.seed, clientID) }

// slot is where the hot key of this hash is; by other bits than those of the
// marks, so that both are spread.
func (c *keyCache) slot(hash uint64) *atomic.Pointer[cachedKey] {
	return &c.hot[hash/markBuckets%hotSlots]
}

// current reports whether a value read from tick on is not from before a change.
func (c *keyCache) current(hash uint64, tick int64) bool {
	return tick >= c.marks[hash%markBuckets].Load() && tick >= c.floor.Load()
}

// invalidate makes every value of these client IDs read before now unusable, which is
// before a tick.
func (c *keyCache) invalidate(clientIDs []string) (tick int64) {
	if len(clientIDs) == 0 {
		return 0
	}
	tick = c.ticks.Add(1)
	for _, id := range clientIDs {
		raise(&c.marks[c.hash(id)%markBuckets], tick)
	}
	return tick
}

// forget frees the room of invalidated values; safety does not depend on it.
func (c *keyCache) forget(clientIDs []string) {
	for _, id := range clientIDs {
		c.known.Del(id)
	}
}

// invalidateAll does so for all.
func (c *keyCache) invalidateAll() { raise(&c.floor, c.ticks.Add(1)) }

func raise(mark *atomic.Int64, tick int64) {
	for {
		old := mark.Load()
		if old >= tick || mark.CompareAndSwap(old, tick) {
			return
		}
	}
}

// get is the key of a client ID: from the cache without lock, allocation or I/O
// when it is there, else by one read of the store however many wait for it.
// ErrNotFound if there is none; any other error means it cannot be known now. A
// look that starts over asks again: what it finds then is no other hit. The decision that
// it is for, if it is not nil, steps aside while it waits.
func (c *keyCache) get(clientID string, now time.Time, again bool, of *Decision) (*Key, error) {
	hash := c.hash(clientID)
	slot := c.slot(hash)
	// The full ID is compared: two IDs may share a slot, and ristretto's hashes.
	if v := slot.Load(); v != nil && v.key.ClientID == clientID && c.current(hash, v.tick) {
		c.counts.hit(again)
		return v.key, nil
	}
	if v, ok := c.known.Get(clientID); ok && v.key.ClientID == clientID && c.current(hash, v.tick) {
		slot.Store(v)
		c.counts.hit(again)
		return v.key, nil
	}
	if u, ok := c.unknown[hash%unknownShards].Get(clientID); ok && now.Before(u.expires) && c.current(hash, u.tick) {
		c.counts.remembered.Add()
		return nil, ErrNotFound
	}
	c.counts.asked.Add()
	return c.fill(clientID, hash, now, of)
}

// fill reads a key and keeps it. A read that a change overtook is not used, not
// even for the request that made it: it may have joined a read that began before
// a revocation which was confirmed before this request began.
//
// It does not end with the caller's request, and is short: a caller that hangs up
// must be answered like any other, or the answer would tell what is cached.
func (c *keyCache) fill(clientID string, hash uint64, now time.Time, of *Decision) (*Key, error) {
	for range fillTries {
		c.deciding.pause(of)
		read, err, _ := c.flight.Do(clientID, func() (any, error) { return c.read(clientID, hash, now) })
		c.deciding.resume(of) // before it is looked whether the key is current still
		if err != nil {
			return nil, err
		}
		v := read.(*cachedKey)
		if !c.current(hash, v.tick) {
			continue
		}
		if v.key == nil {
			return nil, ErrNotFound
		}
		return v.key, nil
	}
	return nil, fmt.Errorf("key changed %d times while it was read", fillTries)
}

// read asks the store, on no caller's behalf: one that hangs up must not fail
// the others. A nil key is an unknown client; an error is cached nowhere.
func (c *keyCache) read(clientID string, hash uint64, now time.Time) (*cachedKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fillTimeout)
	defer cancel()
	if err := c.store.refusedKey(); err != nil { // not behind those who were under way when it was lost
		return nil, err
	}
	select {
	case c.filling <- struct{}{}:
		defer func() { <-c.filling }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %d other keys were read for %s", ErrUnavailable, maxFills, fillTimeout)
	}
	v := &cachedKey{tick: c.ticks.Load()} // before the store is read, see keyCache
	key, err := c.store.KeyByClientID(ctx, clientID)
	switch {
	case errors.Is(err, ErrNotFound):
		c.unknown[hash%unknownShards].Add(clientID, unknownClient{tick: v.tick, expires: now.Add(time.Duration(c.ttl.Load()))})
		return v, nil
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: a key was not read within %s: %w", ErrUnavailable, fillTimeout, err)
	case err != nil:
		return nil, err
	}
	v.key, v.calls.keyID, key.calls = key, key.ID, &v.calls
	c.known.Set(clientID, v, 1)
	c.slot(hash).Store(v)
	if c.onRead != nil {
		c.onRead(v)
	}
	return v, nil
}

func (c *keyCache) close() { c.known.Close() }
