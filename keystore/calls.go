package keystore

import (
	"sync/atomic"
	"time"
)

const (
	// CallMemory is how long the calls of an hour are kept, from its beginning: a day
	// of whole hours and the one under way.
	CallMemory = 25 * time.Hour
	// takeCallsEvery is how often calls are written. Of the calls since then none is
	// stored if the process is killed.
	takeCallsEvery = 10 * time.Second
	// maxPendingCalls bounds the hours of keys that wait to be written, about 10 MB of
	// them. What is counted beyond them stays where it was counted, for a later hour.
	maxPendingCalls = 50_000
	// busyCalls, within takeCallsEvery, are so many that cores which count for one key
	// would take the counter from one another: it is striped from there on.
	busyCalls = 4096
	// maxBusy bounds the striped counters, each of 4 KB.
	maxBusy = 1024
	// idleTakes is after how many takings without a call a counter is striped no longer.
	idleTakes = 6
)

// Calls is how often a key was called in one hour.
type Calls struct {
	KeyID string
	// Hour is when it begins, UTC.
	Hour  time.Time
	Calls int64
}

// callCount counts the calls of one cached key, or rather of one reading of it:
// when the key changes, the next reading brings a counter of its own, and this one
// waits in the list of calls until what it counted is taken. So nobody looks a
// counter up, and none is kept for keys that are not called.
type callCount struct {
	keyID string
	// few counts while the key is called now and then. Who raises it from 0 puts the
	// counter on the list, and who takes it back to 0 takes it off.
	few atomic.Uint64
	// many counts instead while it is there, see busyCount.
	many atomic.Pointer[Striped]
	next *callCount // in the list; belongs to who put it there or takes it off
}

// calls collects what is called behind the requests. What a request pays is one
// addition to a counter that its key points to: neither a lock nor an allocation.
type calls struct {
	// counted is the list of counters that are not 0.
	counted atomic.Pointer[callCount]

	// The rest belongs to who holds the writing of uses.
	busy    []busyCount
	pending map[hourOf]int64
	taken   time.Duration // Instant.Since of the latest taking
}

// hourOf is what calls are added up by.
type hourOf struct {
	keyID string
	hour  int64 // Unix seconds
}

// busyCount is a counter that many cores raise at once.
type busyCount struct {
	of    *callCount
	count *Striped
	taken uint64 // of count
	idle  int    // takings since it was raised last
}

// Called counts a request that was decided on with this key proven: let in, or
// refused by the route, the tenant or the role. It is for the gate to call, once
// for each such request. Requests to Keyreeve itself (sign-ins, the admin API, the
// page) are no calls, nor is what a gate that only watches would have decided.
//
// Counts are exact but for their place in time, of about ten seconds. They are
// stored within those, when a configuration is taken down and when the process is
// told to end; calls that are not are lost with a process that is killed.
func (c *Cached) Called(key *Key) {
	if key.calls != nil {
		c.uses.calls.add(key.calls)
		return
	}
	c.uses.calls.add(&callCount{keyID: key.ID}) // no key of the cache: counted apart
}

func (l *calls) add(c *callCount) {
	if many := c.many.Load(); many != nil {
		many.Add()
		return
	}
	if c.few.Add(1) == 1 {
		l.push(c)
	}
}

func (l *calls) push(c *callCount) {
	for {
		first := l.counted.Load()
		c.next = first
		if l.counted.CompareAndSwap(first, c) {
			return
		}
	}
}

// due reports whether it is time to write calls again.
func (l *calls) due(since time.Duration) bool { return since-l.taken >= takeCallsEvery }

// take adds what was counted to what waits, as of this hour.
func (l *calls) take(now time.Time, since time.Duration) {
	l.taken = since
	hour := now.UTC().Truncate(time.Hour).Unix()
	if l.pending == nil {
		l.pending = make(map[hourOf]int64)
	}
	l.takeBusy(hour)
	for c := l.counted.Swap(nil); c != nil; {
		next := c.next // once it is 0, whoever counts next puts it on the list anew
		at := hourOf{c.keyID, hour}
		if _, there := l.pending[at]; !there && len(l.pending) >= maxPendingCalls {
			l.push(c)
		} else {
			n := c.few.Swap(0)
			l.pending[at] += int64(n)
			if n >= busyCalls && len(l.busy) < maxBusy && c.many.Load() == nil {
				l.busy = append(l.busy, busyCount{of: c, count: new(Striped)})
				c.many.Store(l.busy[len(l.busy)-1].count)
			}
		}
		c = next
	}
}

// takeBusy does so for the striped ones. One that is not called any more is given
// up in two steps: a request may have found it just before.
func (l *calls) takeBusy(hour int64) {
	kept := l.busy[:0]
	for _, b := range l.busy {
		count := b.count.Load()
		if n := count - b.taken; n > 0 {
			l.pending[hourOf{b.of.keyID, hour}] += int64(n)
			b.idle = 0
		} else {
			b.idle++
		}
		b.taken = count
		if b.idle == idleTakes {
			b.of.many.CompareAndSwap(b.count, nil)
		}
		if b.idle < 2*idleTakes {
			kept = append(kept, b)
		}
	}
	clear(l.busy[len(kept):])
	l.busy = kept
}

// chunk is up to n of what waits; it waits on until done.
func (l *calls) chunk(n int) []Calls {
	chunk := make([]Calls, 0, min(n, len(l.pending)))
	for at, count := range l.pending {
		if len(chunk) == n {
			break
		}
		chunk = append(chunk, Calls{KeyID: at.keyID, Hour: time.Unix(at.hour, 0).UTC(), Calls: count})
	}
	return chunk
}

// done forgets what was written.
func (l *calls) done(written []Calls) {
	for _, c := range written {
		delete(l.pending, hourOf{c.KeyID, c.Hour.Unix()})
	}
}
