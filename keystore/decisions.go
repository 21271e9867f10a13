package keystore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// decisions counts the decisions under way, each on a cache line that cores rarely take
// from one another, in a way that those begun before a moment can be waited for while
// others go on beginning: by two sides, of which one takes new ones. Beside them stands
// who decides nothing now and is waited for by nobody but by whoever closes the store.
type decisions struct {
	side    atomic.Uint32 // its low bit is the side
	stripes [stripes]decisionStripe
	// draining is held by who waits; there is one at a time, since it changes sides.
	draining sync.Mutex
}

type decisionStripe struct {
	n [3]atomic.Int64 // of either side, and aside
	_ [40]byte        // to a cache line of 64 bytes
}

// Decision is one under way, see Cached.Begin: by its low two bits where it is counted,
// then whether it has waited, then the stripe.
type Decision uint32

const (
	aside  = 2
	waited = 1 << 2
)

// Begin marks a decision as under way, before it looks at anything; End ends it. A node
// confirms a revocation only once those begun before it took effect here are done.
func (c *Cached) Begin() Decision { return c.deciding.begin() }

// Aside marks the store as in use until End, by who decides nothing meanwhile that is not
// a decision of its own: no revocation waits for it.
func (c *Cached) Aside() Decision {
	stripe := uint32(Stripe()) % stripes
	c.deciding.stripes[stripe].n[aside].Add(1)
	return Decision(stripe<<3 | aside)
}

// Pause lets a decision step aside that has come to a refusal, for as long as that takes.
func (c *Cached) Pause(d *Decision) { c.deciding.pause(d) }

// End ends what Begin or Aside began.
func (c *Cached) End(d Decision) { c.deciding.end(d) }

// Waited reports whether the decision waited for the store on the way and began anew
// behind that: what it looked at before counts no more.
func (d Decision) Waited() bool { return d&waited != 0 }

// UnderWay is how many decisions are, or use the store besides.
func (c *Cached) UnderWay() int64 { return c.deciding.on(0) + c.deciding.on(1) + c.deciding.on(aside) }

func (d *decisions) begin() Decision {
	side, stripe := d.side.Load()&1, uint32(Stripe())%stripes
	d.stripes[stripe].n[side].Add(1)
	return Decision(stripe<<3 | side)
}

func (d *decisions) end(of Decision) { d.stripes[of>>3].n[of&3].Add(-1) }

// pause sets a decision aside that waits and may go on only by resume, or not at all; nil
// is none. Else strangers who keep a node waiting for the store would keep it from ever
// confirming anything.
func (d *decisions) pause(of *Decision) {
	if of == nil || *of&3 == aside {
		return
	}
	n := &d.stripes[*of>>3].n
	n[aside].Add(1) // first: it is under way at any moment
	n[*of&3].Add(-1)
	*of = *of&^3 | aside | waited
}

// resume begins a decision anew that was set aside.
func (d *decisions) resume(of *Decision) {
	if of == nil {
		return
	}
	before := *of
	*of = d.begin() | waited
	d.end(before)
}

// on is how many are counted on a side. 0 means that each that was counted there when
// it was asked is done: no stripe is ever below 0, and each ends on its own.
func (d *decisions) on(side uint32) (n int64) {
	for i := range d.stripes {
		n += d.stripes[i].n[side].Load()
	}
	return n
}

// drain returns once all decisions are done that began before it was called, or ctx ends.
//
// A decision that is counted on a side behind the moment at which drain found it empty
// looks at things later than that too (the counts are sequentially consistent), so it
// sees what was there to be seen when drain was called. The side that takes no new ones
// is waited for first: a decision that read the side before drain changed it last may
// have been counted there since.
func (d *decisions) drain(ctx context.Context) error {
	d.draining.Lock()
	defer d.draining.Unlock()
	taking := d.side.Load() & 1
	if err := d.empty(ctx, 1-taking); err != nil {
		return err
	}
	d.side.Store(1 - taking)
	return d.empty(ctx, taking)
}

// empty waits until nothing is counted on a side.
func (d *decisions) empty(ctx context.Context, side uint32) error {
	for wait := 50 * time.Microsecond; d.on(side) > 0; wait = min(2*wait, 2*time.Millisecond) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return nil
}
