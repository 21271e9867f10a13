package sqlstore

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// maxAnswers bounds the answers of Tallies that are remembered: one for each who
// follows, of which there is one in a process.
const maxAnswers = 8

// answers are the latest answers of Tallies where tallies are written beside one
// another. A seq may then be seen before a smaller one: of two transactions the one
// that drew later may commit first. So each row is stamped with the number of the
// transaction that wrote it, and with an answer is kept the oldest number that was
// not over when it was read (the horizon). What comes to be seen after it was
// written by a transaction from the horizon on, whatever its seq; and of those, what
// was in the answer already is known by its seq.
type answers map[int64]answer // by the position that the follower goes on from

type answer struct {
	horizon int64
	// known are the seqs in the answer or before it of rows from the horizon on.
	known map[int64]bool
	at    int
}

// Tallies lists what changed after a seq: blank counts are news too, unless
// by 0 only what is recorded is asked for.
func (s *Store) Tallies(ctx context.Context, after int64) (all []keystore.Tally, err error) {
	err = s.view(ctx, func(r *reader) error {
		if r.dialect.Horizon == "" {
			all, err = r.tallies(ctx, after == 0, "SELECT "+tallyColumns+" FROM tallies WHERE seq > ? ORDER BY seq", after)
			return err
		}
		all, err = s.talliesSince(ctx, r, after)
		for i := range all {
			r.out(&all[i])
		}
		return err
	})
	return all, err
}

func (s *Store) talliesSince(ctx context.Context, r *reader, after int64) ([]keystore.Tally, error) {
	var horizon int64
	if err := r.row(ctx, []any{&horizon}, r.dialect.Horizon); err != nil {
		return nil, err
	}
	s.followed.Lock()
	last, following := s.answered[after]
	s.followed.Unlock()
	if !following {
		last.horizon = horizon // what is there already is not told, and what comes is
	}
	var written int64
	next := answer{horizon: horizon, known: make(map[int64]bool)}
	listed, err := list(ctx, r, func(scan scanner) (keystore.Tally, error) {
		c, err := scanTally(func(dest ...any) error { return scan(append(dest, &written)...) })
		if written >= horizon {
			next.known[c.Seq] = true
		}
		return c, err
	}, "SELECT "+tallyColumns+", "+r.dialect.TallyWritten+" FROM tallies WHERE seq > ? OR "+r.dialect.TallyWritten+" >= ? ORDER BY seq", after, last.horizon)
	if err != nil {
		return nil, err
	}
	position := after
	var all []keystore.Tally
	for _, c := range listed {
		position = max(position, c.Seq)
		if c.Seq > after || following && !last.known[c.Seq] {
			all = append(all, settled(c, r.now))
		}
	}
	s.remember(position, next)
	if after == 0 {
		all = recorded(all)
	}
	return all, nil
}

// remember keeps an answer, and forgets the oldest.
func (s *Store) remember(position int64, a answer) {
	s.followed.Lock()
	defer s.followed.Unlock()
	if s.answered == nil {
		s.answered = answers{}
	}
	s.answers++
	a.at = s.answers
	s.answered[position] = a
	if len(s.answered) <= maxAnswers {
		return
	}
	oldest := position
	for p, b := range s.answered {
		if b.at < s.answered[oldest].at {
			oldest = p
		}
	}
	delete(s.answered, oldest)
}
