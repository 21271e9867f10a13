package cluster

import (
	"math/bits"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// What is held against histories of guesses, right secrets and unlocks at several gates is
// this. The store has one count of a key, which every failure, success and unlock changes
// in one indivisible step (a linearizable counter that stays at three, locked, until it is
// unlocked). A gate decides by a view of it: the count as it was at some moment, and what it
// has counted itself that the store has not heard of. Its view only goes forward. It is as
// new as the store's count after an answer to one of the gate's own failures, and otherwise
// not older than viewLag. So a guess takes three steps within its call, each indivisible and
// each with steps of others between them: the gate looks whether it is locked, and compares;
// it counts what was wrong in its view; the store counts it.
//
// A gate that finds a failure to be the third locks the key by its own view, and the store
// with it, whatever the store has: of two counts that went apart the strictest holds. So one
// failure may lock behind a success or an unlock elsewhere that the gate has not heard of.

// viewLag bounds how far a view lags behind, which is as far as the feed does: 1 s by the
// contract, and more on a machine that is busy with other things.
const viewLag = 10 * time.Second

// call is one call of a history.
type call struct {
	// kind is right or wrong, of the secret that was shown, or unlock.
	kind callKind
	gate int
	// got is the verdict on a secret.
	got verdict
	// began and ended are nanoseconds since the history began.
	began, ended int64
}

type callKind string

const (
	right  callKind = "right"
	wrong  callKind = "wrong"
	unlock callKind = "unlock"
)

// step is one indivisible step, of a call by its number or of the feed to a gate.
type step struct {
	of   stepKind
	call uint
	gate int
	// unlocked: an unlock was under way at about that time. A gate that hears of one
	// forgets what it had counted and not told.
	unlocked bool
}

type stepKind int

const (
	looks   stepKind = iota // a guess: not locked; the secret is compared
	counts                  // the gate counts it
	told                    // the store counts it
	refused                 // of either secret: locked
	passed                  // the right secret: not locked; the gate clears its count
	cleared                 // the store does
	opened                  // an operator unlocks
	heard                   // the feed brings the gate's view to the store's
)

// count is the state of a key: values of the store's count and who knows which. It is
// comparable.
type count struct {
	// values of the store's count, one byte each, oldest first; the last is the present one.
	values string
	// view is which of them a gate has, at least: one may have a newer one at any time.
	view [maxGates]int
	// looked, owed and over are calls that were compared, are counted at their gate and
	// not in the store, and are done with; locking are those of the owed that the gate has
	// found to be the third; clearing are successes that the store has not heard of.
	looked, owed, over, locking, clearing uint64
}

const maxGates = 3

// history is a model of one history: it knows at which gate each call was.
type history struct {
	calls []call
	at    [maxGates]uint64 // the calls at a gate
}

// steps are the operations whose order is looked for.
func newHistory(calls []call) (*history, []porcupine.Operation) {
	h := &history{calls: calls}
	var ops []porcupine.Operation
	var last int64
	for i, c := range calls {
		h.at[c.gate] |= 1 << i
		last = max(last, c.ended)
	}
	add := func(s step, from, to int64) {
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: s, Call: from, Return: to})
	}
	for i, c := range calls {
		s := step{call: uint(i), gate: c.gate, unlocked: h.unlockedAbout(c)}
		add1 := func(of stepKind, ended int64) { s.of = of; add(s, c.began, ended) }
		stored := c.ended
		if c.ended-c.began > int64(450*time.Millisecond) {
			stored += int64(viewLag) // its answer did not wait for the store
		}
		switch {
		case c.kind == unlock:
			add1(opened, c.ended)
		case c.got == locked:
			add1(refused, c.ended)
		case c.kind == wrong:
			add1(looks, c.ended)
			add1(counts, c.ended)
			add1(told, stored)
		default:
			add1(passed, c.ended)
			add1(cleared, c.ended+int64(viewLag)) // no answer waits for that
		}
	}
	for from := int64(0); from+int64(viewLag) <= last; from += int64(viewLag) {
		for g := range maxGates {
			add(step{of: heard, gate: g}, from, from+int64(viewLag))
		}
	}
	return h, ops
}

func (h *history) unlockedAbout(c call) bool {
	for _, u := range h.calls {
		if u.kind == unlock && u.began <= c.ended && c.began <= u.ended+int64(viewLag) {
			return true
		}
	}
	return false
}

// linearizable looks for an order of the steps. Unknown where it takes too long.
func linearizable(calls []call, within time.Duration) porcupine.CheckResult {
	h, ops := newHistory(calls)
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{count{values: "\x00"}} },
		Step: func(state, input, _ any) (next []any) {
			for _, s := range h.step(state.(count), input.(step)) {
				next = append(next, s.trimmed())
			}
			return next
		},
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), ops, within)
}

// step is every state that a step can lead to, none if it cannot be taken.
func (h *history) step(s count, by step) []count {
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
		s.over |= s.owed & h.at[by.gate] // forgotten, or told just before
		return []count{s}
	case heard:
		s.view[by.gate] = len(s.values) - 1
		return []count{s}
	}
	return nil
}

// counts is the second step of a guess: it is held against the next one from here on. One
// that comes as the gate is locked already does not count.
func (h *history) counts(s count, by step) (next []count) {
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
			if s.values[v] < attempts && int(s.values[v])+bits.OnesCount64(open.owed&h.at[by.gate]) >= attempts {
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
// success or an unlock at the gate has made meaningless.
func (h *history) told(s count, by step) (next []count) {
	one := uint64(1) << by.call
	if s.over&one != 0 {
		next = append(next, s)
	}
	if s.owed&one == 0 {
		return next
	}
	if by.unlocked {
		forgotten := s
		forgotten.owed &^= one
		forgotten.locking &^= one
		next = append(next, forgotten)
	}
	s.owed &^= one
	switch {
	case s.locked():
	case s.locking&one != 0:
		s = s.with(attempts)
	default:
		s = s.with(s.values[len(s.values)-1] + 1)
	}
	s.locking &^= one
	s.view[by.gate] = len(s.values) - 1
	return append(next, s)
}

// passed is the first step of a success: it clears what the gate knows of, and what the
// gate has not told by then it need not tell.
func (h *history) passed(s count, by step) []count {
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
		some.owed, some.over = s.owed&^untold, s.over|untold
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
		if clears && s.values[v] < attempts { // counted before or behind the success
			least = 0
		}
		if asLocked && most >= attempts || !asLocked && least < attempts {
			s.view[gate] = v
			return s, true
		}
	}
	return s, false
}

func (s *count) locked() bool { return s.values[len(s.values)-1] >= attempts }

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
