package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hop is a guess with a wrong secret at one of the gates, by its number.
type hop struct {
	gate int
	guess
}

// lockLag is within what a lock reaches a gate that is well: 1 s by contract, and more on
// a machine that is busy with other things.
const lockLag = 5 * time.Second

func comparedOf(made []hop) (n int) {
	for _, h := range made {
		if h.verdict == compared {
			n++
		}
	}
	return n
}

// tooMany finds a guess that was compared and must not have been. What may be, besides
// the three that count, is what was under way at a gate as it came to know of the lock:
//
//   - An answer comes when the store has the failure, so once three have ended, anywhere,
//     the key is locked in the store. Whoever begins behind that at a gate and is compared
//     still (the lock has not reached it) brings the lock to it with his own answer: who
//     begins there behind that answer must find it.
//   - A gate that is cut off counts on its own, and knows at once: three have ended there.
//
// Whose answer did not wait for the store proves nothing of it. alone is the gate that is
// cut off, -1 for none.
func tooMany(made []hop, alone int) error {
	byEnd := slices.Clone(made)
	byEnd = slices.DeleteFunc(byEnd, func(h hop) bool { return h.verdict != compared })
	slices.SortFunc(byEnd, func(a, b hop) int { return a.ended.Compare(b.ended) })
	var told, own []time.Time // when counted failures ended: of the store, of the one that is cut off
	for _, h := range byEnd {
		switch {
		case h.gate == alone:
			own = append(own, h.ended)
		case !h.slow():
			told = append(told, h.ended)
		}
	}
	for _, h := range byEnd {
		if h.gate == alone {
			if len(own) >= attempts && h.began.After(own[attempts-1]) {
				return fmt.Errorf("compared at the gate that is cut off %s after its third failure", h.began.Sub(own[attempts-1]))
			}
			continue
		}
		if len(told) < attempts || h.began.Before(told[attempts-1]) {
			continue
		}
		since := told[attempts-1]
		if late := h.began.Sub(since); late > lockLag {
			return fmt.Errorf("compared at gate %d %s after the third failure", h.gate, late)
		}
		for _, before := range byEnd {
			if before.gate == h.gate && !before.slow() && before.began.After(since) && before.ended.Before(h.began) {
				return fmt.Errorf("compared at gate %d, %s after that gate was told of the lock", h.gate, h.began.Sub(before.ended))
			}
		}
	}
	return nil
}

// at is a guess that takes 10 ms, begun so many milliseconds into the test.
func at(gate, begun int, v verdict) hop {
	began := time.UnixMilli(0).Add(time.Duration(begun) * time.Millisecond)
	return hop{gate, guess{answer{began: began, ended: began.Add(10 * time.Millisecond)}, v}}
}

func TestGuessesThatALockShouldHaveStoppedAreFound(t *testing.T) {
	t.Parallel()
	three := []hop{at(0, 0, compared), at(1, 20, compared), at(2, 40, compared)}
	for name, c := range map[string]struct {
		more  []hop
		alone int
		found bool
	}{
		"the lock has not reached the others":          {[]hop{at(0, 60, compared), at(1, 80, compared), at(0, 100, locked)}, -1, false},
		"under way together":                           {[]hop{at(0, 60, compared), at(0, 65, compared), at(0, 69, compared)}, -1, false},
		"each gate counts for itself":                  {[]hop{at(0, 60, compared), at(1, 80, compared), at(2, 100, compared), at(0, 120, compared)}, -1, true},
		"where the third was counted, the next is not": {[]hop{at(2, 60, compared), at(2, 80, compared)}, -1, true},
		"the lock never comes":                         {[]hop{at(0, 20_000, compared)}, -1, true},
		"the gate that is cut off has its own three":   {[]hop{at(1, 60, compared), at(1, 80, compared), at(1, 100, locked)}, 1, false},
		"and no more":                                  {[]hop{at(1, 60, compared), at(1, 80, compared), at(1, 100, compared)}, 1, true},
	} {
		err := tooMany(append(slices.Clone(three), c.more...), c.alone)
		require.Equal(t, c.found, err != nil, "%s: %v", name, err)
	}
}
