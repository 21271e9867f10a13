package linear

import (
	"math/bits"
	"strings"
)

// count is the state of a key: values of the store's count and who knows which. It is
// comparable.
type count struct {
	// values of the store's count, one byte each, oldest first; the last is the present one.
	values string
	// view is which of them a gate has, at least: one may have a newer one at any time.
	view [Gates]int
	// looked, owed and over are calls that were compared, are counted at their gate and
	// not in the store, and are done with; locking are those of the owed that the gate has
	// found to be the third; clearing are successes that the store has not heard of; void
	// are those of the owed that an operator has unlocked since, which his gate did not know.
	looked, owed, over, locking, clearing, void uint64
}

// step is every state that a step can lead to, none if it cannot be taken.
func (h *history) step(s count, by guessStep) []count {
	one := uint64(1) << by.call
	switch by.of {
	case looks:
		if s, ok := h.find(s, by.gate, false); ok {
			s.looked |= one
			return []count{s}
		}
	case counts:
		return h.counts(s, by)
	case told:
		return h.told(s, by)
	case refused:
		if s, ok := h.find(s, by.gate, true); ok {
			return []count{s}
		}
	case passed:
		return h.passed(s, by)
	case cleared:
		if s.over&one == 0 {
			return nil
		}
		late := s // told behind a failure that came later: nothing is its to clear
		late.clearing &^= one
		if s.clearing&one == 0 || s.locked() {
			return []count{late}
		}
		done := late.with(0)
		done.view[by.gate] = len(done.values) - 1
		return []count{late, done}
	case opened:
		s = s.with(0)
		s.view[by.gate] = len(s.values) - 1
		s.forget(s.owed & h.at[by.gate]) // or told just before
		s.void |= s.owed
		return []count{s}
	case heard:
		s.view[by.gate] = len(s.values) - 1
		return []count{s}
	}
	return nil
}

// counts is the second step of a guess: it is held against the next one from here on. One
// that comes as the gate is locked already does not count.
func (h *history) counts(s count, by guessStep) (next []count) {
	one := uint64(1) << by.call
	if s.looked&one == 0 {
		return nil
	}
	s.looked &^= one
	if open, ok := h.find(s, by.gate, false); ok {
		open.owed |= one
		next = append(next, open)
		// As seen now, or by a newer view, it is the third.
		for v := open.view[by.gate]; v < len(s.values); v++ {
			if s.values[v] < Attempts && int(s.values[v])+bits.OnesCount64(open.owed&h.at[by.gate]) >= Attempts {
				open.view[by.gate] = v
				open.locking |= one
				next = append(next, open)
				break
			}
		}
	}
	if shut, ok := h.find(s, by.gate, true); ok {
		shut.over |= one
		next = append(next, shut)
	}
	return next
}

// told is the third. One that does not count at the gate is not told, nor is one that a
// success or an unlock at the gate has made meaningless. One that was counted before an unlock
// elsewhere is told to no effect.
func (h *history) told(s count, by guessStep) (next []count) {
	one := uint64(1) << by.call
	if s.over&one != 0 {
		next = append(next, s)
	}
	if s.owed&one == 0 {
		return next
	}
	if by.unlocked {
		forgotten := s
		forgotten.forget(one)
		next = append(next, forgotten)
	}
	void, third := s.void&one != 0, s.locking&one != 0
	s.forget(one)
	switch {
	case s.locked(), void:
	case third:
		s = s.with(Attempts)
	default:
		s = s.with(s.values[len(s.values)-1] + 1)
	}
	s.view[by.gate] = len(s.values) - 1
	return append(next, s)
}

// forget is of failures that a gate owed the store.
func (s *count) forget(owed uint64) {
	s.over |= owed
	s.owed &^= owed
	s.locking &^= owed
	s.void &^= owed
}

// passed is the first step of a success: it clears what the gate knows of, and what the
// gate has not told by then it need not tell.
func (h *history) passed(s count, by guessStep) []count {
	s, ok := h.find(s, by.gate, false)
	if !ok {
		return nil
	}
	s.over |= 1 << by.call
	nothing := s // known to be there to clear
	s.clearing |= 1 << by.call
	owed := s.owed & h.at[by.gate]
	next := []count{nothing, s}
	for untold := owed; untold != 0; untold = (untold - 1) & owed {
		some := s
		some.forget(untold)
		next = append(next, some)
	}
	return next
}

// find takes the oldest view by which a gate is locked, or is not: from that, all newer
// ones can be had later on.
func (h *history) find(s count, gate int, asLocked bool) (count, bool) {
	owed := bits.OnesCount64(s.owed & h.at[gate])
	clears := s.clearing&h.at[gate] != 0
	for v := s.view[gate]; v < len(s.values); v++ {
		most, least := int(s.values[v])+owed, int(s.values[v])+owed
		if clears && s.values[v] < Attempts { // counted before or behind the success
			least = 0
		}
		if asLocked && most >= Attempts || !asLocked && least < Attempts {
			s.view[gate] = v
			return s, true
		}
	}
	return s, false
}

func (s *count) locked() bool { return s.values[len(s.values)-1] >= Attempts }

// with is s with another value in the store.
func (s count) with(value byte) count {
	if s.values[len(s.values)-1] != value {
		s.values += string([]byte{value})
	}
	return s
}

// trimmed forgets values that no gate has any more, so that states that only differ in
// them are one.
func (s count) trimmed() count {
	oldest := min(s.view[0], s.view[1], s.view[2])
	s.values = strings.Clone(s.values[oldest:])
	for g := range s.view {
		s.view[g] -= oldest
	}
	return s
}
