package keystore

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

func drained(t *testing.T, d *decisions) chan error {
	done := make(chan error, 1)
	go func() { done <- d.drain(t.Context()) }()
	return done
}

func TestDecisionsBegunBeforeAreWaitedForAndLaterOnesAreNot(t *testing.T) {
	var d decisions
	require.NoError(t, d.drain(t.Context()))
	for range 5 { // on either side
		before := d.begin()
		done := drained(t, &d)
		select {
		case <-done:
			t.Fatal("a decision is under way")
		case <-time.After(20 * time.Millisecond):
		}
		later := d.begin()
		d.end(before)
		require.NoError(t, <-done)
		require.EqualValues(t, 1, d.on(0)+d.on(1))
		d.end(later)
	}
	hung := d.begin()
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.Error(t, d.drain(short))
	require.Error(t, d.drain(short), "on whichever side it is counted")
	d.end(hung)
	require.NoError(t, d.drain(t.Context()))
}

func TestADecisionThatWaitsIsNotWaitedForAndBeginsAnew(t *testing.T) {
	var d decisions
	of := d.begin()
	require.False(t, of.Waited())
	d.pause(&of)
	d.pause(&of)
	require.EqualValues(t, 1, d.on(aside), "it is under way still")
	require.NoError(t, d.drain(t.Context()))
	d.resume(&of)
	require.True(t, of.Waited())
	require.Zero(t, d.on(aside))
	done := drained(t, &d)
	select {
	case <-done:
		t.Fatal("a decision is under way")
	case <-time.After(20 * time.Millisecond):
	}
	d.end(of)
	require.NoError(t, <-done)
	of = d.begin()
	d.pause(&of)
	d.end(of)
	require.Zero(t, d.on(0)+d.on(1)+d.on(aside))
	d.pause(nil)
	d.resume(nil)
}

func TestAChangeOfHowTheLogIsFollowedUndoesNoOther(t *testing.T) {
	clock := NewSystemClock()
	c := &Cached{clock: clock, logger: zap.NewNop()}
	c.synced.Store(&syncState{at: clock.Now(), leased: true})
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			c.blind(context.Canceled)
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			c.lose(context.Canceled)
			c.moveSync(func(s *syncState) { s.lost = false })
		}
	})
	for n := range 200_000 {
		lease := time.Duration(n + 1)
		c.moveSync(func(s *syncState) { s.tenure.lease = lease })
		require.Equal(t, lease, c.synced.Load().tenure.lease)
	}
	stop()
	all.Wait()
	c.moveSync(func(s *syncState) { s.lost = false })
	all.Go(func() { // none of the two is lost
		for n := range 1000 {
			c.moveSync(func(s *syncState) { s.position = Revision(n) })
		}
	})
	c.lose(context.Canceled)
	all.Wait()
	require.True(t, c.synced.Load().lost)
}

func TestAfterADrainNoDecisionIsOnWhatWasThereBefore(t *testing.T) {
	var d decisions
	var shown, confirmed atomic.Int64
	var wrong atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				of := d.begin()
				sees := shown.Load()
				if rand.N(64) == 0 {
					time.Sleep(time.Duration(rand.N(200)) * time.Microsecond)
				}
				if sees < confirmed.Load() {
					wrong.Add(1)
				}
				d.end(of)
			}
		})
	}
	for n := range int64(300) {
		shown.Store(n)
		require.NoError(t, d.drain(ctx))
		confirmed.Store(n)
	}
	stop()
	all.Wait()
	require.Zero(t, wrong.Load())
	require.Zero(t, d.on(0)+d.on(1))
}

func TestARowNeverSaysLessThanASnapshotMayHave(t *testing.T) {
	at := func(s int) policy.Instant { return policy.Instant{Since: time.Duration(s) * time.Second} }
	var m member
	require.Equal(t, time.Minute, m.promise(tenure{at(0), time.Minute}, true))
	require.Equal(t, 40*time.Second, m.promise(tenure{at(20), time.Second}, true), "what is left of the longer one")
	require.Equal(t, 2*time.Minute, m.promise(tenure{at(21), 2 * time.Minute}, true))
	require.Equal(t, time.Second, m.promise(tenure{at(141), time.Second}, true), "which is over")
	require.Equal(t, time.Hour, m.promise(tenure{at(142), time.Hour}, true))
	require.Equal(t, time.Second, m.promise(tenure{at(143), time.Second}, false), "there is none")
}

func TestALeaseIsLongerThanMaxStaleByARenewal(t *testing.T) {
	for maxStale, every := range map[time.Duration]time.Duration{0: time.Second, time.Second: time.Second, 30 * time.Second: 3 * time.Second, time.Hour: 5 * time.Second} {
		require.Equal(t, every, renewEvery(maxStale))
		if maxStale > 0 {
			require.Equal(t, maxStale+every, leaseFor(maxStale))
		}
	}
	require.Greater(t, leaseFor(0), noticeWithin)
	require.Zero(t, stoppedLease(0))
	require.Equal(t, 30*time.Second, stoppedLease(time.Hour))
}

func TestAReadingOfTheRegistryIsSharedButNeverOneThatBeganBefore(t *testing.T) {
	var a nodeReads
	var asked atomic.Int64
	hold := make(chan struct{})
	ask := func(context.Context) ([]Registered, error) {
		n := asked.Add(1)
		if n == 1 {
			<-hold
		}
		return make([]Registered, n), nil
	}
	var all sync.WaitGroup
	read := func(least int) {
		all.Go(func() {
			found, err := a.read(t.Context(), ask)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(found), least)
		})
	}
	read(1)
	require.Eventually(t, func() bool { return asked.Load() == 1 }, 10*time.Second, time.Millisecond)
	for range 50 {
		read(2)
	}
	time.Sleep(20 * time.Millisecond)
	close(hold)
	all.Wait()
	require.LessOrEqual(t, asked.Load(), int64(4), "fifty shared them")
	a.rounds.close()
}
