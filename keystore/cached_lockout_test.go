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
	return b.c.Succeed(policy.DefaultLockout(), "key_"+id, netip.Prefix{}, b.clock.Now())
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
	require.Eventually(t, func() bool { return b.stored("a").Failures == 0 }, patience, time.Millisecond)
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
		s.SealAudit(storetest.NewSealer("mk"))
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
	require.Eventually(t, func() bool { return b.stored("a").Remaining(b.clock.Now()) == 20*time.Minute }, patience, time.Millisecond,
		"the store knows the lock, from when it began")
	require.Equal(t, 20*time.Minute, b.locked("a"))
}

// stored is the whole client's count as the store has it.
func (b *bench) stored(id string) keystore.Tally {
	b.t.Helper()
	tallies, err := b.store.Store.Tallies(b.t.Context(), -1)
	require.NoError(b.t, err)
	for _, c := range tallies {
		if c.KeyID == "key_"+id && c.Source == "" {
			return c
		}
	}
	return keystore.Tally{}
}

func TestWithTheStoreDownSuccessesClearAndAServedLockStaysServed(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.put("b", true)
	b.store.down.Store(true)
	for range 50 {
		b.fail("a", 1)
		require.True(t, b.succeed("a"))
	}
	for range 3 {
		b.fail("b", 1)
	}
	b.clock.Advance(31 * time.Minute)
	require.True(t, b.succeed("b"), "the lock was served")
	require.Less(t, b.c.Owed(), 5, "what is owed is bounded by clients, not by tries")
	b.store.down.Store(false)
	require.Eventually(t, func() bool { return b.c.Owed() == 0 }, patience, time.Millisecond)
	require.Zero(t, b.locked("a"))
	require.Zero(t, b.locked("b"))
	require.Zero(t, b.stored("b").Remaining(b.clock.Now()))
	require.True(t, b.succeed("a"))
	b.fail("a", 1)
	b.fail("a", 1)
	require.Zero(t, b.locked("a"), "two failures after many successes")
}

func TestFailuresThatCannotBeStoredDoNotStopTheNodeFromFollowingTheStore(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.store.full.Store(true)
	b.fail("a", 1)
	require.NoError(t, b.c.Poll(t.Context()))
	b.clock.Advance(time.Hour)
	require.NoError(t, b.c.Poll(t.Context()))
	require.True(t, b.c.Fresh(b.clock.Now(), time.Minute), "a full disk is not a lost store")
}

func TestAGuessUnderWayIsHeldAgainstTheNextOne(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	release := make(chan struct{})
	hold := func() { <-release }
	b.store.holdCount.Store(&hold)
	var guesses sync.WaitGroup
	for i := range 3 {
		guesses.Go(func() { b.fail("a", uint64(i)) })
	}
	require.Eventually(t, func() bool { return b.locked("a") > 0 }, patience, time.Millisecond, "before the store has heard of any")
	require.False(t, b.succeed("a"))
	close(release)
	guesses.Wait()
	require.NotZero(t, b.locked("a"))
}

func TestASuccessDoesNotWaitForASlowStore(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.fail("a", 1)
	release := make(chan struct{})
	hold := func() { <-release }
	b.store.holdCount.Store(&hold)
	for range 20 {
		require.True(t, b.succeed("a")) // would hang otherwise
	}
	close(release)
	require.Eventually(t, func() bool { return b.stored("a").Failures == 0 }, patience, time.Millisecond)
}

func TestAnAnswerWaitsForAStoreThatIsSlowToCount(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	hold := func() { time.Sleep(800 * time.Millisecond) } // as where others keep it busy
	b.store.holdCount.Store(&hold)
	require.True(t, b.fail("a", 1).Counted)
	require.Equal(t, 1.0, b.stored("a").Failures, "who guesses elsewhere next finds it counted")
}

func TestGuardKeepsABoundedNumberOfSources(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	l := policy.DefaultLockout()
	l.Mode, l.Ceiling = policy.Guard, 1_000_000
	for i := range 2000 {
		address := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		b.c.Fail(l, keystore.Attempt{KeyID: "key_a", Source: netip.PrefixFrom(address, 32), Address: address, Fingerprint: uint64(i)})
	}
	require.LessOrEqual(t, b.c.CountedSources("key_a"), 300)
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
		_, err := other.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: "key_a", Address: from.String()}})
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
	require.True(t, b.c.Succeed(l, "key_a", home, b.clock.Now()))
	for range 10 { // a misconfigured deployment repeating one wrong secret
		b.c.Fail(l, keystore.Attempt{KeyID: "key_a", Source: home, Address: home.Addr(), Fingerprint: 42})
	}
	require.Zero(t, b.c.Locked(l, "key_a", home, b.clock.Now()))
}

func TestAPollBetweenACommitAndItsReplyDoesNotCountTwice(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	stop := make(chan struct{})
	var polls sync.WaitGroup
	for range 2 {
		polls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = b.c.Poll(ctx)
				}
			}
		})
	}
	for i := range 200 {
		id := fmt.Sprintf("k%d", i)
		b.put(id, true)
		b.fail(id, 1)
		b.fail(id, 2)
		require.Zero(t, b.locked(id), "two failures locked %s", id)
		require.True(t, b.fail(id, 3).Locked)
	}
	close(stop)
	polls.Wait()
}

func TestAPollWhileACountIsOnItsWayIsHeld(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.fail("a", 1)
	committed, release := make(chan struct{}), make(chan struct{})
	hold := func() { close(committed); <-release }
	b.store.holdReply.Store(&hold)
	var second sync.WaitGroup
	second.Go(func() { b.fail("a", 2) })
	<-committed // in the store, and this node does not know it yet
	require.NoError(t, b.c.Poll(t.Context()))
	require.Zero(t, b.locked("a"))
	b.store.holdReply.Store(nil)
	close(release)
	second.Wait()
	require.Zero(t, b.locked("a"))
	require.True(t, b.fail("a", 3).Locked)
}

func TestAnUnlockClearsWhatWasStillOwed(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.store.full.Store(true)
	for range 3 {
		b.fail("a", 1)
	}
	require.NotZero(t, b.locked("a"))
	_, err := b.c.Update(t.Context(), func(tx keystore.Tx) error { return tx.Unlock(t.Context(), "key_a") })
	require.NoError(t, err)
	require.Zero(t, b.locked("a"))
	b.store.full.Store(false)
	require.Eventually(t, func() bool { return b.c.Owed() == 0 }, patience, time.Millisecond)
	require.NoError(t, b.c.Poll(t.Context()))
	require.Zero(t, b.locked("a"))
	require.Zero(t, b.stored("a").Remaining(b.clock.Now()))
}

func TestALockMadeWhileCutOffStandsWhateverTheStoreCounted(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.fail("a", 1)
	b.fail("a", 2)
	b.store.down.Store(true)
	require.True(t, b.fail("a", 3).Locked)
	// Meanwhile another node sees a success.
	_, err := b.store.Store.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: "key_a", Success: true}})
	require.NoError(t, err)
	b.clock.Advance(time.Minute)
	b.store.down.Store(false)
	require.NoError(t, b.c.Poll(t.Context()))
	require.Equal(t, 29*time.Minute, b.locked("a"))
	require.Eventually(t, func() bool { return b.stored("a").Remaining(b.clock.Now()) == 29*time.Minute }, patience, time.Millisecond)
}

func TestAGateThatHasNotHeardOfASuccessElsewhereLocksNobodyByWhatThatCleared(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.fail("a", 1)
	b.fail("a", 2)
	hold := func() { // another gate sees a success, while this one's third failure is on its way
		b.store.holdCount.Store(nil)
		_, err := b.store.Store.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: "key_a", Success: true}})
		require.NoError(t, err)
	}
	b.store.holdCount.Store(&hold)
	out := b.fail("a", 3)
	require.Nil(t, b.store.holdCount.Load())
	require.True(t, out.Counted)
	require.False(t, out.Locked, "the store counted one")
	require.Zero(t, b.locked("a"))
	require.Equal(t, 1.0, b.stored("a").Failures)
	require.Zero(t, b.stored("a").Remaining(b.clock.Now()))
	b.fail("a", 4)
	require.True(t, b.fail("a", 5).Locked)
}

func TestASuccessToldLateDoesNotClearWhatFailedAfterIt(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.store.down.Store(true)
	b.fail("a", 1)
	require.True(t, b.succeed("a"))
	b.clock.Advance(10 * time.Minute)
	for range 2 { // on another node
		_, err := b.store.Store.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: "key_a"}})
		require.NoError(t, err)
	}
	b.store.down.Store(false)
	require.Eventually(t, func() bool { return b.c.Owed() == 0 }, patience, time.Millisecond)
	require.Equal(t, 2.0, b.stored("a").Failures)
	require.NoError(t, b.c.Poll(t.Context()))
	require.True(t, b.fail("a", 3).Locked)
}

func TestATrustedSourceOutlivesAFloodOfStrangers(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	l := policy.DefaultLockout()
	l.Mode = policy.Guard
	home := netip.MustParsePrefix("198.51.100.1/32")
	require.True(t, b.c.Succeed(l, "key_a", home, b.clock.Now()))
	stranger := func(i int) {
		address := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		b.c.Fail(l, keystore.Attempt{KeyID: "key_a", Source: netip.PrefixFrom(address, 32), Address: address, Fingerprint: uint64(i)})
	}
	for i := range 300 { // three a minute: under the ceiling
		stranger(i)
		b.clock.Advance(20 * time.Second)
	}
	for i := range 110 {
		stranger(1000 + i)
	}
	require.NotZero(t, b.c.Locked(l, "key_a", netip.MustParsePrefix("10.9.9.9/32"), b.clock.Now()), "the whole client is locked")
	require.Zero(t, b.c.Locked(l, "key_a", home, b.clock.Now()), "but for where it is at home")
	require.True(t, b.c.Succeed(l, "key_a", home, b.clock.Now()))
}

func TestManyOwedSourcesAreToldInBoundedTime(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	l := policy.DefaultLockout()
	l.Mode = policy.Guard
	b.store.full.Store(true)
	for i := range 2000 {
		require.True(t, b.c.Succeed(l, "key_a", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), b.clock.Now()))
	}
	require.LessOrEqual(t, b.c.Owed(), 600)
	b.store.full.Store(false)
	require.Eventually(t, func() bool { return b.c.Owed() == 0 }, patience, time.Millisecond)
}
