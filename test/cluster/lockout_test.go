package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
)

// attempts is how many failures lock, by default.
const attempts = 3

// TestGuessesThatHopOverGatesAreNotComparedMoreOftenThanOnOne guesses at one key on all
// gates at once, in every other round with one of them cut off from the database.
func TestGuessesThatHopOverGatesAreNotComparedMoreOftenThanOnOne(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3, global: "max_stale 5m"})
	role := c.role(t, "all")
	most := map[bool]int{}
	for round := range rounds(10) {
		k := c.gates[0].create(t, "hop "+strconv.Itoa(round), role)
		for _, g := range c.gates {
			g.accepts(t, k)
		}
		alone := -1
		if round%2 == 1 {
			alone = round / 2 % 3
			c.gates[alone].link.Down()
		}
		guessers := 1 + round%4*2
		var mu sync.Mutex
		var made []hop
		var guessing sync.WaitGroup
		for w := range guessers {
			guessing.Go(func() {
				for n := range 12 {
					at := (w + n) % len(c.gates)
					got, err := c.gates[at].show(k.wrong())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					made = append(made, hop{at, got})
					mu.Unlock()
				}
			})
		}
		guessing.Wait()
		if alone >= 0 {
			c.gates[alone].link.Up(t)
		}
		for i := range made {
			made[i].verdict = c.gates[made[i].gate].explained(t, made[i].guess)
		}
		require.NoError(t, tooMany(made, alone), "round %d, %d guess at once, cut off: %d", round, guessers, alone)
		total := comparedOf(made)
		require.GreaterOrEqual(t, total, attempts)
		most[alone >= 0] = max(most[alone >= 0], total)
		healed := time.Now()
		for _, g := range c.gates {
			g.refuses(t, k, healed)
			require.Equal(t, locked, g.tries(t, k.wrong()).verdict)
		}
		require.Equal(t, lock{true, attempts}, c.gates[round%3].lock(t, k))
	}
	t.Logf("of up to 84 guesses over three gates at most %d were compared, %d with one gate cut off", most[false], most[true])
}

// TestAGateThatIsCutOffLocksByItselfAndEverywhereOnceItIsBack guesses where nobody else
// hears of it.
func TestAGateThatIsCutOffLocksByItselfAndEverywhereOnceItIsBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3, global: "max_stale 5m"})
	a, b := c.gates[0], c.gates[1]
	role := c.role(t, "all")
	both, alone, cleared := a.create(t, "both", role), a.create(t, "alone", role), a.create(t, "cleared", role)
	for _, k := range []key{both, alone, cleared} {
		for _, g := range c.gates {
			g.accepts(t, k)
		}
	}
	b.link.Down()
	wrongs := b.shows(t, alone.wrong(), attempts+3)
	after := b.shows(t, alone.basic(), 1)[0]
	b.shows(t, both.wrong(), attempts-1)
	b.shows(t, cleared.wrong(), attempts)
	require.Equal(t, attempts-1, a.guesses(t, both, attempts-1))
	require.Equal(t, accepted, a.tries(t, alone.basic()).verdict, "nobody else knows")
	// What a gate has counted before an operator unlocks is not known to him.
	a.unlock(t, cleared)

	b.link.Up(t)
	healed := time.Now()
	for _, g := range c.gates {
		g.refuses(t, alone, healed)
	}
	for n, w := range wrongs {
		want := locked
		if n < attempts {
			want = compared
		}
		require.Equal(t, want, b.explained(t, w), "the guess %d at the gate that was cut off", n+1)
	}
	require.Equal(t, locked, b.explained(t, after))
	took := time.Since(healed)
	t.Logf("locked everywhere %s after it could be heard of", took.Round(time.Millisecond))
	require.Less(t, took, allowed(healsWithin, c.calm(t, role)))
	a.until(t, "the failures of both are counted", func() bool { return a.lock(t, both).Locked })
	for _, g := range c.gates {
		g.refuses(t, both, healed)
	}

	// Either order of the unlock and the count is an order; nobody is left with another.
	agree := func() (l lock, agreed bool) {
		l = a.lock(t, cleared)
		for _, g := range c.gates {
			if (g.tries(t, cleared.basic()).verdict == locked) != l.Locked {
				return l, false
			}
		}
		return l, true
	}
	a.until(t, "all gates have the same of the key that was unlocked", func() bool { _, ok := agree(); return ok })
	time.Sleep(time.Second)
	l, agreed := agree()
	require.True(t, agreed, "and stay with it: %+v", l)
	t.Logf("unlocked elsewhere while it was counted: %+v", l)
	for _, k := range []key{cleared, alone, both} {
		a.unlock(t, k)
		for _, g := range c.gates {
			g.until(t, "it is unlocked", func() bool { return g.tries(t, k.basic()).verdict == accepted })
		}
		require.Equal(t, lock{}, a.lock(t, k))
	}
}

// TestASuccessClearsTheCountOfAllGates fails at one gate, signs in at another and fails
// at a third.
func TestASuccessClearsTheCountOfAllGates(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3})
	role := c.role(t, "all")
	for round := range rounds(4) {
		k := c.gates[0].create(t, "key "+strconv.Itoa(round), role)
		at := func(n int) *gate { return c.gates[(round+n)%3] }
		require.Equal(t, attempts-1, at(0).guesses(t, k, attempts-1))
		require.Equal(t, lock{false, attempts - 1}, at(1).lock(t, k))
		// The one that is signed in at has to have heard of the failures: before, it has
		// nothing to clear.
		began := time.Now()
		at(1).hears(t, at(0))
		require.Equal(t, accepted, at(1).tries(t, k.basic()).verdict)
		at(1).until(t, "a success there clears the count", func() bool { return at(2).lock(t, k) == lock{} })
		at(2).hears(t, at(1))
		took := time.Since(began) // 1 s each way, and twice a key that is made and locked to tell
		require.Less(t, took, allowed(healsWithin, c.calm(t, role)))
		require.Equal(t, attempts-1, at(2).guesses(t, k, attempts-1))
		require.Equal(t, lock{false, attempts - 1}, at(0).lock(t, k), "counted from zero")
		require.Equal(t, compared, at(0).tries(t, k.wrong()).verdict)
		began = time.Now()
		for n := range 3 {
			at(n).refuses(t, k, began)
		}
	}
}

// TestALockReachesTheOtherGates measures how long.
func TestALockReachesTheOtherGates(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3})
	role := c.role(t, "all")
	var took []time.Duration
	for n := range rounds(40) {
		k := c.gates[0].create(t, "key "+strconv.Itoa(n), role)
		for _, g := range c.gates {
			g.accepts(t, k)
		}
		at := c.gates[n%3]
		var last guess
		for range attempts {
			last = at.tries(t, k.wrong())
			require.Equal(t, compared, last.verdict)
		}
		var mu sync.Mutex
		var asking sync.WaitGroup
		for _, g := range c.gates {
			if g == at {
				require.Equal(t, locked, g.tries(t, k.basic()).verdict, "known where it was counted")
				continue
			}
			asking.Go(func() {
				for {
					got, err := g.get(k.basic())
					if err != nil || got.began.Sub(last.ended) > patience {
						t.Errorf("gate %s: not locked: %v", g.name, err)
						return
					}
					if got.status == http.StatusUnauthorized {
						mu.Lock()
						took = append(took, max(0, got.began.Sub(last.ended)))
						mu.Unlock()
						return
					}
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
		asking.Wait()
	}
	slices.Sort(took)
	t.Logf("a lock is in force at another gate after the third answer's end: p50 %s, p99 %s, max %s (%d)",
		percentile(took, 50), percentile(took, 99), took[len(took)-1].Round(10*time.Microsecond), len(took))
	require.Less(t, percentile(took, 50), allowed(time.Second, c.calm(t, role)))
}

// percentile of a sorted list, by nearest rank.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(0, (len(sorted)*p+99)/100-1)].Round(10 * time.Microsecond)
}

// TestAStormOnOneKeyIsCountedExactlyAndInFewTransactions lets so many be counted as no
// policy would: with fewer, what comes after the lock costs the store nothing at all.
func TestAStormOnOneKeyIsCountedExactlyAndInFewTransactions(t *testing.T) {
	t.Parallel()
	const storm, perGate = 2000, 24
	c := newCluster(t, options{gates: 3, global: "lockout {\n\tattempts 100000\n\tceiling 100000\n}"})
	a := c.gates[0]
	k := a.create(t, "stormed", c.role(t, "all"))
	for _, g := range c.gates {
		g.accepts(t, k)
	}
	before := c.countWrites(t)
	work := make(chan int)
	var guessing sync.WaitGroup
	for _, g := range c.gates {
		for range perGate {
			guessing.Go(func() {
				for n := range work {
					got, err := g.get(basic(k.clientID, fmt.Sprintf("wrong %d", n)))
					if err != nil || got.status != http.StatusUnauthorized {
						t.Errorf("gate %s: %d %s: %v", g.name, got.status, got.body, err)
					}
				}
			})
		}
	}
	began := time.Now()
	for n := range storm {
		work <- n
	}
	close(work)
	guessing.Wait()
	took := time.Since(began)
	// A failure whose answer did not wait for the store is told all the same.
	a.until(t, "all are counted", func() bool { return a.lock(t, k).FailedAttempts >= storm })
	writes := c.countWrites(t) - before
	require.Equal(t, lock{false, storm}, a.lock(t, k))
	require.Positive(t, writes)
	require.Less(t, writes, int64(storm/2))
	t.Logf("%d failures in %s cost the store %d writes of their count", storm, took.Round(time.Millisecond), writes)
}

// countWrites is how often a count was written: once in a transaction that counts for
// one key.
func (c *cluster) countWrites(t *testing.T) int64 {
	t.Helper()
	// A server's processes report what they did once a second at most, and once idle.
	var was, now int64 = -1, 0
	for deadline := time.Now().Add(patience); was != now; {
		require.True(t, time.Now().Before(deadline), "statistics that do not settle")
		was = now
		time.Sleep(2 * time.Second)
		c.query(t, &now, "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'tallies'", c.database)
	}
	return now
}

// query asks the server for one value, as the superuser.
func (c *cluster) query(t *testing.T, into any, text, database string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.server.DSN(pgtest.Superuser, database))
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), text).Scan(into))
}
