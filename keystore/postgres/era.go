package postgres

import (
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

const (
	// watchedWithin is how recently some node must have measured the database's clock
	// for one that opens to believe that it was not set since: two renewals. It is also
	// the most by which it can have been set unnoticed, where the last node that watched
	// it ended just before that.
	watchedWithin = 10 * time.Second
	// rememberedWithin is how long a measurement of this boot is good to go on from: by
	// then drift makes the bounds as wide as two seconds.
	rememberedWithin = time.Hour
)

// Plan is what to do about the era: one begins where this node found that the clock was
// set, and where it opens and nobody can have seen whether it was.
func (t *timeline) Plan(at sqlstore.Time, kept []sqlstore.Measurement) sqlstore.Plan {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := sqlstore.Plan{Era: at.Era, Began: at.Began, Doubts: t.doubts, New: t.known || !t.resume(at, kept)}
	if p.New {
		// Never one that was before, in a database that has gone back since.
		p.Era, p.Forward = max(at.Era, t.era)+1, t.forward
		p.Began = time.Duration(at.Now + int64(time.Millisecond) - 1).Milliseconds()
	}
	p.Keep = t.measurement()
	return p
}

// resume reports whether the clock goes on as it was measured before this node opened:
// by this machine within its boot, or else by another until a moment ago.
func (t *timeline) resume(at sqlstore.Time, kept []sqlstore.Measurement) bool {
	watched := false
	for _, m := range kept {
		ago := time.Duration(at.Now - m.At)
		if m.Boot == t.boot && m.Since <= t.received && t.received-m.Since < rememberedWithin {
			before := bounds{boot: m.Boot, sent: m.Since, received: m.Since, lo: m.Lo, hi: m.Hi}
			next, step := before.then(t.bounds)
			if step != nil {
				t.forward = max(0, step.most)
				return false
			}
			t.bounds, t.offset = next, next.nearest(t.offset)
			watched = true
			continue
		}
		if ago < -stepSlack {
			return false // set back, and nobody has noticed yet
		}
		watched = watched || ago < watchedWithin
	}
	return watched
}

// Settled goes over to the era of a plan, unless the clock was found to have been set
// once more since.
func (t *timeline) Settled(p sqlstore.Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.New {
		t.logger.Info("an era of the database's clock begins", zap.Int64("era", p.Era))
	}
	doubt := t.doubts != p.Doubts
	t.enter(p.Era)
	t.doubt = doubt
}

// measurement is the latest one, to be kept for who opens next.
func (t *timeline) measurement() sqlstore.Measurement {
	return sqlstore.Measurement{Boot: t.boot, Since: t.received, Lo: t.lo, Hi: t.hi}
}

// keeping is the statement that keeps the latest measurement, and so tells whoever
// opens that the clock is watched, and its arguments. False: there is nothing to keep, as
// the clock was found to have been set.
func (s *Store) keeping() (text string, args []any, ok bool) {
	t := &s.timeline
	t.mu.Lock()
	defer t.mu.Unlock()
	return sqlstore.KeepMeasurement, sqlstore.MeasurementArgs(t.measurement(), t.era), t.known && !t.doubt
}
