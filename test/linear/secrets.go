package linear

import (
	"math"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// A key has secrets, which writes give and take, and each gate has a view of them: the
// secrets as they were after one of the writes. What a gate accepts and refuses is what its
// view says. Views go forward only, for as long as the gate runs, and are bound by what was
// answered to a write:
//
//   - the gate that answered has it, whatever it was;
//   - of a write that takes and was answered with 200, every gate has it by then;
//   - with 202, every gate that the answer did not name has it by then, and those that it
//     named have it, or refuse everything, from the time that it told;
//   - of one that only gives, every gate that reaches the store has it soon.
//
// A write without an answer, or with one that leaves it open, has happened or has not, at
// some time from when it was asked for.

// Gates is how many a history may have.
const Gates = 3

// SecretCall is one call of a history of one key.
type SecretCall struct {
	Kind SecretKind
	Gate int
	// Secret is which of the key's secrets, from 0, is shown, added or retired. Those in
	// Before are there before the history.
	Secret int
	// Got is what was answered.
	Got SecretGot
	// Pending are the gates that an answer 202 named, and Until the last time at which one
	// of them may accept.
	Pending []int
	Until   int64
	// Soon is when every gate has a write that only gives, or math.MaxInt64.
	Soon int64
	// Began and Ended are nanoseconds since the history began.
	Began, Ended int64
}

// SecretKind is what a call asks for.
type SecretKind string

// The kinds of call.
const (
	Show    SecretKind = "show"
	Add     SecretKind = "add"
	Retire  SecretKind = "retire"
	Disable SecretKind = "disable"
	Enable  SecretKind = "enable"
	Delete  SecretKind = "delete"
	// Restart is of the gate, which may know less after it: all but what it has confirmed.
	Restart SecretKind = "restart"
)

// SecretGot is what came of it.
type SecretGot string

// What may come of it.
const (
	// Done is of a write that was done, and is in force as its answer says.
	Done SecretGot = "done"
	// Open is of a write without an answer, or one that leaves it open.
	Open SecretGot = "open"
	// Let and Refused are of a secret that was shown. Who was told that the gate cannot
	// decide has learnt nothing, and is in no history.
	Let     SecretGot = "let in"
	Refused SecretGot = "refused"
)

// taken reports whether a write takes something away.
func (k SecretKind) taken() bool { return k == Retire || k == Disable || k == Delete }

// rights are what a key's secrets open: a bit for each that there is, at most seven, and
// enabled.
type rights byte

const enabled rights = 1 << 7

func (r rights) opens(secret int) bool { return r&enabled != 0 && r&(1<<secret) != 0 }

// with is what a write makes of them.
func (r rights) with(c SecretCall) rights {
	switch c.Kind {
	case Add:
		return r | 1<<c.Secret
	case Retire:
		return r &^ (1 << c.Secret)
	case Disable:
		return r &^ enabled
	case Enable:
		return r | enabled
	default: // Delete
		return 0
	}
}

// secretStep is one indivisible step: of a call, or of what was answered to it.
type secretStep struct {
	call int
	of   secretStepKind
}

type secretStepKind int

const (
	seen    secretStepKind = iota // the view lets it in, or does not
	written                       // the store has it
	known                         // all gates have it, but for those that were named
	over                          // and those too
	again                         // a gate starts again
)

// secretState is what the store had, oldest first, and which of it the gates have. It is
// comparable.
type secretState struct {
	// values are rights, one byte each; the last is the store's.
	values string
	// view is which of them a gate has, at least; floor is the oldest that it may have once
	// it was started anew.
	view, floor [Gates]int
	// at is which of them a write has made, by the number of the call, a byte each, from 1
	// on; values that nobody has any more are forgotten, and then it is 1.
	at string
}

// SecretsHaveAnOrder looks for an order of a history of one key, which had the secrets from
// 0 up to before at its beginning, enabled and known to all gates. Unknown where it takes
// too long.
func SecretsHaveAnOrder(before int, calls []SecretCall, within time.Duration) porcupine.CheckResult {
	first := enabled | rights(1<<before-1)
	model := porcupine.NondeterministicModel{
		Init: func() []any {
			return []any{secretState{values: string([]byte{byte(first)}), at: strings.Repeat("\x00", len(calls))}}
		},
		Step: func(state, input, _ any) (next []any) {
			step := input.(secretStep)
			for _, s := range state.(secretState).after(calls[step.call], step) {
				next = append(next, s.trimmed())
			}
			return next
		},
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), secretSteps(calls), within)
}

// secretSteps are the operations whose order is looked for.
func secretSteps(calls []SecretCall) (ops []porcupine.Operation) {
	add := func(call int, of secretStepKind, from, to int64) {
		ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: secretStep{call, of}, Call: from, Return: to})
	}
	for i, c := range calls {
		switch {
		case c.Kind == Show:
			add(i, seen, c.Began, c.Ended)
		case c.Kind == Restart:
			add(i, again, c.Began, c.Ended)
		case c.Got == Open:
			add(i, written, c.Began, math.MaxInt64)
		default:
			add(i, written, c.Began, c.Ended)
			add(i, known, c.Began, c.Ended)
			if c.Kind.taken() && len(c.Pending) > 0 {
				add(i, over, c.Began, max(c.Ended, c.Until))
			} else if !c.Kind.taken() {
				add(i, over, c.Began, max(c.Ended, c.Soon))
			}
		}
	}
	return ops
}
