package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var secretCases = []testCase{
	{"live secrets come first, newest first, then the remembered ones", secretOrder},
	{"a secret past its memory is not handed out", secretForgotten},
	{"a key has exactly the secrets it was put with", secretExact},
	{"a secret id belongs to one key", secretIDConflict},
	{"a key with more live secrets than there may be is refused", secretMost},
	{"rewrapping changes the verifier, not the key", secretRewrap},
	{"master keys in use are listed, and the one used last", secretMasterKeys},
}

func secretOrder(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	k := f.key(1)
	older, newer := newSecret("s_older", now.Add(-2*time.Hour)), newSecret("s_newer", now.Add(-time.Hour))
	retired := newSecret("s_retired", now)
	retired.Retired = now
	k.Secrets = []keystore.Secret{retired, older, newer}
	f.put(t, k)
	require.Equal(t, []keystore.Secret{newer, older, retired}, f.get(t, k.ID).Secrets)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		keys, _, err := r.Keys(ctx, keystore.KeyQuery{CustomerID: acme, Limit: 1})
		require.NoError(t, err)
		require.Equal(t, []keystore.Secret{newer, older, retired}, keys[0].Secrets, "in lists too")
		return nil
	})
}

func secretForgotten(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	k := f.key(1)
	retired, expired := newSecret("s_retired", now), newSecret("s_expired", now)
	retired.Retired = now
	expired.Expires = now.Add(time.Hour)
	k.Secrets = append(k.Secrets, retired, expired)
	f.put(t, k)
	f.clock.Advance(keystore.RetiredSecretMemory - time.Second)
	require.Len(t, f.get(t, k.ID).Secrets, 3)
	f.clock.Advance(time.Second)
	require.Len(t, f.get(t, k.ID).Secrets, 2, "memory begins when it was retired")
	f.clock.Advance(time.Hour)
	require.Equal(t, k.Secrets[:1], f.get(t, k.ID).Secrets, "or when it expired")
}

func secretExact(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Secrets = append(k.Secrets, newSecret("sec_b", f.clock.Now().Wall.Add(-time.Hour)))
	f.put(t, k)
	k.Secrets = k.Secrets[1:]
	f.put(t, k)
	require.Equal(t, k.Secrets, f.get(t, k.ID).Secrets)
}

func secretIDConflict(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	other := f.key(2)
	other.Secrets = f.key(1).Secrets
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, other) })
	refused(t, err, keystore.ErrConflict, "secrets")
	twice := f.key(2)
	twice.Secrets = append(twice.Secrets, twice.Secrets[0])
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, twice) })
	refused(t, err, keystore.ErrConflict, "secrets")
}

func secretMost(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	k := f.key(1)
	put := func() error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, k) })
		return err
	}
	retired, expired := newSecret("s_retired", now), newSecret("s_expired", now)
	retired.Retired, expired.Expires = now, now
	k.Secrets = append(k.Secrets, newSecret("s_b", now), retired, expired)
	require.NoError(t, put(), "those that are over do not count")
	k.Secrets = append(k.Secrets, newSecret("s_c", now))
	before := f.head(t)
	require.ErrorContains(t, put(), "live secrets")
	require.Equal(t, before, f.head(t))
	ending := newSecret("s_c", now)
	ending.Expires = now.Add(time.Millisecond)
	k.Secrets[4] = ending
	require.Error(t, put(), "one that ends soon is live until then")
	f.clock.Advance(time.Millisecond)
	require.NoError(t, put())

	f.clock.StepWall(-time.Hour)
	k.Enabled = false
	require.NoError(t, put(), "one that a clock set back brings to life was there before")
	k.Secrets = append(k.Secrets, newSecret("s_d", now))
	require.ErrorContains(t, put(), "live secrets", "but none is added")
	k.Secrets = k.Secrets[:5]
	k.Secrets[2].Retired = time.Time{}
	require.ErrorContains(t, put(), "live secrets", "nor is one taken back")
}

func secretRewrap(t *testing.T, f *fixture) {
	k := f.key(1)
	before := f.put(t, k)
	verifier := [32]byte{1, 2, 3}
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.Rewrap(ctx, k.Secrets[0].ID, verifier, "mk2")
	})
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: rev, Kind: keystore.KindKey, ID: k.ID, ClientID: k.ClientID}}, changes,
		"caches read it again, so that the old master key may go")
	got := f.get(t, k.ID)
	k.Secrets[0].Verifier, k.Secrets[0].MasterKeyID = verifier, "mk2"
	require.Equal(t, k, got)
}

func secretMasterKeys(t *testing.T, f *fixture) {
	list := func() []string {
		ids, err := f.MasterKeyIDs(t.Context())
		require.NoError(t, err)
		return ids
	}
	require.Empty(t, list())
	k := f.key(1)
	k.Secrets[0].MasterKeyID = "mk_b"
	f.put(t, k)
	other := f.key(2)
	other.Secrets[0].MasterKeyID = "mk_a"
	third := f.key(3)
	third.Secrets[0].MasterKeyID = "mk_a"
	f.put(t, other, third)
	require.Equal(t, []string{"mk_a", "mk_b"}, list())
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, k.ID) })
	require.Equal(t, []string{"mk_a"}, list())
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		for _, id := range []string{other.Secrets[0].ID, third.Secrets[0].ID} {
			if err := tx.Rewrap(ctx, id, [32]byte{9}, "mk_c"); err != nil {
				return err
			}
		}
		return nil
	})
	require.Equal(t, []string{"mk_c"}, list(), "the older ones may go")
	for _, id := range []string{other.ID, third.ID} {
		f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, id) })
	}
	require.Equal(t, []string{"mk_c"}, list(), "an empty store still remembers whose it is")
}
