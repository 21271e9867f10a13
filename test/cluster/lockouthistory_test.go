package cluster

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/test/linear"
)

// viewLag bounds how far a gate's view of a count lags behind, which is as far as the feed
// does: 1 s by the contract, and more on a machine that is busy with other things.
const viewLag = 10 * time.Second

// orderWithin is how long the order of one history is looked for. Nearly all are found in
// milliseconds; one that is not takes minutes, or for ever.
const orderWithin = 4 * time.Second

// TestGuessesSuccessesAndUnlocksOverGatesHaveAnOrder makes histories of many keys at once
// and looks for the order of each.
func TestGuessesSuccessesAndUnlocksOverGatesHaveAnOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: linear.Gates})
	role := c.role(t, "all")
	undecided, decided := 0, 0
	for round := range rounds(1) {
		const keys, guessers, each = 24, 6, 5
		histories := make([][]linear.Guess, keys)
		var guessing sync.WaitGroup
		began := time.Now()
		for n := range keys {
			k := c.gates[0].create(t, strconv.Itoa(round)+" "+strconv.Itoa(n), role)
			for _, g := range c.gates {
				g.accepts(t, k) // before the history: there is nothing to clear
			}
			var mu sync.Mutex
			note := func(of linear.Guess, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				histories[n] = append(histories[n], of)
			}
			guessing.Go(func() {
				var one sync.WaitGroup
				for range guessers {
					one.Go(func() {
						for range each {
							note(c.someCall(k, began))
						}
					})
				}
				one.Wait()
				// In the end one by one, and again once every gate has heard of everything.
				for _, pause := range []time.Duration{0, viewLag + time.Second} {
					time.Sleep(pause)
					for g := range c.gates {
						note(c.callOf(linear.Right, g, k, began))
					}
				}
			})
		}
		guessing.Wait()
		for n, h := range histories {
			switch (linear.Lockout{Guesses: h, Lag: viewLag}).Order(orderWithin) {
			case porcupine.Ok:
				decided++
			case porcupine.Unknown:
				undecided++
			default:
				t.Errorf("round %d, key %d has no order: %s", round, n, describe(h))
			}
		}
	}
	t.Logf("%d histories have an order, of %d it took too long to find out", decided, undecided)
	require.Greater(t, decided, undecided)
}

// someCall is mostly a guess.
func (c *cluster) someCall(k key, began time.Time) (linear.Guess, error) {
	g := rand.IntN(len(c.gates))
	switch p := rand.IntN(100); {
	case p < 70:
		return c.callOf(linear.Wrong, g, k, began)
	case p < 92:
		return c.callOf(linear.Right, g, k, began)
	default:
		return c.callOf(linear.Unlock, g, k, began)
	}
}

func (c *cluster) callOf(kind linear.GuessKind, gate int, k key, began time.Time) (linear.Guess, error) {
	g := c.gates[gate]
	if kind == linear.Unlock {
		a, err := g.tryAPI("DELETE", "/v1/keys/"+k.id+"/lock", nil)
		return linear.Guess{Kind: kind, Gate: gate, Began: int64(a.began.Sub(began)), Ended: int64(a.ended.Sub(began))}, err
	}
	credential := k.basic()
	if kind == linear.Wrong {
		credential = k.wrong()
	}
	got, err := g.try(credential)
	return linear.Guess{Kind: kind, Gate: gate, Got: got.verdict, Began: int64(got.began.Sub(began)), Ended: int64(got.ended.Sub(began))}, err
}

// describe is a history for people.
func describe(h []linear.Guess) (text string) {
	h = slices.Clone(h)
	slices.SortFunc(h, func(a, b linear.Guess) int { return int(a.Began - b.Began) })
	for _, c := range h {
		text += "\n" + string(rune('A'+c.Gate)) + " " + string(c.Kind) + ": " + string(c.Got) + ", " + time.Duration(c.Began).String() + " to " + time.Duration(c.Ended).String()
	}
	return text
}
