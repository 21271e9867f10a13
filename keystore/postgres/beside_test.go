package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// inTurn runs fn while another process has the turn to write.
func inTurn(t *testing.T, dsn string, fn func()) {
	other := open(t, dsn, keystore.NewSystemClock())
	_, err := other.Update(t.Context(), func(keystore.Tx) error {
		fn()
		return nil
	})
	require.NoError(t, err)
}

func session(n, key int) *keystore.Session {
	return &keystore.Session{ID: fmt.Sprintf("s%d.0.sec_%08d", n, key), KeyID: testKey(key).ID, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func TestCountsUsesAndSignInsDoNotWaitForTheTurnToWrite(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 3)
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	inTurn(t, dsn, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		results, err := s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(0).ID}, {KeyID: testKey(1).ID}})
		require.NoError(t, err)
		require.True(t, results[0].Counted)
		require.NoError(t, s.Use(ctx, []keystore.Use{{KeyID: testKey(2).ID, SecretID: testKey(2).Secrets[0].ID, At: time.Now()}}))
		rev, err := s.UpdateKey(ctx, testKey(0).ID, func(tx keystore.Tx) error {
			if _, err := tx.Key(ctx, testKey(0).ID); err != nil {
				return err
			}
			return tx.PutSession(ctx, session(1, 0))
		})
		require.NoError(t, err)
		require.Zero(t, rev)
		now, err := s.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, head, now)

		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err = s.Update(short, func(keystore.Tx) error { return nil })
		require.ErrorIs(t, err, context.DeadlineExceeded, "a change does")
	})
}

// held are sign-ins that are under way until they are let go on, one each of these keys.
func held(t *testing.T, s *Store, keys ...int) (goOn func()) {
	t.Helper()
	var all sync.WaitGroup
	begun, over := make(chan struct{}), make(chan struct{})
	for _, n := range keys {
		all.Go(func() {
			_, err := s.UpdateKey(context.Background(), testKey(n).ID, func(keystore.Tx) error {
				begun <- struct{}{}
				<-over
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range keys {
		<-begun
	}
	return func() {
		close(over)
		all.Wait()
	}
}

func TestACountWaitsForNoSignInOfAnotherKey(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 0, 20)
	var busy []int
	for n := range cap(s.beside) {
		busy = append(busy, n)
	}
	goOn := held(t, s, busy...)
	defer goOn()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 2 {
		results, err := s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(19).ID}})
		require.NoError(t, err)
		require.True(t, results[0].Counted)
	}
}

func TestOneKeysSignInsWaitForEachOtherAndNoOtherKeysForThem(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 0, 2)
	require.Greater(t, cap(s.beside), 1)
	goOn := held(t, s, 0)
	var all sync.WaitGroup
	var ran atomic.Int64
	for range 20 {
		all.Go(func() {
			_, err := s.UpdateKey(context.Background(), testKey(0).ID, func(keystore.Tx) error {
				ran.Add(1)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	waiting := func() int {
		s.signIns.mu.Lock()
		defer s.signIns.mu.Unlock()
		if turn := s.signIns.of[testKey(0).ID]; turn != nil {
			return turn.users
		}
		return 0
	}
	require.Eventually(t, func() bool { return waiting() == 21 }, 10*time.Second, time.Millisecond)
	_, err := s.UpdateKey(t.Context(), testKey(1).ID, func(keystore.Tx) error { return nil })
	require.NoError(t, err)
	hung, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.UpdateKey(hung, testKey(0).ID, func(keystore.Tx) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, ran.Load())
	goOn()
	all.Wait()
	require.EqualValues(t, 20, ran.Load())
	require.Empty(t, s.signIns.of)
}

func TestWhoWaitsTooLongForTheSignInsOfAKeyIsTurnedAwayAndTheStoreIsNotLostForIt(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 0, 1)
	goOn := held(t, s, 0)
	defer goOn()
	_, err := s.UpdateKey(t.Context(), testKey(0).ID, func(keystore.Tx) error { return nil })
	require.ErrorContains(t, err, "the same key")
	require.NotErrorIs(t, err, keystore.ErrUnavailable)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestConnectionsAreSharedOutSoThatEachUseHasOne(t *testing.T) {
	for conns := MinMaxConns - 1; conns < 40; conns++ {
		beside, reading := share(conns)
		require.Positive(t, beside)
		require.Positive(t, reading)
		left := conns - 1 - beside - reading
		require.GreaterOrEqual(t, left, 1, "for lookups")
		if conns >= MinMaxConns {
			require.GreaterOrEqual(t, left, 2, "and for counting")
		}
	}
}

func TestWhatLocksAClientIsCountedInTurn(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 1)
	guess := keystore.Proof{KeyID: testKey(0).ID}
	locked := make(chan error, 1)
	inTurn(t, dsn, func() {
		go func() {
			results, err := s.Count(context.Background(), policy.DefaultLockout(), []keystore.Proof{guess, guess, guess, guess})
			if err == nil && (!results[2].Locked || results[3].Counted) {
				err = fmt.Errorf("%+v", results)
			}
			locked <- err
		}()
		select {
		case <-locked:
			t.Error("a lock was appended to the log out of turn")
		case <-time.After(300 * time.Millisecond):
		}
	})
	require.NoError(t, <-locked)
	require.Empty(t, verifyChain(t, s, "c"))
}

func TestACountThatLocksWaitsForNoWritersOfItsProcessButTheOneWhoseTurnItIs(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 0, 1)
	l := policy.DefaultLockout()
	l.Attempts = 1
	const writers = 20
	began, goOn := make(chan struct{}, writers), make(chan struct{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(goOn)
	var written atomic.Int64
	for range writers {
		all.Go(func() {
			_, err := s.Update(context.Background(), func(keystore.Tx) error {
				began <- struct{}{}
				<-goOn
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			written.Add(1)
		})
	}
	<-began
	counted := make(chan error, 1)
	go func() {
		results, err := s.Count(context.Background(), l, []keystore.Proof{{KeyID: testKey(0).ID}})
		if err == nil && !results[0].Locked {
			err = errors.New("not locked")
		}
		counted <- err
	}()
	waiting := connect(t, s.pool.Config().ConnString())
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, waiting.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&n))
		return n == 1
	}, 10*time.Second, time.Millisecond, "it is next")
	goOn <- struct{}{}
	select {
	case err := <-counted:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Error("it waits for others")
	}
	require.LessOrEqual(t, written.Load(), int64(2))
}

func TestASignInThatEndsAnotherSessionIsRunAgainInTurn(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	putKeys(t, s, 0, 1)
	before, err := s.Head(ctx)
	require.NoError(t, err)
	runs := 0
	rev, err := s.UpdateKey(ctx, testKey(0).ID, func(tx keystore.Tx) error {
		runs++
		ended := session(1, 0)
		ended.Ended = tx.Now().Wall
		if err := tx.PutSession(ctx, ended); err != nil {
			return err
		}
		return tx.PutSession(ctx, session(2, 0))
	})
	require.NoError(t, err)
	require.Equal(t, before+1, rev)
	require.Equal(t, 2, runs)
}

func TestSignInsOfOneKeyTakeTurns(t *testing.T) {
	dsn := newDSN(t)
	stores := []*Store{open(t, dsn, keystore.NewSystemClock()), open(t, dsn, keystore.NewSystemClock())}
	seed(t, stores[0])
	putKeys(t, stores[0], 0, 1)
	const most = 5
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			ctx := context.Background()
			_, err := stores[n%2].UpdateKey(ctx, testKey(0).ID, func(tx keystore.Tx) error {
				if old, err := tx.SessionsBeyond(ctx, testKey(0).ID, most-1); err != nil || len(old) > 0 {
					return err
				}
				return tx.PutSession(ctx, session(n, 0))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.NoError(t, stores[0].View(t.Context(), func(r keystore.Reader) error {
		running, err := r.SessionsBeyond(t.Context(), testKey(0).ID, 0)
		require.Len(t, running, most)
		return err
	}))
}

// TestWritersThatMeetOnTheSameRowsAllGoOn has one write keys in the other order than
// counts and uses take them.
func TestWritersThatMeetOnTheSameRowsAllGoOn(t *testing.T) {
	dsn := newDSN(t)
	a, b := open(t, dsn, keystore.NewSystemClock()), open(t, dsn, keystore.NewSystemClock())
	seed(t, a)
	const keys = 20
	putKeys(t, a, 0, keys)
	l := policy.DefaultLockout()
	l.Attempts = 1 << 40
	ctx := context.Background()
	until := time.Now().Add(2 * time.Second)
	var all sync.WaitGroup
	work := func(fn func(n int) error) {
		all.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				if err := fn(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	count := func(s *Store) func(int) error {
		return func(int) error {
			proofs := make([]keystore.Proof, keys)
			for i := range proofs {
				proofs[i].KeyID = testKey(i).ID
			}
			_, err := s.Count(ctx, l, proofs)
			return err
		}
	}
	work(count(a))
	work(count(b))
	work(func(n int) error {
		uses := make([]keystore.Use, keys)
		for i := range uses {
			k := testKey(keys - 1 - i)
			uses[i] = keystore.Use{KeyID: k.ID, SecretID: k.Secrets[0].ID, At: time.Unix(int64(n), 0)}
		}
		return b.Use(ctx, uses)
	})
	work(func(n int) error {
		_, err := a.Update(ctx, func(tx keystore.Tx) error {
			for i := keys - 1; i >= 0; i-- {
				if err := tx.PutKey(ctx, testKey(i)); err != nil {
					return err
				}
				if n%5 == 0 {
					if err := tx.Unlock(ctx, testKey(i).ID); err != nil {
						return err
					}
				}
			}
			return nil
		})
		return err
	})
	all.Wait()
}

func TestACountThatCommitsBehindALaterOneIsSeenByWhoeverFollows(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 3)
	ctx := t.Context()
	count := func(n int) keystore.Tally {
		results, err := s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(n).ID}})
		require.NoError(t, err)
		return results[0].Whole
	}
	tallies := func(after int64) (keys []string, position int64) {
		all, err := s.Tallies(ctx, after)
		require.NoError(t, err)
		position = after
		for _, c := range all {
			keys, position = append(keys, c.KeyID), max(position, c.Seq)
		}
		return keys, position
	}
	count(0)
	// Another process that has drawn its seq, and has not committed yet.
	slow := connect(t, dsn)
	run(t, slow, "BEGIN")
	run(t, slow, `INSERT INTO tallies SELECT $1, '', 1, last_wall_ns, last_boot, last_since_ns, 0, '', 0, 0, NULL, 0, nextval('tally_seqs'), at, NULL FROM tallies`, testKey(1).ID)
	count(2)
	keys, position := tallies(-1)
	require.Equal(t, []string{testKey(0).ID, testKey(2).ID}, keys)
	keys, position = tallies(position)
	require.Empty(t, keys)
	run(t, slow, "COMMIT")
	keys, position = tallies(position)
	require.Equal(t, []string{testKey(1).ID}, keys)
	keys, position = tallies(position)
	require.Empty(t, keys, "and once")
	count(1)
	keys, _ = tallies(position)
	require.Equal(t, []string{testKey(1).ID}, keys)
}

func TestWhoHangsUpWhileWaitingForTheTurnLeavesItToOthers(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	waiting := func() (n int) {
		err := connect(t, dsn).QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&n)
		require.NoError(t, err)
		return n
	}
	inTurn(t, dsn, func() {
		ctx, cancel := context.WithCancel(t.Context())
		hungUp := make(chan error, 1)
		go func() {
			_, err := s.Update(ctx, func(keystore.Tx) error { return nil })
			hungUp <- err
		}()
		require.Eventually(t, func() bool { return waiting() == 1 }, 10*time.Second, 5*time.Millisecond)
		cancel()
		require.ErrorIs(t, <-hungUp, context.Canceled)
		require.Eventually(t, func() bool { return waiting() == 0 }, 10*time.Second, 5*time.Millisecond)
	})
	putKeys(t, s, 0, 1)
}

func TestAnEditKeepsTheLastUseThatComesMeanwhile(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 1)
	ctx := t.Context()
	k := testKey(0)
	used := make(chan error, 1)
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		read, err := tx.Key(ctx, k.ID)
		if err != nil {
			return err
		}
		go func() {
			used <- s.Use(context.Background(), []keystore.Use{{KeyID: k.ID, SecretID: k.Secrets[0].ID, At: time.Unix(1000, 0)}})
		}()
		time.Sleep(100 * time.Millisecond)
		read.Description = "edited"
		return tx.PutKey(ctx, read)
	})
	require.NoError(t, err)
	require.NoError(t, <-used)
	got, err := s.KeyByClientID(ctx, k.ClientID)
	require.NoError(t, err)
	require.Equal(t, "edited", got.Description)
	require.Equal(t, time.Unix(1000, 0).UTC(), got.LastUsed)
	require.Equal(t, got.LastUsed, got.Secrets[0].LastUsed)
}

func TestNodesFollowEachOther(t *testing.T) {
	dsn := newDSN(t)
	clock := keystore.NewSystemClock()
	var nodes []*keystore.Cached
	for range 2 {
		s, err := Open(t.Context(), Options{DSN: dsn, Clock: clock})
		require.NoError(t, err)
		s.SealAudit(storetest.NewSealer("mk"))
		c, err := keystore.OpenCached(t.Context(), s, clock, keystore.CacheSizes{Keys: 100, Unknown: 100, UnknownTTL: time.Second}, zap.NewNop())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		nodes = append(nodes, c)
	}
	ctx := t.Context()
	rev, err := nodes[0].Update(ctx, func(tx keystore.Tx) error {
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: "c", Name: "C", Enabled: true}); err != nil {
			return err
		}
		return tx.PutKey(ctx, testKey(0))
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return nodes[1].Position() == rev }, 10*time.Second, time.Millisecond)
	k, _, err := nodes[1].Look(ctx, testKey(0).ClientID, clock.Now())
	require.NoError(t, err)
	require.Equal(t, testKey(0).ID, k.ID)
	rev, err = nodes[1].UpdateKey(ctx, k.ID, func(tx keystore.Tx) error { return tx.PutSession(ctx, session(1, 0)) })
	require.NoError(t, err)
	require.Zero(t, rev)
}
