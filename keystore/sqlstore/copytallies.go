package sqlstore

import (
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// copyMargin is how much less of a lock counts as served in the copy, for what two
// readings of two clocks may be apart: no lock gets shorter by being moved.
const copyMargin = time.Second

// copyClocks carries instants from one store's time into another's. A lock is of the
// boot of the machine that counted it, and the other store has another: there it would
// be misjudged by the wall clock's worth.
//
// from is read before to. So what passed by `from` has passed by `to` too, and a lock
// that begins as long before `to` as it had lasted at `from` ends no earlier than it
// would have; later by what passed between the readings, and the margin.
type copyClocks struct {
	from, to policy.Instant
	// same: both are one clock, by which every instant stays what it is.
	same bool
	// locks in force that were carried over, and ended ones that were left.
	locks, ended int
}

func (m *copyClocks) wall(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(m.to.Wall.Sub(m.from.Wall))
}

// ago is the instant of `to` that is as long before it as `passed`, less the margin.
func (m *copyClocks) ago(wall time.Time, passed time.Duration) policy.Instant {
	return policy.Instant{Wall: m.wall(wall), Boot: m.to.Boot, Since: m.to.Since - max(0, passed-copyMargin)}
}

// tally is a count as the other store has it: never a shorter lock, and one whose end
// cannot be known better starts over, as by policy.Tally.Rebase.
func (m *copyClocks) tally(t policy.Tally) policy.Tally {
	remaining := t.Remaining(m.from)
	switch {
	case t.LockedFor > 0 && remaining == 0:
		m.ended++
	case t.LockedFor > 0:
		m.locks++
	}
	if m.same {
		return t
	}
	t.TrustedAt = m.wall(t.TrustedAt)
	if t.LockedFor > 0 && remaining == 0 {
		t.LockedFor, t.Failures, t.Seen = 0, 0, nil
	}
	if t.LockedFor > 0 {
		t.LockedAt = m.ago(t.LockedAt.Wall, t.LockedFor-remaining)
	} else {
		t.LockedAt = policy.Instant{} // means nothing
	}
	if t.Failures > 0 || !t.Last.Wall.IsZero() {
		t.Last = m.ago(t.Last.Wall, m.from.Elapsed(t.Last))
	}
	return t
}

// translateTally is copyClocks.tally on a row.
func translateTally(m *copyClocks, t *copyTable, row []any) {
	at := func(column string) *any { return &row[t.column(column)] }
	number := func(column string) int64 { return (*at(column)).(int64) }
	text := func(column string) string { return (*at(column)).(string) }
	seen, _ := (*at("seen")).([]byte)
	was := policy.Tally{
		Failures:  (*at("failures")).(float64),
		Last:      instant(number("last_wall_ns"), text("last_boot"), number("last_since_ns")),
		LockedAt:  instant(number("lock_wall_ns"), text("lock_boot"), number("lock_since_ns")),
		LockedFor: time.Duration(number("locked_for_ns")),
		Seen:      decodeSeen(seen),
		TrustedAt: fromNanos(number("trusted_ns")),
	}
	is := m.tally(was)
	if m.same {
		return
	}
	*at("failures"), *at("locked_for_ns"), *at("trusted_ns") = is.Failures, int64(is.LockedFor), nanos(is.TrustedAt)
	*at("last_wall_ns"), *at("last_boot"), *at("last_since_ns") = nanos(is.Last.Wall), is.Last.Boot, int64(is.Last.Since)
	*at("lock_wall_ns"), *at("lock_boot"), *at("lock_since_ns") = nanos(is.LockedAt.Wall), is.LockedAt.Boot, int64(is.LockedAt.Since)
	if *at("seen") = nil; len(is.Seen) > 0 {
		*at("seen") = encodeSeen(is.Seen)
	}
}
