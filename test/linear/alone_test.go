package linear

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// TestAHistoryThatNoLockoutOfOneGateAllowsIsFound proves that the checker tells what is
// broken.
func TestAHistoryThatNoLockoutOfOneGateAllowsIsFound(t *testing.T) {
	t.Parallel()
	wrong := func(got Verdict, from int) Guess { return in(Wrong, 0, got, from, from+10) }
	right := func(got Verdict, from int) Guess { return in(Right, 0, got, from, from+10) }
	for name, c := range map[string]struct {
		guesses []Guess
		crashes []int
		want    porcupine.CheckResult
	}{
		"the third locks":                   {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), right(Locked, 60), wrong(Locked, 80)}, nil, porcupine.Ok},
		"four at once are compared":         {[]Guess{wrong(Compared, 0), wrong(Compared, 1), wrong(Compared, 2), wrong(Compared, 3), right(Locked, 60)}, nil, porcupine.Ok},
		"a success clears":                  {[]Guess{wrong(Compared, 0), wrong(Compared, 20), right(Accepted, 40), wrong(Compared, 60), right(Accepted, 80)}, nil, porcupine.Ok},
		"unlocked":                          {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), in(Unlock, 0, "", 60, 70), right(Accepted, 80)}, nil, porcupine.Ok},
		"a fourth behind the third":         {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), wrong(Compared, 60)}, nil, porcupine.Illegal},
		"let in behind the third":           {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), right(Accepted, 60)}, nil, porcupine.Illegal},
		"locked for two":                    {[]Guess{wrong(Compared, 0), wrong(Compared, 20), right(Locked, 40)}, nil, porcupine.Illegal},
		"locked for what was cleared":       {[]Guess{wrong(Compared, 0), wrong(Compared, 20), right(Accepted, 40), wrong(Compared, 60), right(Locked, 80)}, nil, porcupine.Illegal},
		"locked for what was unlocked":      {[]Guess{wrong(Compared, 0), wrong(Compared, 20), in(Unlock, 0, "", 60, 70), wrong(Compared, 20_000), right(Locked, 20_020)}, nil, porcupine.Illegal},
		"counted beside the unlock":         {[]Guess{wrong(Compared, 0), wrong(Compared, 20), in(Unlock, 0, "", 60, 70), wrong(Compared, 65), right(Locked, 80), right(Accepted, 100)}, nil, porcupine.Ok},
		"a crash keeps the count":           {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 2000), right(Locked, 2020)}, []int{1000}, porcupine.Ok},
		"a crash keeps the lock":            {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), right(Accepted, 2020)}, []int{1000}, porcupine.Illegal},
		"a crash forgets the count":         {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 2000), right(Accepted, 2020)}, []int{1000}, porcupine.Illegal},
		"a crash soon behind a success":     {[]Guess{wrong(Compared, 0), wrong(Compared, 20), right(Accepted, 990), wrong(Compared, 2000), right(Locked, 2020)}, []int{1000}, porcupine.Ok},
		"a crash long behind a success":     {[]Guess{wrong(Compared, 0), wrong(Compared, 20), right(Accepted, 40), wrong(Compared, 20_000), right(Locked, 20_020)}, []int{15_000}, porcupine.Illegal},
		"lost, counted or not: locked":      {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Lost, 990), right(Locked, 2020)}, []int{1000}, porcupine.Ok},
		"lost, counted or not: not locked":  {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Lost, 990), right(Accepted, 2020)}, []int{1000}, porcupine.Ok},
		"lost, but it is not two":           {[]Guess{wrong(Compared, 0), wrong(Lost, 990), right(Locked, 2020)}, []int{1000}, porcupine.Illegal},
		"a lost unlock, done or not":        {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), in(Unlock, 0, Lost, 990, 1000), right(Accepted, 2020)}, []int{1000}, porcupine.Ok},
		"a crash alone locks nothing":       {[]Guess{right(Accepted, 990), right(Locked, 2020)}, []int{1000}, porcupine.Illegal},
		"a success may not open what locks": {[]Guess{wrong(Compared, 0), wrong(Compared, 20), wrong(Compared, 40), right(Lost, 990), right(Accepted, 2020)}, []int{1000}, porcupine.Illegal},
	} {
		h := Alone{Guesses: c.guesses, Lag: lag}
		for _, at := range c.crashes {
			h.Crashes = append(h.Crashes, Cut{From: int64(at) * 1e6, To: int64(at+100) * 1e6})
		}
		require.Equal(t, c.want, h.Order(time.Minute), name)
	}
}
