package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// A database that many machines write to has a time of its own, which all instants in
// it are of: a lock that one machine sets means nothing by the time since another's
// boot, and little by its time of day. What is counted comes in by the clock of the
// machine that counted it and goes out by the clock of the one that asks; the Keeper
// translates. All else that is stamped or judged in a transaction (creation, expiry,
// the age of what is to be trimmed, the audit trail) is so by the database's clock too,
// Reader.Now, so that it has one order over all machines. Where a machine judges by
// itself what is written so, as it does the expiry of a key or of a session's token,
// a difference between the two clocks shifts the moment by just that difference, on
// that machine: nothing adds up. What it would break, were it large, allows for it: a
// token that was issued by a clock ahead is taken a minute early (package session), and
// ended sessions are remembered for hours past their expiry.

// Time is what a database says of its time, see Dialect.Time.
type Time struct {
	// Now is its clock, in Unix nanoseconds.
	Now int64
	// Era numbers a stretch in which that clock is not known to have been set, and Began
	// is when it began, in Unix milliseconds, 0 if not asked for.
	Era, Began int64
}

// EraName is the Boot of an era's instants.
func EraName(era int64) string { return "db-" + strconv.FormatInt(era, 10) }

// instant is the time in the words of package policy. Its time since boot is that of
// the clock, which in one era goes on as a boot's does.
func (t Time) instant() policy.Instant {
	return policy.Instant{Wall: time.Unix(0, t.Now).UTC(), Boot: EraName(t.Era), Since: time.Duration(t.Now)}
}

// Keeper keeps the time of a database that has one of its own.
type Keeper interface {
	// Observe takes in a round trip that read the time: sent and received by the
	// machine's clock. nil where the database's clock was set and no era has begun since,
	// so that no lock may be judged by it.
	Observe(sent, received policy.Instant, at Time) Frame
	// Now is the database's instant, as near as it is known without asking.
	Now() policy.Instant
	// Plan is what to do about the era where Observe answered false, or nothing was
	// measured before. Kept are earlier measurements of the current era.
	Plan(at Time, kept []Measurement) Plan
	// Settled: a plan was carried out.
	Settled(p Plan)
}

// Frame is how the two clocks stand in one transaction.
type Frame interface {
	// In is an instant of the machine's as it is in the database.
	In(i policy.Instant) policy.Instant
	// Out is a count in the database as the machine's clock has it, which is now there.
	Out(t policy.Tally, now policy.Instant) policy.Tally
}

// Plan is what to do about the era of the database's clock.
type Plan struct {
	// New: an era has to begin, else the current one goes on.
	New bool
	// Era and Began are those of the era.
	Era, Began int64
	// Forward is by how much at most the clock was set forward, as far as is known.
	Forward time.Duration
	// Keep is the measurement that the plan rests on.
	Keep Measurement
	// Doubts is how often the keeper had found the clock to have been set.
	Doubts int
}

// Measurement is how a database's clock stood beside a machine's: ahead of its time
// since that boot by something from Lo to Hi. At is when, by the database's clock in Unix
// nanoseconds.
type Measurement struct {
	Boot          string
	Since, Lo, Hi time.Duration
	At            int64
}

// KeepMeasurement stores one of an era, if that is still the current one; it binds what
// MeasurementArgs tells.
const KeepMeasurement = `INSERT INTO clocks (boot, era, since_ns, lo_ns, hi_ns, at_ns)
	SELECT ?, clock_era, ?, ?, ?, keyreeve_now() FROM state WHERE clock_era = ?
	ON CONFLICT (boot) DO UPDATE SET era = excluded.era, since_ns = excluded.since_ns,
		lo_ns = excluded.lo_ns, hi_ns = excluded.hi_ns, at_ns = excluded.at_ns`

// MeasurementArgs are what KeepMeasurement binds.
func MeasurementArgs(m Measurement, era int64) []any {
	return []any{m.Boot, int64(m.Since), int64(m.Lo), int64(m.Hi), era}
}

const (
	// eraTries bounds how often a transaction is begun where the clock is found to have
	// been set; eraTimeout how long it takes until an era begins.
	eraTries   = 3
	eraTimeout = 10 * time.Second
	// measurementMemory is how long measurements are of use to anybody.
	measurementMemory = time.Hour
)

// TimedConn is a Conn of a database with a Keeper.
type TimedConn interface {
	// Begin runs statements of which the last answers a Time, in one round trip.
	Begin(ctx context.Context, text string) (Time, error)
}

// beginTimed is beginBy, by a statement that answers the time where the database has
// its own.
func (s *Store) beginTimed(ctx context.Context, r *reader, text string) error {
	if s.keeper == nil {
		return r.beginBy(ctx, text)
	}
	sent := s.clock.Now()
	at, err := r.conn.(TimedConn).Begin(ctx, text)
	if err != nil {
		return r.failed(ctx, err)
	}
	if r.observe(sent, s.clock.Now(), at); r.frame == nil {
		r.end("ROLLBACK")
		return errEra
	}
	return nil
}

// observe makes the database's time that of the transaction.
func (r *reader) observe(sent, received policy.Instant, at Time) {
	r.at, r.now = at, at.instant()
	r.frame = r.keeper.Observe(sent, received, at)
}

// errEra: the database's clock was set, and no era has begun since.
var errEra = errors.New("the clock of the database was set")

// inEra runs a transaction, and once an era has begun once more where none had.
func (s *Store) inEra(ctx context.Context, fn func() error) (err error) {
	for range eraTries {
		if err = fn(); !errors.Is(err, errEra) {
			return err
		}
		if err = s.settleEra(ctx); err != nil {
			return err
		}
	}
	return errors.New("the clock of the database is set again and again")
}

// settleEra begins an era if none has begun since the clock was set.
func (s *Store) settleEra(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, eraTimeout)
	defer cancel()
	for try := range maxTries {
		var p *Plan
		_, err = s.transactOnce(ctx, Write, true, func(t *tx) (err error) {
			p, err = t.settleEra(ctx)
			return err
		})
		if err == nil && p != nil {
			s.keeper.Settled(*p)
		}
		if !again(ctx, err, try) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("the clock of the database was set: %w", err)
	}
	return nil
}

// settleEra does so in one transaction; nil where another node has done it meanwhile.
func (t *tx) settleEra(ctx context.Context) (*Plan, error) {
	if t.frame != nil {
		return nil, nil
	}
	kept, err := list(ctx, &t.reader, func(scan scanner) (m Measurement, err error) {
		return m, scan(&m.Boot, &m.Since, &m.Lo, &m.Hi, &m.At)
	}, "SELECT boot, since_ns, lo_ns, hi_ns, at_ns FROM clocks WHERE era = ?", t.at.Era)
	if err != nil {
		return nil, err
	}
	p := t.keeper.Plan(t.at, kept)
	t.now.Boot = EraName(p.Era)
	if p.New {
		if err := t.beginEra(ctx, p); err != nil {
			return nil, err
		}
	}
	err = t.exec(ctx, "DELETE FROM clocks WHERE era <> ? OR at_ns < ?", p.Era, t.at.Now-int64(measurementMemory))
	if err != nil {
		return nil, err
	}
	return &p, t.exec(ctx, KeepMeasurement, MeasurementArgs(p.Keep, p.Era)...)
}

// beginEra begins an era: locks are carried into it as into another boot, never
// shorter and at most one duration longer. A clock that was set forward makes what is
// older look older still, by as much: it is made younger by that first, so that neither
// the locks end nor the failures before a lock are forgotten for it. Set back it makes
// them look younger, which keeps them longer: that is left as it is.
func (t *tx) beginEra(ctx context.Context, p Plan) error {
	if err := t.exec(ctx, "UPDATE state SET clock_era = ?, era_began = ?", p.Era, p.Began); err != nil {
		return err
	}
	if t.dialect.Registry {
		// A node that renewed by a clock that was ahead must not seem to have renewed just
		// now once that time comes.
		if err := t.exec(ctx, "UPDATE nodes SET renewed_ns = keyreeve_now() WHERE renewed_ns > keyreeve_now()"); err != nil {
			return err
		}
	}
	if p.Forward > 0 {
		err := t.exec(ctx, "UPDATE tallies SET last_wall_ns = last_wall_ns + ?1, last_since_ns = last_since_ns + ?1 WHERE failures > 0", int64(p.Forward))
		if err != nil {
			return err
		}
	}
	return t.rebase(ctx, p.Forward)
}

// out translates a count into the machine's clock.
func (r *reader) out(c *keystore.Tally) {
	if r.frame != nil {
		c.Tally = r.frame.Out(c.Tally, r.clock.Now())
	}
}
