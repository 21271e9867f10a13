package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/test/linear"
)

// killed are the faults that a gate on a file of its own has: its process ends.
func killed(times int) []fault {
	return slices.Repeat([]fault{faults[slices.IndexFunc(faults, func(f fault) bool { return f.kills })]}, times)
}

// TestGuessesSuccessesAndUnlocksAtOneGateThatIsKilledHaveAnOrder makes histories of many
// keys at a gate on a file of its own, which is killed in the middle of each.
func TestGuessesSuccessesAndUnlocksAtOneGateThatIsKilledHaveAnOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{alone: true})
	g, role := c.gates[0], c.role(t, "all")
	decided, undecided, lost, behind := 0, 0, 0, 0
	for round := range rounds(3) {
		const keys, guessers, each = 8, 3, 12
		clock := clock{time.Now()}
		histories := make([]linear.Alone, keys)
		var guessing sync.WaitGroup
		dead, again := make(chan struct{}), make(chan struct{})
		var made atomic.Int64
		last := int64(keys * guessers * (1 + rand.IntN(each/2))) // before it is killed
		for n := range keys {
			k := g.create(t, fmt.Sprint(round, " ", n), role)
			h := &histories[n]
			h.Lag = viewLag
			var mu sync.Mutex
			for range guessers {
				guessing.Go(func() {
					for range each {
						asked := clock.at(time.Now())
						call, err := c.someCall(k, clock.began)
						if err != nil { // it is being killed
							call.Got, call.Began, call.Ended = linear.Lost, asked, clock.at(time.Now())
							select {
							case <-dead:
							case <-time.After(patience):
								t.Error(err)
								return
							}
						}
						mu.Lock()
						h.Guesses = append(h.Guesses, call)
						mu.Unlock()
						if err != nil {
							<-again
						}
						if made.Add(1) == last {
							close(dead)
						}
					}
				})
			}
		}
		select {
		case <-dead:
		case <-time.After(patience):
			t.Fatal("the guessers are stuck")
		}
		crash := linear.Cut{From: clock.at(time.Now())}
		require.NoError(t, g.process.Kill())
		g.start(t)
		g.ready(t)
		crash.To = clock.at(time.Now())
		close(again)
		guessing.Wait()
		for n, h := range histories {
			h.Crashes = []linear.Cut{crash}
			for _, of := range h.Guesses {
				if of.Got == linear.Lost {
					lost++
				}
				if of.Began > crash.To {
					behind++
				}
			}
			switch h.Order(orderWithin) {
			case porcupine.Ok:
				decided++
			case porcupine.Unknown:
				undecided++
			default:
				t.Errorf("round %d, key %d has no order, killed from %s to %s: %s", round, n, time.Duration(crash.From), time.Duration(crash.To), describe(h.Guesses))
			}
		}
	}
	t.Logf("%d histories have an order, of %d it took too long to find out; %d calls without an answer, %d behind the crash", decided, undecided, lost, behind)
	require.Greater(t, decided, undecided)
	require.Positive(t, lost)
	require.Positive(t, behind)
}

// TestSecretsThatComeAndGoAtOneGateThatIsKilledHaveAnOrder is that of many gates, on a
// file.
func TestSecretsThatComeAndGoAtOneGateThatIsKilledHaveAnOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{alone: true, global: "lockout {\n\tattempts 100\n}"})
	c.secretHistories(t, killed(4))
}

// TestWhatIsAskedForManyTimesUnderOneNameIsMadeOnceAtOneGateThatIsKilled is that of many
// gates, on a file.
//
// Case: fault-retry-lost-answer
func TestWhatIsAskedForManyTimesUnderOneNameIsMadeOnceAtOneGateThatIsKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{alone: true})
	c.onceHistories(t, killed(4))
}
