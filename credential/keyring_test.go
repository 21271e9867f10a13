package credential

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func newRing(t testing.TB, keys ...MasterKey) *Keyring {
	t.Helper()
	ring, err := NewKeyring(keys...)
	require.NoError(t, err)
	return ring
}

func TestNewKeyringWantsAtLeastOneKeyAndEachOnce(t *testing.T) {
	t.Parallel()
	m := NewMasterKey()
	_, err := NewKeyring()
	require.ErrorContains(t, err, "at least one")
	_, err = NewKeyring(m, MasterKey{})
	require.ErrorContains(t, err, "2 of 2 is empty")
	again, err := ParseMasterKey(textOf(m))
	require.NoError(t, err)
	_, err = NewKeyring(m, NewMasterKey(), again)
	require.ErrorContains(t, err, m.ID()+" is given twice")
}

func TestFirstMasterKeyIsCurrentAndTheOthersAreStillRead(t *testing.T) {
	t.Parallel()
	old, current := NewMasterKey(), NewMasterKey()
	before, after := newRing(t, old), newRing(t, current, old)
	require.Equal(t, current.ID(), after.CurrentID())
	require.Equal(t, []string{current.ID(), old.ID()}, after.IDs())
	require.True(t, after.Has(old.ID()))
	require.False(t, before.Has(current.ID()))
	require.False(t, before.Has(""))

	d := before.Digest("secret")
	stored, ok := before.Verifier(old.ID(), d)
	require.True(t, ok)
	again, ok := after.Verifier(old.ID(), d)
	require.True(t, ok)
	require.True(t, Equal(stored, again))
	rewrapped, ok := after.Verifier(current.ID(), d)
	require.True(t, ok)
	require.False(t, Equal(stored, rewrapped))
	_, ok = before.Verifier(current.ID(), d)
	require.False(t, ok)
	_, ok = before.Derive(current.ID(), "x")
	require.False(t, ok)
}

// The kept states must be HMAC-SHA-256 over an HKDF-SHA-256 key, byte for byte.
func TestVerifierIsHMACOfTheDigestWithAKeyFromHKDF(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m, secret := NewMasterKey(), rapid.String().Draw(t, "secret")
		ring, err := NewKeyring(m)
		require.NoError(t, err)
		k, err := hkdf.Key(sha256.New, m.key.bytes[:], nil, "keyreeve verifier v1", 32)
		require.NoError(t, err)
		d := sha256.Sum256([]byte(secret))
		mac := hmac.New(sha256.New, k)
		mac.Write(d[:])

		require.Equal(t, d, ring.Digest(secret))
		got, ok := ring.Verifier(m.ID(), ring.Digest(secret))
		require.True(t, ok)
		require.Equal(t, mac.Sum(nil), got[:])
	})
}

// A fixed example: verifiers are stored, so they may never come out otherwise.
func TestVerifierOfAKnownSecretNeverChanges(t *testing.T) {
	t.Parallel()
	m, err := ParseMasterKey("krm_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	require.NoError(t, err)
	ring := newRing(t, m)
	got, ok := ring.Verifier(ring.CurrentID(), ring.Digest("secret"))
	require.True(t, ok)
	require.Equal(t, "18c09298248eef6d59e2d508d040b875d70d7a432e66f99ef25e5a1b79234131", hex.EncodeToString(got[:]))
}

func TestDigestHandlesSecretsOfAnyLength(t *testing.T) {
	t.Parallel()
	ring := newRing(t, NewMasterKey())
	for _, n := range []int{0, 1, 55, 56, 64, MaxSecret, MaxSecret + 1, 5000} {
		s := strings.Repeat("x", n)
		require.Equal(t, sha256.Sum256([]byte(s)), ring.Digest(s), n)
	}
}

func TestDerivedKeysAreApartFromEachOtherAndFromTheVerifierKey(t *testing.T) {
	t.Parallel()
	m := NewMasterKey()
	ring := newRing(t, m)
	seen := map[[32]byte]string{
		ring.keys[0].derive(infoVerifier):    infoVerifier,
		ring.keys[0].derive(infoFingerprint): infoFingerprint,
	}
	for _, info := range []string{"", "cursor", "audit", infoVerifier, infoFingerprint, infoDerived} {
		k, ok := ring.Derive(m.ID(), info)
		require.True(t, ok)
		require.NotContains(t, seen, k, info)
		seen[k] = info
		again, _ := newRing(t, m).Derive(m.ID(), info)
		require.Equal(t, k, again)
	}
}

func TestFingerprintTellsWrongSecretsApartAndIsKeyed(t *testing.T) {
	t.Parallel()
	m := NewMasterKey()
	ring := newRing(t, m)
	require.Equal(t, ring.Fingerprint("key_1", "a"), newRing(t, m).Fingerprint("key_1", "a"))
	require.NotEqual(t, ring.Fingerprint("key_1", "a"), ring.Fingerprint("key_1", "b"))
	require.NotEqual(t, ring.Fingerprint("key_1", "a"), ring.Fingerprint("key_2", "a"), "nothing across keys")
	require.NotEqual(t, ring.Fingerprint("key_1", "a"), newRing(t, NewMasterKey()).Fingerprint("key_1", "a"))
}

func TestEqualComparesEveryByte(t *testing.T) {
	t.Parallel()
	a := sha256.Sum256(nil)
	require.True(t, Equal(a, a))
	for i := range a {
		b := a
		b[i] ^= 1
		require.False(t, Equal(a, b), i)
	}
}

func TestKeyringServesManyAtOnce(t *testing.T) {
	t.Parallel()
	ring := newRing(t, NewMasterKey(), NewMasterKey())
	secrets := []string{NewSecret(), NewSecret(), NewSecret(), NewSecret()}
	want := make([][32]byte, len(secrets))
	for i, s := range secrets {
		want[i], _ = ring.Verifier(ring.CurrentID(), ring.Digest(s))
	}
	var wg sync.WaitGroup
	wrong := make([]bool, len(secrets))
	for i, s := range secrets {
		wg.Go(func() {
			for range 500 {
				got, _ := ring.Verifier(ring.CurrentID(), ring.Digest(s))
				wrong[i] = wrong[i] || got != want[i]
			}
		})
	}
	wg.Wait()
	require.NotContains(t, wrong, true)
}

func TestProvingASecretAllocatesNothing(t *testing.T) {
	ring := newRing(t, NewMasterKey(), NewMasterKey())
	secret, id := NewSecret(), ring.IDs()[1]
	want, _ := ring.Verifier(id, ring.Digest(secret))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		got, ok := ring.Verifier(id, ring.Digest(secret))
		if !ok || !Equal(got, want) || ring.Fingerprint("key_1", secret) == 0 {
			panic("unequal")
		}
	}))
}

func BenchmarkVerifier(b *testing.B) {
	ring := newRing(b, NewMasterKey())
	id, d := ring.CurrentID(), ring.Digest(NewSecret())
	b.ReportAllocs()
	for b.Loop() {
		d, _ = ring.Verifier(id, d)
	}
}

func BenchmarkDigest(b *testing.B) {
	ring, secret := newRing(b, NewMasterKey()), NewSecret()
	b.ReportAllocs()
	for b.Loop() {
		_ = ring.Digest(secret)
	}
}

func BenchmarkProveSecret(b *testing.B) {
	ring, secret := newRing(b, NewMasterKey()), NewSecret()
	id := ring.CurrentID()
	want, _ := ring.Verifier(id, ring.Digest(secret))
	b.ReportAllocs()
	for b.Loop() {
		got, _ := ring.Verifier(id, ring.Digest(secret))
		if !Equal(got, want) {
			b.Fatal("unequal")
		}
	}
}
