package linear

import (
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

const lag = 10 * time.Second

// in is a call that takes so many milliseconds of a history.
func in(kind GuessKind, gate int, got Verdict, from, to int) Guess {
	return Guess{kind, gate, got, int64(from) * 1e6, int64(to) * 1e6}
}

// TestAHistoryThatNoLockoutAllowsIsFound proves that the checker tells what is broken.
func TestAHistoryThatNoLockoutAllowsIsFound(t *testing.T) {
	t.Parallel()
	three := []Guess{in(Wrong, 0, Compared, 0, 10), in(Wrong, 1, Compared, 20, 30), in(Wrong, 2, Compared, 40, 50)}
	long := int(lag / time.Millisecond)
	for name, c := range map[string]struct {
		more []Guess
		may  bool
	}{
		"locked where the third was":                  {[]Guess{in(Right, 2, Locked, 60, 70)}, true},
		"not locked yet elsewhere":                    {[]Guess{in(Right, 0, Accepted, 60, 70), in(Wrong, 0, Compared, 80, 90), in(Right, 0, Locked, 100, 110)}, true},
		"refused at once elsewhere":                   {[]Guess{in(Wrong, 0, Locked, 60, 70), in(Right, 1, Locked, 60, 70)}, true},
		"unlocked":                                    {[]Guess{in(Unlock, 1, "", 60, 70), in(Right, 1, Accepted, 80, 90), in(Wrong, 1, Compared, 100, 110)}, true},
		"unlocked, and another has not heard of it":   {[]Guess{in(Unlock, 1, "", 60, 70), in(Right, 2, Locked, 80, 90), in(Right, 2, Accepted, 100, 110)}, true},
		"two at once as the third":                    {[]Guess{in(Wrong, 2, Compared, 45, 55), in(Right, 2, Locked, 60, 70)}, true},
		"accepted where the third was":                {[]Guess{in(Right, 2, Accepted, 60, 70)}, false},
		"compared where the third was":                {[]Guess{in(Wrong, 2, Compared, 60, 70)}, false},
		"compared again behind its own answer":        {[]Guess{in(Wrong, 0, Compared, 60, 70), in(Wrong, 0, Compared, 80, 90)}, false},
		"accepted behind its own answer":              {[]Guess{in(Wrong, 0, Compared, 60, 70), in(Right, 0, Accepted, 80, 90)}, false},
		"a lock that is forgotten":                    {[]Guess{in(Right, 2, Locked, 60, 70), in(Right, 2, Accepted, 80, 90)}, false},
		"a lock that never arrives":                   {[]Guess{in(Right, 0, Accepted, 60+2*long, 70+2*long)}, false},
		"an unlock that does nothing":                 {[]Guess{in(Unlock, 1, "", 60, 70), in(Right, 1, Locked, 80, 90)}, false},
		"a success that opens a lock":                 {[]Guess{in(Right, 0, Accepted, 60, 70), in(Right, 2, Accepted, 80, 90)}, false},
		"locked elsewhere for an unlock that is over": {[]Guess{in(Unlock, 1, "", 60, 70), in(Right, 2, Locked, 80+2*long, 90+2*long)}, false},
	} {
		got := Lockout{Guesses: append(slices.Clone(three), c.more...), Lag: lag}.Order(time.Minute)
		want := porcupine.Illegal
		if c.may {
			want = porcupine.Ok
		}
		require.Equal(t, want, got, name)
	}
	for name, c := range map[string]struct {
		all []Guess
		may bool
	}{
		"two are none":         {[]Guess{three[0], three[1], in(Right, 2, Accepted, 40, 50)}, true},
		"locked for two":       {[]Guess{three[0], three[1], in(Right, 1, Locked, 40, 50)}, false},
		"locked for nothing":   {[]Guess{in(Right, 0, Locked, 0, 10)}, false},
		"a success in between": {[]Guess{in(Wrong, 0, Compared, 0, 10), in(Wrong, 0, Compared, 20, 30), in(Right, 0, Accepted, 40, 50), in(Wrong, 0, Compared, 60, 70), in(Right, 0, Accepted, 80, 90)}, true},
		"each gate for itself": {[]Guess{three[0], three[1], three[2], in(Wrong, 0, Compared, 60, 70), in(Wrong, 1, Compared, 60, 70), in(Wrong, 0, Compared, 80, 90)}, false},
		"two at a time are never counted": {[]Guess{in(Wrong, 0, Compared, 0, 10), in(Wrong, 0, Compared, 1, 11), in(Wrong, 0, Compared, 20, 30), in(Wrong, 0, Compared, 21, 31),
			in(Wrong, 0, Compared, 40, 50), in(Wrong, 0, Compared, 41, 51)}, false},
	} {
		got := Lockout{Guesses: c.all, Lag: lag}.Order(time.Minute)
		want := porcupine.Illegal
		if c.may {
			want = porcupine.Ok
		}
		require.Equal(t, want, got, name)
	}
}

// TestAHistoryWithACutThatNoLockoutAllowsIsFound is of a gate that is on its own for a
// while, from 100 ms on, after two failures of one key there.
func TestAHistoryWithACutThatNoLockoutAllowsIsFound(t *testing.T) {
	t.Parallel()
	const healed = 30_000
	long := int(lag / time.Millisecond)
	cut := []Cut{{Gate: 1, From: 100e6, To: healed * 1e6}}
	alone := []Guess{in(Wrong, 1, Compared, 200, 210), in(Wrong, 1, Compared, 220, 230), in(Wrong, 1, Compared, 240, 250)}
	late := healed + 4*long
	for name, c := range map[string]struct {
		more []Guess
		want porcupine.CheckResult
	}{
		"nobody else knows":      {[]Guess{in(Right, 0, Accepted, 20_000, 20_010)}, porcupine.Ok},
		"locked where they were": {[]Guess{in(Right, 1, Locked, 20_000, 20_010), in(Right, 0, Locked, late, late+10)}, porcupine.Ok},
		"a fourth":               {[]Guess{in(Wrong, 1, Compared, 300, 310)}, porcupine.Illegal},
		"never told":             {[]Guess{in(Right, 0, Accepted, late, late+10)}, porcupine.Illegal},
		"unlocked elsewhere, and told to no effect": {[]Guess{in(Unlock, 0, "", 1000, 1010), in(Right, 1, Locked, 1100, 1110), in(Right, 0, Accepted, late, late+10), in(Right, 1, Accepted, late, late+10)}, porcupine.Ok},
		"locked again for what was unlocked":        {[]Guess{in(Unlock, 0, "", 1000, 1010), in(Right, 0, Locked, late, late+10)}, porcupine.Illegal},
		"locked for what came behind an unlock":     {[]Guess{in(Unlock, 0, "", 0, 10), in(Right, 0, Locked, late, late+10)}, porcupine.Ok},
	} {
		require.Equal(t, c.want, Lockout{Guesses: append(slices.Clone(alone), c.more...), Cuts: cut, Lag: lag}.Order(time.Minute), name)
	}
}
