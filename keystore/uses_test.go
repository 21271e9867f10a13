package keystore_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// ledger is a real store that tells what uses were written to it.
type ledger struct {
	keystore.Store
	down   atomic.Bool
	before atomic.Pointer[func()] // runs before a batch is written, or fails

	mu      sync.Mutex
	batches [][]keystore.Use
}

func (l *ledger) Use(ctx context.Context, uses []keystore.Use, calls ...keystore.Calls) error {
	if before := l.before.Load(); before != nil {
		(*before)()
	}
	if l.down.Load() {
		return errDown
	}
	l.mu.Lock()
	l.batches = append(l.batches, slices.Clone(uses))
	l.mu.Unlock()
	return l.Store.Use(ctx, uses, calls...)
}

// written is every use that was written so far.
func (l *ledger) written() []keystore.Use {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.batches...)
}

// used is a cached view over a ledger, with one key of two secrets, `new` and the
// retired `old`.
type used struct {
	t     testing.TB
	store *ledger
	clock *storetest.Clock
	c     *keystore.Cached
	key   *keystore.Key
	logs  *observer.ObservedLogs
}

var caller = netip.MustParseAddr("192.0.2.7")

func fromCaller() netip.Addr { return caller }

func newUsed(t testing.TB, path string) *used {
	core, logs := observer.New(zapcore.InfoLevel)
	u := &used{t: t, clock: storetest.NewClock(), logs: logs}
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Clock: u.clock})
	require.NoError(t, err)
	u.store = &ledger{Store: s}
	u.c, err = keystore.OpenCached(t.Context(), u.store, u.clock, sizes, zap.New(core))
	require.NoError(t, err)
	u.key = &keystore.Key{ID: "key_a", ClientID: "a", Name: "a", CustomerID: "c1", RoleID: keystore.RoleReadOnly, Enabled: true,
		Secrets: []keystore.Secret{{ID: "sec_new", MasterKeyID: "m"}, {ID: "sec_old", MasterKeyID: "m", Retired: u.clock.Now().Wall}}}
	_, err = u.c.Update(t.Context(), func(tx keystore.Tx) error {
		if err := tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c1", Name: "One", Enabled: true}); err != nil {
			return err
		}
		return tx.PutKey(t.Context(), u.key)
	})
	require.NoError(t, err)
	return u
}

// usedBench is one that the test's end closes.
func usedBench(t testing.TB) *used {
	u := newUsed(t, fastDir(t)+"/keys.db")
	t.Cleanup(func() { require.NoError(t, u.c.Close()) })
	return u
}

func (u *used) use(route string) { u.c.Used(u.key, "sec_new", route, fromCaller, u.clock.Now().Since) }

func (u *used) flush() {
	u.t.Helper()
	require.NoError(u.t, u.c.FlushUses(u.t.Context()))
}

// holdWriting lets nothing be written until release is called, by a first use whose
// writing hangs.
func (u *used) holdWriting() (release func()) {
	writing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hold := func() { once.Do(func() { close(writing); <-goOn }) }
	u.store.before.Store(&hold)
	u.use("/r")
	var done sync.WaitGroup
	done.Go(func() { _ = u.c.FlushUses(context.WithoutCancel(u.t.Context())) })
	<-writing
	return func() { close(goOn); done.Wait() }
}

// stored is the key as the store has it.
func (u *used) stored() (k *keystore.Key) {
	u.t.Helper()
	require.NoError(u.t, u.c.View(u.t.Context(), func(r keystore.Reader) (err error) {
		k, err = r.Key(u.t.Context(), "key_a")
		return err
	}))
	return k
}

func TestAUseIsStoredWithItsTimeAddressAndRoute(t *testing.T) {
	u := usedBench(t)
	at := u.clock.Now().Wall
	u.use("/orders/{id}")
	u.flush()
	k := u.stored()
	require.Equal(t, []any{at, caller.String(), "/orders/{id}"}, []any{k.LastUsed.UTC(), k.LastUsedAddress, k.LastUsedRoute})
	s := k.SecretByID("sec_new")
	require.Equal(t, []any{at, caller.String()}, []any{s.LastUsed.UTC(), s.LastUsedAddress})
	require.True(t, k.SecretByID("sec_old").LastUsed.IsZero(), "the other secret was not used")
}

func TestOfTheUsesInTenSecondsTheFirstIsStored(t *testing.T) {
	u := usedBench(t)
	asked := 0
	for range 1000 {
		u.c.Used(u.key, "sec_new", "/r", func() netip.Addr { asked++; return caller }, u.clock.Now().Since)
	}
	u.flush()
	require.Len(t, u.store.written(), 1)
	require.Equal(t, 1, asked, "the address is asked for only then")
	u.flush()
	require.Len(t, u.store.written(), 1, "nothing waits any more")

	u.clock.Advance(10 * time.Second)
	u.use("/later")
	u.flush()
	require.Equal(t, "/later", u.stored().LastUsedRoute)
	require.Len(t, u.store.written(), 2)
}

func TestNoKindOfUseHidesAnother(t *testing.T) {
	u := usedBench(t)
	at := u.clock.Now().Wall
	for range 3 {
		u.use("")
		u.use("/r")
		u.c.Retired(u.key, "sec_old", fromCaller, u.clock.Now())
	}
	u.flush()
	k := u.stored()
	require.Equal(t, "/r", k.LastUsedRoute, "the sign-in before it does not hide it")
	require.Equal(t, at, k.SecretByID("sec_old").Tried.UTC())
}

func TestARetiredSecretThatIsTriedIsToldOnceInTenSecondsAndIsNoUse(t *testing.T) {
	u := usedBench(t)
	first := 0
	for range 50 {
		if u.c.Retired(u.key, "sec_old", fromCaller, u.clock.Now()) {
			first++
		}
	}
	require.Equal(t, 1, first)
	require.Equal(t, uint64(50), u.c.Counts().RetiredUses, "each is counted")
	u.flush()
	k := u.stored()
	old := k.SecretByID("sec_old")
	require.Equal(t, []any{u.clock.Now().Wall, caller.String()}, []any{old.Tried.UTC(), old.TriedAddress})
	require.True(t, k.LastUsed.IsZero())
	require.True(t, old.LastUsed.IsZero())
	u.clock.Advance(10 * time.Second)
	require.True(t, u.c.Retired(u.key, "sec_old", fromCaller, u.clock.Now()))
}

func TestUsesBeyondTheBoundAreDroppedCountedAndTriedAgain(t *testing.T) {
	u := usedBench(t)
	release := u.holdWriting()
	// Beyond the bound, but so few that those which share a slot, and are noted again,
	// have room beside the dropped ones.
	const secrets = 60_000
	for i := range secrets {
		u.c.Used(u.key, fmt.Sprintf("sec_%d", i), "/r", fromCaller, u.clock.Now().Since)
	}
	dropped := u.c.Counts().DroppedUses
	require.GreaterOrEqual(t, dropped, uint64(secrets-50_000))
	require.Less(t, dropped, uint64(secrets-45_000), "the bound is spread evenly")
	release()
	u.flush()
	require.Len(t, u.store.written(), 1+int(secrets-dropped))
	for _, batch := range u.store.batches {
		require.LessOrEqual(t, len(batch), 1000)
	}
	for i := range secrets { // in the same ten seconds
		u.c.Used(u.key, fmt.Sprintf("sec_%d", i), "/r", fromCaller, u.clock.Now().Since)
	}
	u.flush()
	again := map[string]bool{}
	for _, use := range u.store.written() {
		again[use.SecretID] = true
	}
	require.Len(t, again, 1+secrets, "each was stored in the end")
}

func TestUsesThatCouldNotBeWrittenWaitAndTheFailureIsLoggedOnce(t *testing.T) {
	u := usedBench(t)
	u.store.down.Store(true)
	u.use("/r")
	for range 3 {
		require.ErrorIs(t, u.c.FlushUses(t.Context()), errDown)
	}
	require.Equal(t, 1, u.logs.FilterMessageSnippet("could not be written").Len())

	// One that comes while a writing fails is not lost to the one that is put back.
	late := func() {
		u.clock.Advance(10 * time.Second)
		u.use("/late")
	}
	u.store.before.Store(&late)
	require.ErrorIs(t, u.c.FlushUses(t.Context()), errDown)
	u.store.before.Store(nil)
	u.store.down.Store(false)
	u.flush()
	require.Equal(t, "/late", u.stored().LastUsedRoute)
	require.Equal(t, 1, u.logs.FilterMessageSnippet("written again").Len())
}

func TestClosingWritesWhatWaits(t *testing.T) {
	path := fastDir(t) + "/keys.db"
	u := newUsed(t, path)
	u.use("/last")
	require.NoError(t, u.c.Close())
	u.clock.Advance(10 * time.Second)
	u.use("/too-late") // by a request that is still under way: forgotten, not a panic
	again, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Clock: u.clock})
	require.NoError(t, err)
	defer func() { require.NoError(t, again.Close()) }()
	k, err := again.KeyByClientID(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "/last", k.LastUsedRoute)
	require.ErrorIs(t, u.c.FlushUses(t.Context()), keystore.ErrClosed)
}

func TestFlushingWaitsForWhatIsBeingWritten(t *testing.T) {
	u := usedBench(t)
	release := u.holdWriting()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, u.c.FlushUses(ctx), context.Canceled, "for as long as its caller does")
	release()
	u.flush()
	require.Equal(t, "/r", u.stored().LastUsedRoute)
}

func TestAUseThatWasSeenAllocatesNothing(t *testing.T) {
	u := usedBench(t)
	now := u.clock.Now().Since
	require.Zero(t, testing.AllocsPerRun(manyRuns, func() { u.c.Used(u.key, "sec_new", "/r", fromCaller, now) }))
}

// BenchmarkUsed is what the success path of a request pays: run it with -test.cpu
// 1,2, since no core may wait for another.
func BenchmarkUsed(b *testing.B) {
	u := usedBench(b)
	now := u.clock.Now().Since
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u.c.Used(u.key, "sec_new", "/orders/{id}", fromCaller, now)
		}
	})
}
