package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestAWriteIsStoredOnceAndAcknowledgedWhateverBecomesOfTheCommit(t *testing.T) {
	for name, c := range map[string]struct {
		how  int32
		runs int
	}{
		"the answer is lost":    {answerLost, 1},
		"the commit is lost":    {commitLost, 2},
		"the commit comes late": {commitLate, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, w := wired(t)
			ctx := context.Background()
			before, err := s.Head(ctx)
			require.NoError(t, err)
			runs := 0
			w.next.Store(c.how)
			rev, err := s.Update(ctx, func(tx keystore.Tx) error {
				runs++
				if err := tx.AddAudit(ctx, &keystore.Audit{CustomerID: "c", Action: "test"}); err != nil {
					return err
				}
				return tx.PutKey(ctx, testKey(7))
			})
			require.NoError(t, err)
			require.Equal(t, before+1, rev)
			require.Equal(t, c.runs, runs, "not run again once it is stored")
			changes, err := s.Changes(ctx, before)
			require.NoError(t, err)
			require.Len(t, changes, 1)
			require.Equal(t, rev, changes[0].Revision)
			k, err := s.KeyByClientID(ctx, testKey(7).ClientID)
			require.NoError(t, err)
			require.Equal(t, rev, k.Revision)
			require.Empty(t, verifyChain(t, s, "c"))
		})
	}
}

func TestAnotherWritersRevisionIsNotTakenForTheOneInDoubt(t *testing.T) {
	s, w := wired(t)
	other := open(t, s.way.Load().options.DSN, storetest.NewClock())
	ctx := context.Background()
	begun, written := make(chan struct{}), make(chan struct{})
	runs := 0
	go func() {
		defer close(written)
		<-begun
		// The same change, as of the same revision: it waits for the turn that the lost
		// transaction has.
		_, err := other.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, testKey(7)) })
		if err != nil {
			panic(err)
		}
	}()
	w.next.Store(commitLost)
	rev, err := s.Update(ctx, func(tx keystore.Tx) error {
		if runs++; runs == 1 {
			close(begun)
			time.Sleep(200 * time.Millisecond) // until the other waits for its turn
		}
		k := testKey(7)
		k.Description = "by the first"
		return tx.PutKey(ctx, k)
	})
	require.NoError(t, err)
	<-written
	require.Equal(t, 2, runs, "the other's revision is not its own")
	changes, err := s.Changes(ctx, rev-1)
	require.NoError(t, err)
	require.NotEmpty(t, changes)
}

func TestAWriteIsInDoubtWhereTheServerCannotBeAskedWhatBecameOfIt(t *testing.T) {
	s, w := wired(t)
	ctx := context.Background()
	runs := 0
	w.next.Store(answerLost)
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		runs++
		require.NoError(t, w.Close(), "no further connection is let in")
		s.pool.Reset() // and there is no other
		return tx.PutKey(ctx, testKey(7))
	})
	require.ErrorIs(t, err, keystore.ErrInDoubt)
	require.NotErrorIs(t, err, keystore.ErrUnavailable, "which says that nothing was stored")
	require.Equal(t, 1, runs)
}

// A server that stops to wait for its synchronous standbys commits all the same, and only
// warns: where it is failed over then, what was told to be stored is gone.
func TestACommitThatNoStandbyHasIsNotAcknowledgedWhateverEndsTheWaiting(t *testing.T) {
	server := pgtest.Start(t, "fsync=off", "wal_level=replica", "max_wal_senders=2")
	dsn := server.DSN(pgtest.Superuser, server.NewDatabase(t))
	s := open(t, dsn, storetest.NewClock())
	seed(t, s)
	admin := connect(t, dsn)
	waitFor := func(standbys string) {
		run(t, admin, "ALTER SYSTEM SET synchronous_standby_names = '"+standbys+"'")
		run(t, admin, "SELECT pg_reload_conf()")
		require.Eventually(t, func() bool {
			var now string
			return admin.QueryRow(t.Context(), "SHOW synchronous_standby_names").Scan(&now) == nil && now == standbys
		}, 20*time.Second, 10*time.Millisecond)
	}
	waitFor("nobody")
	t.Cleanup(func() { // or whatever ends the test waits for nobody too
		_, _ = admin.Exec(context.Background(), "ALTER SYSTEM RESET synchronous_standby_names")
		_, _ = admin.Exec(context.Background(), "SELECT pg_reload_conf()")
	})
	ctx := context.Background()
	next := 1
	write := func() <-chan error {
		done, n := make(chan error, 1), next
		next++
		go func() {
			_, err := s.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, testKey(n)) })
			done <- err
		}()
		return done
	}
	// The server's other processes take the setting somewhat later: until then a commit
	// does not wait.
	done, cancelled := write(), false
	for began := time.Now(); ; {
		var waits int
		select {
		case err := <-done:
			if !cancelled && err == nil && time.Since(began) < 20*time.Second {
				done = write()
				continue
			}
			require.True(t, cancelled, "it waited")
			require.ErrorIs(t, err, keystore.ErrInDoubt)
			waitFor("")
			putKeys(t, s, next, 1)
			return
		case <-time.After(50 * time.Millisecond): // as often as it begins to wait, also to find out what became of it
			require.NoError(t, admin.QueryRow(ctx, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&waits))
			cancelled = cancelled || waits > 0
		}
	}
}
