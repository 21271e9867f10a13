package keystore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

// Other workers read what is pending while it is: here the race detector is the judge.
func TestALockThatIsOwedIsInTheJournalHoweverItIsToldThatTheStoreIsOutOfReach(t *testing.T) {
	table := &lockTable{}
	l, now := policy.DefaultLockout(), NewSystemClock().Now()
	p := &pendingProof{lockout: l, Proof: Proof{KeyID: "key_a", At: now}, stored: make(chan struct{})}
	p.outcome = policy.Outcome{Counted: true, Locked: true}
	table.update("key_a", func(old *tallies) *tallies {
		next, _, _ := old.add(p, now)
		return next
	})
	require.Zero(t, table.of("key_a").seen.whole.Remaining(now), "the store decides")
	done := make(chan struct{})
	go func() {
		defer close(done)
		table.update("key_a", func(old *tallies) *tallies {
			p.owe()
			next := old.copy("key_a", now)
			next.count()
			return next
		})
	}()
	for range 100 {
		require.True(t, table.records([]string{"key_a"})[0].Pending[0].Locked)
	}
	<-done
	require.Positive(t, table.of("key_a").seen.whole.Remaining(now), "this node does")
	require.True(t, p.told().Locked)
}
