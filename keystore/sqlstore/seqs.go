package sqlstore

import (
	"context"
)

// seqs are the seqs that one transaction gives to tallies.
type seqs struct {
	// before is the newest before this transaction, newest the one since.
	before, newest int64
	// drawn are those that were drawn and not given yet; expected is how many will be
	// needed, to draw them at once.
	drawn    []int64
	expected int
	began    bool
}

// nextSeq is the seq of a tally that changes now. What it changes must be taken by
// lockKeys before: each change of a tally has a larger seq than the one before it.
func (t *tx) nextSeq(ctx context.Context) (int64, error) {
	s := &t.seqs
	if t.dialect.DrawSeqs == "" {
		s.newest++
		return s.newest, nil
	}
	if len(s.drawn) == 0 {
		drawn, err := list(ctx, &t.reader, func(scan scanner) (n int64, err error) { return n, scan(&n) }, t.dialect.DrawSeqs, max(1, s.expected))
		if err != nil {
			return 0, err
		}
		s.drawn = drawn
		if !s.began {
			s.began, s.before = true, drawn[0]-1
			s.newest = s.before // the table state has none of it
		}
	}
	next := s.drawn[0]
	s.drawn = s.drawn[1:]
	return next, nil
}
