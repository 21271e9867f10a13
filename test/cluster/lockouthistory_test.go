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
)

// orderWithin is how long the order of one history is looked for. Nearly all are found in
// milliseconds; one that is not takes minutes, or for ever.
const orderWithin = 4 * time.Second

// in is a call that takes so many milliseconds of a history.
func in(kind callKind, gate int, got verdict, from, to int) call {
	return call{kind, gate, got, int64(from) * 1e6, int64(to) * 1e6}
}

// TestAHistoryThatNoLockoutAllowsIsFound proves that the checker tells what is broken.
func TestAHistoryThatNoLockoutAllowsIsFound(t *testing.T) {
	t.Parallel()
	three := []call{in(wrong, 0, compared, 0, 10), in(wrong, 1, compared, 20, 30), in(wrong, 2, compared, 40, 50)}
	long := int(viewLag / time.Millisecond)
	for name, c := range map[string]struct {
		more []call
		may  bool
	}{
		"locked where the third was":                  {[]call{in(right, 2, locked, 60, 70)}, true},
		"not locked yet elsewhere":                    {[]call{in(right, 0, accepted, 60, 70), in(wrong, 0, compared, 80, 90), in(right, 0, locked, 100, 110)}, true},
		"refused at once elsewhere":                   {[]call{in(wrong, 0, locked, 60, 70), in(right, 1, locked, 60, 70)}, true},
		"unlocked":                                    {[]call{in(unlock, 1, "", 60, 70), in(right, 1, accepted, 80, 90), in(wrong, 1, compared, 100, 110)}, true},
		"unlocked, and another has not heard of it":   {[]call{in(unlock, 1, "", 60, 70), in(right, 2, locked, 80, 90), in(right, 2, accepted, 100, 110)}, true},
		"two at once as the third":                    {[]call{in(wrong, 2, compared, 45, 55), in(right, 2, locked, 60, 70)}, true},
		"accepted where the third was":                {[]call{in(right, 2, accepted, 60, 70)}, false},
		"compared where the third was":                {[]call{in(wrong, 2, compared, 60, 70)}, false},
		"compared again behind its own answer":        {[]call{in(wrong, 0, compared, 60, 70), in(wrong, 0, compared, 80, 90)}, false},
		"accepted behind its own answer":              {[]call{in(wrong, 0, compared, 60, 70), in(right, 0, accepted, 80, 90)}, false},
		"a lock that is forgotten":                    {[]call{in(right, 2, locked, 60, 70), in(right, 2, accepted, 80, 90)}, false},
		"a lock that never arrives":                   {[]call{in(right, 0, accepted, 60+2*long, 70+2*long)}, false},
		"an unlock that does nothing":                 {[]call{in(unlock, 1, "", 60, 70), in(right, 1, locked, 80, 90)}, false},
		"a success that opens a lock":                 {[]call{in(right, 0, accepted, 60, 70), in(right, 2, accepted, 80, 90)}, false},
		"locked elsewhere for an unlock that is over": {[]call{in(unlock, 1, "", 60, 70), in(right, 2, locked, 80+2*long, 90+2*long)}, false},
	} {
		got := linearizable(append(slices.Clone(three), c.more...), time.Minute)
		want := porcupine.Illegal
		if c.may {
			want = porcupine.Ok
		}
		require.Equal(t, want, got, name)
	}
	for name, c := range map[string]struct {
		all []call
		may bool
	}{
		"two are none":         {[]call{three[0], three[1], in(right, 2, accepted, 40, 50)}, true},
		"locked for two":       {[]call{three[0], three[1], in(right, 1, locked, 40, 50)}, false},
		"locked for nothing":   {[]call{in(right, 0, locked, 0, 10)}, false},
		"a success in between": {[]call{in(wrong, 0, compared, 0, 10), in(wrong, 0, compared, 20, 30), in(right, 0, accepted, 40, 50), in(wrong, 0, compared, 60, 70), in(right, 0, accepted, 80, 90)}, true},
		"each gate for itself": {[]call{three[0], three[1], three[2], in(wrong, 0, compared, 60, 70), in(wrong, 1, compared, 60, 70), in(wrong, 0, compared, 80, 90)}, false},
		"two at a time are never counted": {[]call{in(wrong, 0, compared, 0, 10), in(wrong, 0, compared, 1, 11), in(wrong, 0, compared, 20, 30), in(wrong, 0, compared, 21, 31),
			in(wrong, 0, compared, 40, 50), in(wrong, 0, compared, 41, 51)}, false},
	} {
		got := linearizable(c.all, time.Minute)
		want := porcupine.Illegal
		if c.may {
			want = porcupine.Ok
		}
		require.Equal(t, want, got, name)
	}
}

// TestGuessesSuccessesAndUnlocksOverGatesHaveAnOrder makes histories of many keys at once
// and looks for the order of each.
func TestGuessesSuccessesAndUnlocksOverGatesHaveAnOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: maxGates})
	role := c.role(t, "all")
	undecided, decided := 0, 0
	for round := range rounds(1) {
		const keys, guessers, each = 24, 6, 5
		histories := make([][]call, keys)
		var guessing sync.WaitGroup
		began := time.Now()
		for n := range keys {
			k := c.gates[0].create(t, strconv.Itoa(round)+" "+strconv.Itoa(n), role)
			for _, g := range c.gates {
				g.accepts(t, k) // before the history: there is nothing to clear
			}
			var mu sync.Mutex
			note := func(of call, err error) {
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
						note(c.callOf(right, g, k, began))
					}
				}
			})
		}
		guessing.Wait()
		for n, h := range histories {
			switch linearizable(h, orderWithin) {
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
func (c *cluster) someCall(k key, began time.Time) (call, error) {
	g := rand.IntN(len(c.gates))
	switch p := rand.IntN(100); {
	case p < 70:
		return c.callOf(wrong, g, k, began)
	case p < 92:
		return c.callOf(right, g, k, began)
	default:
		return c.callOf(unlock, g, k, began)
	}
}

func (c *cluster) callOf(kind callKind, gate int, k key, began time.Time) (call, error) {
	g := c.gates[gate]
	if kind == unlock {
		a, err := g.tryAPI("DELETE", "/v1/keys/"+k.id+"/lock", nil)
		return call{kind, gate, "", int64(a.began.Sub(began)), int64(a.ended.Sub(began))}, err
	}
	credential := k.basic()
	if kind == wrong {
		credential = k.wrong()
	}
	got, err := g.try(credential)
	return call{kind, gate, got.verdict, int64(got.began.Sub(began)), int64(got.ended.Sub(began))}, err
}

// describe is a history for people.
func describe(h []call) (text string) {
	h = slices.Clone(h)
	slices.SortFunc(h, func(a, b call) int { return int(a.began - b.began) })
	for _, c := range h {
		text += "\n" + string(rune('A'+c.gate)) + " " + string(c.kind) + ": " + string(c.got) + ", " + time.Duration(c.began).String() + " to " + time.Duration(c.ended).String()
	}
	return text
}
