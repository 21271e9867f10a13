package authn_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// tries are the failing tries that the store keeps of the key.
func (b *bench) tries() (tries []keystore.Try) {
	b.t.Helper()
	require.NoError(b.t, b.keys.View(b.t.Context(), func(r keystore.Reader) (err error) {
		tries, err = r.Tries(b.t.Context(), "key_1")
		return err
	}))
	return tries
}

func TestAWrongSecretIsKnownAgainByAFingerprintAndStoredNowhere(t *testing.T) {
	b := newBench(t)
	stale, guess := credential.NewSecret(), credential.NewSecret()
	start := b.clock.Now().Wall
	for i, secret := range []string{stale, stale, guess} {
		address := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		b.auth.Secret(t.Context(), clientID, secret, func() netip.Addr { return address }, b.clock.Now())
		b.clock.Advance(time.Second)
	}
	tries := b.tries()
	require.Len(t, tries, 3)
	require.Equal(t, tries[0].Fingerprint, tries[1].Fingerprint)
	require.NotEqual(t, tries[0].Fingerprint, tries[2].Fingerprint)
	require.Equal(t, []any{start.Add(time.Second), "192.0.2.1"}, []any{tries[1].At, tries[1].Address.String()})

	// Whoever has the database alone cannot test a guess: the ring makes the print.
	other, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	require.NotEqual(t, other.Fingerprint("key_1", stale), tries[0].Fingerprint)
	require.Equal(t, b.ring.Fingerprint("key_1", stale), tries[0].Fingerprint)
	require.NotEqual(t, b.ring.Fingerprint("key_2", stale), tries[0].Fingerprint, "nor is it known at another key")
	identity := strings.TrimPrefix(b.keys.Store().Identity(), "sqlite:")
	files, err := filepath.Glob(identity + "*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, secret := range []string{stale, guess} {
			digest := b.ring.Digest(secret)
			require.False(t, bytes.Contains(data, []byte(secret)) || bytes.Contains(data, digest[:]), name)
		}
	}
}

func TestWhatIsShownWhileTheClientIsLockedCostsTheStoreNothing(t *testing.T) {
	b := newBench(t)
	for range 3 {
		b.show("wrong")
	}
	before := b.tries()
	require.Len(t, before, 3)
	b.clock.Advance(time.Minute)
	for range 5 {
		b.show("wrong")
		b.show("another")
		b.show(b.secret)
		b.auth.Secret(t.Context(), "nobody", "wrong", from, b.clock.Now())
	}
	require.Equal(t, before, b.tries())
	require.Equal(t, uint64(3), b.keys.Counts().Counted+b.keys.Counts().Uncounted)
}

func TestNeitherARetiredSecretNorAPeekIsATry(t *testing.T) {
	b := newBench(t)
	b.auth.Peek(t.Context(), clientID, "wrong", from, b.clock.Now())
	b.edit(func(k *keystore.Key) { k.Secrets[0].Retired = b.clock.Now().Wall })
	b.show(b.secret)
	require.Empty(t, b.tries())
}
