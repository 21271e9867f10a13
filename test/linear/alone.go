package linear

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// One gate on a store of its own has no view that could lag: there is one count, which is
// in force at once. A wrong secret is compared, while the key is not locked, and counted by
// the time that it is answered; a right one clears the count as it is let in. What was
// counted, and locked, is so after a crash too. Only the clearing may be lost in one that
// comes soon behind it, so that a crash never opens a lock.
//
// An unlock lets in at once those whom nobody guesses beside. What is counted while it is
// made may be before or behind it, which the gate knows once the store has said so: for
// that long it refuses a call that finds too little room if all of it came behind.

// Alone is a history of one key at one gate.
type Alone struct {
	Guesses []Guess
	// Crashes are when the gate was killed, and by when it was there again.
	Crashes []Cut
	// Lag is how soon a success is in the store, and the gate knows what an unlock cleared.
	Lag time.Duration
}

// Lost is the verdict of a call that the gate was killed before it answered.
const Lost Verdict = "no answer"

// aloneCount is the state of a key. It is comparable.
type aloneCount struct {
	failures int
	// uncleared are those that a success has cleared, and a crash brings back.
	uncleared int
	// compared are the calls that are, and are not counted yet; clearing those that were let
	// in, and are not in the store yet.
	compared, clearing uint64
	// reopened are the failures that the unlocks in unlocking have cleared, which the gate
	// may still refuse by.
	reopened  int
	unlocking uint64
}

type aloneStep struct {
	of   guessStepKind
	call uint
	lost bool
}

// Order looks for an order of a history of at most 64 calls. Unknown where it takes longer.
func (a Alone) Order(within time.Duration) porcupine.CheckResult {
	var ops []porcupine.Operation
	for i, c := range a.Guesses {
		add := func(of guessStepKind, to int64) {
			ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: aloneStep{of, uint(i), c.Got == Lost}, Call: c.Began, Return: to})
		}
		switch {
		case c.Kind == Unlock:
			add(opened, c.Ended)
			add(settled, c.Ended+int64(a.Lag))
		case c.Got == Locked:
			add(refused, c.Ended)
		case c.Kind == Wrong:
			add(looks, c.Ended)
			add(counts, c.Ended)
		default:
			add(passed, c.Ended)
			add(cleared, c.Ended+int64(a.Lag))
		}
	}
	for _, c := range a.Crashes {
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: aloneStep{of: crashed}, Call: c.From, Return: c.To})
	}
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{aloneCount{}} },
		Step: func(state, input, _ any) (next []any) {
			for _, s := range state.(aloneCount).after(input.(aloneStep)) {
				next = append(next, s)
			}
			return next
		},
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), ops, within)
}

// after is every state that a step can lead to, none if it cannot be taken.
func (s aloneCount) after(by aloneStep) (next []aloneCount) {
	one, locked := uint64(1)<<by.call, s.failures >= Attempts
	if by.lost { // or it was never taken
		skipped := s
		skipped.compared &^= one
		skipped.clearing &^= one
		skipped.settle(one)
		next = append(next, skipped)
	}
	switch by.of {
	case refused:
		if s.failures+s.reopened < Attempts {
			return next
		}
	case looks:
		if locked {
			return next
		}
		s.compared |= one
	case counts:
		if s.compared&one == 0 {
			return next
		}
		s.compared &^= one
		s.failures = min(s.failures+1, Attempts)
	case passed:
		if locked {
			return next
		}
		s.uncleared = min(s.uncleared+s.failures, Attempts)
		s.failures = 0
		s.clearing |= one
	case cleared:
		if s.clearing&one == 0 {
			return next
		}
		s.clearing &^= one
		s.uncleared = 0
	case opened:
		s.reopened = min(s.reopened+s.failures, Attempts)
		s.unlocking |= one
		s.failures, s.uncleared = 0, 0
	case settled:
		if s.unlocking&one == 0 {
			return next
		}
		s.settle(one)
	case crashed:
		kept := s
		kept.failures, kept.uncleared = min(s.failures+s.uncleared, Attempts), 0
		s.uncleared = 0
		return append(next, s, kept)
	}
	return append(next, s)
}

// settle ends what a gate may still refuse by, once it knows what its unlocks cleared.
func (s *aloneCount) settle(unlock uint64) {
	if s.unlocking &^= unlock; s.unlocking == 0 {
		s.reopened = 0
	}
}
