package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sizes = keystore.CacheSizes{Keys: 10_000, Unknown: 1000, UnknownTTL: 10 * time.Second}

// bench is a cached view of a real store whose reads a test can slow down, fail
// and count.
type bench struct {
	t     testing.TB
	path  string
	clock *storetest.Clock
	store *meddler
	c     *keystore.Cached
}

// meddler is the real store with a hand on it.
type meddler struct {
	keystore.Store
	reads   atomic.Int64
	down    atomic.Bool
	holdOff atomic.Pointer[func()] // runs between a key's reading and its delivery
}

var errDown = errors.New("store is down")

func (m *meddler) KeyByClientID(ctx context.Context, id string) (*keystore.Key, error) {
	if m.down.Load() {
		return nil, errDown
	}
	m.reads.Add(1)
	k, err := m.Store.KeyByClientID(ctx, id)
	if hold := m.holdOff.Load(); hold != nil {
		(*hold)()
	}
	return k, err
}

func (m *meddler) Head(ctx context.Context) (keystore.Revision, error) {
	if m.down.Load() {
		return 0, errDown
	}
	return m.Store.Head(ctx)
}

func (m *meddler) Fail(ctx context.Context, l policy.Lockout, f []keystore.Failure) ([]keystore.FailResult, error) {
	if m.down.Load() {
		return nil, errDown
	}
	return m.Store.Fail(ctx, l, f)
}

func (m *meddler) Succeed(ctx context.Context, l policy.Lockout, keyID, source string) (keystore.FailResult, error) {
	if m.down.Load() {
		return keystore.FailResult{}, errDown
	}
	return m.Store.Succeed(ctx, l, keyID, source)
}

// fastDir is a directory whose syncs cost nothing, where the system has one: for
// tests of many thousand writes that are not about durability.
func fastDir(t testing.TB) string {
	if _, err := os.Stat("/dev/shm"); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "keyreeve-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, path: filepath.Join(fastDir(t), "keys.db"), clock: storetest.NewClock()}
	b.store = &meddler{Store: b.open()}
	c, err := keystore.OpenCached(t.Context(), b.store, b.clock, sizes, zap.NewNop())
	require.NoError(t, err)
	b.c = c
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	_, err = c.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c1", Name: "One", Enabled: true})
	})
	require.NoError(t, err)
	return b
}

func (b *bench) open() *sqlite.Store {
	s, err := sqlite.Open(b.t.Context(), sqlite.Options{Path: b.path, Clock: b.clock})
	require.NoError(b.t, err)
	return s
}

// put stores a key through the cached view.
func (b *bench) put(id string, enabled bool) {
	b.t.Helper()
	_, err := b.c.Update(b.t.Context(), func(tx keystore.Tx) error { return putKey(b.t.Context(), tx, id, enabled) })
	require.NoError(b.t, err)
}

func putKey(ctx context.Context, tx keystore.Tx, id string, enabled bool) error {
	return tx.PutKey(ctx, &keystore.Key{ID: "key_" + id, ClientID: id, Name: id, CustomerID: "c1", RoleID: keystore.RoleReadOnly, Enabled: enabled})
}

func (b *bench) get(id string) (*keystore.Key, error) {
	return b.c.ByClientID(b.t.Context(), id, b.clock.Now())
}

func TestAKeyIsReadOnceAndThenServedFromTheCache(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	require.Eventually(t, func() bool { // the cache applies its writes behind the reader
		before := b.store.reads.Load()
		k, err := b.get("a")
		require.NoError(t, err)
		require.Equal(t, "a", k.ClientID)
		return b.store.reads.Load() == before
	}, 5*time.Second, time.Millisecond)
}

func TestAHitAllocatesNothing(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	require.Eventually(t, func() bool {
		before := b.store.reads.Load()
		_, err := b.get("a")
		return err == nil && b.store.reads.Load() == before
	}, 5*time.Second, time.Millisecond)
	now := b.clock.Now()
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = b.c.ByClientID(ctx, "a", now) }))
}

func TestManyWaitingForOneMissingKeyCostOneRead(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	release := make(chan struct{})
	hold := func() { <-release }
	b.store.holdOff.Store(&hold)
	before := b.store.reads.Load()
	var waiting, done sync.WaitGroup
	for range 50 {
		waiting.Add(1)
		done.Go(func() {
			waiting.Done()
			k, err := b.get("a")
			require.NoError(t, err)
			require.Equal(t, "a", k.ClientID)
		})
	}
	waiting.Wait()
	require.Eventually(t, func() bool { return b.store.reads.Load() > before }, 5*time.Second, time.Millisecond)
	close(release)
	done.Wait()
	// Those that came after the first reading ended may find the cache not yet
	// filled, so a few readings are possible, fifty are not.
	require.Less(t, b.store.reads.Load()-before, int64(10))
}

func TestAFillInFlightNeverBringsARevokedKeyBack(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 500
	}
	b := newBench(t)
	hold := func() { // a slow loader: anything may happen meanwhile
		for range rand.IntN(3) {
			time.Sleep(time.Duration(rand.IntN(30)) * time.Microsecond)
		}
	}
	b.store.holdOff.Store(&hold)
	for i := range rounds {
		id := fmt.Sprintf("k%d", i%7)
		b.put(id, true)
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if k, err := b.get(id); err == nil && k.ClientID != id {
							panic("another key's record")
						}
					}
				}
			})
		}
		b.put(id, false)
		for range 5 { // from here on nobody may see it enabled
			k, err := b.get(id)
			require.NoError(t, err)
			require.False(t, k.Enabled, "round %d: a revoked key came back", i)
		}
		close(stop)
		readers.Wait()
		k, err := b.get(id)
		require.NoError(t, err)
		require.False(t, k.Enabled, "round %d: a revoked key came back after the readers", i)
	}
}

func TestAnUnknownClientIsRememberedAndUsableOnceCreated(t *testing.T) {
	b := newBench(t)
	_, err := b.get("late")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	before := b.store.reads.Load()
	_, err = b.get("late")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	require.Equal(t, before, b.store.reads.Load(), "an unknown client was looked up again")
	b.put("late", true)
	k, err := b.get("late")
	require.NoError(t, err)
	require.Equal(t, "late", k.ClientID)
}

func TestAnUnknownClientIsLookedUpAgainAfterItsTime(t *testing.T) {
	b := newBench(t)
	_, err := b.get("nobody")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	before := b.store.reads.Load()
	b.clock.Advance(sizes.UnknownTTL + time.Second)
	_, err = b.get("nobody")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	require.Equal(t, before+1, b.store.reads.Load())
}

func TestAStoreErrorIsNeitherUnknownNorRemembered(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	b.store.down.Store(true)
	_, err := b.get("a")
	require.ErrorIs(t, err, errDown)
	require.NotErrorIs(t, err, keystore.ErrNotFound)
	b.store.down.Store(false)
	_, err = b.get("a")
	require.NoError(t, err)
}

func TestAnotherProcessesWritesAreFollowed(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	_, err := b.get("a")
	require.NoError(t, err)
	_, err = b.get("b")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	other := b.open() // its own connections, as another process has
	defer func() { require.NoError(t, other.Close()) }()
	_, err = other.Update(t.Context(), func(tx keystore.Tx) error {
		k, err := tx.KeyByClientID(t.Context(), "a")
		if err != nil {
			return err
		}
		k.Enabled = false
		if err := tx.PutKey(t.Context(), k); err != nil {
			return err
		}
		if err := tx.PutRole(t.Context(), &keystore.Role{ID: "r1", CustomerID: "c1", Name: "R", Permissions: policy.Permissions{"x": policy.View}}); err != nil {
			return err
		}
		return putKey(t.Context(), tx, "b", true)
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		a, errA := b.get("a")
		_, errB := b.get("b")
		return errA == nil && !a.Enabled && errB == nil && b.c.Directory().Role("r1") != nil
	}, time.Second, 10*time.Millisecond, "another process's write was not seen within a second")
}

func TestATrimmedLogMakesANodeLoadAnew(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	_, err := b.get("a")
	require.NoError(t, err)
	b.store.down.Store(true) // this node sleeps through what follows
	other := b.open()
	defer func() { require.NoError(t, other.Close()) }()
	_, err = other.Update(t.Context(), func(tx keystore.Tx) error {
		k, err := tx.KeyByClientID(t.Context(), "a")
		if err != nil {
			return err
		}
		k.Enabled = false
		return tx.PutKey(t.Context(), k)
	})
	require.NoError(t, err)
	b.clock.Advance(48 * time.Hour)
	require.NoError(t, other.Trim(t.Context(), policy.DefaultLockout(), time.Hour))
	b.store.down.Store(false)
	b.c.Poll(t.Context())
	k, err := b.get("a")
	require.NoError(t, err)
	require.False(t, k.Enabled)
}

func TestWhatIsCachedIsServedUntilMaxStale(t *testing.T) {
	b := newBench(t)
	const maxStale = 5 * time.Minute
	require.True(t, b.c.Fresh(b.clock.Now(), maxStale))
	b.store.down.Store(true)
	b.c.Poll(t.Context())
	require.True(t, b.c.Fresh(b.clock.Now(), maxStale))
	require.False(t, b.c.Fresh(b.clock.Now(), 0), "max_stale 0 refuses once the loss is noticed")
	b.clock.Advance(maxStale + time.Second)
	require.False(t, b.c.Fresh(b.clock.Now(), maxStale))
	b.store.down.Store(false)
	b.c.Poll(t.Context())
	require.True(t, b.c.Fresh(b.clock.Now(), maxStale))
	require.True(t, b.c.Fresh(b.clock.Now(), 0))
	b.clock.StepWall(time.Hour) // a clock set forward, or a machine that slept
	b.store.down.Store(true)
	require.False(t, b.c.Fresh(b.clock.Now(), maxStale), "the larger of both clocks decides")
}

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

func TestAnUnlockReachesThisNodeBeforeItsReplyAndOthersByTheFeed(t *testing.T) {
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

func TestALockByAnotherProcessIsHonouredWithinASecond(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	other := b.open()
	defer func() { require.NoError(t, other.Close()) }()
	for range 3 {
		_, err := other.Fail(t.Context(), policy.DefaultLockout(), []keystore.Failure{{KeyID: "key_a", Address: from.String()}})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return b.locked("a") > 0 }, time.Second, 10*time.Millisecond)
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
