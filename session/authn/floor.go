package authn

import (
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// slowMemory is how long a slow count is remembered by the floor.
const slowMemory = 30 * time.Second

// floor is the least time that every refusal with InvalidClient takes. Counting
// a failure costs a disk write that the other causes do not have; so where that
// is slower than the configured floor, the floor of all of them rises with it.
type floor struct {
	least time.Duration
	// slowest counts of this window of slowMemory and of those before, ns.
	window        atomic.Int64 // number of the window
	slow, slowest atomic.Int64
}

// counted notes how long counting a failure took.
func (f *floor) counted(now policy.Instant, took time.Duration) {
	f.turn(now)
	for {
		old := f.slow.Load()
		if int64(took) <= old || f.slow.CompareAndSwap(old, int64(took)) {
			return
		}
	}
}

// turn begins a new window when the time has come.
func (f *floor) turn(now policy.Instant) {
	n := int64(now.Since / slowMemory)
	old := f.window.Load()
	if n == old || !f.window.CompareAndSwap(old, n) {
		return
	}
	// It falls by half with each window, not at once: else the first count after a
	// quiet while would stand out.
	f.slowest.Store(max(f.slow.Swap(0), f.slowest.Load()/2))
}

// until is how long after its beginning a refusal leaves, at least: the
// configured floor, or as many of them as the slowest count of late took.
func (f *floor) until(now policy.Instant) time.Duration {
	f.turn(now)
	slow := time.Duration(max(f.slow.Load(), f.slowest.Load()))
	return (slow/f.least + 1) * f.least
}

// wait returns when a refusal that began at start may leave. One that took
// longer than all before it leaves at the end of the floor it is in.
func (f *floor) wait(start, now policy.Instant) {
	if f.least <= 0 {
		return
	}
	spent := now.Since - start.Since
	until := f.until(now)
	if spent > until {
		until = (spent/f.least + 1) * f.least
	}
	// Whoever hangs up waits too: with half of the connection closed, the answer
	// could still be read.
	time.Sleep(until - spent)
}
