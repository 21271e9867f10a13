package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// stones are the tombstones written past a revision, by kind and id.
func stones(t testing.TB, s *Store, after keystore.Revision) map[[2]string]keystore.Tombstone {
	t.Helper()
	ctx := t.Context()
	found := map[[2]string]keystore.Tombstone{}
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		return r.(keystore.HistoryReader).Tombstones(ctx, after, func(stone keystore.Tombstone) {
			found[[2]string{stone.Kind, stone.ID}] = stone
		})
	}))
	return found
}

func write(t testing.TB, s *Store, fn func(ctx context.Context, tx keystore.Tx) error) keystore.Revision {
	t.Helper()
	ctx := t.Context()
	rev, err := s.Update(ctx, func(tx keystore.Tx) error { return fn(ctx, tx) })
	require.NoError(t, err)
	return rev
}

func TestATombstoneSaysHowARecordStandsSinceItWasLimitedAnew(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 0, 3)
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	require.Empty(t, stones(t, s, head-1), "a new key needs none")

	change := func(fn func(k *keystore.Key)) map[[2]string]keystore.Tombstone {
		rev := write(t, s, func(ctx context.Context, tx keystore.Tx) error {
			k, err := tx.Key(ctx, testKey(0).ID)
			require.NoError(t, err)
			fn(k)
			return tx.PutKey(ctx, k)
		})
		found := stones(t, s, rev-1)
		head, stamp, err := s.HeadStamp(t.Context())
		require.NoError(t, err)
		for _, stone := range found {
			require.Equal(t, head, stone.Revision)
			require.Equal(t, stamp, stone.Stamp)
		}
		return found
	}
	require.Empty(t, change(func(k *keystore.Key) { k.Description = "other" }))
	key, secret := [2]string{keystore.TombKey, testKey(0).ID}, [2]string{keystore.TombSecret, testKey(0).Secrets[0].ID}
	found := change(func(k *keystore.Key) { k.Enabled = false })
	require.Len(t, found, 1)
	require.Contains(t, found[key].Bounds, `"off":true`)
	found = change(func(k *keystore.Key) { k.Enabled = true })
	require.NotContains(t, found[key].Bounds, "off", "given back")
	end := time.Now().Add(time.Hour)
	found = change(func(k *keystore.Key) { k.Secrets[0].Expires = end })
	require.Len(t, found, 1)
	require.Equal(t, keystore.SecretBounds(&keystore.Secret{Expires: end}), found[secret].Bounds)
	require.Equal(t, testKey(0).ID, found[secret].Parent)
	found = change(func(k *keystore.Key) { k.Secrets = []keystore.Secret{{ID: "another", MasterKeyID: "mk"}} })
	require.Len(t, found, 1)
	require.True(t, found[secret].Gone)
	found = change(func(k *keystore.Key) { k.Secrets = append(k.Secrets, testKey(0).Secrets[0]) })
	require.False(t, found[secret].Gone, "an id that comes back")

	rev := write(t, s, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, testKey(0).ID) })
	require.True(t, stones(t, s, rev-1)[key].Gone)
	putKeys(t, s, 0, 1)
	require.False(t, stones(t, s, rev)[key].Gone)
	require.Equal(t, keystore.KeyBounds(testKey(0)), stones(t, s, rev)[key].Bounds)
}

func TestTombstonesOfRolesAndTenants(t *testing.T) {
	s := newStore(t)
	rev := write(t, s, func(ctx context.Context, tx keystore.Tx) error {
		require.NoError(t, tx.PutRole(ctx, &keystore.Role{ID: "r", Name: "R", Permissions: policy.Permissions{"odd": 6}}))
		require.NoError(t, tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "m", CustomerID: "c", Name: "M", Generation: 3}))
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "c", Name: "C"})
	})
	found := stones(t, s, rev-1)
	require.Len(t, found, 3)
	require.Equal(t, `{"permissions":{"odd":6}}`, found[[2]string{keystore.TombRole, "r"}].Bounds)
	require.Equal(t, "c", found[[2]string{keystore.TombMicrotenant, "m"}].Parent)
	require.Equal(t, `{"off":true,"generation":3}`, found[[2]string{keystore.TombMicrotenant, "m"}].Bounds)
	require.Equal(t, `{"off":true}`, found[[2]string{keystore.TombCustomer, "c"}].Bounds)
	rev = write(t, s, func(ctx context.Context, tx keystore.Tx) error {
		require.NoError(t, tx.DeleteRole(ctx, "r"))
		require.NoError(t, tx.DeleteMicrotenant(ctx, "c", "m"))
		return tx.DeleteCustomer(ctx, "c")
	})
	for name, stone := range stones(t, s, rev-1) {
		require.True(t, stone.Gone, name)
	}
	require.Len(t, stones(t, s, rev-1), 3)
}

func TestFollowTellsAHistoryThatPartedFromOneThatWasTrimmed(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	first, mark, err := s.HeadStamp(ctx)
	require.NoError(t, err)
	require.NotZero(t, mark)
	putKeys(t, s, 0, 1)
	second, secondMark, err := s.HeadStamp(ctx)
	require.NoError(t, err)
	require.NotEqual(t, mark, secondMark)
	putKeys(t, s, 1, 1)

	news, err := s.Follow(ctx, first, mark)
	require.NoError(t, err)
	require.Len(t, news.Changes, 2)
	_, newest, err := s.HeadStamp(ctx)
	require.NoError(t, err)
	require.Equal(t, newest, news.Stamp)
	_, err = s.Follow(ctx, first, secondMark)
	require.ErrorIs(t, err, keystore.ErrParted, "another mark")
	_, err = s.Follow(ctx, second+10, mark)
	require.ErrorIs(t, err, keystore.ErrParted, "above the head")

	require.NoError(t, s.Trim(ctx, policy.DefaultLockout(), -time.Hour))
	head, stamp, err := s.HeadStamp(ctx)
	require.NoError(t, err)
	_, err = s.Follow(ctx, first, mark)
	require.ErrorIs(t, err, keystore.ErrBehind)
	news, err = s.Follow(ctx, head, stamp)
	require.NoError(t, err, "the mark of the newest that was trimmed stays")
	require.Empty(t, news.Changes)
	_, err = s.Follow(ctx, head, stamp+1)
	require.ErrorIs(t, err, keystore.ErrParted)
}

func TestOldTombstonesAreForgotten(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 2)
	for n := range 2 {
		write(t, s, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, testKey(n).ID) })
	}
	c := connect(t, dsn)
	run(t, c, "UPDATE tombstones SET at = at - CAST(31 AS BIGINT) * 86400000 WHERE id <> $1", testKey(1).ID)
	run(t, c, "INSERT INTO replayed (stamp, kind, id, parent, at) VALUES (1, 'key', 'x', '', 1)")
	require.NoError(t, s.Trim(t.Context(), policy.DefaultLockout(), time.Hour))
	found := stones(t, s, 0)
	require.Len(t, found, 1)
	require.Contains(t, found, [2]string{keystore.TombKey, testKey(1).ID})
	var left int
	require.NoError(t, c.QueryRow(t.Context(), "SELECT count(*) FROM replayed").Scan(&left))
	require.Zero(t, left)
}

// blind is a store whose head seems to stay as it is.
type blind struct {
	*Store
	head  atomic.Int64
	stamp atomic.Int64
	shut  atomic.Bool
}

func (b *blind) HeadStamp(ctx context.Context) (keystore.Revision, keystore.Stamp, error) {
	if b.shut.Load() {
		return keystore.Revision(b.head.Load()), keystore.Stamp(b.stamp.Load()), nil
	}
	head, stamp, err := b.Store.HeadStamp(ctx)
	b.head.Store(int64(head))
	b.stamp.Store(int64(stamp))
	return head, stamp, err
}

// Between the moment at which a database is exchanged and the next poll, keys are read
// from it.
func TestAKeyIsNotReadAsItWasBeforeItWasSeenRevoked(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	way := &blind{Store: v.open(t)}
	g := v.gateBy(t, way)
	revoke(t, g)
	require.NoError(t, g.Poll(t.Context()))
	way.shut.Store(true)
	v.restore(t, backup)
	for _, n := range []int{0, 1, 2, 3, 5, 7, 8, 9, 13, 14} {
		var err error
		// Until the connections are made anew.
		require.Eventually(t, func() bool {
			_, _, err = g.Look(t.Context(), testKey(n).ClientID, g.Clock().Now())
			return err == nil || errors.Is(err, keystore.ErrParted)
		}, 10*time.Second, 10*time.Millisecond)
		require.ErrorIs(t, err, keystore.ErrParted, "key %d", n)
	}
	_, _, err := g.Look(t.Context(), testKey(lastKey).ClientID, g.Clock().Now())
	require.NoError(t, err, "what was never limited")
	way.shut.Store(false)
	followed(t, g)
	requireRefused(t, g)
}
