package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// machine is a running clock of a machine of its own.
type machine struct {
	clock       *keystore.SystemClock
	boot        string
	since, wall time.Duration // ahead of the clock's
}

func newMachine(boot string, since, wall time.Duration) *machine {
	return &machine{keystore.NewSystemClock(), boot, since, wall}
}

func (m *machine) Now() policy.Instant {
	now := m.clock.Now()
	return policy.Instant{Wall: now.Wall.Add(m.wall), Boot: m.boot, Since: now.Since + m.since}
}

// apart is how far two nodes may judge a moment apart in these tests: a round trip on a
// busy machine.
const apart = 500 * time.Millisecond

// lockKey0 fails key 0 until it locks.
func lockKey0(t testing.TB, s *Store) keystore.Tally {
	t.Helper()
	results := countKey0(t, s, keystore.Proof{}, keystore.Proof{}, keystore.Proof{})
	require.True(t, results[2].Locked)
	return results[2].Whole
}

func countKey0(t testing.TB, s *Store, proofs ...keystore.Proof) []keystore.CountResult {
	t.Helper()
	for i := range proofs {
		proofs[i].KeyID = testKey(0).ID
	}
	results, err := s.Count(t.Context(), policy.DefaultLockout(), proofs)
	require.NoError(t, err)
	return results
}

// remaining is how much longer key 0 is locked, as a node hears of it and by its clock.
func remaining(t testing.TB, s *Store, clock keystore.Clock) time.Duration {
	t.Helper()
	all, err := s.Tallies(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0].Remaining(clock.Now())
}

// shown is the same as a list in a transaction has it.
func shown(t testing.TB, s *Store) (d time.Duration) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		all, err := r.Tallies(ctx, testKey(0).ID)
		if len(all) > 0 {
			d = all[0].Remaining(r.Now())
		}
		return err
	}))
	return d
}

func currentEra(t testing.TB, s *Store) int64 {
	t.Helper()
	_, err := s.Head(t.Context())
	require.NoError(t, err)
	return s.knownEra()
}

// knownEra is the one that the store goes by.
func (s *Store) knownEra() int64 {
	s.timeline.mu.Lock()
	defer s.timeline.mu.Unlock()
	return s.timeline.era
}

// watch keeps that the clock is watched, as renewing does.
func watch(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, s.Renew(t.Context(), keystore.Registration{ID: "node", Started: time.Now(), Lease: time.Minute}))
}

func TestALockLastsAsLongOnAMachineWithOtherClocks(t *testing.T) {
	dsn := newDSN(t)
	one, two := newMachine("one", 0, 0), newMachine("two", 1000*time.Hour, time.Hour)
	a, b := open(t, dsn, one), open(t, dsn, two)
	seed(t, a)
	putKeys(t, a, 0, 1)
	d := policy.DefaultLockout().Duration
	before := time.Now()
	locked := lockKey0(t, a)
	require.Equal(t, "one", locked.LockedAt.Boot)
	for range 5 {
		there, here := remaining(t, b, two), locked.Remaining(one.Now())
		require.InDelta(t, float64(here), float64(there), float64(apart))
		require.GreaterOrEqual(t, there, d-time.Since(before)-apart)
		require.LessOrEqual(t, there, d)
		require.InDelta(t, float64(here), float64(shown(t, b)), float64(apart))
	}
	all, err := b.Tallies(t.Context(), -1)
	require.NoError(t, err)
	require.Equal(t, "two", all[0].LockedAt.Boot)
	require.WithinDuration(t, two.Now().Wall, all[0].LockedAt.Wall, time.Minute, "by its own time of day")

	// Where the lock has half a second left, it ends for both within that of each other.
	l := policy.DefaultLockout()
	l.Attempts, l.Duration = 1, time.Second
	putKeys(t, a, 1, 1)
	_, err = a.Count(t.Context(), l, []keystore.Proof{{KeyID: testKey(1).ID}})
	require.NoError(t, err)
	ends := time.Now().Add(time.Second)
	for {
		results, err := b.Count(t.Context(), l, []keystore.Proof{{KeyID: testKey(1).ID}})
		require.NoError(t, err)
		if results[0].Counted {
			break
		}
		require.Less(t, time.Since(ends), 10*time.Second)
	}
	require.Greater(t, time.Since(ends), -apart/5, "not sooner")
}

func TestFailuresAndSuccessesAreInTheDatabasesOrderWhateverTheClocksSay(t *testing.T) {
	dsn := newDSN(t)
	one, two := newMachine("one", 0, 0), newMachine("two", -500*time.Hour, -time.Hour)
	a, b := open(t, dsn, one), open(t, dsn, two)
	seed(t, a)
	putKeys(t, a, 0, 1)
	early := two.Now()
	time.Sleep(apart) // no round trip makes that up
	countKey0(t, a, keystore.Proof{At: one.Now()}, keystore.Proof{At: one.Now()})
	r := countKey0(t, b, keystore.Proof{At: early, Success: true})
	require.EqualValues(t, 2, r[0].Whole.Failures, "a success of before is not to clear what came after it")
	time.Sleep(apart)
	r = countKey0(t, b, keystore.Proof{At: two.Now(), Success: true})
	require.Zero(t, r[0].Whole.Failures)

	countKey0(t, a, keystore.Proof{At: one.Now()}, keystore.Proof{At: one.Now()})
	r = countKey0(t, b, keystore.Proof{At: two.Now()})
	require.True(t, r[0].Locked, "three are three over all")
	require.Equal(t, "two", r[0].Whole.LockedAt.Boot)
}

func TestWhoOpensWhileAnotherWatchesTheClockExtendsNoLock(t *testing.T) {
	dsn := newDSN(t)
	one := newMachine("one", 0, 0)
	a := open(t, dsn, one)
	seed(t, a)
	putKeys(t, a, 0, 1)
	began := time.Now()
	locked := lockKey0(t, a)
	era := currentEra(t, a)
	time.Sleep(time.Second)
	for _, boot := range []string{"two", "three"} {
		watch(t, a)
		clock := newMachine(boot, time.Hour, 0)
		b := open(t, dsn, clock)
		require.Equal(t, era, currentEra(t, b))
		require.InDelta(t, float64(locked.Remaining(one.Now())), float64(remaining(t, b, clock)), float64(apart))
		require.Less(t, remaining(t, b, clock), policy.DefaultLockout().Duration-time.Since(began)+apart)
		require.NoError(t, b.Close())
	}
	require.Equal(t, era, currentEra(t, a))
	all, err := a.Tallies(t.Context(), locked.Seq)
	require.NoError(t, err)
	require.Empty(t, all, "and is no news of any")
}

func TestWhoOpensADatabaseThatNobodyWatchedStartsLocksOver(t *testing.T) {
	dsn := newDSN(t)
	a := open(t, dsn, newMachine("one", 0, 0))
	seed(t, a)
	putKeys(t, a, 0, 1)
	lockKey0(t, a)
	era := currentEra(t, a)
	require.NoError(t, a.Close())
	time.Sleep(time.Second)

	clock := newMachine("one", 0, 0)
	b := open(t, dsn, clock)
	require.Equal(t, era, currentEra(t, b), "a machine knows what it measured before in this boot")
	require.NoError(t, b.Close())

	run(t, connect(t, dsn), "UPDATE clocks SET at_ns = at_ns - 11000000000")
	clock = newMachine("two", 0, 0)
	c := open(t, dsn, clock)
	require.Equal(t, era+1, currentEra(t, c))
	require.InDelta(t, float64(policy.DefaultLockout().Duration), float64(remaining(t, c, clock)), float64(apart))
}

func TestALockIsNeverShorterForAClockThatWasSetAndAtMostOneDurationLonger(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward by a second": time.Second, "forward by an hour": time.Hour, "forward by a month": 30 * day,
		"back by a second": -time.Second, "back by a month": -30 * day} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := newDSN(t)
			turned := turnClock(t, dsn)
			one, two := newMachine("one", 0, 0), newMachine("two", 7*time.Hour, 0)
			a, b := open(t, dsn, one), open(t, dsn, two)
			seed(t, a)
			putKeys(t, a, 0, 1)
			lockKey0(t, a)
			d, began := policy.DefaultLockout().Duration, time.Now()
			era := currentEra(t, a)
			require.Equal(t, era, currentEra(t, b))

			turned.Ahead(by)
			check := func(s *Store, clock keystore.Clock) {
				for _, left := range []time.Duration{shown(t, s), remaining(t, s, clock)} {
					require.GreaterOrEqual(t, left, d-time.Since(began)-apart)
					require.LessOrEqual(t, left, d)
				}
				require.False(t, countKey0(t, s, keystore.Proof{})[0].Counted)
			}
			// Whichever call comes first finds it out, before it goes by the clock.
			check(b, two)
			check(a, one)
			require.Equal(t, era+1, currentEra(t, a), "one era for all nodes")
			require.Equal(t, era+1, currentEra(t, b))

			turned.Ahead(0)
			check(a, one)
			check(b, two)
			require.Equal(t, era+2, currentEra(t, b))
			require.Equal(t, era+2, currentEra(t, a))
		})
	}
}

func TestEveryCallFindsOutThatTheClockWasSetBeforeItGoesByIt(t *testing.T) {
	dsn := newDSN(t)
	turned := turnClock(t, dsn)
	clock := newMachine("one", 0, 0)
	s := open(t, dsn, clock)
	seed(t, s)
	putKeys(t, s, 0, 1)
	lockKey0(t, s)
	ctx := t.Context()
	ahead := time.Duration(0)
	for name, call := range map[string]func(context.Context) error{
		"count": func(context.Context) error {
			require.False(t, countKey0(t, s, keystore.Proof{})[0].Counted)
			return nil
		},
		"tallies": func(ctx context.Context) error { _, err := s.Tallies(ctx, 1); return err },
		"view":    func(ctx context.Context) error { return s.View(ctx, func(keystore.Reader) error { return nil }) },
		"update": func(ctx context.Context) error {
			_, err := s.Update(ctx, func(keystore.Tx) error { return nil })
			return err
		},
		"sign-in": func(ctx context.Context) error {
			_, err := s.UpdateKey(ctx, testKey(0).ID, func(keystore.Tx) error { return nil })
			return err
		},
		"head": func(ctx context.Context) error { _, err := s.Head(ctx); return err },
		"trim": func(ctx context.Context) error { return s.Trim(ctx, policy.DefaultLockout(), time.Hour) },
	} {
		before := s.knownEra()
		ahead += 2 * time.Hour
		turned.Ahead(ahead)
		require.NoError(t, call(ctx), name)
		after := s.knownEra()
		require.Equal(t, before+1, after, name)
		require.Positive(t, remaining(t, s, clock), name)
	}
}

func TestFailuresBeforeALockAreNotForgottenForAClockSetForward(t *testing.T) {
	dsn := newDSN(t)
	turned := turnClock(t, dsn)
	s := open(t, dsn, newMachine("one", 0, 0))
	seed(t, s)
	putKeys(t, s, 0, 1)
	countKey0(t, s, keystore.Proof{}, keystore.Proof{})
	turned.Ahead(day)
	require.True(t, countKey0(t, s, keystore.Proof{})[0].Locked)
}

func TestACheckDuringWhichTheClockWasSetIsNotSteady(t *testing.T) {
	dsn := newDSN(t)
	turned := turnClock(t, dsn)
	clock := newMachine("one", 0, 0)
	a, b := open(t, dsn, clock), open(t, dsn, newMachine("two", 0, 0))
	c := connect(t, dsn)
	ask := func() bool {
		var now, era int64
		sent := clock.Now()
		require.NoError(t, c.QueryRow(t.Context(), "SELECT keyreeve_now(), clock_era FROM state").Scan(&now, &era))
		return a.observe(sent, clock.Now(), time.Unix(0, now), era)
	}
	currentEra(t, a)
	require.True(t, ask())
	turned.Ahead(time.Minute)
	require.False(t, ask())
	era := currentEra(t, b)
	require.False(t, ask(), "the era that began is not known to this node yet")
	require.Equal(t, era, currentEra(t, a))
	require.True(t, ask())
}

func TestADatabaseRestoredFromBeforeAnEraBeginsOneThatNeverWas(t *testing.T) {
	dsn := newDSN(t)
	turned := turnClock(t, dsn)
	clock := newMachine("one", 0, 0)
	s := open(t, dsn, clock)
	seed(t, s)
	putKeys(t, s, 0, 1)
	turned.Ahead(time.Hour)
	era := currentEra(t, s)
	lockKey0(t, s)
	run(t, connect(t, dsn), "UPDATE state SET clock_era = 1")
	require.InDelta(t, float64(policy.DefaultLockout().Duration), float64(remaining(t, s, clock)), float64(apart))
	require.Equal(t, era+1, currentEra(t, s))
}

func TestAServerThatWasAwayForLongIsNoClockThatWasSet(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	s := open(t, server.DSN(pgtest.Superuser, server.NewDatabase(t)), newMachine("one", 0, 0))
	era := currentEra(t, s)
	server.Stop(t)
	_, err := s.Head(t.Context())
	require.Error(t, err)
	time.Sleep(2 * time.Second)
	server.Start(t)
	require.Equal(t, era, currentEra(t, s))
}
