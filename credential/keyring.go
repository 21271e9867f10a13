package credential

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The info strings of HKDF (RFC 5869): what a derived key is for. Keys given out
// by Derive are kept apart from these by a prefix of their own.
const (
	infoVerifier    = "keyreeve verifier v1"
	infoFingerprint = "keyreeve wrong secret fingerprint v2"
	infoAudit       = "keyreeve audit trail v1"
	infoDerived     = "keyreeve derived v1: "
)

// Keyring holds the master keys in use: the first is current, the others are
// still read. It never changes, so it is safe for concurrent use. However it is
// printed, it shows ids and no key.
type Keyring struct {
	keys []*ringKey
}

// ringKey holds pointers for the same reason as hiddenKey.
type ringKey struct {
	id          string
	master      *hiddenKey
	verifier    *hmacState
	fingerprint *hmacState
	audit       *hmacState
}

// NewKeyring makes a keyring; the first key is the current one.
func NewKeyring(keys ...MasterKey) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("no master key given, expected at least one")
	}
	r := &Keyring{}
	for i, m := range keys {
		if m.key == nil {
			return nil, fmt.Errorf("master key %d of %d is empty, it was neither read nor made", i+1, len(keys))
		}
		if r.Has(m.ID()) {
			return nil, fmt.Errorf("master key %s is given twice, name each once", m.ID())
		}
		k := &ringKey{id: m.ID(), master: m.key}
		k.verifier = newHMACState(k.derive(infoVerifier))
		k.fingerprint = newHMACState(k.derive(infoFingerprint))
		k.audit = newHMACState(k.derive(infoAudit))
		r.keys = append(r.keys, k)
	}
	return r, nil
}

// CurrentID is the id of the master key that new verifiers are made with.
func (r *Keyring) CurrentID() string { return r.keys[0].id }

// IDs lists the ids of all master keys, the current one first.
func (r *Keyring) IDs() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

// Has reports whether the keyring holds the master key with that id.
func (r *Keyring) Has(id string) bool { return r.key(id) != nil }

func (r *Keyring) key(id string) *ringKey {
	i := slices.IndexFunc(r.keys, func(k *ringKey) bool { return k.id == id })
	if i < 0 {
		return nil
	}
	return r.keys[i]
}

// Digest is SHA-256 of the secret, the form in which secrets are imported.
func (r *Keyring) Digest(secret string) [32]byte { return digest(secret) }

// Verifier is what is stored for a secret with this digest under this master
// key: HMAC-SHA-256 of the digest. It is false if the master key is not held.
func (r *Keyring) Verifier(masterKeyID string, digest [32]byte) ([32]byte, bool) {
	k := r.key(masterKeyID)
	if k == nil {
		return [32]byte{}, false
	}
	return k.verifier.sum(digest), true
}

// Derive is a key for another purpose, named by info: the same for the same
// master key and info, unrelated to every other. Costly; keep what it returns.
func (r *Keyring) Derive(masterKeyID, info string) ([32]byte, bool) {
	k := r.key(masterKeyID)
	if k == nil {
		return [32]byte{}, false
	}
	return k.derive(infoDerived + info), true
}

// Fingerprint tells two wrong secrets of one API key apart without revealing
// either, and says nothing about those of another. It is keyed by the current
// master key, so that nobody else can test guesses with it. Never 0.
func (r *Keyring) Fingerprint(keyID, secret string) uint64 {
	var both [2 * sha256.Size]byte
	owner, shown := digest(keyID), digest(secret)
	copy(both[:], owner[:])
	copy(both[sha256.Size:], shown[:])
	sum := r.keys[0].fingerprint.sum(sha256.Sum256(both[:]))
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

// Seal is the MAC of an audit trail's hash under the current master key. The
// purpose is part of it, so that no MAC passes for one of another purpose.
func (r *Keyring) Seal(purpose string, hash [32]byte) (mac [32]byte, masterKeyID string) {
	return r.keys[0].seal(purpose, hash), r.keys[0].id
}

// Check reports whether Seal made mac under that master key; known is false for
// one that is not held.
func (r *Keyring) Check(purpose string, hash, mac [32]byte, masterKeyID string) (ok, known bool) {
	k := r.key(masterKeyID)
	if k == nil {
		return false, false
	}
	return Equal(k.seal(purpose, hash), mac), true
}

func (k *ringKey) seal(purpose string, hash [32]byte) [32]byte {
	return k.audit.sum(sha256.Sum256(append(hash[:], purpose...)))
}

// String lists the ids of the master keys.
func (r Keyring) String() string { return "keyring of master keys " + strings.Join(r.IDs(), ", ") }

// GoString is String.
func (r Keyring) GoString() string { return r.String() }

// Format writes String whatever the verb.
func (r Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// MarshalText is String; JSON and YAML use it.
func (r Keyring) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Equal compares two digests or verifiers in constant time.
func Equal(a, b [32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

func digest(secret string) [32]byte {
	// A copy on the stack: converting a longer string to bytes would allocate.
	var buf [MaxSecret]byte
	if len(secret) > len(buf) {
		return sha256.Sum256([]byte(secret))
	}
	n := copy(buf[:], secret)
	return sha256.Sum256(buf[:n])
}

func (k *ringKey) derive(info string) [32]byte {
	key, err := hkdf.Key(sha256.New, k.master.bytes[:], nil, info, 32)
	if err != nil {
		panic("credential: HKDF-SHA-256 refused 32 bytes: " + err.Error()) // its limit is 255*32
	}
	return [32]byte(key)
}

// hmacState is HMAC-SHA-256 (RFC 2104) after the key block of either hash: half
// the work of a new HMAC, and unlike a reused hmac.Hash it needs no pool and
// allocates nothing. The states are as secret as the key.
type hmacState struct {
	inner, outer []byte
}

func newHMACState(key [32]byte) *hmacState {
	return &hmacState{inner: stateAfter(key, 0x36), outer: stateAfter(key, 0x5c)}
}

// stateAfter is the state of SHA-256 after one block of the padded key.
func stateAfter(key [32]byte, pad byte) []byte {
	var block [sha256.BlockSize]byte
	copy(block[:], key[:])
	for i := range block {
		block[i] ^= pad
	}
	h := sha256.New()
	_, _ = h.Write(block[:])
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic("credential: SHA-256 state not saved: " + err.Error())
	}
	return state
}

func (s *hmacState) sum(message [32]byte) (mac [32]byte) {
	h := sha256.New() // stays on the stack
	resume := h.(encoding.BinaryUnmarshaler)
	if err := resume.UnmarshalBinary(s.inner); err != nil {
		panic("credential: SHA-256 state not restored: " + err.Error())
	}
	_, _ = h.Write(message[:])
	h.Sum(mac[:0])
	if err := resume.UnmarshalBinary(s.outer); err != nil {
		panic("credential: SHA-256 state not restored: " + err.Error())
	}
	_, _ = h.Write(mac[:])
	h.Sum(mac[:0])
	return mac
}
