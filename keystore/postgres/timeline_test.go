package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

const day = 24 * time.Hour

// told is a timeline with a database whose clock says what the test wants.
type told struct {
	timeline
	clock *storetest.Clock
	ahead time.Duration // of the machine's time since boot
}

func newTold() *told {
	c := storetest.NewClock()
	return &told{timeline: timeline{clock: c, logger: zap.NewNop()}, clock: c, ahead: 20_000 * day}
}

func (w *told) time(era, began int64) sqlstore.Time {
	return sqlstore.Time{Now: int64(w.clock.Now().Since + w.ahead), Era: era, Began: began}
}

func (w *told) ask(era int64) verdict {
	v, _ := w.take(w.clock.Now(), w.clock.Now(), w.time(era, 1000*era))
	return v
}

// settle does what the store does in the turn to write.
func (w *told) settle(era int64, kept ...sqlstore.Measurement) sqlstore.Plan {
	p := w.Plan(w.time(era, 1000*era), kept)
	w.Settled(p)
	return p
}

// opened is one that has settled in an era.
func opened(t *testing.T) *told {
	w := newTold()
	require.Equal(t, unsteady, w.ask(4), "nothing is known yet")
	require.EqualValues(t, 5, w.settle(4).Era)
	require.Equal(t, steady, w.ask(5))
	return w
}

func TestAClockThatWasSetIsNotGoneByUntilAnEraBegins(t *testing.T) {
	w := opened(t)
	w.ahead += time.Hour
	require.Equal(t, unsteady, w.ask(5))
	require.Equal(t, unsteady, w.ask(5), "until one does")
	_, _, ok := (&Store{timeline: timeline{known: true, doubt: true}}).keeping()
	require.False(t, ok, "and nobody is told that it is watched")
	p := w.settle(5)
	require.True(t, p.New)
	require.EqualValues(t, 6, p.Era)
	require.InDelta(t, float64(time.Hour), float64(p.Forward), float64(time.Millisecond))
	require.GreaterOrEqual(t, p.Forward, time.Hour, "no less than it was set by")
	require.GreaterOrEqual(t, p.Began*int64(time.Millisecond), w.time(0, 0).Now, "it begins no earlier than it did")
	require.Equal(t, steady, w.ask(6))
}

func TestAnEraThatAnotherNodeBeganIsEntered(t *testing.T) {
	w := opened(t)
	w.ahead += time.Hour
	require.Equal(t, entered, w.ask(6), "it is why the clock is another")
	require.Equal(t, steady, w.ask(6))
	require.Equal(t, entered, w.ask(7), "also where this node saw no reason for it")
	w.ahead -= time.Hour
	require.Equal(t, unsteady, w.ask(7))
	require.Equal(t, entered, w.ask(8))
	require.Equal(t, steady, w.ask(8))
}

func TestAClockSetOnceMoreSinceAnEraWasDueNeedsAnother(t *testing.T) {
	w := opened(t)
	w.ahead += time.Hour
	require.Equal(t, unsteady, w.ask(5))
	w.ahead += time.Hour
	require.Equal(t, unsteady, w.ask(6), "the first time only has been seen to")
	p := w.Plan(w.time(6, 6000), nil)
	require.EqualValues(t, 7, p.Era)
	require.GreaterOrEqual(t, p.Forward, 2*time.Hour)
	w.ahead += time.Hour
	require.Equal(t, unsteady, w.ask(6))
	w.Settled(p)
	require.Equal(t, unsteady, w.ask(7), "set while the era was about to begin")
}

func TestADatabaseThatKnowsLessOfErasNeedsOneThatNeverWas(t *testing.T) {
	w := opened(t)
	require.Equal(t, unsteady, w.ask(2), "it was restored")
	require.EqualValues(t, 6, w.settle(2).Era)
	require.Equal(t, steady, w.ask(6))
}

func TestWhoOpensGoesOnWithTheEraThatSomebodyWatches(t *testing.T) {
	now := newTold().time(0, 0).Now
	ago := func(d time.Duration) int64 { return now - int64(d) }
	self := func(since, ahead time.Duration) sqlstore.Measurement {
		w := newTold()
		return sqlstore.Measurement{Boot: "boot-1", Since: w.clock.Now().Since - since, Lo: w.ahead + ahead - 1, Hi: w.ahead + ahead, At: ago(since)}
	}
	for _, c := range []struct {
		rule string
		kept []sqlstore.Measurement
		new  bool
	}{
		{"a database in which nobody measured", nil, true},
		{"another node a moment ago", []sqlstore.Measurement{{Boot: "other", At: ago(9 * time.Second)}}, false},
		{"another node, too long ago", []sqlstore.Measurement{{Boot: "other", At: ago(11 * time.Second)}}, true},
		{"another node, in the future", []sqlstore.Measurement{{Boot: "other", At: ago(-time.Second)}}, true},
		{"one in the future beside one a moment ago", []sqlstore.Measurement{{Boot: "other", At: ago(time.Second)}, {Boot: "another", At: ago(-time.Second)}}, true},
		{"this boot, half an hour ago", []sqlstore.Measurement{self(30*time.Minute, 0)}, false},
		{"this boot, by drift only another", []sqlstore.Measurement{self(30*time.Minute, time.Second)}, false},
		{"this boot, set since", []sqlstore.Measurement{self(30*time.Minute, 3*time.Second)}, true},
		{"this boot, set since, though another watches", []sqlstore.Measurement{self(30*time.Minute, -3*time.Second), {Boot: "other", At: ago(time.Second)}}, true},
		{"this boot, too long ago", []sqlstore.Measurement{self(time.Hour, 0)}, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			w := newTold()
			require.Equal(t, unsteady, w.ask(3))
			p := w.settle(3, c.kept...)
			require.Equal(t, c.new, p.New)
			want := int64(3)
			if c.new {
				want = 4
			}
			require.Equal(t, want, p.Era)
			require.Equal(t, steady, w.ask(want))
		})
	}
}

func TestWhatComesAndGoesIsTheSameToTheNanosecond(t *testing.T) {
	w := opened(t)
	sent := w.clock.Now()
	w.clock.Advance(3 * time.Second)
	_, f := w.take(sent, w.clock.Now(), w.time(5, 0))
	now := w.clock.Now()
	now.Since -= 17
	now.Wall = now.Wall.Add(-17)
	c := policy.Tally{Failures: 3, Last: f.In(now), LockedAt: f.In(now), LockedFor: time.Minute, TrustedAt: f.In(now).Wall}
	require.Equal(t, "db-5", c.Last.Boot)
	require.Equal(t, policy.Tally{Failures: 3, Last: now, LockedAt: now, LockedFor: time.Minute, TrustedAt: now.Wall}, f.Out(c, w.clock.Now()))
	require.Equal(t, policy.Tally{}, f.Out(policy.Tally{}, w.clock.Now()))
}

func TestALockOfAnUnknownClockBeginsAnew(t *testing.T) {
	w := opened(t)
	_, f := w.take(w.clock.Now(), w.clock.Now(), w.time(5, 0))
	c := policy.Tally{LockedAt: policy.Instant{Boot: "elsewhere", Wall: w.clock.Now().Wall.Add(-2 * day)}, LockedFor: time.Minute}
	require.Equal(t, time.Minute, f.Out(c, w.clock.Now()).Remaining(w.clock.Now()))
	late := w.clock.Now()
	late.Boot, late.Wall = "before", late.Wall.Add(-time.Minute)
	in := f.In(late)
	require.Equal(t, "before", in.Boot)
	require.Equal(t, time.Minute, w.Now().Elapsed(in), "by the time of day")
}

// TestWhatATransactionTranslatesByIsOne: a clock that is found to have been set while it
// runs must not make a lock of before it end.
func TestWhatATransactionTranslatesByIsOne(t *testing.T) {
	w := opened(t)
	_, f := w.take(w.clock.Now(), w.clock.Now(), w.time(5, 0))
	before := f.In(w.clock.Now())
	w.ahead += day
	require.Equal(t, unsteady, w.ask(5))
	require.Equal(t, before, f.In(w.clock.Now()))
}
