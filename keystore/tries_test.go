package keystore_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestTriesAreReadAsTheyWereWrittenAndDamageIsNoPanic(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	tries := []keystore.Try{
		{At: at, Address: netip.MustParseAddr("192.0.2.1"), Fingerprint: 1<<64 - 1},
		{At: at.Add(time.Second)},
		{At: at.Add(time.Minute), Address: netip.MustParseAddr("2001:db8::1"), Fingerprint: 7},
	}
	data := keystore.EncodeTries(tries)
	require.Equal(t, tries, keystore.DecodeTries(data))
	require.Empty(t, keystore.DecodeTries(nil))
	for n := range data {
		require.Less(t, len(keystore.DecodeTries(data[:n])), len(tries))
		damaged := append([]byte{}, data...)
		damaged[n] ^= 0xff
		keystore.DecodeTries(damaged)
	}
}

func TestACallerWithoutAnAddressLeavesNone(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: "key_a", Fingerprint: 7})
	b.c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: "key_a", Fingerprint: 7, Address: netip.MustParseAddr("fe80::1%eth0")})
	require.NoError(t, b.c.View(t.Context(), func(r keystore.Reader) error {
		tries, err := r.Tries(t.Context(), "key_a")
		require.Equal(t, []keystore.Try{{At: b.clock.Now().Wall, Fingerprint: 7}, {At: b.clock.Now().Wall, Address: netip.MustParseAddr("fe80::1"), Fingerprint: 7}}, tries)
		return err
	}))
}
