package keystore_test

import (
	"context"
	"errors"
	"fmt"
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

// distant is a real store whose answers a test can hold back or take away, and which
// counts what it is asked.
type distant struct {
	keystore.Store
	gone  atomic.Bool
	delay atomic.Int64 // of each read of a key, in ns

	heads, others, reading, most atomic.Int64
	changes                      atomic.Pointer[func()] // runs before the log is read
}

var errGone = errors.New("no route to host")

// asked is how a call ends while the store is gone.
func (d *distant) asked(by *atomic.Int64) error {
	by.Add(1)
	if d.gone.Load() {
		return fmt.Errorf("%w: %w", keystore.ErrUnavailable, errGone)
	}
	return nil
}

func (d *distant) Head(ctx context.Context) (keystore.Revision, error) {
	if err := d.asked(&d.heads); err != nil {
		return 0, err
	}
	return d.Store.Head(ctx)
}

func (d *distant) Changes(ctx context.Context, after keystore.Revision) ([]keystore.Change, error) {
	if hold := d.changes.Load(); hold != nil {
		(*hold)()
	}
	return d.Store.Changes(ctx, after)
}

func (d *distant) KeyByClientID(ctx context.Context, id string) (*keystore.Key, error) {
	if err := d.asked(&d.others); err != nil {
		return nil, err
	}
	now := d.reading.Add(1)
	defer d.reading.Add(-1)
	for most := d.most.Load(); now > most && !d.most.CompareAndSwap(most, now); most = d.most.Load() {
	}
	select {
	case <-time.After(time.Duration(d.delay.Load())):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return d.Store.KeyByClientID(ctx, id)
}

func (d *distant) View(ctx context.Context, fn func(keystore.Reader) error) error {
	if err := d.asked(&d.others); err != nil {
		return err
	}
	return d.Store.View(ctx, fn)
}

func (d *distant) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	if err := d.asked(&d.others); err != nil {
		return 0, err
	}
	return d.Store.Update(ctx, fn)
}

func (d *distant) Count(ctx context.Context, l policy.Lockout, p []keystore.Proof) ([]keystore.CountResult, error) {
	if err := d.asked(&d.others); err != nil {
		return nil, err
	}
	return d.Store.Count(ctx, l, p)
}

func (d *distant) Use(ctx context.Context, uses []keystore.Use, calls ...keystore.Calls) error {
	if err := d.asked(&d.others); err != nil {
		return err
	}
	return d.Store.Use(ctx, uses, calls...)
}

// far is a cached view of a distant store, and another way to that.
func far(t *testing.T) (*keystore.Cached, *distant, *sqlite.Store) {
	path := filepath.Join(fastDir(t), "keys.db")
	open := func() *sqlite.Store {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Clock: keystore.NewSystemClock()})
		require.NoError(t, err)
		s.SealAudit(storetest.NewSealer("mk"))
		return s
	}
	d := &distant{Store: open()}
	c, err := keystore.OpenCached(t.Context(), d, keystore.NewSystemClock(), sizes, zap.NewNop())
	require.NoError(t, err)
	other := open()
	t.Cleanup(func() {
		d.gone.Store(false)
		require.NoError(t, c.Close())
		require.NoError(t, other.Close())
	})
	_, err = other.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c1", Name: "One", Enabled: true})
	})
	require.NoError(t, err)
	return c, d, other
}

func lost(c *keystore.Cached) bool { _, _, lost := c.Followed(); return lost }

func TestWhileTheStoreIsLostOnlyTheFollowerAsksItEverMoreRarely(t *testing.T) {
	c, d, _ := far(t)
	ctx := t.Context()
	d.gone.Store(true)
	require.Eventually(t, func() bool { return lost(c) }, patience, time.Millisecond)
	d.heads.Store(0)
	d.others.Store(0)
	began := time.Now()
	const outage = 4 * time.Second
	for n := 0; time.Since(began) < outage; n++ {
		_, _, err := c.Look(ctx, fmt.Sprintf("nobody%d", n), c.Clock().Now())
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.ErrorContains(t, err, errGone.Error(), "it says why")
		require.ErrorContains(t, err, "since")
		_, err = c.Update(ctx, func(keystore.Tx) error { return nil })
		require.ErrorIs(t, err, keystore.ErrUnavailable)
		require.ErrorIs(t, c.View(ctx, func(keystore.Reader) error { return nil }), keystore.ErrUnavailable)
		require.ErrorIs(t, c.AwaitRevision(ctx, c.Position()+1), keystore.ErrUnavailable)
		c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: "key_a", Fingerprint: uint64(n)})
		c.Called(&keystore.Key{ID: "key_a"})
		require.ErrorIs(t, c.FlushUses(ctx), keystore.ErrUnavailable)
		time.Sleep(time.Millisecond)
	}
	require.Zero(t, d.others.Load(), "nothing else reaches the store")
	// At 200 ms, 400 ms, … 2 s, each less by up to a half: at most 100+200+400+800+1000+….
	require.LessOrEqual(t, d.heads.Load(), int64(10))
	require.Positive(t, d.heads.Load())
	d.gone.Store(false)
	healed := time.Now()
	require.Eventually(t, func() bool { _, err := c.Update(ctx, func(keystore.Tx) error { return nil }); return err == nil }, patience, time.Millisecond)
	require.Less(t, time.Since(healed), 3*time.Second)
}

func TestAReadThatFailsMakesTheFollowerLookAtOnce(t *testing.T) {
	c, d, _ := far(t)
	for range 5 {
		d.gone.Store(true)
		_, _, err := c.Look(t.Context(), "a", c.Clock().Now())
		require.Error(t, err)
		began := time.Now()
		require.Eventually(t, func() bool { return lost(c) }, patience, time.Millisecond)
		t.Log(time.Since(began))
		d.gone.Store(false)
		require.Eventually(t, func() bool { return !lost(c) }, patience, time.Millisecond)
	}
}

func TestManyWhoWaitForARevisionShareTheAskingForIt(t *testing.T) {
	c, d, other := far(t)
	ctx := t.Context()
	rev, err := other.Update(ctx, func(tx keystore.Tx) error { return putKey(ctx, tx, "a", true) })
	require.NoError(t, err)
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hold := func() {
		once.Do(func() { close(held) })
		<-release
	}
	d.changes.Store(&hold)
	<-held
	before := d.heads.Load()
	var all sync.WaitGroup
	var waiting atomic.Int64
	for range 500 {
		all.Go(func() {
			waiting.Add(1)
			if err := c.AwaitRevision(ctx, rev); err != nil {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool { return waiting.Load() == 500 }, patience, time.Millisecond)
	time.Sleep(20 * time.Millisecond) // until they wait; those that come later find it there
	close(release)
	all.Wait()
	require.Less(t, d.heads.Load()-before, int64(20), "one or two, and what is polled meanwhile")
}

func TestAFloodOfUnknownClientsReadsFewKeysAtOneTimeAndWaitsNoLongerThanForOne(t *testing.T) {
	c, d, _ := far(t)
	d.delay.Store(int64(30 * time.Millisecond))
	var all sync.WaitGroup
	var refused, unknown atomic.Int64
	began := time.Now()
	for n := range 2000 {
		all.Go(func() {
			switch _, _, err := c.Look(t.Context(), fmt.Sprintf("nobody%d", n), c.Clock().Now()); {
			case errors.Is(err, keystore.ErrNotFound):
				unknown.Add(1)
			case errors.Is(err, keystore.ErrUnavailable):
				refused.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	all.Wait()
	require.Less(t, time.Since(began), patience)
	require.LessOrEqual(t, d.most.Load(), int64(keystore.MaxFills))
	require.Positive(t, unknown.Load())
	require.Positive(t, refused.Load(), "those whose turn does not come are told so, and not that they are unknown")
	require.False(t, lost(c), "the store is followed all the same")
}

func TestAKnownClientIsNotTurnedAwayWhileItsChangesAreCaughtUpWith(t *testing.T) {
	c, d, other := far(t)
	ctx := t.Context()
	_, err := other.Update(ctx, func(tx keystore.Tx) error { return putKey(ctx, tx, "a", true) })
	require.NoError(t, err)
	look := func() (*keystore.Key, error) {
		k, _, err := c.Look(ctx, "a", c.Clock().Now())
		return k, err
	}
	require.Eventually(t, func() bool { _, err := look(); return err == nil }, patience, time.Millisecond)
	for round := range 3 {
		d.gone.Store(true)
		require.Eventually(t, func() bool { return lost(c) }, patience, time.Millisecond)
		_, err := other.Update(ctx, func(tx keystore.Tx) error { return putKey(ctx, tx, "a", round%2 == 1) })
		require.NoError(t, err)
		d.gone.Store(false)
		require.Eventually(t, func() bool {
			k, err := look()
			require.NoError(t, err, "at no moment")
			return k.Enabled == (round%2 == 1)
		}, patience, 10*time.Microsecond)
		require.Eventually(t, func() bool { return !lost(c) }, patience, time.Millisecond)
	}
}
