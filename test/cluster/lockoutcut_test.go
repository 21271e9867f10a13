package cluster

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/test/linear"
)

// TestGuessesAndSuccessesHaveAnOrderThoughAGateIsCutOff guesses at many keys at all gates,
// one of which does not reach the store in the beginning. What it counted by then is told when it is back, so that the gates agree in the end.
func TestGuessesAndSuccessesHaveAnOrderThoughAGateIsCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: linear.Gates, global: "max_stale 5m"})
	role := c.role(t, "all")
	decided, undecided, alone := 0, 0, 0
	for round := range rounds(1) {
		const keys, each = 12, 12
		cutOff := c.gates[round%len(c.gates)]
		clock := clock{time.Now()}
		histories := make([]*cutHistory, keys)
		var guessing sync.WaitGroup
		for n := range histories {
			h := &cutHistory{c: c, clock: clock, key: c.gates[0].create(t, strconv.Itoa(round)+" "+strconv.Itoa(n), role)}
			for _, g := range c.gates {
				g.until(t, "it knows the key", func() bool { return g.status(t, h.key) == 200 })
			}
			histories[n] = h
		}
		cut := linear.Cut{Gate: cutOff.n, From: clock.at(time.Now())}
		cutOff.link.Down()
		for _, h := range histories {
			require.NoError(t, h.show(cutOff.n, linear.Wrong))
			for g := range c.gates {
				guessing.Go(func() {
					for range each {
						kind := linear.Wrong
						if rand.IntN(4) == 0 {
							kind = linear.Right
						}
						if err := h.show(g, kind); err != nil {
							t.Error(err)
							return
						}
						time.Sleep(rand.N(400 * time.Millisecond))
					}
				})
			}
		}
		time.Sleep(1500 * time.Millisecond)
		cutOff.link.Up(t)
		cutOff.ready(t)
		cut.To = clock.at(time.Now())
		guessing.Wait()
		time.Sleep(viewLag + time.Second)
		for n, h := range histories {
			for g := range c.gates { // once every gate has heard of everything
				require.NoError(t, h.show(g, linear.Right))
			}
			h.explain(t)
			for _, of := range h.calls {
				if of.Gate == cutOff.n && of.Got == compared && cut.From < of.Began && of.Ended < cut.To {
					alone++
				}
			}
			switch (linear.Lockout{Guesses: h.calls, Cuts: []linear.Cut{cut}, Lag: viewLag}).Order(orderWithin) {
			case porcupine.Ok:
				decided++
			case porcupine.Unknown:
				undecided++
			default:
				t.Errorf("round %d, key %d has no order, gate %s cut off from %s to %s: %s", round, n, cutOff.name, time.Duration(cut.From), time.Duration(cut.To), describe(h.calls))
			}
		}
	}
	t.Logf("%d histories have an order, of %d it took too long to find out; %d guesses were compared where nobody else heard of them", decided, undecided, alone)
	require.Positive(t, decided)
	require.Positive(t, alone)
}

// cutHistory is of one key. Why a secret was refused is not known while the gate is cut
// off, and asked later.
type cutHistory struct {
	c     *cluster
	clock clock
	key   key

	mu      sync.Mutex
	calls   []linear.Guess
	guesses []guess
}

func (h *cutHistory) show(gate int, kind linear.GuessKind) error {
	credential := h.key.basic()
	if kind == linear.Wrong {
		credential = h.key.wrong()
	}
	got, err := h.c.gates[gate].show(credential)
	if err != nil || got.verdict == unavailable { // which leaves nothing behind
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, linear.Guess{Kind: kind, Gate: gate, Began: h.clock.at(got.began), Ended: h.clock.at(got.ended)})
	h.guesses = append(h.guesses, got)
	return nil
}

func (h *cutHistory) explain(t *testing.T) {
	t.Helper()
	for i, got := range h.guesses {
		h.calls[i].Got = h.c.gates[h.calls[i].Gate].explained(t, got)
	}
}
