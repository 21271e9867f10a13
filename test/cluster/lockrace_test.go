package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lockers is how many keys are locked and unlocked at a time.
const lockers = 3

// TestALockAndItsEndAreInForceUnderLoad shows right secrets to all gates all the while one
// of them is shown wrong ones, and another is told to unlock. Nobody waits for a lock to be
// everywhere: where it was counted it is in force with the third answer, elsewhere as soon
// as it is heard of, and from then on. An unlock is waited for.
func TestALockAndItsEndAreInForceUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3})
	role := c.role(t, "all")
	calm := c.calm(t, role)
	var mu sync.Mutex
	var reached []time.Duration
	var sum lockRound
	all := rounds(60)
	var locking sync.WaitGroup
	for w := range lockers {
		locking.Go(func() {
			t.Run(string(rune('a'+w)), func(t *testing.T) { // a test of its own may end by itself
				for n := w; n < all; n += lockers {
					r := c.lockUnderLoad(t, fmt.Sprintf("round %d", n), role, c.gates[n%3], c.gates[n/3%3], n/lockers%2 == 0)
					mu.Lock()
					reached = append(reached, r.reached...)
					sum.there += r.there
					sum.elsewhere += r.elsewhere
					sum.unlocked += r.unlocked
					sum.told += r.told
					mu.Unlock()
				}
			})
		})
	}
	locking.Wait()
	if t.Failed() {
		return
	}
	calm = max(calm, c.calm(t, role))
	slices.Sort(reached)
	t.Logf("%d rounds: refused %d where the lock was counted and %d elsewhere, once it was there; %d accepted after %d unlocks that all gates had",
		all, sum.there, sum.elsewhere, sum.unlocked, sum.told)
	t.Logf("a lock is in force at another gate: p50 %s, p99 %s (%d)", percentile(reached, 50), percentile(reached, 99), len(reached))
	require.Less(t, percentile(reached, 50), allowed(time.Second, calm))
	for what, n := range map[string]int{"the gate that locked": sum.there, "others": sum.elsewhere, "after an unlock": sum.unlocked} {
		require.Positive(t, n, "nothing was asked of: %s", what)
	}
}

// lockRound is what one round saw, all of it as it should be.
type lockRound struct {
	// reached is how long the lock took to each of the other gates, as far as it was waited for.
	reached []time.Duration
	// there and elsewhere are requests that began under the lock and were refused, unlocked
	// those that began after its end.
	there, elsewhere, unlocked int
	// told is 1 where the unlock's answer said that all gates have it.
	told int
}

// lockUnderLoad is one round. With everywhere the lock reaches all gates before it ends;
// without, its end may overtake it, and must not be undone by it.
func (c *cluster) lockUnderLoad(t *testing.T, name, role string, locker, unlocker *gate, everywhere bool) (r lockRound) {
	k := c.gates[0].create(t, name, role)
	load := c.shower(k.basic())
	defer load.end()
	load.accepted(t, 3)
	first := time.Now()
	began, locked, sure := locker.locks(t, k)
	if everywhere {
		require.Eventually(t, func() bool {
			return !slices.ContainsFunc(c.gates, func(g *gate) bool { return load.refusedFrom(g.n, began).IsZero() })
		}, patience, time.Millisecond)
	}
	load.ask(3)
	done := unlocker.unlock(t, k)
	load.ask(3)
	load.end()
	require.NoError(t, load.failed)

	for _, g := range c.gates {
		refused := load.refusedFrom(g.n, began)
		if everywhere && g != locker {
			r.reached = append(r.reached, max(0, refused.Sub(locked)))
		}
		for _, a := range load.answers[g.n] {
			late := a.began.Sub(locked)
			switch {
			case a.ended.Before(first):
				require.Equal(t, http.StatusOK, a.status, "%s, gate %s: before any failure: %s", name, g.name, a.body)
			case a.ended.After(done.began): // or under way with the unlock
			case a.ended.Before(began): // or with failures that a success cleared in the end
			case g == locker && sure && late > 0:
				require.Equal(t, http.StatusUnauthorized, a.status, "%s: accepted by the gate that locked (%s) %s after", name, g.name, late)
				r.there++
			case !refused.IsZero() && a.began.After(refused):
				require.Equal(t, http.StatusUnauthorized, a.status, "%s: gate %s knew of the lock, and accepted %s after", name, g.name, late)
				r.elsewhere++
			default:
				require.True(t, a.status == http.StatusUnauthorized || late < lockLag, "%s: accepted by gate %s %s after the lock", name, g.name, late)
			}
		}
	}
	if done.header.Get("Keyreeve-Propagation") != "confirmed=3; pending=0" { // a gate was slow to tell that it has it
		for _, g := range c.gates {
			g.until(t, "it is unlocked", func() bool { return g.status(t, k) == http.StatusOK })
		}
		return r
	}
	r.told = 1
	for _, a := range slices.Concat(load.answers...) {
		if a.began.After(done.ended) {
			require.Equal(t, http.StatusOK, a.status, "%s: asked %s after the unlock: %s", name, a.began.Sub(done.ended), a.body)
			r.unlocked++
		}
	}
	return r
}

// locks shows a gate wrong secrets, as many at a time as lock, until the store has the
// lock: a success in between clears what was counted, and until a gate has heard of that
// it may refuse for a lock that never comes. It returns when the last of them began, and
// the end of the last answer. Not sure is a lock that an answer did not wait for.
func (g *gate) locks(t *testing.T, k key) (began, at time.Time, sure bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var mu sync.Mutex
		var guessing sync.WaitGroup
		began, at, sure = time.Now(), time.Time{}, true
		for range attempts {
			guessing.Go(func() {
				got, err := g.show(k.wrong())
				if err != nil || got.status != http.StatusUnauthorized {
					t.Errorf("%d: %v", got.status, err)
				}
				mu.Lock()
				defer mu.Unlock()
				at, sure = latest(at, got.ended), sure && !got.slow()
			})
		}
		guessing.Wait()
		if g.lock(t, k).Locked {
			return began, at, sure
		}
	}
	t.Fatalf("gate %s: not locked within %s", g.name, patience)
	return began, at, false
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// refusedFrom is the end of the first answer of a gate that refused what began since then,
// zero for none.
func (l *load) refusedFrom(gate int, since time.Time) (first time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.answers[gate] {
		if a.status == http.StatusUnauthorized && a.ended.After(since) && (first.IsZero() || a.ended.Before(first)) {
			first = a.ended
		}
	}
	return first
}
