package linear

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// Requests that make something under one name (Idempotency-Key) are one register: the first
// that is done sets what was made and by which body, and tells its maker the secret. All
// others leave it as it is, and are told what is there without the secret, or that the name
// is another body's, or, while one more is under way, to come again. Which gate is asked
// plays no part. A request without an answer was done or was not, at some time from when
// it was asked for; its secret is lost with its answer.

// OnceCall is one request of a history of one name.
type OnceCall struct {
	// Body is what was asked for, as far as two bodies differ.
	Body int
	Got  OnceGot
	// ID is what was made, as the answer says.
	ID string
	// Secret: the answer has one.
	Secret bool
	// Began and Ended are nanoseconds since the history began.
	Began, Ended int64
}

// OnceGot is what was answered.
type OnceGot string

// What may be answered.
const (
	Made      OnceGot = "made"
	Replayed  OnceGot = "made before"
	OtherBody OnceGot = "the name of another body"
	UnderWay  OnceGot = "under way"
	// Unanswered is also an answer that leaves it open.
	Unanswered OnceGot = "unanswered"
)

// once is what a name stands for. It is comparable.
type once struct {
	made bool
	body int
	// id is "" until somebody was told.
	id string
}

// OnceHasAnOrder looks for an order of a history of one name. Unknown where it takes too
// long.
func OnceHasAnOrder(calls []OnceCall, within time.Duration) porcupine.CheckResult {
	var ops []porcupine.Operation
	for i, c := range calls {
		ended := c.Ended
		if c.Got == Unanswered {
			ended = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: i, Input: i, Call: c.Began, Return: ended})
	}
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{once{}} },
		Step: func(state, input, _ any) (next []any) {
			i := input.(int)
			for _, s := range state.(once).after(calls[i], meets(calls, i)) {
				next = append(next, s)
			}
			return next
		},
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), ops, within)
}

// meets tells whether another request may have been under way at the time of one.
func meets(calls []OnceCall, one int) bool {
	for i, other := range calls {
		ended := other.Ended
		if other.Got == Unanswered {
			ended = math.MaxInt64
		}
		if i != one && other.Got != UnderWay && other.Began <= calls[one].Ended && calls[one].Began <= ended {
			return true
		}
	}
	return false
}

// after is every state that a request can lead to, none if it cannot have been answered so.
func (o once) after(c OnceCall, meets bool) []once {
	switch c.Got {
	case Made:
		if !o.made && c.Secret && c.ID != "" {
			return []once{{true, c.Body, c.ID}}
		}
	case Replayed:
		if o.made && !c.Secret && o.body == c.Body && c.ID != "" && (o.id == "" || o.id == c.ID) {
			o.id = c.ID
			return []once{o}
		}
	case OtherBody:
		if o.made && !c.Secret && o.body != c.Body {
			return []once{o}
		}
	case UnderWay:
		if meets && !c.Secret {
			return []once{o}
		}
	case Unanswered:
		if o.made {
			return []once{o}
		}
		return []once{o, {made: true, body: c.Body}}
	}
	return nil
}
