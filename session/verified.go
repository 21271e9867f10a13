package session

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/ristretto/v2"
)

// Verified remembers tokens whose signature was checked. It outlives a reload.
// What it remembers is only that: expiry, issuer, audience, revocation and the
// key are looked at on every request.
type Verified struct {
	cache *ristretto.Cache[uint64, *verifiedToken]
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
		return nil
	}
	return t
}

func (v *Verified) put(t *verifiedToken) {
	v.cache.Set(binary.LittleEndian.Uint64(t.digest[:8]), t, 1)
}
