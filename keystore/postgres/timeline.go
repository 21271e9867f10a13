package postgres

import (
	"strconv"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// driftRate is how much faster or slower than each other two clocks may go that
	// nobody sets: 500 ppm, the most by which NTP slews one.
	driftRate = 0.0005
	// stepSlack is how much beyond that may be put down to small corrections, in all
	// of an era, before the clock counts as set.
	stepSlack = 250 * time.Millisecond
	// watchedWithin is how recently some node must have measured the database's clock
	// for one that opens to believe that it was not set meanwhile: two renewals. It is
	// also the most by which it can have been set unnoticed, where the last node that
	// watched ended just before.
	watchedWithin = 10 * time.Second
	// rememberedWithin is how long a measurement of this boot is good to go on from.
	rememberedWithin = time.Hour
)

// timeline tells how the database's clock stands beside this machine's. Failures and
// locks are counted by many machines, none of which knows another's time since boot:
// so in the database all instants are of the database's clock, and are translated
// here by an offset, which is what that clock is ahead of the machine's time since
// boot.
//
// Each round trip that reads the database's clock bounds the offset: the reading was
// made after the request was sent, so the offset is at most reading − sent, and before
// the answer was received, so it is at least reading − received. The bounds of one
// round trip after another are intersected, after the earlier ones were widened by
// what clocks may drift. If they do not meet, the gap between them cannot be explained
// by any duration of the round trips, nor by drift: some clock was moved by that much
// at least. The sum of all gaps is no more than what the clocks were moved in all (to
// go to the nearest point of each interval is the shortest way through them all): so
// clocks that keep to driftRate are never found to have been set, however slow the
// network is. And what passes unnoticed in an era is no more than stepSlack, drift and
// the shortest round trip.
type timeline struct {
	clock keystore.Clock

	mu    sync.Mutex // guards what follows
	known bool       // something was measured, and the era that is is known
	bounds
	// offset is what instants are translated by. It lies within the bounds and is moved
	// only when they prove it wrong, and no further than they do, so that an instant
	// that comes and goes mostly stays the same to the nanosecond. It begins at the
	// lower bound: a lock that another node set then ends here no earlier than there.
	offset time.Duration
	// wall is what the machine's time of day is ahead of its time since boot.
	wall time.Duration
	era  int64
	name string // of the era, as the Boot of instants
	// began is when the era began, by the database's clock.
	began time.Time
	// doubts counts how often the clock was found to have been set; while doubt is set,
	// no era has begun since.
	doubts int
	doubt  bool
	// forward is by how much at most it was set forward since the era was left.
	forward time.Duration
}

// bounds are between what and what the offset lies, as of a round trip.
type bounds struct {
	boot           string
	sent, received time.Duration // since that boot
	lo, hi         time.Duration
	// spent is the sum of the gaps in this era.
	spent time.Duration
}

// measured are the bounds of one round trip.
func measured(sent, received policy.Instant, db time.Duration) bounds {
	return bounds{boot: received.Boot, sent: sent.Since, received: received.Since, lo: db - received.Since, hi: db - sent.Since}
}

// then is what is known after another measurement. Where the clock was set, that one
// alone, and by how much at least and at most: either is negative where the clock was
// set back.
func (b bounds) then(m bounds) (next bounds, set bool, least, most time.Duration) {
	if m.boot != b.boot {
		return m, true, 0, 0
	}
	// Of two round trips the later may have been answered first.
	apart := max(b.received, m.received) - min(b.sent, m.sent)
	drift := time.Duration(float64(apart) * driftRate)
	lo, hi := b.lo-drift, b.hi+drift
	gap := max(0, m.lo-hi, lo-m.hi)
	if b.spent+gap > stepSlack {
		if m.lo > hi {
			return m, true, m.lo - hi, m.hi - lo
		}
		return m, true, m.hi - lo, m.lo - hi
	}
	next = m
	if m.received < b.received {
		next.sent, next.received = min(m.sent, b.sent), b.received
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
	return next, false, 0, 0
}

// clamp is the point of the bounds nearest to an offset.
func (b bounds) clamp(offset time.Duration) time.Duration {
	return min(max(offset, b.lo), b.hi)
}

func eraName(era int64) string { return "db-" + strconv.FormatInt(era, 10) }

// measure takes a round trip in and reports whether the clock was set since the
// measurement before.
func (t *timeline) measure(m bounds) (set bool) {
	if t.boot == "" {
		t.bounds, t.offset = m, m.lo
		return false
	}
	next, set, _, most := t.then(m)
	t.bounds = next
	if set {
		t.offset = m.lo
		t.forward += max(0, most)
		return true
	}
	t.offset = next.clamp(t.offset)
	return false
}

// enter goes over to an era.
func (t *timeline) enter(era int64, began time.Time) {
	t.known, t.era, t.name, t.began = true, era, eraName(era), began
	t.spent, t.forward, t.doubt = 0, 0, false
}

// verdict is what a round trip says of the era.
type verdict int

const (
	// steady: as before.
	steady verdict = iota
	// entered: another node began an era, which is the current one here too now.
	entered
	// unsteady: the clock was set and no era has begun since, or the database says
	// less of eras than was known: one must begin before instants mean anything.
	unsteady
)

// observe takes in what a round trip said.
func (t *timeline) observe(sent, received policy.Instant, at sqlstore.Time) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	doubted := t.doubt
	set := t.measure(measured(sent, received, time.Duration(at.Now)))
	t.keepWall(received)
	if !t.known {
		return unsteady
	}
	if set {
		t.doubts++
		t.doubt = true
	}
	switch {
	case at.Era > t.era && !(doubted && set):
		// That is why the clock was found to have been set, if it was; unless it was set
		// once more after that had been noticed.
		t.enter(at.Era, time.UnixMilli(at.Began).UTC())
		return entered
	case at.Era != t.era || t.doubt:
		return unsteady
	}
	return steady
}

// keepWall notes how the machine's two clocks stand to each other, but for the
// nanoseconds that pass between reading one and the other.
func (t *timeline) keepWall(now policy.Instant) {
	wall := time.Duration(now.Wall.UnixNano()) - now.Since
	if d := wall - t.wall; d > time.Millisecond || d < -time.Millisecond {
		t.wall = wall
	}
}

// observe takes in a round trip that read the database's clock and era. False: this
// round trip shows that the clock was set, or that an era began that this node did not
// know of yet; nothing that was measured before may be compared with it.
func (s *Store) observe(sent, received policy.Instant, db time.Time, era int64) bool {
	return s.timeline.observe(sent, received, sqlstore.Time{Now: db.UnixNano(), Era: era}) == steady
}

// clockEra is the current era of the database's clock, as far as it is known here, and
// when it began by that clock.
func (s *Store) clockEra() (era int64, began time.Time) {
	s.timeline.mu.Lock()
	defer s.timeline.mu.Unlock()
	return s.timeline.era, s.timeline.began
}
