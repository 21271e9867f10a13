package linear

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// What is held against histories of guesses, right secrets and unlocks at several gates is
// this. The store has one count of a key, which every failure, success and unlock changes
// in one indivisible step (a linearizable counter that stays at three, locked, until it is
// unlocked). A gate decides by a view of it: the count as it was at some moment, and what it
// has counted itself that the store has not heard of. Its view only goes forward. It is as
// new as the store's count after an answer to one of the gate's own failures, and otherwise
// not older than the lag. So a guess takes three steps within its call, each indivisible and
// each with steps of others between them: the gate looks whether it is locked, and compares;
// it counts what was wrong in its view; the store counts it. A gate that is cut off from the
// store takes the third once it is back.
//
// A gate that finds a failure to be the third locks the key by its own view, and the store
// with it, whatever the store has: of two counts that went apart the strictest holds. So one
// failure may lock behind a success elsewhere that the gate has not heard of. An unlock is
// an operator's word on all that was counted before it: of that, the store hears no more.

// Attempts is how many failures lock.
const Attempts = 3

// Lockout is one history of a key, and how far views may lag.
type Lockout struct {
	Guesses []Guess
	// Cuts are when gates did not reach the store.
	Cuts []Cut
	// Lag is how far a view lags behind at most, and a success too, for a gate that reaches
	// the store: 1 s by the contract, and more on a machine that is busy with other things.
	Lag time.Duration
}

// Guess is one call of a history.
type Guess struct {
	Kind GuessKind
	Gate int
	// Got is the verdict on a secret, and nothing of an unlock.
	Got Verdict
	// Began and Ended are nanoseconds since the history began.
	Began, Ended int64
}

// GuessKind is of the secret that was shown, or an unlock.
type GuessKind string

// The kinds of call.
const (
	Right  GuessKind = "right"
	Wrong  GuessKind = "wrong"
	Unlock GuessKind = "unlock"
)

// Verdict is what a gate did with a credential.
type Verdict string

// The verdicts.
const (
	// Accepted: the secret was right and is good.
	Accepted Verdict = "accepted"
	// Compared: the secret was held against the key's and is wrong.
	Compared Verdict = "wrong secret"
	// Locked: it was refused without a look at the secret.
	Locked Verdict = "locked"
)

// Cut is when a gate did not reach the store, in nanoseconds since the history began.
type Cut struct {
	Gate     int
	From, To int64
}

// guessStep is one indivisible step, of a call by its number or of the feed to a gate.
type guessStep struct {
	of   guessStepKind
	call uint
	gate int
	// unlocked: an unlock was under way at about that time. A gate that hears of one
	// forgets what it had counted and not told.
	unlocked bool
}

type guessStepKind int

const (
	looks   guessStepKind = iota // a guess: not locked; the secret is compared
	counts                       // the gate counts it
	told                         // the store counts it
	refused                      // of either secret: locked
	passed                       // the right secret: not locked; the gate clears its count
	cleared                      // the store does
	opened                       // an operator unlocks
	settled                      // what an unlock cleared is known to the gate
	heard                        // the feed brings the gate's view to the store's
	crashed                      // the gate is killed, and started again
)

// history knows at which gate each call was.
type history struct {
	Lockout
	at [Gates]uint64 // the calls at a gate
}

// Order looks for an order of a history of at most 64 calls. Unknown where it takes longer.
func (l Lockout) Order(within time.Duration) porcupine.CheckResult {
	h, ops := newHistory(l)
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{count{values: "\x00"}} },
		Step: func(state, input, _ any) (next []any) {
			for _, s := range h.step(state.(count), input.(guessStep)) {
				next = append(next, s.trimmed())
			}
			return next
		},
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), ops, within)
}

// newHistory also gives the operations whose order is looked for.
func newHistory(l Lockout) (*history, []porcupine.Operation) {
	h := &history{Lockout: l}
	var ops []porcupine.Operation
	var last int64
	for i, c := range l.Guesses {
		h.at[c.Gate] |= 1 << i
		last = max(last, c.Ended)
	}
	add := func(s guessStep, from, to int64) {
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: s, Call: from, Return: to})
	}
	for i, c := range l.Guesses {
		s := guessStep{call: uint(i), gate: c.Gate, unlocked: h.unlockedAbout(c)}
		step := func(of guessStepKind, ended int64) { s.of = of; add(s, c.Began, ended) }
		stored := c.Ended
		if h.waitsForNobody(c) {
			stored = h.soon(c.Gate, c.Ended)
		}
		switch {
		case c.Kind == Unlock:
			step(opened, c.Ended)
		case c.Got == Locked:
			step(refused, c.Ended)
		case c.Kind == Wrong:
			step(looks, c.Ended)
			step(counts, c.Ended)
			step(told, stored)
		default:
			step(passed, c.Ended)
			step(cleared, h.soon(c.Gate, c.Ended)) // no answer waits for that
		}
	}
	for from := int64(0); from+int64(l.Lag) <= last; from += int64(l.Lag) {
		for g := range Gates {
			add(guessStep{of: heard, gate: g}, from, h.soon(g, from))
		}
	}
	return h, ops
}

// soon is when a gate has told, or heard of, what was there at a time.
func (h *history) soon(gate int, at int64) int64 {
	by := at + int64(h.Lag)
	for _, c := range h.Cuts { // in the order of time
		if c.Gate == gate && c.From <= by && at <= c.To {
			by = max(by, c.To+int64(h.Lag))
		}
	}
	return by
}

// waitsForNobody reports whether an answer may have come before the store had counted: it
// is not waited for without end, nor at all by a gate that knows that it is cut off.
func (h *history) waitsForNobody(c Guess) bool {
	if c.Ended-c.Began > int64(450*time.Millisecond) {
		return true
	}
	for _, cut := range h.Cuts {
		if cut.Gate == c.Gate && c.Began <= cut.To+int64(h.Lag) && cut.From <= c.Ended {
			return true
		}
	}
	return false
}

func (h *history) unlockedAbout(c Guess) bool {
	for _, u := range h.Guesses {
		if u.Kind == Unlock && u.Began <= c.Ended && c.Began <= h.soon(c.Gate, u.Ended) {
			return true
		}
	}
	return false
}
