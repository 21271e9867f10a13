package postgres

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// interposed lets something happen between a poll's look at the log and its look at the
// tallies.
type interposed struct {
	keystore.Store
	before atomic.Pointer[func()]
}

func (s *interposed) Unwrap() keystore.Store { return s.Store }

func (s *interposed) Tallies(ctx context.Context, after int64) ([]keystore.Tally, error) {
	if f := s.before.Swap(nil); f != nil {
		(*f)()
	}
	return s.Store.Tallies(ctx, after)
}

func lockedOn(c *keystore.Cached, key int) bool {
	return c.Locked(policy.DefaultLockout(), testKey(key).ID, netip.Prefix{}, c.Clock().Now()) > 0
}

func guess(c *keystore.Cached, key, times int) (counted int) {
	for range times {
		if c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: testKey(key).ID}).Counted {
			counted++
		}
	}
	return counted
}

func unlock(t *testing.T, c *keystore.Cached, key int) keystore.Revision {
	rev, err := c.Update(context.Background(), func(tx keystore.Tx) error { return tx.Unlock(context.Background(), testKey(key).ID) })
	require.NoError(t, err)
	return rev
}

func TestALockMadeAfterAnUnlockStaysOnANodeThatHearsOfTheLockFirst(t *testing.T) {
	dsn, clock := newDSN(t), keystore.NewSystemClock()
	first := open(t, dsn, clock)
	seed(t, first)
	putKeys(t, first, 0, 1)
	between := &interposed{Store: open(t, dsn, clock)}
	cached := func(s keystore.Store) *keystore.Cached {
		c, err := keystore.OpenCached(t.Context(), s, clock, keystore.CacheSizes{Keys: 1000, Unknown: 1000, UnknownTTL: time.Minute}, zap.NewNop())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	a, b := cached(first), cached(between)
	require.Equal(t, 3, guess(a, 0, 3))
	require.Eventually(t, func() bool { return lockedOn(b, 0) }, fencedIn, 10*time.Millisecond)
	var done atomic.Int64
	meanwhile := func() {
		rev := unlock(t, a, 0)
		require.Equal(t, 3, guess(a, 0, 3))
		done.Store(int64(rev))
	}
	between.before.Store(&meanwhile)
	require.Eventually(t, func() bool { return done.Load() > 0 && int64(b.Position()) >= done.Load() }, fencedIn, time.Millisecond)
	require.True(t, lockedOn(a, 0))
	require.True(t, lockedOn(b, 0), "as it is in the store")
	require.False(t, b.Succeed(policy.DefaultLockout(), testKey(0).ID, netip.Prefix{}, clock.Now()))
	unlock(t, a, 0)
	require.Eventually(t, func() bool { return !lockedOn(b, 0) }, fencedIn, time.Millisecond)
}

func TestOfWhatANodeThatWasCutOffOwesAnUnlockClearsWhatCameBeforeIt(t *testing.T) {
	all := newNodes(t)
	a, b := all.join("a", time.Minute), all.join("b", time.Minute)
	a.begin(t)
	a.enable(t, 0, true)
	a.confirmed(t, a.enable(t, 1, true))
	lost := func() bool { _, _, lost := b.Followed(); return lost }
	b.proxy.Down()
	require.Eventually(t, lost, fencedIn, 10*time.Millisecond)
	require.Equal(t, 3, guess(b.Cached, 0, 3))
	time.Sleep(100 * time.Millisecond) // more than two machines' clocks are apart here
	unlock(t, a.Cached, 0)
	rev := unlock(t, a.Cached, 1)
	time.Sleep(100 * time.Millisecond)
	require.Equal(t, 3, guess(b.Cached, 1, 3))
	b.proxy.Up(t)
	a.confirmed(t, rev)
	require.False(t, lockedOn(b.Cached, 0), "by guesses from before")
	require.True(t, lockedOn(b.Cached, 1), "by guesses from behind it")
	require.Eventually(t, func() bool { return lockedOn(a.Cached, 1) }, fencedIn, 10*time.Millisecond)
	require.False(t, lockedOn(a.Cached, 0))
}
