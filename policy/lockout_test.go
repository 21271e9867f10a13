package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// handClock is turned by hand: time passes, the wall clock is set, the machine boots.
type handClock struct{ Instant }

func newHandClock() *handClock {
	return &handClock{Instant{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Boot: "boot-1", Since: time.Hour}}
}

func (c *handClock) pass(d time.Duration) { c.Wall, c.Since = c.Wall.Add(d), c.Since+d }
func (c *handClock) set(by time.Duration) { c.Wall = c.Wall.Add(by) }
func (c *handClock) boot(name string)     { c.Boot, c.Since = name, 0 }

// client is one client's counts as a store keeps them.
type client struct {
	t      testing.TB
	policy Lockout
	clock  *handClock
	whole  Tally
	source map[string]Tally
}

func newClient(t testing.TB, mode Mode) *client {
	l := DefaultLockout()
	l.Mode = mode
	return &client{t: t, policy: l, clock: newHandClock(), source: map[string]Tally{}}
}

func (c *client) fail(source string, secret uint64) Outcome {
	var out Outcome
	c.whole, c.source[source], out = c.policy.Fail(c.whole, c.source[source], c.clock.Instant, secret)
	return out
}

func (c *client) succeed(source string) bool {
	var ok bool
	c.whole, c.source[source], ok = c.policy.Succeed(c.whole, c.source[source], c.clock.Instant)
	return ok
}

func (c *client) locked(source string) time.Duration {
	return c.policy.Locked(c.whole, c.source[source], c.clock.Instant)
}

func (c *client) rebase() {
	c.whole, _ = c.whole.Rebase(c.clock.Instant)
	for s, t := range c.source {
		c.source[s], _ = t.Rebase(c.clock.Instant)
	}
}

func (c *client) lock() {
	for range c.policy.Attempts {
		c.fail("", 1)
	}
	require.Equal(c.t, c.policy.Duration, c.locked(""))
}

func TestThreeFailuresLockForExactlyThirtyMinutes(t *testing.T) {
	t.Parallel()
	c := newClient(t, Strict)
	require.Equal(t, Outcome{Counted: true}, c.fail("", 1))
	require.Equal(t, Outcome{Counted: true}, c.fail("", 1))
	require.Zero(t, c.locked(""))
	require.Equal(t, Outcome{Counted: true, Locked: true}, c.fail("", 1))
	require.Equal(t, 30*time.Minute, c.locked(""))
	require.False(t, c.succeed(""), "the right secret is of no use while locked")
	c.clock.pass(30*time.Minute - 1)
	require.Equal(t, time.Duration(1), c.locked(""))
	c.clock.pass(1)
	require.Zero(t, c.locked(""))
	require.Equal(t, Outcome{Counted: true}, c.fail("", 1), "after a lock the count begins anew")
	require.True(t, c.succeed(""))
}

func TestTriesWhileLockedNeitherCountNorExtend(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Strict, Guard} {
		c := newClient(t, mode)
		for i := range 3 {
			c.fail("net", uint64(i))
		}
		before, source := c.whole, c.source["net"]
		for i := range 10 {
			c.clock.pass(time.Minute)
			require.Equal(t, Outcome{}, c.fail("net", uint64(100+i)))
		}
		require.Equal(t, 20*time.Minute, c.locked("net"))
		require.Equal(t, before, c.whole)
		require.Equal(t, source, c.source["net"])
	}
}

func TestASuccessOrSilenceClearsTheCount(t *testing.T) {
	t.Parallel()
	c := newClient(t, Strict)
	c.fail("", 1)
	c.fail("", 1)
	require.True(t, c.succeed(""))
	c.fail("", 1)
	c.fail("", 1)
	c.clock.pass(30*time.Minute - 1)
	require.Equal(t, Outcome{Counted: true, Locked: true}, c.fail("", 1), "just within reset_after")

	c = newClient(t, Strict)
	c.fail("", 1)
	c.fail("", 1)
	c.clock.pass(30 * time.Minute)
	require.True(t, c.whole.Empty(c.policy, c.clock.Instant))
	require.Equal(t, Outcome{Counted: true}, c.fail("", 1))
	require.Equal(t, 1.0, c.whole.Failures)
}

func TestACountLastsAcrossABoot(t *testing.T) {
	t.Parallel()
	c := newClient(t, Strict)
	c.fail("", 1)
	c.fail("", 1)
	c.clock.pass(time.Minute)
	c.clock.boot("boot-2")
	c.rebase()
	require.True(t, c.fail("", 1).Locked)
}

func TestTheWallClockDoesNotTouchALockWithinOneBoot(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-time.Hour, time.Hour, -48 * time.Hour, 48 * time.Hour} {
		c := newClient(t, Strict)
		c.lock()
		c.clock.set(step)
		require.Equal(t, 30*time.Minute, c.locked(""), step)
		c.clock.pass(30 * time.Minute)
		require.Zero(t, c.locked(""), step)
	}
}

func TestOverABootALockIsNeverShorterAndAtMostOneDurationLonger(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-time.Hour, -20 * time.Minute, 0, 20 * time.Minute, time.Hour} {
		for _, at := range []time.Duration{0, time.Minute, 29 * time.Minute} {
			c := newClient(t, Strict)
			c.lock()
			c.clock.pass(at)
			c.clock.boot("boot-2")
			c.clock.set(step)
			c.rebase()
			lasts := at + c.locked("")
			require.GreaterOrEqual(t, lasts, 30*time.Minute, "booted after %v, clock set by %v", at, step)
			require.LessOrEqual(t, lasts, time.Hour, "booted after %v, clock set by %v", at, step)
			c.clock.pass(c.locked(""))
			require.Zero(t, c.locked(""), "and it ends on time in the new boot")
			require.True(t, c.whole.Empty(c.policy, c.clock.Instant))
		}
	}
}

func TestOfALockFromBeforeABootTheTimeThatMustHavePassedIsServed(t *testing.T) {
	t.Parallel()
	for away, want := range map[time.Duration]time.Duration{
		30 * time.Minute: 30 * time.Minute,
		60 * time.Minute: 30 * time.Minute,
		70 * time.Minute: 20 * time.Minute,
		89 * time.Minute: time.Minute,
		90 * time.Minute: 0,
		48 * time.Hour:   0,
	} {
		c := newClient(t, Strict)
		c.lock()
		c.clock.pass(away)
		c.clock.boot("boot-2")
		require.Equal(t, want, c.locked(""), "before the store rebased it, away for %v", away)
		c.rebase()
		require.Equal(t, want, c.locked(""), away)
		if want > 0 {
			c.clock.pass(want - 1)
			require.Equal(t, time.Duration(1), c.locked(""), away)
		} else {
			require.Zero(t, c.whole.Failures)
		}
	}
}

func TestManyBootsDoNotKeepALockForEver(t *testing.T) {
	t.Parallel()
	c := newClient(t, Strict)
	c.lock()
	for i := 0; c.locked("") > 0; i++ {
		require.Less(t, i, 10)
		c.clock.pass(10 * time.Minute)
		c.clock.boot(fmt.Sprint("boot-", i))
		c.rebase()
	}
}

func TestALockIsNeverShorterHoweverBootsAndClockStepsMix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newClient(t, Strict)
		c.lock()
		served, stepped, boots := time.Duration(0), time.Duration(0), 0
		for served < 30*time.Minute {
			require.Positive(rt, c.locked(""), "free after %v", served)
			d := time.Duration(rapid.Int64Range(1, int64(20*time.Minute)).Draw(rt, "pass"))
			c.clock.pass(min(d, 30*time.Minute-served))
			served += min(d, 30*time.Minute-served)
			if served < 30*time.Minute && rapid.Bool().Draw(rt, "boot") {
				// All steps together stay within an hour.
				step := time.Duration(rapid.Int64Range(int64(-time.Hour-stepped), int64(time.Hour-stepped)).Draw(rt, "step"))
				stepped += step
				boots++
				c.clock.set(step)
				c.clock.boot(fmt.Sprint("boot-", boots+1))
				c.rebase()
			}
		}
		if boots == 0 {
			require.Zero(rt, c.locked(""))
		}
		require.LessOrEqual(rt, c.locked(""), 30*time.Minute)
	})
}

func TestGuardLocksTheGuessingSourceOnly(t *testing.T) {
	t.Parallel()
	c := newClient(t, Guard)
	c.fail("attacker", 1)
	c.fail("attacker", 2)
	require.Equal(t, Outcome{Counted: true, SourceLocked: true}, c.fail("attacker", 3))
	require.Equal(t, 30*time.Minute, c.locked("attacker"))
	require.Zero(t, c.locked("home"))
	require.True(t, c.succeed("home"))
	require.False(t, c.succeed("attacker"))
	c.clock.pass(30 * time.Minute)
	require.Zero(t, c.locked("attacker"))
	require.Equal(t, Outcome{Counted: true}, c.fail("attacker", 1), "a known secret counts again after the lock")
}

func TestGuardCountsARepeatedSecretOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, Guard)
	require.True(t, c.fail("net", 1).Counted)
	for range 100 {
		c.clock.pass(10 * time.Second)
		require.Equal(t, Outcome{}, c.fail("net", 1))
	}
	require.Equal(t, 1.0, c.source["net"].Failures)
	require.Equal(t, 1.0, c.whole.Failures)
	require.True(t, c.fail("other", 1).Counted, "another source counts for itself")
	require.True(t, c.succeed("net"))
	require.True(t, c.fail("net", 1).Counted, "a success forgets what was seen")
}

func TestStrictCountsARepeatedSecretEveryTime(t *testing.T) {
	t.Parallel()
	c := newClient(t, Strict)
	for i := range 3 {
		require.Equal(t, i == 2, c.fail("net", 1).Locked)
	}
}

// spray makes n failures, each from a source of its own.
func (c *client) spray(n int) (out Outcome) {
	for range n {
		out = c.fail(fmt.Sprint("net-", len(c.source)), 1)
		require.True(c.t, out.Counted)
	}
	return out
}

func TestGuardLocksTheWholeClientAtTheCeiling(t *testing.T) {
	t.Parallel()
	c := newClient(t, Guard)
	require.True(t, c.succeed("home"))
	require.False(t, c.spray(99).Locked)
	require.Equal(t, Outcome{Counted: true, Locked: true}, c.spray(1))
	require.Equal(t, 30*time.Minute, c.locked("new"))
	require.Zero(t, c.locked("home"), "a source with a recent success is exempt")
	require.True(t, c.succeed("home"))
	require.Equal(t, 30*time.Minute, c.locked("new"), "which does not free the others")
	require.Equal(t, Outcome{Counted: true}, c.fail("home", 1), "and still counts there")
	c.fail("home", 2)
	require.True(t, c.fail("home", 3).SourceLocked)
	c.clock.pass(30 * time.Minute)
	require.Zero(t, c.locked("new"))
	require.False(t, c.spray(1).Locked)
}

func TestGuardTrustsASourceForSevenDays(t *testing.T) {
	t.Parallel()
	c := newClient(t, Guard)
	require.True(t, c.succeed("home"))
	c.clock.pass(7*24*time.Hour - time.Minute)
	c.spray(100)
	require.Zero(t, c.locked("home"))
	require.False(t, c.source["home"].Empty(c.policy, c.clock.Instant))
	c.clock.pass(time.Minute)
	require.Equal(t, 29*time.Minute, c.locked("home"))
	require.True(t, c.source["home"].Empty(c.policy, c.clock.Instant))
}

func TestGuardsLevelOverAllSourcesFallsWithTime(t *testing.T) {
	t.Parallel()
	c := newClient(t, Guard)
	c.spray(90)
	c.clock.pass(15 * time.Minute) // half of reset_after: half the ceiling
	c.spray(1)
	require.InDelta(t, 41, c.whole.Failures, 1e-9)
	require.False(t, c.spray(58).Locked)
	require.True(t, c.spray(1).Locked)

	slow := newClient(t, Guard)
	for range 500 { // one in 20 s falls faster than it rises
		slow.clock.pass(20 * time.Second)
		require.False(t, slow.spray(1).Locked)
	}
	require.InDelta(t, 1, slow.whole.Failures, 1e-9)
	slow.clock.pass(30 * time.Minute)
	require.True(t, slow.whole.Empty(slow.policy, slow.clock.Instant))
}

func TestAFailureLeavesTheTalliesItWasGivenAlone(t *testing.T) {
	t.Parallel()
	c := newClient(t, Guard)
	c.fail("net", 1)
	before := c.source["net"]
	before.Seen = append(make([]uint64, 0, 8), before.Seen...) // room to write into
	seen := before.Seen
	_, first, _ := c.policy.Fail(c.whole, before, c.clock.Instant, 2)
	_, second, _ := c.policy.Fail(c.whole, before, c.clock.Instant, 3)
	require.Equal(t, []uint64{1, 2}, first.Seen)
	require.Equal(t, []uint64{1, 3}, second.Seen)
	require.Equal(t, []uint64{1}, seen)
}

func TestElapsedTimeIsExactWithinABootAndNeverNegative(t *testing.T) {
	t.Parallel()
	c := newHandClock()
	start := c.Instant
	c.pass(time.Minute)
	c.set(-time.Hour)
	require.Equal(t, time.Minute, c.Elapsed(start))
	require.Zero(t, start.Elapsed(c.Instant))
	c.boot("boot-2")
	require.Zero(t, c.Elapsed(start))
	c.set(2 * time.Hour)
	require.Equal(t, time.Hour+time.Minute, c.Elapsed(start))
}

func TestTheShownCountIsWhatStillCounts(t *testing.T) {
	t.Parallel()
	c := newClient(t, Strict)
	c.fail("", 1)
	c.fail("", 1)
	require.Equal(t, 2, c.policy.Count(c.whole, c.clock.Instant))
	c.clock.pass(30 * time.Minute)
	require.Zero(t, c.policy.Count(c.whole, c.clock.Instant))

	g := newClient(t, Guard)
	g.spray(90)
	g.clock.pass(15*time.Minute + time.Second)
	require.Equal(t, 39, g.policy.Count(g.whole, g.clock.Instant), "90 less half the ceiling, and a little")
	g.spray(61)
	require.Equal(t, 100, g.policy.Count(g.whole, g.clock.Instant), "locked")
}
