package postgres

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/policy"
)

// timeline tells how the database's clock stands beside this machine's. Failures and
// locks are counted by many machines, none of which knows another's time since boot:
// so in the database all instants are of its clock, and are translated here by an
// offset, which is what that clock is ahead of the machine's time since boot.
//
// An era is a stretch in which the database's clock is not known to have been set, as
// a boot is one for a machine's. Whoever finds that it was begins another, which carries
// the locks over: see sqlstore.Keeper. Until then no lock is judged by it.
type timeline struct {
	clock  keystore.Clock
	logger *zap.Logger

	mu     sync.Mutex // guards what follows
	bounds            // of the offset; without a boot nothing was measured
	// offset is what instants are translated by. It lies within the bounds and is moved
	// only when they prove it wrong, and no further than they do, so that an instant
	// that comes and goes mostly stays the same to the nanosecond. It begins at the
	// lower bound: a lock that another node set then ends here no earlier than there.
	offset time.Duration
	// wall is what the machine's time of day is ahead of its time since boot.
	wall time.Duration

	known bool // the era is
	era   int64
	name  string // of the era, as the Boot of instants

	// doubt: the clock was found to have been set, and no era has begun since; doubts
	// counts how often that was found. forward is by how much at most it was set forward
	// since the era was left.
	doubt   bool
	doubts  int
	forward time.Duration
}

// verdict is what a round trip says of the era.
type verdict int

const (
	// steady: it is the one that was known.
	steady verdict = iota
	// entered: another node has begun one, which is the one known here now.
	entered
	// unsteady: the clock was set and no era has begun since, or the database knows
	// less of eras than this node.
	unsteady
)

// take takes in what a round trip said.
func (t *timeline) take(sent, received policy.Instant, at sqlstore.Time) (verdict, *frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.judge(sent, received, at)
	return v, t.frame()
}

func (t *timeline) judge(sent, received policy.Instant, at sqlstore.Time) verdict {
	doubted := t.doubt
	set := t.measure(measured(sent, received, time.Duration(at.Now)))
	t.keepWall(received)
	if !t.known {
		return unsteady
	}
	if set {
		t.doubt, t.doubts = true, t.doubts+1
	}
	switch {
	case at.Era > t.era && at.Began > 0 && !(doubted && set):
		// If the clock was found to have been set, that is why an era has begun; unless
		// it was set once more after that had been noticed.
		t.enter(at.Era)
		return entered
	case at.Era == t.era && !t.doubt:
		return steady
	}
	return unsteady
}

// measure takes a round trip in and reports whether the clock was set since the one
// before.
func (t *timeline) measure(m bounds) (set bool) {
	if t.boot == "" {
		t.bounds, t.offset = m, m.lo
		return false
	}
	next, step := t.then(m)
	t.bounds = next
	if step == nil {
		t.offset = next.nearest(t.offset)
		return false
	}
	t.offset = m.lo
	t.forward += max(0, step.most)
	t.logger.Warn("the clock of the database or of this machine was set; locks begin anew where that would shorten them",
		zap.Duration("database_ahead_by_at_least", step.least), zap.Duration("database_ahead_by_at_most", step.most))
	return true
}

// enter goes over to an era.
func (t *timeline) enter(era int64) {
	t.known, t.era, t.name = true, era, sqlstore.EraName(era)
	t.doubt, t.forward, t.spent = false, 0, 0
}

// keepWall notes how the machine's two clocks stand to each other, but for the moment
// that passes between reading one and the other.
func (t *timeline) keepWall(now policy.Instant) {
	wall := time.Duration(now.Wall.UnixNano()) - now.Since
	if d := wall - t.wall; d > time.Millisecond || d < -time.Millisecond {
		t.wall = wall
	}
}

// Observe takes in a round trip. See sqlstore.Keeper.
func (t *timeline) Observe(sent, received policy.Instant, at sqlstore.Time) sqlstore.Frame {
	v, f := t.take(sent, received, at)
	if v == unsteady {
		return nil // not a *frame that is
	}
	return f
}

// Now is about the database's instant; before anything was measured, the machine's.
func (t *timeline) Now() policy.Instant {
	now := t.clock.Now()
	now.Wall = now.Wall.Round(0).UTC()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known {
		return now
	}
	return t.frame().In(now)
}

func (t *timeline) frame() *frame {
	return &frame{boot: t.boot, era: t.name, offset: t.offset, wall: t.wall}
}

// observe takes in a round trip that read the database's clock and era. False: it shows
// that the clock was set, or an era is not known here yet, or no more; what was measured
// before may not be compared with it.
func (s *Store) observe(sent, received policy.Instant, db time.Time, era int64) (ok bool) {
	v, _ := s.timeline.take(sent, received, sqlstore.Time{Now: db.UnixNano(), Era: era})
	return v == steady
}
