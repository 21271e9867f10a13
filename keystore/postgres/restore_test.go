package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

func TestWhatWasRevokedStaysRevokedWhenAnOldBackupIsRestored(t *testing.T) {
	for _, past := range []bool{false, true} {
		t.Run(fmt.Sprintf("written past the old head %v", past), func(t *testing.T) {
			v := newVault(t)
			v.fill(t)
			backup := v.backup(t)
			a, b := v.gate(t), v.gate(t)
			for why, r := range requests() {
				require.True(t, a.accepts(fromNear(r)), why)
			}
			revoke(t, a)
			head := a.Position()
			require.NoError(t, b.AwaitRevision(t.Context(), head))
			require.Eventually(t, func() bool { return !b.accepts(fromNear(requests()["locked"])) }, 10*time.Second, time.Millisecond)
			if past {
				// Numbers that both nodes have seen, and more, of another history.
				s := v.open(t, backup)
				for range int(head) + 5 {
					k := testKey(lastKey)
					k.RoleID, k.Labels = keystore.RoleFullAccess, map[string]string{"n": fmt.Sprint(time.Now().UnixNano())}
					k.Secrets[0].ID = fmt.Sprintf("sec_%08d_0", lastKey)
					_, err := s.Update(t.Context(), func(tx keystore.Tx) error { return tx.PutKey(t.Context(), k) })
					require.NoError(t, err)
				}
				require.NoError(t, s.Close())
			}
			stop := guard(t, a, b)
			v.restore(t, backup)
			followed(t, a, b)
			stop()
			requireRefused(t, a, b)

			found := restored(t, a)
			require.NotNil(t, found)
			require.Equal(t, head, found.From)
			require.Positive(t, found.Replayed)
			require.Equal(t, past, found.To > found.From)
			require.WithinDuration(t, time.Now(), found.Noticed, time.Minute)
			require.Len(t, replayed(t, a), 1, "the second node found nothing left to do")
			require.Equal(t, "", verifyChain(t, v.openFor(t), "c"))

			// A node that knows nothing of before.
			requireRefused(t, v.gate(t))
			require.Equal(t, found, accept(t, b))
			require.Nil(t, restored(t, a))
			edit(t, a, 1, func(k *keystore.Key) { k.Enabled = true })
			require.True(t, a.accepts(fromNear(requests()["disabled"])), "an operator may give back")
			require.NoError(t, b.AwaitRevision(t.Context(), a.Position()))
			require.True(t, b.accepts(fromNear(requests()["disabled"])))
		})
	}
}

// openFor is a store that is closed with the test.
func (v *vault) openFor(t testing.TB) *Store {
	s := v.open(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestOneLostRevisionIsNoticed(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	g := v.gate(t)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, backup)
	followed(t, g)
	require.False(t, g.accepts(fromNear(requests()["disabled"])))
	require.True(t, g.accepts(fromNear(requests()["retired"])))
	require.Equal(t, 1, restored(t, g).Replayed)
	require.Equal(t, []map[string]int{{"key.update": 1}}, replayed(t, g))
}

func TestALossOfNothingThatWasRevokedStillWaitsForAnOperator(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	g := v.gate(t)
	putKeys(t, g.way.Store, 100, 1)
	require.Eventually(t, func() bool { return g.accepts1(t, 100) }, 10*time.Second, 10*time.Millisecond)
	v.restore(t, backup)
	followed(t, g)
	require.Zero(t, restored(t, g).Replayed)
	_, _, err := g.Look(t.Context(), testKey(100).ClientID, g.Clock().Now())
	require.ErrorIs(t, err, keystore.ErrNotFound, "it was lost")
	require.True(t, g.accepts(fromNear(requests()["disabled"])))
}

func (g *restoreGate) accepts1(t testing.TB, n int) bool {
	_, _, err := g.Look(t.Context(), testKey(n).ClientID, g.Clock().Now())
	return err == nil
}

func TestASecondRestoreIsMendedLikeTheFirst(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	first, second := v.backup(t), v.backup(t)
	g := v.gate(t)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, first)
	followed(t, g)
	accept(t, g)
	edit(t, g, 2, func(k *keystore.Key) { k.Secrets[0].Retired = time.Now() })
	g.logs.TakeAll()
	v.restore(t, second)
	followed(t, g)
	require.False(t, g.accepts(fromNear(requests()["disabled"])), "known from before the first")
	require.False(t, g.accepts(fromNear(requests()["retired"])))
	require.Equal(t, 2, restored(t, g).Replayed)
}

func TestANodeThatComesLateTakesNothingBackThatAnOperatorGave(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	a, late := v.gate(t), v.gate(t)
	edit(t, a, 1, func(k *keystore.Key) { k.Enabled = false })
	require.NoError(t, late.AwaitRevision(t.Context(), a.Position()))
	late.way.held.Store(true)
	require.Error(t, late.Poll(t.Context()))
	v.restore(t, backup)
	followed(t, a)
	accept(t, a)
	edit(t, a, 1, func(k *keystore.Key) { k.Enabled = true })
	late.way.held.Store(false)
	followed(t, late)
	require.True(t, late.accepts(fromNear(requests()["disabled"])))
	require.Nil(t, restored(t, a))
}

func TestAnotherStoreBehindTheSameNameIsNotFollowed(t *testing.T) {
	v, other := newVault(t), newVault(t)
	v.fill(t)
	other.fill(t)
	foreign := other.backup(t)
	g := v.gate(t)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	head := g.Position()
	require.True(t, g.accepts(fromNear(requests()["retired"])))
	v.restore(t, foreign)
	require.Eventually(t, func() bool {
		err := g.Poll(t.Context())
		return errors.Is(err, keystore.ErrParted) && strings.Contains(err.Error(), "another store")
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, head, g.Position())
	require.True(t, g.accepts(fromNear(requests()["retired"])), "what is known is served until max_stale")
	require.False(t, g.accepts(fromNear(requests()["disabled"])))
	s := v.openFor(t)
	var written int64
	c := connect(t, v.dsn)
	require.NoError(t, c.QueryRow(t.Context(), "SELECT count(*) FROM replayed").Scan(&written))
	require.Zero(t, written, "nothing is merged into it")
	_ = s
}

// anySealer seals nothing well: what is in the file is no matter here.
type anySealer struct{}

func (anySealer) CurrentID() string { return "any" }

func (anySealer) Derive(string, string) (key [32]byte, held bool) { return key, true }

func TestANodeThatBeginsFromItsSnapshotBringsWhatItHadSeen(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	backup := v.backup(t)
	file := filepath.Join(t.TempDir(), "snapshot")
	begin := func() (*keystore.Cached, *observer.ObservedLogs) {
		core, logs := observer.New(zap.WarnLevel)
		c, err := keystore.OpenCachedFrom(t.Context(), v.open(t), keystore.NewSystemClock(), keystore.CachedOptions{
			Sizes: keystore.CacheSizes{Keys: 1000, Unknown: 100, UnknownTTL: time.Second}, NodeID: "node",
			Snapshot: &keystore.SnapshotOptions{Path: file, Sealer: anySealer{}, MaxStale: 5 * time.Minute}}, zap.New(core))
		require.NoError(t, err)
		return c, logs
	}
	c, logs := begin()
	g := &restoreGate{Cached: c, logs: logs}
	revoke(t, g)
	require.NoError(t, g.Poll(t.Context()))
	require.NoError(t, c.Close())
	v.restore(t, backup)
	c, logs = begin()
	defer func() { require.NoError(t, c.Close()) }()
	g = &restoreGate{Cached: c, logs: logs}
	followed(t, g)
	requireRefused(t, g)
	require.NotNil(t, restored(t, g))
	require.Len(t, replayed(t, g), 1)
}

func TestNoNodeIsTakenForFencedByWhatARestoredDatabaseKnowsOfIt(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	// In the backup one node is there, long fenced and far ahead; the other is not.
	early := v.gate(t)
	early.Join(keystore.NodeInfo{ID: "early", Name: "early"}, time.Minute)
	require.Eventually(t, func() bool { return early.Confirmed(t) >= early.Position() }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, early.Close())
	backup := v.backup(t)
	s := v.open(t, backup)
	require.NoError(t, s.Renew(t.Context(), keystore.Registration{ID: "gone", Name: "gone", Lease: time.Minute}))
	require.NoError(t, s.Close())
	c := connect(t, v.server.DSN(pgtest.Superuser, backup))
	run(t, c, "UPDATE nodes SET renewed_ns = renewed_ns - 3600000000000, position = 1000000")
	require.NoError(t, c.Close(context.Background()))

	g := v.gate(t)
	g.Join(keystore.NodeInfo{ID: "late", Name: "late"}, time.Minute)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, backup)
	followed(t, g)
	nodes, err := v.openFor(t).Nodes(t.Context())
	require.NoError(t, err)
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
		require.False(t, n.Fenced(), "%+v", n)
		if n.Name != "late" {
			require.Zero(t, n.Position, "%+v", n)
			require.Greater(t, n.Left, 30*time.Second)
		}
	}
	require.Contains(t, names, "gone")
	require.Contains(t, names, "(nodes that the restored database does not know)")
}

// Confirmed is what the database says that the only node has confirmed.
func (g *restoreGate) Confirmed(t testing.TB) (r keystore.Revision) {
	nodes, err := g.way.Nodes(t.Context())
	require.NoError(t, err)
	for _, n := range nodes {
		r = max(r, n.Position)
	}
	return r
}
