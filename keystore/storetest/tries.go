package storetest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var tryCases = []testCase{
	{"a failure that counts is kept with its time, address and fingerprint", tryKept},
	{"what does not count leaves no try: while locked, and a repetition in guard mode", tryUncounted},
	{"the latest tries are kept, in the order in which they were shown", triesBounded},
	{"tries outlive a success and the end of the lock, and are gone a day later", triesOutlive},
	{"unlocking clears the tries, those beside a cleared count too", triesUnlocked},
	{"tries go with their key and are of no other", triesOfKey},
	{"tries are there after closing and opening again, and a carried lock keeps them", triesReopen},
}

// guess counts one wrong secret of a key.
func (f *fixture) guess(t testing.TB, l policy.Lockout, p keystore.Proof) keystore.CountResult {
	t.Helper()
	results, err := f.Count(t.Context(), l, []keystore.Proof{p})
	require.NoError(t, err)
	return results[0]
}

func (f *fixture) tries(t testing.TB, keyID string) (tries []keystore.Try) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		tries, err = r.Tries(ctx, keyID)
		return err
	})
	return tries
}

func tryKept(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	require.Empty(t, f.tries(t, k.ID))
	start := f.clock.Now().Wall
	for i, address := range []string{"192.0.2.7", "2001:db8::1", ""} {
		f.guess(t, strict(), keystore.Proof{KeyID: k.ID, Address: address, Fingerprint: 1<<63 + uint64(i)})
		f.clock.Advance(time.Second)
	}
	require.Equal(t, []keystore.Try{
		{At: start, Address: netip.MustParseAddr("192.0.2.7"), Fingerprint: 1 << 63},
		{At: start.Add(time.Second), Address: netip.MustParseAddr("2001:db8::1"), Fingerprint: 1<<63 + 1},
		{At: start.Add(2 * time.Second), Fingerprint: 1<<63 + 2},
	}, f.tries(t, k.ID))
}

func tryUncounted(t *testing.T, f *fixture) {
	f.lock(t)
	before, head := f.tries(t, "key_0001"), f.tallies(t, 0)
	require.Len(t, before, 3)
	f.clock.Advance(time.Minute)
	require.False(t, f.fail(t, "key_0001").Counted)
	require.Equal(t, before, f.tries(t, "key_0001"))
	require.Equal(t, head, f.tallies(t, 0), "nothing was written at all")

	f.put(t, f.key(2))
	for _, source := range []string{"192.0.2.0/24", "192.0.2.0/24", "198.51.100.0/24"} {
		f.guess(t, guard(), keystore.Proof{KeyID: "key_0002", Source: source, Fingerprint: 5})
	}
	require.Len(t, f.tries(t, "key_0002"), 2, "of the client, from whatever source")
}

func triesBounded(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	l := strict()
	l.Attempts = 100
	start := f.clock.Now()
	var proofs []keystore.Proof
	for i := range 2 * keystore.MaxTries {
		at := start
		at.Wall, at.Since = at.Wall.Add(time.Duration(i)*time.Second), at.Since+time.Duration(i)*time.Second
		proofs = append(proofs, keystore.Proof{KeyID: k.ID, Address: "192.0.2.7", Fingerprint: uint64(i + 1), At: at})
	}
	f.clock.Advance(time.Minute)
	late := proofs[2*keystore.MaxTries-3] // which the store hears of behind later ones
	proofs = append(proofs[:2*keystore.MaxTries-3], proofs[2*keystore.MaxTries-2:]...)
	_, err := f.Count(t.Context(), l, proofs)
	require.NoError(t, err)
	f.guess(t, l, late)
	tries := f.tries(t, k.ID)
	require.Len(t, tries, keystore.MaxTries)
	for i, try := range tries {
		require.EqualValues(t, keystore.MaxTries+i+1, try.Fingerprint)
	}
}

func triesOutlive(t *testing.T, f *fixture) {
	f.lock(t)
	f.clock.Advance(strict().Duration)
	r, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.True(t, r.OK)
	require.Zero(t, r.Whole.Failures)
	require.Len(t, f.tries(t, "key_0001"), 3)
	f.clock.Advance(keystore.TryMemory - strict().Duration - time.Millisecond)
	f.fail(t, "key_0001")
	require.Len(t, f.tries(t, "key_0001"), 4)
	f.clock.Advance(time.Millisecond)
	require.Len(t, f.tries(t, "key_0001"), 1)
}

func triesUnlocked(t *testing.T, f *fixture) {
	unlock := func() {
		f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, "key_0001") })
		require.Empty(t, f.tries(t, "key_0001"))
	}
	f.lock(t)
	unlock()
	f.fail(t, "key_0001")
	require.Len(t, f.tries(t, "key_0001"), 1)
	_, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.Len(t, f.tries(t, "key_0001"), 1)
	unlock()
}

func triesOfKey(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2))
	f.fail(t, "key_0001")
	f.fail(t, "key_0002")
	f.fail(t, "key_none")
	require.Empty(t, f.tries(t, "key_none"))
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, "key_0001") })
	require.Empty(t, f.tries(t, "key_0001"))
	f.put(t, f.key(1))
	require.Empty(t, f.tries(t, "key_0001"))
	require.Len(t, f.tries(t, "key_0002"), 1)
}

func triesReopen(t *testing.T, f *fixture) {
	f.lock(t)
	before := f.tries(t, "key_0001")
	require.NoError(t, f.Close())
	f.clock.NewBoot()
	f.Store = f.open(t, f.clock)
	require.Equal(t, strict().Duration, f.remaining(t), "the lock was carried over")
	require.Equal(t, before, f.tries(t, "key_0001"))
}
