package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

func TestMain(m *testing.M) {
	if dir := os.Getenv(nodeChildEnv); dir != "" {
		fmt.Fprintln(os.Stderr, nodeChild(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait for something that should have happened long before.
const patience = 10 * time.Second

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
	reads     atomic.Int64
	down      atomic.Bool
	full      atomic.Bool            // writes of counts fail, reading works
	holdOff   atomic.Pointer[func()] // runs between a key's reading and its delivery
	holdCount atomic.Pointer[func()] // runs before proofs are counted
	holdReply atomic.Pointer[func()] // runs after proofs were counted
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

func (m *meddler) Count(ctx context.Context, l policy.Lockout, p []keystore.Proof) ([]keystore.CountResult, error) {
	if m.down.Load() || m.full.Load() {
		return nil, errDown
	}
	if hold := m.holdCount.Load(); hold != nil {
		(*hold)()
	}
	results, err := m.Store.Count(ctx, l, p)
	if hold := m.holdReply.Load(); hold != nil {
		(*hold)()
	}
	return results, err
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
	s.SealAudit(storetest.NewSealer("mk"))
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

func disable(ctx context.Context, tx keystore.Tx, id string) error {
	k, err := tx.KeyByClientID(ctx, id)
	if err != nil {
		return err
	}
	k.Enabled = false
	return tx.PutKey(ctx, k)
}

func (b *bench) get(id string) (*keystore.Key, error) {
	k, _, err := b.c.Look(b.t.Context(), id, b.clock.Now())
	return k, err
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
	}, patience, time.Millisecond)
}

// manyRuns are enough that what the store's followers allocate meanwhile, which is
// counted too, comes to less than one each.
const manyRuns = 20_000

func TestAHitAllocatesNothing(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	require.Eventually(t, func() bool {
		before := b.store.reads.Load()
		_, err := b.get("a")
		return err == nil && b.store.reads.Load() == before
	}, patience, time.Millisecond)
	now := b.clock.Now()
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(manyRuns, func() { _, _, _ = b.c.Look(ctx, "a", now) }))
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
	require.Eventually(t, func() bool { return b.store.reads.Load() > before }, patience, time.Millisecond)
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
		if err := disable(t.Context(), tx, "a"); err != nil {
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
	}, patience, 10*time.Millisecond, "another process's write was not seen")
}

func TestATrimmedLogMakesANodeLoadAnew(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	_, err := b.get("a")
	require.NoError(t, err)
	b.store.down.Store(true) // this node sleeps through what follows
	other := b.open()
	defer func() { require.NoError(t, other.Close()) }()
	_, err = other.Update(t.Context(), func(tx keystore.Tx) error { return disable(t.Context(), tx, "a") })
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
	b.store.down.Store(true)
	b.clock.StepWall(time.Hour) // a clock set forward, or a machine that slept
	require.False(t, b.c.Fresh(b.clock.Now(), maxStale), "the larger of both clocks decides")
}

func TestAWriteThatThisNodeCannotSeeStopsItUntilItCan(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	_, err := b.get("a")
	require.NoError(t, err)
	_, err = b.c.Update(t.Context(), func(tx keystore.Tx) error {
		b.store.down.Store(true) // right after the commit
		return putKey(t.Context(), tx, "a", false)
	})
	require.ErrorIs(t, err, keystore.ErrUnseen)
	require.False(t, b.c.Fresh(b.clock.Now(), time.Hour), "nothing old may be served, whatever max_stale says")
	b.store.down.Store(false)
	require.NoError(t, b.c.Poll(t.Context()))
	require.True(t, b.c.Fresh(b.clock.Now(), time.Hour))
	k, err := b.get("a")
	require.NoError(t, err)
	require.False(t, k.Enabled)
}

func TestKeyAndDirectoryAreOnePicture(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	b := newBench(t)
	other := b.open()
	defer func() { require.NoError(t, other.Close()) }()
	ctx := t.Context()
	narrow, wide := policy.Permissions{"x": policy.View}, policy.Permissions{"*": policy.Full}
	set := func(role string, p policy.Permissions, keyRole string) {
		_, err := other.Update(ctx, func(tx keystore.Tx) error {
			if err := tx.PutRole(ctx, &keystore.Role{ID: "rA", CustomerID: "c1", Name: "A", Permissions: narrow}); err != nil {
				return err
			}
			if err := tx.PutRole(ctx, &keystore.Role{ID: "rB", CustomerID: "c1", Name: "B", Permissions: narrow}); err != nil {
				return err
			}
			if err := tx.PutRole(ctx, &keystore.Role{ID: role, CustomerID: "c1", Name: role[1:], Permissions: p}); err != nil {
				return err
			}
			return tx.PutKey(ctx, &keystore.Key{ID: "key_k", ClientID: "k", Name: "k", CustomerID: "c1", RoleID: keyRole, Enabled: true})
		})
		require.NoError(t, err)
	}
	set("rB", wide, "rA") // the key never has the role that is wide
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				k, d, err := b.c.Look(ctx, "k", b.clock.Now())
				if err == nil && d.Role(k.RoleID).Permissions.On("y", "") != 0 {
					t.Errorf("a key with a role's rights from another time: %s", k.RoleID)
					return
				}
			}
		})
	}
	for range rounds / 2 {
		set("rA", wide, "rB")
		_ = b.c.Poll(ctx)
		set("rB", wide, "rA")
		_ = b.c.Poll(ctx)
	}
	close(stop)
	readers.Wait()
}
