package keystore_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

var from = netip.MustParseAddr("192.0.2.7")

func (b *bench) fail(id string, fingerprint uint64) policy.Outcome {
	return b.c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: "key_" + id, Address: from, Fingerprint: fingerprint})
}

func (b *bench) locked(id string) time.Duration {
	return b.c.Locked(policy.DefaultLockout(), "key_"+id, netip.Prefix{}, b.clock.Now())
}

func (b *bench) succeed(id string) bool {
	return b.c.Succeed(b.t.Context(), policy.DefaultLockout(), "key_"+id, netip.Prefix{}, b.clock.Now())
}

func TestThreeFailuresLockForExactlyTheDuration(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.fail("a", 1)
	b.fail("a", 1)
	require.Zero(t, b.locked("a"))
	require.True(t, b.fail("a", 1).Locked)
	require.Equal(t, 30*time.Minute, b.locked("a"))
	require.False(t, b.succeed("a"), "a right secret while locked")
	require.False(t, b.fail("a", 1).Counted, "a try while locked")
	b.clock.Advance(30*time.Minute - time.Nanosecond)
	require.NotZero(t, b.locked("a"))
	b.clock.Advance(time.Nanosecond)
	require.Zero(t, b.locked("a"))
	require.True(t, b.succeed("a"))
}

func TestASuccessBetweenFailuresClearsTheCountInTheStore(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	for range 5 {
		b.fail("a", 1)
		b.fail("a", 2)
		require.True(t, b.succeed("a"))
	}
	require.Zero(t, b.locked("a"))
}

func TestAHundredParallelFailuresCountExactlyThree(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	var counted, locks atomic.Int64
	var done sync.WaitGroup
	for i := range 100 {
		done.Go(func() {
			out := b.fail("a", uint64(i))
			if out.Counted {
				counted.Add(1)
			}
			if out.Locked {
				locks.Add(1)
			}
		})
	}
	done.Wait()
	require.Equal(t, int64(3), counted.Load())
	require.Equal(t, int64(1), locks.Load())
	require.NotZero(t, b.locked("a"))
}

func TestCountsAndLocksSurviveAReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	clock := storetest.NewClock()
	open := func() *keystore.Cached {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Clock: clock})
		require.NoError(t, err)
		c, err := keystore.OpenCached(t.Context(), s, clock, sizes, zap.NewNop())
		require.NoError(t, err)
		return c
	}
	c := open()
	_, err := c.Update(t.Context(), func(tx keystore.Tx) error {
		if err := tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c1", Name: "One", Enabled: true}); err != nil {
			return err
		}
		return putKey(t.Context(), tx, "a", true)
	})
	require.NoError(t, err)
	l := policy.DefaultLockout()
	attempt := keystore.Attempt{KeyID: "key_a", Address: from}
	for range 2 {
		require.True(t, c.Fail(l, attempt).Counted)
		require.NoError(t, c.Close())
		c = open()
	}
	require.True(t, c.Fail(l, attempt).Locked, "two failures before the restarts, one after")
	require.NoError(t, c.Close())
	clock.Advance(10 * time.Minute)
	c = open()
	require.Equal(t, 20*time.Minute, c.Locked(l, "key_a", netip.Prefix{}, clock.Now()))
	require.NoError(t, c.Close())
}

func TestWithTheStoreDownANodeCountsOnItsOwnAndTellsTheStoreLater(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.fail("a", 1)
	b.store.down.Store(true)
	b.fail("a", 2)
	require.True(t, b.fail("a", 3).Locked)
	require.NotZero(t, b.locked("a"))
	b.clock.Advance(10 * time.Minute)
	b.store.down.Store(false)
	b.c.Poll(t.Context())
	tallies, err := b.store.Tallies(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, tallies, 1)
	require.GreaterOrEqual(t, tallies[0].Remaining(b.clock.Now()), 20*time.Minute, "the store knows the lock, never shorter")
	require.GreaterOrEqual(t, b.locked("a"), 20*time.Minute)
}

func TestAnUnlockReachesThisNodeBeforeItsReply(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	for range 3 {
		b.fail("a", 1)
	}
	require.NotZero(t, b.locked("a"))
	_, err := b.c.Update(t.Context(), func(tx keystore.Tx) error { return tx.Unlock(t.Context(), "key_a") })
	require.NoError(t, err)
	require.Zero(t, b.locked("a"))
	require.True(t, b.succeed("a"))
}

func TestALockByAnotherProcessIsHonoured(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	other := b.open()
	defer func() { require.NoError(t, other.Close()) }()
	for range 3 {
		_, err := other.Fail(t.Context(), policy.DefaultLockout(), []keystore.Failure{{KeyID: "key_a", Address: from.String()}})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return b.locked("a") > 0 }, patience, 10*time.Millisecond)
}

func TestAFloodOfOtherClientsPushesNoLockOut(t *testing.T) {
	b := newBench(t)
	b.put("victim", true)
	for range 3 {
		b.fail("victim", 1)
	}
	for i := range 20_000 {
		_, err := b.get(fmt.Sprintf("random-%d", i))
		require.ErrorIs(t, err, keystore.ErrNotFound)
	}
	require.NotZero(t, b.locked("victim"))
}

func TestGuardLocksTheStrangerAndNotTheClient(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	l := policy.DefaultLockout()
	l.Mode = policy.Guard
	home, stranger := netip.MustParsePrefix("198.51.100.1/32"), netip.MustParsePrefix("203.0.113.9/32")
	for i := range 3 {
		b.c.Fail(l, keystore.Attempt{KeyID: "key_a", Source: stranger, Address: stranger.Addr(), Fingerprint: uint64(i)})
	}
	require.NotZero(t, b.c.Locked(l, "key_a", stranger, b.clock.Now()))
	require.Zero(t, b.c.Locked(l, "key_a", home, b.clock.Now()))
	require.True(t, b.c.Succeed(t.Context(), l, "key_a", home, b.clock.Now()))
	for range 10 { // a misconfigured deployment repeating one wrong secret
		b.c.Fail(l, keystore.Attempt{KeyID: "key_a", Source: home, Address: home.Addr(), Fingerprint: 42})
	}
	require.Zero(t, b.c.Locked(l, "key_a", home, b.clock.Now()))
}
