package keystore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
)

// look is the key as the cache hands it out.
func (u *used) look() *keystore.Key {
	u.t.Helper()
	k, _, err := u.c.Look(u.t.Context(), "a", u.clock.Now())
	require.NoError(u.t, err)
	return k
}

func (u *used) call(n int) {
	k := u.look()
	for range n {
		u.c.Called(k)
	}
}

// calls are the stored calls by hours from the first one on.
func (u *used) calls() (counts []int64) {
	u.t.Helper()
	require.NoError(u.t, u.c.View(u.t.Context(), func(r keystore.Reader) error {
		calls, err := r.Calls(u.t.Context(), "key_a", time.Time{})
		for _, c := range calls {
			counts = append(counts, c.Calls)
		}
		return err
	}))
	return counts
}

func (u *used) edit() {
	u.t.Helper()
	_, err := u.c.Update(u.t.Context(), func(tx keystore.Tx) error {
		k, err := tx.Key(u.t.Context(), "key_a")
		if err != nil {
			return err
		}
		return tx.PutKey(u.t.Context(), k)
	})
	require.NoError(u.t, err)
}

func TestEveryCallIsCountedWhileTheKeyIsEditedAndCountsAreWritten(t *testing.T) {
	u := usedBench(t)
	const callers, each = 8, 20_000 // more than busyCalls in one taking, and back to few
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for i := range each {
				k, _, err := u.c.Look(t.Context(), "a", u.clock.Now())
				if err != nil {
					t.Error(err)
					return
				}
				u.c.Called(k)
				if i%5000 == 0 {
					u.edit()
				}
			}
		})
	}
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				u.flush()
			}
		}
	})
	running.Wait()
	close(stop)
	writing.Wait()
	u.flush()
	require.Equal(t, []int64{callers * each}, u.calls())
}

func TestACallCostsNoAllocation(t *testing.T) {
	u := usedBench(t)
	k := u.look()
	require.Zero(t, testing.AllocsPerRun(manyRuns, func() { u.c.Called(k) }))
}

func TestABusyKeyIsCountedExactlyWhileItIsBusyAndAfterwards(t *testing.T) {
	u := usedBench(t)
	want := 0
	for _, n := range []int{10_000, 10_000, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 10_000, 1} {
		u.call(n)
		u.flush()
		if want += n; n > 0 {
			require.Equal(t, []int64{int64(want)}, u.calls())
		}
	}
}

func TestCallsAreStoredWithTheHourInWhichTheyWereTaken(t *testing.T) {
	u := usedBench(t)
	u.call(2)
	u.flush()
	u.clock.Advance(time.Hour)
	u.call(3)
	u.flush()
	u.call(4)
	u.flush()
	require.Equal(t, []int64{2, 7}, u.calls())
}

func TestCallsWaitForAStoreThatIsAwayInTheirHour(t *testing.T) {
	u := usedBench(t)
	u.store.down.Store(true)
	u.call(2)
	require.ErrorIs(t, u.c.FlushUses(t.Context()), errDown)
	u.clock.Advance(time.Hour)
	u.call(3)
	require.ErrorIs(t, u.c.FlushUses(t.Context()), errDown)
	u.store.down.Store(false)
	u.flush()
	require.Equal(t, []int64{2, 3}, u.calls())
	u.flush()
	require.Equal(t, []int64{2, 3}, u.calls(), "once")
}

func TestClosingStoresWhatWasCalled(t *testing.T) {
	path := fastDir(t) + "/keys.db"
	u := newUsed(t, path)
	u.call(5)
	u.edit() // the counter of before is not the cache's any more
	u.call(6)
	require.NoError(t, u.c.Close())
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Clock: u.clock})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.View(t.Context(), func(r keystore.Reader) error {
		calls, err := r.Calls(t.Context(), "key_a", time.Time{})
		require.Len(t, calls, 1)
		require.EqualValues(t, 11, calls[0].Calls)
		return err
	}))
}

func TestCallsAreWrittenInTime(t *testing.T) {
	u := usedBench(t)
	u.call(1)
	u.clock.Advance(10 * time.Second)
	require.Eventually(t, func() bool { return len(u.calls()) > 0 }, patience, 20*time.Millisecond, "nobody flushes")
}

// BenchmarkCalled is what a request pays for its call to be counted. Run with
// -test.cpu 1,2: cores that call one key must not wait for one another.
func BenchmarkCalled(b *testing.B) {
	u := usedBench(b)
	k := u.look()
	for range 5000 { // as of a key that is called much
		u.c.Called(k)
	}
	u.flush()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u.c.Called(k)
		}
	})
}
