package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var trimCases = []testCase{
	{"changes older than keep go, younger ones stay", trimChanges},
	{"after everything was trimmed the head stands and revisions go on", trimAll},
	{"a long log is trimmed whole", trimLong},
	{"secrets past their memory go, live and remembered ones stay", trimSecrets},
	{"empty counts go once keep has passed, others stay", trimTallies},
	{"sessions go once they are over for keep", trimSessions},
}

const keep = time.Hour

func (f *fixture) trim(t testing.TB) {
	t.Helper()
	require.NoError(t, f.Trim(t.Context(), strict(), keep))
}

func trimChanges(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.clock.Advance(keep)
	old := f.put(t, f.key(2))
	f.clock.Advance(keep)
	young := f.put(t, f.key(3))
	f.trim(t)
	changes, err := f.Changes(t.Context(), old-1)
	require.NoError(t, err, "exactly keep old is not older")
	require.Len(t, changes, 2)
	f.clock.Advance(time.Millisecond)
	f.trim(t)
	_, err = f.Changes(t.Context(), old-1)
	require.ErrorIs(t, err, keystore.ErrBehind)
	changes, err = f.Changes(t.Context(), old)
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.Equal(t, young, changes[0].Revision)
}

func trimAll(t *testing.T, f *fixture) {
	head := f.put(t, f.key(1))
	f.clock.Advance(2 * keep)
	f.trim(t)
	require.Equal(t, head, f.head(t))
	changes, err := f.Changes(t.Context(), head)
	require.NoError(t, err)
	require.Empty(t, changes)
	_, err = f.Changes(t.Context(), head-1)
	require.ErrorIs(t, err, keystore.ErrBehind)
	require.Equal(t, head+1, f.put(t, f.key(2)))
}

func trimLong(t *testing.T, f *fixture) {
	k := f.key(1)
	var head keystore.Revision
	f.put(t, f.many(0, 300)...)
	for range 600 {
		head = f.put(t, k)
	}
	f.clock.Advance(2 * keep)
	f.trim(t)
	_, err := f.Changes(t.Context(), head-1)
	require.ErrorIs(t, err, keystore.ErrBehind)
}

func trimSecrets(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	k := f.key(1)
	retired, expiring := newSecret("s_retired", now), newSecret("s_expiring", now)
	retired.Retired = now
	expiring.Expires = now.Add(keystore.RetiredSecretMemory)
	k.Secrets = append(k.Secrets, expiring, retired)
	rev := f.put(t, k)
	rewrap := func(id string) error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Rewrap(ctx, id, [32]byte{1}, "mk") })
		return err
	}
	f.clock.Advance(keystore.RetiredSecretMemory - time.Millisecond)
	f.trim(t)
	require.NoError(t, rewrap("s_retired"))
	f.clock.Advance(time.Millisecond)
	f.trim(t)
	require.ErrorIs(t, rewrap("s_retired"), keystore.ErrNotFound)
	require.NoError(t, rewrap("s_expiring"), "expired, but remembered")
	f.clock.Advance(keystore.RetiredSecretMemory)
	f.trim(t)
	require.ErrorIs(t, rewrap("s_expiring"), keystore.ErrNotFound)
	require.NoError(t, rewrap(k.Secrets[0].ID), "a secret without an end stays")
	require.Equal(t, rev, f.get(t, k.ID).Revision, "not a change of the key")
}

func trimTallies(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2), f.key(3))
	f.fail(t, "key_0001")
	cleared, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	f.trim(t)
	require.Len(t, f.tallies(t, cleared.Whole.Seq-1), 1, "a follower must see that it was cleared")
	f.clock.Advance(keep + time.Millisecond)
	long := strict()
	long.Duration = 2 * keep
	for range 3 {
		_, err := f.Count(t.Context(), long, []keystore.Proof{{KeyID: "key_0002"}})
		require.NoError(t, err)
	}
	f.fail(t, "key_0003")
	f.trim(t)
	require.Len(t, f.tallies(t, cleared.Whole.Seq), 2)
	require.Empty(t, withKey(f.tallies(t, 1), "key_0001"))
	f.clock.Advance(keep + time.Millisecond)
	f.trim(t)
	require.Len(t, withKey(f.tallies(t, 0), "key_0002"), 1, "a lock stays")
	require.Empty(t, withKey(f.tallies(t, 1), "key_0003"), "an outdated count goes")
	require.EqualValues(t, 1, f.fail(t, "key_0003").Whole.Failures)
}

func withKey(all []keystore.Tally, keyID string) (found []keystore.Tally) {
	for _, c := range all {
		if c.KeyID == keyID {
			found = append(found, c)
		}
	}
	return found
}

func trimSessions(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutSession(ctx, &keystore.Session{ID: "jti", KeyID: "key_0001", Expires: f.clock.Now().Wall.Add(time.Hour)})
	})
	there := func() (found bool) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			_, err := r.Session(ctx, "jti")
			found = err == nil
			return nil
		})
		return found
	}
	f.clock.Advance(time.Hour + keep)
	f.trim(t)
	require.True(t, there())
	f.clock.Advance(time.Millisecond)
	f.trim(t)
	require.False(t, there())
}
