package lifecycle

import (
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// What KeyLock.Pattern tells of the wrong secrets that were shown.
const (
	// PatternRepeated: one wrong secret again and again, as a deployment does that was
	// not given the new one.
	PatternRepeated = "repeated"
	// PatternDifferent: several wrong secrets, as whoever guesses shows.
	PatternDifferent = "different"
)

// FailedTry is one wrong secret that was shown for a key and counted.
type FailedTry struct {
	At      time.Time `json:"at"`
	Address *string   `json:"address" nullable:"true" doc:"Where it came from; null where it had no address."`
	Secret  string    `json:"secret" doc:"Tells the wrong secrets apart: those with the same letter were the same one. Empty where that is not known."`
}

// showTries shows tries, which come oldest first, newest first. The first wrong
// secret that was shown is A.
func showTries(tries []keystore.Try) []FailedTry {
	shown := make([]FailedTry, len(tries))
	var known []uint64
	for i, t := range tries {
		v := FailedTry{At: t.At.UTC().Truncate(timePrecision)}
		if t.Address.IsValid() {
			v.Address = optional(t.Address.String())
		}
		if t.Fingerprint != 0 {
			letter := slices.Index(known, t.Fingerprint)
			if letter < 0 {
				letter = len(known)
				known = append(known, t.Fingerprint)
			}
			v.Secret = string(rune('A' + letter)) // at most keystore.MaxTries of them
		}
		shown[len(shown)-1-i] = v
	}
	return shown
}

// Pattern is PatternRepeated where the latest tries showed one and the same wrong
// secret, PatternDifferent where they showed several, and "" where it cannot be
// told: there were not two of them, or they are not known apart.
func (l KeyLock) Pattern() string {
	known, letter := 0, ""
	for _, f := range l.RecentFailures {
		if f.Secret == "" {
			continue
		}
		if letter != "" && f.Secret != letter {
			return PatternDifferent
		}
		letter = f.Secret
		known++
	}
	if known < 2 {
		return ""
	}
	return PatternRepeated
}
