package storetest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var lockoutCases = []testCase{
	{"three failures lock for the duration, not a moment less or more", lockDuration},
	{"failures while locked do not count or extend the lock", lockNotExtended},
	{"failures of one batch count in order, each result as of its own", failBatch},
	{"an unknown key gets a zero result and leaves nothing behind", failUnknown},
	{"a success clears the count; while locked it comes too late", succeedClears},
	{"a success with nothing to clear writes nothing", succeedIdle},
	{"a success of a key that is gone is not found", succeedUnknown},
	{"a count is forgotten after reset_after without a failure", countResets},
	{"a lock is logged and audited, a mere failure is not", lockRecorded},
	{"unlocking clears and logs, and the next failures count from zero", unlock},
	{"counts and locks are there after closing and opening again", lockReopen},
	{"a lock carries over a boot: never shorter, at most one duration longer", lockRebase},
	{"a clock set forward or back by an hour does not change a lock", lockClockSteps},
	{"tallies lists what is not empty, then what changed, cleared ones as zero", talliesFeed},
	{"a tally is read back exactly as it was answered", tallyExact},
	{"the counts of several keys are listed by key, the whole client's first, and no others", talliesOfMany},
}

// strict is the default policy: three failures, thirty minutes.
func strict() policy.Lockout { return policy.DefaultLockout() }

// fail counts one failure of a key.
func (f *fixture) fail(t testing.TB, keyID string) keystore.CountResult {
	t.Helper()
	results, err := f.Count(t.Context(), strict(), []keystore.Proof{{KeyID: keyID, Address: "192.0.2.7", RequestID: "req-7"}})
	require.NoError(t, err)
	require.Len(t, results, 1)
	return results[0]
}

// lock fails key 1 until it locks.
func (f *fixture) lock(t testing.TB) keystore.CountResult {
	t.Helper()
	f.put(t, f.key(1))
	f.fail(t, "key_0001")
	f.fail(t, "key_0001")
	last := f.fail(t, "key_0001")
	require.True(t, last.Locked)
	return last
}

// remaining is how much longer key 1 is locked, as stored.
func (f *fixture) remaining(t testing.TB) (d time.Duration) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		tallies, err := r.Tallies(ctx, "key_0001")
		for _, c := range tallies {
			if c.Source == "" {
				d = c.Remaining(r.Now())
			}
		}
		return err
	})
	return d
}

func (f *fixture) tallies(t testing.TB, after int64) []keystore.Tally {
	t.Helper()
	all, err := f.Tallies(t.Context(), after)
	require.NoError(t, err)
	return all
}

func lockDuration(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2))
	for i := 1; i <= 3; i++ {
		r := f.fail(t, "key_0001")
		require.True(t, r.Counted)
		require.Equal(t, i == 3, r.Locked)
		require.EqualValues(t, i, r.Whole.Failures)
		require.Equal(t, "key_0001", r.Whole.KeyID)
		require.Equal(t, keystore.Tally{}, r.Source, "strict mode knows no sources")
		f.clock.Advance(time.Minute)
	}
	f.clock.Advance(-time.Minute)
	require.Equal(t, strict().Duration, f.remaining(t))
	f.clock.Advance(strict().Duration - 1)
	require.EqualValues(t, 1, f.remaining(t))
	require.False(t, f.fail(t, "key_0001").Counted)
	f.clock.Advance(1)
	require.Zero(t, f.remaining(t))
	again := f.fail(t, "key_0001")
	require.True(t, again.Counted)
	require.EqualValues(t, 1, again.Whole.Failures, "counting starts anew")
	require.EqualValues(t, 1, f.fail(t, "key_0002").Whole.Failures, "other keys are not touched")
}

func lockNotExtended(t *testing.T, f *fixture) {
	locked := f.lock(t)
	f.clock.Advance(10 * time.Minute)
	r := f.fail(t, "key_0001")
	require.Equal(t, policy.Outcome{}, r.Outcome)
	require.Equal(t, locked.Whole, r.Whole)
	require.Equal(t, strict().Duration-10*time.Minute, f.remaining(t))
	require.Empty(t, f.tallies(t, locked.Whole.Seq), "nothing changed")
}

func failBatch(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2))
	one, two := keystore.Proof{KeyID: "key_0001"}, keystore.Proof{KeyID: "key_0002"}
	results, err := f.Count(t.Context(), strict(), []keystore.Proof{one, two, one, {KeyID: "key_none"}, one, one, two})
	require.NoError(t, err)
	require.Len(t, results, 7)
	counts := make([]float64, len(results))
	for i, r := range results {
		counts[i] = r.Whole.Failures
	}
	require.Equal(t, []float64{1, 1, 2, 0, 3, 3, 2}, counts)
	require.True(t, results[4].Locked)
	require.Equal(t, policy.Outcome{}, results[5].Outcome, "locked by the one before")
	require.Equal(t, keystore.CountResult{}, results[3])
	require.Less(t, results[0].Whole.Seq, results[2].Whole.Seq)
	require.Less(t, results[2].Whole.Seq, results[4].Whole.Seq)
	require.Equal(t, results[4].Whole, results[5].Whole)
	require.ElementsMatch(t, []keystore.Tally{results[5].Whole, results[6].Whole}, f.tallies(t, 0))

	results, err = f.Count(t.Context(), strict(), nil)
	require.NoError(t, err)
	require.Empty(t, results)
}

func failUnknown(t *testing.T, f *fixture) {
	before := f.head(t)
	require.Equal(t, keystore.CountResult{}, f.fail(t, "key_none"))
	require.Empty(t, f.tallies(t, 0))
	require.Equal(t, before, f.head(t))
}

func succeedClears(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.fail(t, "key_0001")
	second := f.fail(t, "key_0001")
	r, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.True(t, r.OK)
	require.Zero(t, r.Whole.Failures)
	require.Equal(t, "key_0001", r.Whole.KeyID)
	require.Greater(t, r.Whole.Seq, second.Whole.Seq)
	require.EqualValues(t, 1, f.fail(t, "key_0001").Whole.Failures)

	f.fail(t, "key_0001")
	locked := f.fail(t, "key_0001")
	require.True(t, locked.Locked)
	r, err = f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.False(t, r.OK)
	require.Equal(t, locked.Whole, r.Whole)
	f.clock.Advance(strict().Duration)
	r, err = f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.True(t, r.OK)
}

func succeedIdle(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.fail(t, "key_0001")
	cleared, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	again, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.Equal(t, cleared, again)
	require.Empty(t, f.tallies(t, cleared.Whole.Seq))
}

func succeedUnknown(t *testing.T, f *fixture) {
	for _, l := range []policy.Lockout{strict(), guard()} {
		r, err := f.Succeed(t.Context(), l, "key_none", "192.0.2.0/24")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		require.Equal(t, keystore.CountResult{}, r)
	}
}

func countResets(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.fail(t, "key_0001")
	f.fail(t, "key_0001")
	f.clock.Advance(strict().ResetAfter - 1)
	require.EqualValues(t, 3, f.fail(t, "key_0001").Whole.Failures)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, "key_0001") })
	f.fail(t, "key_0001")
	f.fail(t, "key_0001")
	f.clock.Advance(strict().ResetAfter)
	require.EqualValues(t, 1, f.fail(t, "key_0001").Whole.Failures)
}

func lockRecorded(t *testing.T, f *fixture) {
	k := f.key(1)
	before := f.put(t, k)
	f.fail(t, k.ID)
	f.fail(t, k.ID)
	require.Equal(t, before, f.head(t), "a storm of failures must not fill the log")
	f.fail(t, k.ID)
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: before + 1, Kind: keystore.KindLock, ID: k.ID, ClientID: k.ClientID}}, changes)
	require.Equal(t, before, f.get(t, k.ID).Revision, "the key itself did not change")
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		events, _, err := r.AuditEvents(ctx, keystore.AuditQuery{CustomerID: acme, Limit: 10})
		require.NoError(t, err)
		require.Len(t, events, 1)
		e := events[0]
		require.Equal(t, "key.lock", e.Action)
		require.Equal(t, "system", e.ActorKind)
		require.Equal(t, []string{"key", k.ID, k.Name}, []string{e.TargetKind, e.TargetID, e.TargetName})
		require.Equal(t, f.clock.Now().Wall, e.At)
		require.Equal(t, []string{"192.0.2.7", "req-7"}, []string{e.Address, e.RequestID})
		var after map[string]any
		require.NoError(t, json.Unmarshal(e.After, &after))
		require.Equal(t, "192.0.2.7", after["address"])
		require.EqualValues(t, 3, after["failed_attempts"])
		return nil
	})
}

func unlock(t *testing.T, f *fixture) {
	locked := f.lock(t)
	before := f.head(t)
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, "key_0001") })
	require.Equal(t, before+1, rev)
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Len(t, changes, 1)
	require.Empty(t, changes[0].Unlocked.Counted, "nothing since")
	require.WithinDuration(t, f.clock.Now().Wall, changes[0].Unlocked.At.Wall, 10*time.Second)
	changes[0].Unlocked = nil
	require.Equal(t, []keystore.Change{{Revision: rev, Kind: keystore.KindUnlock, ID: "key_0001", ClientID: f.key(1).ClientID}}, changes)
	cleared := f.tallies(t, locked.Whole.Seq)
	require.Len(t, cleared, 1)
	require.Equal(t, policy.Tally{}, cleared[0].Tally)
	require.Zero(t, f.remaining(t))
	r, err := f.Succeed(t.Context(), strict(), "key_0001", "")
	require.NoError(t, err)
	require.True(t, r.OK)
	require.EqualValues(t, 1, f.fail(t, "key_0001").Whole.Failures)
	changes, err = f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []string{""}, changes[0].Unlocked.Counted)
}

func lockReopen(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.fail(t, "key_0001")
	f.fail(t, "key_0001")
	require.NoError(t, f.Close())
	f.Store = f.open(t, f.clock)
	locked := f.fail(t, "key_0001")
	require.True(t, locked.Locked)
	require.NoError(t, f.Close())
	f.clock.Advance(10 * time.Minute)
	f.Store = f.open(t, f.clock)
	require.Equal(t, strict().Duration-10*time.Minute, f.remaining(t), "exact within one boot")
	require.Equal(t, []keystore.Tally{locked.Whole}, f.tallies(t, 0))
}

func lockRebase(t *testing.T, f *fixture) {
	locked := f.lock(t)
	require.NoError(t, f.Close())
	f.clock.NewBoot()
	f.clock.StepWall(10 * time.Minute) // how long the machine was off
	f.Store = f.open(t, f.clock)
	require.Equal(t, strict().Duration, f.remaining(t), "starts over")
	changed := f.tallies(t, locked.Whole.Seq)
	require.Len(t, changed, 1, "and is news")
	require.Equal(t, f.clock.Now().Boot, changed[0].LockedAt.Boot)
	f.clock.Advance(strict().Duration)
	require.Zero(t, f.remaining(t))

	f.fail(t, "key_0001")
	f.fail(t, "key_0001")
	require.True(t, f.fail(t, "key_0001").Locked)
	require.NoError(t, f.Close())
	f.clock.NewBoot()
	f.clock.StepWall(24 * time.Hour)
	f.Store = f.open(t, f.clock)
	require.Zero(t, f.remaining(t), "long over whatever the clock says")
	require.Empty(t, f.tallies(t, 0))
}

func lockClockSteps(t *testing.T, f *fixture) {
	f.lock(t)
	f.clock.StepWall(time.Hour)
	require.Equal(t, strict().Duration, f.remaining(t))
	require.False(t, f.fail(t, "key_0001").Counted)
	f.clock.StepWall(-2 * time.Hour)
	require.Equal(t, strict().Duration, f.remaining(t))
	f.clock.Advance(strict().Duration)
	require.Zero(t, f.remaining(t))
}

func talliesFeed(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2), f.key(3))
	one, two := f.fail(t, "key_0001"), f.fail(t, "key_0002")
	require.Equal(t, []keystore.Tally{one.Whole, two.Whole}, f.tallies(t, 0), "oldest first")
	require.Equal(t, []keystore.Tally{two.Whole}, f.tallies(t, one.Whole.Seq))
	again := f.fail(t, "key_0001")
	require.Equal(t, []keystore.Tally{two.Whole, again.Whole}, f.tallies(t, 0))
	_, err := f.Succeed(t.Context(), strict(), "key_0002", "")
	require.NoError(t, err)
	require.Equal(t, []keystore.Tally{again.Whole}, f.tallies(t, 0))
	changed := f.tallies(t, again.Whole.Seq)
	require.Len(t, changed, 1)
	require.Equal(t, "key_0002", changed[0].KeyID)
	require.Equal(t, policy.Tally{}, changed[0].Tally, "cleared is news")

	locked := f.fail(t, "key_0001")
	require.True(t, locked.Locked)
	f.clock.Advance(strict().Duration)
	expired := f.tallies(t, changed[0].Seq)
	require.Len(t, expired, 1)
	require.Equal(t, policy.Tally{}, expired[0].Tally, "an expired lock is listed as zero")
	require.Equal(t, locked.Whole.Seq, expired[0].Seq)
	require.Empty(t, f.tallies(t, 0))
}

func tallyExact(t *testing.T, f *fixture) {
	f.clock.Advance(123_456_789 * time.Nanosecond)
	locked := f.lock(t)
	require.Equal(t, f.clock.Now(), locked.Whole.LockedAt)
	require.Equal(t, []keystore.Tally{locked.Whole}, f.tallies(t, 0))
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		tallies, err := r.Tallies(ctx, "key_0001")
		require.Len(t, tallies, 1)
		read := tallies[0]
		require.Zero(t, r.Now().Elapsed(read.LockedAt), "as the snapshot's time goes")
		require.Zero(t, r.Now().Elapsed(read.Last))
		require.Equal(t, locked.Whole.LockedAt.Wall, read.LockedAt.Wall)
		read.LockedAt, read.Last = locked.Whole.LockedAt, locked.Whole.Last
		require.Equal(t, locked.Whole, read)
		return err
	})
}

func talliesOfMany(t *testing.T, f *fixture) {
	f.put(t, f.key(1), f.key(2), f.key(3), f.key(4))
	guard := strict()
	guard.Mode = policy.Guard
	for _, id := range []string{"key_0003", "key_0002", "key_0001"} {
		_, err := f.Count(t.Context(), guard, []keystore.Proof{{KeyID: id, Source: "192.0.2.0/24", Fingerprint: 1}})
		require.NoError(t, err)
	}
	listed := func(ids ...string) (found []string) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			tallies, err := r.Tallies(ctx, ids...)
			for _, c := range tallies {
				found = append(found, c.KeyID+" "+c.Source)
			}
			return err
		})
		return found
	}
	require.Equal(t, []string{"key_0001 ", "key_0001 192.0.2.0/24", "key_0003 ", "key_0003 192.0.2.0/24"}, listed("key_0003", "key_0004", "key_0001", "nobody"))
	require.Empty(t, listed())
}
