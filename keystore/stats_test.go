package keystore

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAStripedCountLosesNothing(t *testing.T) {
	t.Parallel()
	var s Striped
	var adding sync.WaitGroup
	for range 8 {
		adding.Go(func() {
			for range 1000 {
				s.Add()
			}
		})
	}
	adding.Wait()
	require.Equal(t, uint64(8000), s.Load())
}

func TestConcurrentGoroutinesRarelyShareAStripe(t *testing.T) {
	t.Parallel()
	const goroutines = 64
	var mu sync.Mutex
	seen := map[uint]bool{}
	var all, done sync.WaitGroup
	all.Add(goroutines)
	for range goroutines {
		done.Go(func() {
			stripe := Stripe()
			mu.Lock()
			seen[stripe] = true
			mu.Unlock()
			all.Done()
			all.Wait() // all stacks exist at one time
		})
	}
	done.Wait()
	require.Greater(t, len(seen), goroutines/3, "of %d", goroutines)
	for stripe := range seen {
		require.Less(t, stripe, uint(stripes))
	}
}

func TestTheEstimateOfACacheIsTheMeanOfSomeTimesAll(t *testing.T) {
	t.Parallel()
	values := make([]int, 1000)
	for i := range values {
		values[i] = 100
	}
	asked := 0
	visit := func(fn func(int) bool) {
		for _, v := range values {
			asked++
			if fn(v) {
				return
			}
		}
	}
	h := EstimateRistretto(5000, 4000, visit, func(v int) int { return v })
	require.Equal(t, CacheHolds{Entries: 1000, Bytes: 1000 * (100 + ristrettoEntry)}, h)
	require.Equal(t, statsSample, asked, "and does not look at all")
	require.Zero(t, EstimateRistretto(5000, 5000, func(func(int) bool) {}, func(int) int { return 1 }))
}
