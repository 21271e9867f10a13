package postgres

import (
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// frame translates between this machine's clock and the database's, as they stood to
// each other when a transaction began: whatever is found out about the clocks while it
// runs, all its instants go by one.
type frame struct {
	boot, era    string
	offset, wall time.Duration // see timeline
}

// In is an instant of this machine as it is in the database. What comes from another
// boot keeps that, and is judged by its time of day.
func (f *frame) In(i policy.Instant) policy.Instant {
	if i.Boot == f.boot {
		since := i.Since + f.offset
		return policy.Instant{Wall: time.Unix(0, int64(since)).UTC(), Boot: f.era, Since: since}
	}
	i.Wall = i.Wall.Add(f.offset - f.wall).Round(0).UTC()
	return i
}

// Out is a count of the database as this machine's clock has it, which is now there. A
// lock that is not of the era was carried here from another database, and by which clock
// it began is not known: it begins anew.
func (f *frame) Out(c policy.Tally, now policy.Instant) policy.Tally {
	c.Last = f.out(c.Last)
	if !c.TrustedAt.IsZero() {
		c.TrustedAt = c.TrustedAt.Add(f.wall - f.offset)
	}
	if c.LockedFor > 0 && c.LockedAt.Boot != f.era {
		now.Wall = now.Wall.Round(0).UTC()
		c.LockedAt = now
		return c
	}
	c.LockedAt = f.out(c.LockedAt)
	return c
}

// out translates the time of day too: it is what this machine goes by after its next
// boot.
func (f *frame) out(i policy.Instant) policy.Instant {
	if i == (policy.Instant{}) {
		return i
	}
	if i.Boot == f.era {
		i.Boot, i.Since = f.boot, i.Since-f.offset
	}
	i.Wall = i.Wall.Add(f.wall - f.offset)
	return i
}
