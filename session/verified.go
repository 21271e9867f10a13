package session

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/keyreeve/keyreeve/keystore"
)

// Verified remembers tokens whose signature was checked. It outlives a reload.
// What it remembers is only that: expiry, issuer, audience, revocation and the
// key are looked at on every request.
type Verified struct {
	cache        *ristretto.Cache[uint64, *verifiedToken]
	hits, misses keystore.Striped
}

// verifiedToken is a token by the SHA-256 of all of it. Immutable.
type verifiedToken struct {
	digest [sha256.Size]byte
	key    *verifyingKey
	claims *Claims
}

// NewVerified makes a cache of at most size tokens.
func NewVerified(size int) (*Verified, error) {
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *verifiedToken]{
		NumCounters: int64(max(4*size, 1024)), MaxCost: int64(size), BufferItems: 64, IgnoreInternalCost: true,
		// Only proven tokens come in, and a client uses its token many times.
	})
	if err != nil {
		return nil, fmt.Errorf("token cache: %w", err)
	}
	return &Verified{cache: cache}, nil
}

// Resize applies a new bound in place.
func (v *Verified) Resize(size int) { v.cache.UpdateMaxCost(int64(size)) }

// Close ends the cache.
func (v *Verified) Close() { v.cache.Close() }

// get is the token's entry if its key is still in the set.
func (v *Verified) get(digest *[sha256.Size]byte, set *keySet) *verifiedToken {
	t, ok := v.cache.Get(binary.LittleEndian.Uint64(digest[:8]))
	if !ok || t.digest != *digest || set.byID[t.key.id] == nil {
		v.misses.Add()
		return nil
	}
	v.hits.Add()
	return t
}

func (v *Verified) put(t *verifiedToken) {
	v.cache.Set(binary.LittleEndian.Uint64(t.digest[:8]), t, 1)
}

// Counts is how often a token was found. It may still be asked for after Close.
func (v *Verified) Counts() keystore.CacheCounts {
	return keystore.CacheCounts{Hits: v.hits.Load(), Misses: v.misses.Load()}
}

// Holds is what the cache holds.
func (v *Verified) Holds() keystore.CacheHolds {
	return keystore.EstimateRistretto(v.cache.MaxCost(), v.cache.RemainingCost(), v.cache.IterValues, (*verifiedToken).size)
}

// size is what an entry takes in memory, in bytes. Its key is shared.
func (t *verifiedToken) size() int {
	c := t.claims
	return int(unsafe.Sizeof(*t)+unsafe.Sizeof(*c)) +
		len(c.Issuer) + len(c.Audience) + len(c.Subject) + len(c.ClientID) + len(c.ID) + len(c.Customer) + len(c.Microtenant)
}
