package session

import (
	"crypto"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyreeve/keyreeve/keystore"
)

// verifyingKey is a published key.
type verifyingKey struct {
	id        string
	algorithm string
	public    crypto.PublicKey
	record    *keystore.SigningKey
}

// keySet is every signing key as one picture of the store has it. Immutable.
type keySet struct {
	records []*keystore.SigningKey // the slice it was made from: its identity
	byID    map[string]*verifyingKey
	jwks    []byte
}

// newKeySet reads stored keys. One that cannot be read is an error: a token it
// signed would be refused without anyone knowing why.
func newKeySet(records []*keystore.SigningKey) (*keySet, error) {
	set := &keySet{records: records, byID: make(map[string]*verifyingKey, len(records))}
	published := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, r := range records {
		var jwk jose.JSONWebKey
		if err := jwk.UnmarshalJSON(r.Public); err != nil {
			return nil, fmt.Errorf("signing key %s: %w", r.ID, err)
		}
		set.byID[r.ID] = &verifyingKey{id: r.ID, algorithm: r.Algorithm, public: jwk.Key, record: r}
		published.Keys = append(published.Keys, jwk)
	}
	var err error
	set.jwks, err = json.Marshal(published)
	return set, err
}

// signer is the key to sign with now: the newest of the algorithm whose time has
// come. nil if there is none.
func (s *keySet) signer(algorithm string, now time.Time) *verifyingKey {
	return s.newest(now, func(k *verifyingKey) bool { return k.algorithm == algorithm })
}

// anySigner is the same whatever the algorithm.
func (s *keySet) anySigner(now time.Time) *verifyingKey {
	return s.newest(now, func(*verifyingKey) bool { return true })
}

func (s *keySet) newest(now time.Time, wanted func(*verifyingKey) bool) *verifyingKey {
	var best *verifyingKey
	for _, k := range s.byID {
		r := k.record
		if !wanted(k) || now.Before(r.SignFrom) || !now.Before(r.SignUntil) {
			continue
		}
		if best == nil || r.SignFrom.After(best.record.SignFrom) {
			best = k
		}
	}
	return best
}

// upcoming reports whether a key of the algorithm is published that signs later.
func (s *keySet) upcoming(algorithm string, now time.Time) bool {
	for _, k := range s.byID {
		if k.algorithm == algorithm && k.record.SignFrom.After(now) {
			return true
		}
	}
	return false
}

// successor reports whether a key that signs later than k is published already.
func (s *keySet) successor(k *verifyingKey) bool {
	for _, other := range s.byID {
		if other.algorithm == k.algorithm && other.record.SignFrom.After(k.record.SignFrom) {
			return true
		}
	}
	return false
}

// sameRecords reports whether the set was made from these records.
func (s *keySet) sameRecords(records []*keystore.SigningKey) bool {
	return s != nil && slices.Equal(s.records, records)
}
