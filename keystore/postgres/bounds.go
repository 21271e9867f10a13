package postgres

import (
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

const (
	// driftRate is how much faster or slower than each other two clocks may go that
	// nobody sets: 500 ppm, the most by which NTP slews one.
	driftRate = 0.0005
	// stepSlack is how much beyond that is put down to small corrections, in all of an
	// era, before the clock counts as set.
	stepSlack = 250 * time.Millisecond
)

// bounds are between what and what the offset of the database's clock lies, as of a
// round trip.
//
// Each round trip that reads the clock bounds it: the reading was made after the request
// was sent, so the offset is at most reading − sent; and before the answer was received,
// so it is at least reading − received. The bounds of one round trip are intersected
// with those before it, which were widened by what clocks may drift. Where they do not
// meet, no duration of the round trips explains the gap between them, nor does drift:
// some clock was moved by that much at least.
//
// To go to the nearest point of each interval is the shortest way through them all: so
// the sum of the gaps is never more than what the clocks were moved, however slow the
// network is, and clocks that keep to driftRate are never found to have been set. And
// what passes unnoticed in an era is never more than stepSlack, besides drift and the
// round trips at both ends of it.
type bounds struct {
	boot           string
	sent, received time.Duration // since that boot
	lo, hi         time.Duration
	// spent is the sum of the gaps in this era.
	spent time.Duration
}

// step is by how much a clock was set: negative where it was set back.
type step struct{ least, most time.Duration }

// measured are the bounds by one round trip. It is no shorter than nothing, whatever
// the clock it is measured by says.
func measured(sent, received policy.Instant, reading time.Duration) bounds {
	return bounds{boot: received.Boot, sent: sent.Since, received: received.Since,
		lo: reading - received.Since, hi: reading - min(sent.Since, received.Since)}
}

// then is what is known after another round trip; where a clock was set, that one alone.
func (b bounds) then(m bounds) (bounds, *step) {
	if m.boot != b.boot {
		return m, &step{}
	}
	// Of two round trips the later may be the one that was answered first.
	apart := max(b.received, m.received) - min(b.sent, m.sent)
	drift := time.Duration(float64(apart) * driftRate)
	lo, hi := b.lo-drift, b.hi+drift
	gap := max(0, m.lo-hi, lo-m.hi)
	if b.spent+gap > stepSlack {
		if m.lo > hi {
			return m, &step{least: m.lo - hi, most: m.hi - lo}
		}
		return m, &step{least: m.hi - lo, most: m.lo - hi}
	}
	next := m
	if m.received < b.received {
		next.sent, next.received = min(b.sent, m.sent), b.received
	}
	next.spent = b.spent + gap
	switch {
	case m.lo > hi:
		next.hi = m.lo
	case m.hi < lo:
		next.lo = m.hi
	default:
		next.lo, next.hi = max(lo, m.lo), min(hi, m.hi)
	}
	return next, nil
}

// nearest is the point of the bounds that is nearest to an offset.
func (b bounds) nearest(offset time.Duration) time.Duration {
	return min(max(offset, b.lo), b.hi)
}
