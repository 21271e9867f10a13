package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/policy"
)

// world is two clocks and a network between them: what nobody can see.
type world struct {
	now    time.Duration // the machine's time since boot
	offset time.Duration // of the database's clock
}

// pass lets time pass while the clocks drift apart by a share of what they may.
func (w *world) pass(d time.Duration, drift float64) {
	w.now += d
	w.offset += time.Duration(float64(d) * driftRate * drift)
}

// ask is a round trip whose answer was read somewhere on the way.
func (w *world) ask(there, back time.Duration, drift float64) bounds {
	sent := policy.Instant{Boot: "b", Since: w.now}
	w.pass(there, drift)
	reading := w.now + w.offset
	w.pass(back, drift)
	return measured(sent, policy.Instant{Boot: "b", Since: w.now}, reading)
}

func durations(most time.Duration) *rapid.Generator[time.Duration] {
	return rapid.OneOf(rapid.Map(rapid.Int64Range(0, int64(time.Millisecond)), func(n int64) time.Duration { return time.Duration(n) }),
		rapid.Map(rapid.Int64Range(0, int64(most)), func(n int64) time.Duration { return time.Duration(n) }))
}

// askAny draws what passes before the next round trip, and that.
func (w *world) askAny(t *rapid.T) bounds {
	drift := rapid.Float64Range(-0.999, 0.999)
	w.pass(durations(time.Hour).Draw(t, "pause"), drift.Draw(t, "drift in the pause"))
	return w.ask(durations(10*time.Second).Draw(t, "there"), durations(10*time.Second).Draw(t, "back"), drift.Draw(t, "drift on the way"))
}

func TestClocksThatNobodySetsAreNeverFoundToHaveBeenHoweverSlowTheNetworkIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: time.Hour, offset: durations(1000*time.Hour).Draw(t, "offset")}
		b := w.askAny(t)
		offset := b.lo
		for range rapid.IntRange(1, 50).Draw(t, "round trips") {
			m := w.askAny(t)
			next, step := b.then(m)
			require.Nil(t, step)
			require.Zero(t, next.spent, "drift is no step")
			offset = next.nearest(offset)
			// The answer was read somewhere on the way: since then clocks may have drifted.
			drift := time.Duration(float64(m.received-m.sent)*driftRate) + 1
			require.LessOrEqual(t, next.lo, w.offset+drift, "the bounds are bounds")
			require.GreaterOrEqual(t, next.hi, w.offset-drift)
			require.LessOrEqual(t, (offset - w.offset).Abs(), m.received-m.sent+drift, "as good as the round trip")
			b = next
		}
	})
}

func TestWhatMovesAClockIsCountedNoHigherThanItWasMoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: time.Hour}
		b := w.askAny(t)
		var moved time.Duration
		for range rapid.IntRange(1, 30).Draw(t, "round trips") {
			by := rapid.Int64Range(-int64(20*time.Millisecond), int64(20*time.Millisecond)).Draw(t, "moved by")
			w.offset += time.Duration(by)
			moved += time.Duration(by).Abs()
			next, step := b.then(w.askAny(t))
			if step != nil {
				require.Greater(t, moved, stepSlack)
				return
			}
			require.LessOrEqual(t, next.spent, moved+time.Microsecond)
			b = next
		}
	})
}

func TestAClockThatWasSetIsFoundUnlessTheRoundTripsMayHaveTakenAsLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: time.Hour}
		b := w.askAny(t)
		for range rapid.IntRange(0, 20).Draw(t, "round trips before") {
			b, _ = b.then(w.askAny(t))
		}
		by := time.Duration(rapid.Int64Range(-int64(48*time.Hour), int64(48*time.Hour)).Draw(t, "set by"))
		before := b.received
		w.offset += by
		m := w.askAny(t)
		next, step := b.then(m)
		unseen := stepSlack + (b.hi - b.lo) + (m.hi - m.lo) + 2*time.Duration(float64(m.received-before+20*time.Second)*driftRate)
		if by.Abs() > unseen {
			require.NotNil(t, step, "set by %v, which no more than %v could hide", by, unseen)
			require.Equal(t, m, next, "nothing measured before is gone by")
		}
		if step != nil {
			drift := 2*time.Duration(float64(m.received-b.sent)*driftRate) + time.Microsecond // rounding
			require.Equal(t, by < 0, step.most < 0)
			require.LessOrEqual(t, step.least.Abs()-drift, by.Abs(), "at least")
			require.GreaterOrEqual(t, step.most.Abs()+drift, by.Abs(), "at most")
		}
	})
}

// TestWhatPassesUnnoticedInAnEraIsBounded sets the clock as slyly as it likes, always
// in the same direction.
func TestWhatPassesUnnoticedInAnEraIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: time.Hour}
		first := w.ask(0, durations(time.Second).Draw(t, "first"), 0)
		b, began := first, w.now
		sign := time.Duration(rapid.SampledFrom([]int{-1, 1}).Draw(t, "direction"))
		for range rapid.IntRange(1, 60).Draw(t, "round trips") {
			w.offset += sign * durations(100*time.Millisecond).Draw(t, "set by")
			w.pass(durations(time.Second).Draw(t, "pause"), 0)
			m := w.ask(durations(time.Second).Draw(t, "there"), durations(time.Second).Draw(t, "back"), 0)
			next, step := b.then(m)
			if step != nil {
				return
			}
			most := stepSlack + time.Duration(float64(w.now-began+20*time.Second)*driftRate) + (first.hi - first.lo) + (m.hi - m.lo)
			require.LessOrEqual(t, w.offset.Abs(), most)
			b = next
		}
	})
}

func TestAnotherBootIsAnotherClock(t *testing.T) {
	w := &world{now: time.Hour}
	b, m := w.ask(1, 1, 0), w.ask(1, 1, 0)
	m.boot = "c"
	next, step := b.then(m)
	require.NotNil(t, step)
	require.Equal(t, m, next)
}

func TestOfTwoRoundTripsTheLaterMayBeAnsweredFirst(t *testing.T) {
	w := &world{now: time.Hour}
	early := policy.Instant{Boot: "b", Since: w.now}
	first := w.ask(time.Millisecond, time.Millisecond, 0)
	late := measured(early, policy.Instant{Boot: "b", Since: first.received - 1}, first.received-1)
	b, step := first.then(late)
	require.Nil(t, step)
	require.Equal(t, first.received, b.received)
	b, step = b.then(w.ask(time.Millisecond, time.Millisecond, 0))
	require.Nil(t, step)
	require.Zero(t, b.spent)
}

func TestAClockSetByLittleOverAndOverIsFoundOverASlowNetworkToo(t *testing.T) {
	const by, way = 10 * time.Millisecond, 50 * time.Millisecond
	w := &world{now: time.Hour}
	b := w.ask(way, way, 0)
	for range (stepSlack+2*way)/by + 2 {
		w.offset += by
		w.pass(time.Millisecond, 0)
		next, step := b.then(w.ask(way, way, 0))
		if b = next; step != nil {
			return
		}
	}
	t.Fatalf("set by %v and not found", w.offset)
}
