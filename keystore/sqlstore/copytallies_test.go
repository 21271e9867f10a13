package sqlstore

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

// random is a duration below max.
func random(r *rand.Rand, max time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(max)))
}

func TestALockThatIsMovedEndsNoEarlierAndAtMostOneDurationLater(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		wall := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		from := policy.Instant{Wall: wall, Boot: "a", Since: 1000 * time.Hour}
		delay := random(r, 5*time.Second)
		// Another machine's clocks have nothing to do with this one's.
		to := policy.Instant{Wall: wall.Add(delay + random(r, 100*time.Hour) - 50*time.Hour), Boot: "b", Since: random(r, 2000*time.Hour)}
		ago := random(r, 3*time.Hour)
		locked := policy.Tally{Failures: 3, LockedFor: time.Minute + random(r, time.Hour), LockedAt: policy.Instant{Wall: wall.Add(-ago), Boot: "a", Since: from.Since - ago}}
		if r.IntN(3) == 0 {
			locked.LockedAt.Boot = "before" // an earlier boot
		}
		remaining := locked.Remaining(from)
		m := &copyClocks{from: from, to: to}
		moved := m.tally(locked)
		if remaining == 0 {
			require.Zero(t, moved.LockedFor)
			require.Zero(t, moved.Failures)
			continue
		}
		locked, _ = locked.Rebase(from) // as the source has it, once it is opened
		// At any time later, which the two clocks agree on how much later it is.
		later := random(r, 2*time.Hour)
		there := to
		there.Since, there.Wall = there.Since+later, there.Wall.Add(later)
		here := from
		here.Since, here.Wall = here.Since+delay+later, here.Wall.Add(delay+later)
		require.GreaterOrEqual(t, moved.Remaining(there), locked.Remaining(here))
		require.LessOrEqual(t, moved.Remaining(there), max(0, remaining+copyMargin-later), "longer by the delay and the margin")
		require.LessOrEqual(t, moved.Remaining(to), locked.LockedFor)
		require.Equal(t, "b", moved.LockedAt.Boot)
	}
}

func TestACountThatIsMovedIsForgottenNoSooner(t *testing.T) {
	wall := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	from := policy.Instant{Wall: wall, Boot: "a", Since: time.Hour}
	to := policy.Instant{Wall: wall.Add(40 * time.Hour), Boot: "b", Since: time.Minute}
	counted := policy.Tally{Failures: 2, Last: policy.Instant{Wall: wall.Add(-10 * time.Minute), Boot: "a", Since: 50 * time.Minute}, TrustedAt: wall.Add(-time.Hour)}
	m := &copyClocks{from: from, to: to}
	moved := m.tally(counted)
	require.Equal(t, counted.Failures, moved.Failures)
	require.Equal(t, 10*time.Minute-copyMargin, to.Elapsed(moved.Last))
	require.Equal(t, time.Hour, to.Wall.Sub(moved.TrustedAt))
	require.Zero(t, m.locks)

	m = &copyClocks{from: from, to: to, same: true}
	require.Equal(t, counted, m.tally(counted), "one clock")
}
