package postgres

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// reads counts the keys that are read.
type reads struct {
	keystore.Store
	keys atomic.Int64
}

func (r *reads) Unwrap() keystore.Store { return r.Store }

func (r *reads) KeyByClientID(ctx context.Context, id string) (*keystore.Key, error) {
	r.keys.Add(1)
	return r.Store.KeyByClientID(ctx, id)
}

// snapshotNode is a node with a snapshot on a server that may be stopped.
type snapshotNode struct {
	t    testing.TB
	dsn  string
	file string
	ring *credential.Keyring
	*keystore.Cached
	reads *reads
	clock keystore.Clock
}

func (n *snapshotNode) start() {
	n.t.Helper()
	ctx := context.Background()
	cfg := Options{DSN: n.dsn, Clock: n.clock, Logger: zap.NewNop()}
	identity, err := Identity(n.dsn)
	require.NoError(n.t, err)
	d, err := keystore.OpenDeferred(ctx, keystore.DeferredOptions{Identity: identity, Logger: zap.NewNop(), Open: func(ctx context.Context) (keystore.Store, error) {
		s, err := Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		s.SealAudit(storetest.NewSealer("mk"))
		return s, nil
	}})
	require.NoError(n.t, err)
	n.reads = &reads{Store: d}
	n.Cached, err = keystore.OpenCachedFrom(ctx, n.reads, n.clock, keystore.CachedOptions{
		Sizes: keystore.CacheSizes{Keys: 1000, Unknown: 100, UnknownTTL: time.Second}, NodeID: credential.NewID("node"), WithoutStore: true,
		Snapshot: &keystore.SnapshotOptions{Path: n.file, Sealer: n.ring, MaxStale: 5 * time.Minute}}, zap.NewNop())
	require.NoError(n.t, err)
	n.Join(keystore.NodeInfo{ID: n.NodeID(), Name: "n", Started: time.Now()}, 5*time.Minute)
}

func (n *snapshotNode) serves(k *keystore.Key) bool {
	n.t.Helper()
	now := n.clock.Now()
	if !n.Fresh(now, 5*time.Minute) {
		return false
	}
	got, _, err := n.Look(context.Background(), k.ClientID, now)
	if err != nil {
		require.NotErrorIs(n.t, err, keystore.ErrNotFound)
		return false
	}
	return got.Enabled
}

func TestANodeStartedWithoutTheServerRefusesWhatItConfirmedAndReadsNoKeyTwice(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	dsn := server.DSN(pgtest.Superuser, server.NewDatabase(t))
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	a := &snapshotNode{t: t, dsn: dsn, file: filepath.Join(t.TempDir(), "a"), ring: ring, clock: keystore.NewSystemClock()}
	b := &snapshotNode{t: t, dsn: dsn, file: filepath.Join(t.TempDir(), "b"), ring: ring, clock: a.clock}
	a.start()
	b.start()
	ctx := t.Context()
	_, err = a.Update(ctx, func(tx keystore.Tx) error {
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: "c", Name: "C", Enabled: true}); err != nil {
			return err
		}
		for i := range 30 {
			k := testKey(i)
			k.Secrets[0].MasterKeyID = ring.CurrentID()
			if err := tx.PutKey(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Position() == a.Position() && b.Fresh(b.clock.Now(), 5*time.Minute) }, 20*time.Second, 5*time.Millisecond)
	for i := range 30 {
		require.True(t, b.serves(testKey(i)))
	}
	disable := func(i int, wait time.Duration) keystore.Propagation {
		rev, err := a.Update(ctx, func(tx keystore.Tx) error {
			k, err := tx.Key(ctx, testKey(i).ID)
			if err != nil {
				return err
			}
			k.Enabled = false
			return tx.PutKey(ctx, k)
		})
		require.NoError(t, err)
		return a.Propagate(ctx, rev, wait)
	}
	p := disable(0, 20*time.Second)
	require.Empty(t, p.Pending, "both confirm, with what they keep on their disks")
	require.Equal(t, 2, p.Confirmed)
	id := b.NodeID()

	server.Stop(t)
	require.Eventually(t, func() bool { _, _, lost := b.Followed(); return lost }, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, b.Close())
	b.start()
	require.Equal(t, id, b.NodeID())
	require.False(t, b.serves(testKey(0)), "it confirmed that it refuses this one")
	for i := 1; i < 30; i++ {
		require.True(t, b.serves(testKey(i)), "key %d", i)
	}
	server.Start(t)
	for _, n := range []*snapshotNode{a, b} {
		require.Eventually(t, func() bool { _, _, lost := n.Followed(); return !lost }, 20*time.Second, 5*time.Millisecond)
	}
	for i := 1; i < 30; i++ {
		require.True(t, b.serves(testKey(i)))
	}
	require.Zero(t, b.reads.keys.Load(), "the log tells that they stand as they were")

	// Stopped while another writes, and started again: what changed alone is read anew.
	require.NoError(t, b.Close())
	p = disable(1, 50*time.Millisecond)
	require.Len(t, p.Pending, 1, "it may begin again without the store, and does not know")
	require.Equal(t, id, p.Pending[0].ID)
	require.WithinDuration(t, time.Now().Add(30*time.Second), p.Pending[0].AcceptsUntil, 5*time.Second)
	b.start()
	require.Eventually(t, func() bool { return b.Fresh(b.clock.Now(), 5*time.Minute) }, 20*time.Second, 5*time.Millisecond)
	for i := 2; i < 30; i++ {
		require.True(t, b.serves(testKey(i)))
	}
	require.Zero(t, b.reads.keys.Load())
	require.False(t, b.serves(testKey(1)))
	require.NotZero(t, b.reads.keys.Load())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}
