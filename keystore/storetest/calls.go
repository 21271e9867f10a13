package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var callCases = []testCase{
	{"calls of one key and hour add up, whoever stores them", callsAddUp},
	{"calls are listed from an hour on, oldest first, of that key alone", callsListed},
	{"calls of keys that are gone are passed over, and go with their key", callsGone},
	{"hours past their memory are forgotten as others are stored", callsForgotten},
	{"calls are no change, and an edit of the key leaves them", callsNoChange},
}

// call stores calls of a key in an hour, counted from the one of now.
func (f *fixture) call(t testing.TB, keyID string, hour int, n int64) {
	t.Helper()
	require.NoError(t, f.Use(t.Context(), nil, keystore.Calls{KeyID: keyID, Hour: f.hour(hour), Calls: n}))
}

func (f *fixture) hour(n int) time.Time {
	return f.clock.Now().Wall.UTC().Truncate(time.Hour).Add(time.Duration(n) * time.Hour)
}

// calls are those of a key from an hour on.
func (f *fixture) calls(t testing.TB, keyID string, from time.Time) (all []keystore.Calls) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		all, err = r.Calls(ctx, keyID, from)
		return err
	})
	return all
}

func callsAddUp(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	f.call(t, k.ID, 0, 3)
	use := keystore.Use{KeyID: k.ID, SecretID: k.Secrets[0].ID, At: f.clock.Now().Wall}
	other := f.open(t, f.clock)
	same := keystore.Calls{KeyID: k.ID, Hour: f.hour(0), Calls: 1 << 40}
	require.NoError(t, other.Use(t.Context(), []keystore.Use{use}, same, same))
	require.NoError(t, other.Close())
	require.Equal(t, []keystore.Calls{{KeyID: k.ID, Hour: f.hour(0), Calls: 3 + 2<<40}}, f.calls(t, k.ID, f.hour(-24)))
	require.Equal(t, use.At, f.get(t, k.ID).LastUsed, "uses of the same batch are recorded")
}

func callsListed(t *testing.T, f *fixture) {
	a, b := f.key(1), f.key(2)
	f.put(t, a, b)
	for _, hour := range []int{0, -23, -1} {
		f.call(t, a.ID, hour, int64(100+hour))
	}
	f.call(t, b.ID, -1, 7)
	require.Equal(t, []keystore.Calls{{KeyID: a.ID, Hour: f.hour(-23), Calls: 77}, {KeyID: a.ID, Hour: f.hour(-1), Calls: 99}, {KeyID: a.ID, Hour: f.hour(0), Calls: 100}},
		f.calls(t, a.ID, f.hour(-23)))
	require.Len(t, f.calls(t, a.ID, f.hour(-23).Add(time.Nanosecond)), 2, "an hour counts by its beginning")
	require.Equal(t, []keystore.Calls{{KeyID: b.ID, Hour: f.hour(-1), Calls: 7}}, f.calls(t, b.ID, f.hour(-1)))
	require.Empty(t, f.calls(t, "key_none", time.Time{}))
}

func callsGone(t *testing.T, f *fixture) {
	k, other := f.key(1), f.key(2)
	f.put(t, k, other)
	require.NoError(t, f.Use(t.Context(), nil, keystore.Calls{KeyID: "key_none", Hour: f.hour(0), Calls: 1},
		keystore.Calls{KeyID: k.ID, Hour: f.hour(0), Calls: 1}, keystore.Calls{KeyID: other.ID, Hour: f.hour(0), Calls: 2}))
	require.Empty(t, f.calls(t, "key_none", time.Time{}))
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, k.ID) })
	require.Empty(t, f.calls(t, k.ID, time.Time{}))
	f.put(t, k)
	require.Empty(t, f.calls(t, k.ID, time.Time{}), "and do not come back with it")
	require.Len(t, f.calls(t, other.ID, time.Time{}), 1)
}

func callsForgotten(t *testing.T, f *fixture) {
	k, other := f.key(1), f.key(2)
	f.put(t, k, other)
	f.clock.Advance(f.hour(1).Sub(f.clock.Now().Wall))
	f.call(t, k.ID, 0, 1)
	f.clock.Advance(keystore.CallMemory)
	f.call(t, other.ID, 0, 1)
	require.Len(t, f.calls(t, k.ID, time.Time{}), 1, "not yet")
	f.clock.Advance(time.Millisecond)
	f.call(t, other.ID, 0, 1)
	require.Empty(t, f.calls(t, k.ID, time.Time{}))
	require.Equal(t, []keystore.Calls{{KeyID: other.ID, Hour: f.hour(0), Calls: 2}}, f.calls(t, other.ID, time.Time{}))
}

func callsNoChange(t *testing.T, f *fixture) {
	k := f.key(1)
	rev := f.put(t, k)
	f.call(t, k.ID, 0, 5)
	require.Equal(t, rev, f.head(t))
	require.Equal(t, k, f.get(t, k.ID))
	k.Description = "edited"
	f.put(t, k)
	require.EqualValues(t, 5, f.calls(t, k.ID, f.hour(0))[0].Calls)
}
