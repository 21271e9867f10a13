package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestTheStoreGoesOnAsSoonAsTheServerDoes(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	s := open(t, server.DSN(pgtest.Superuser, server.NewDatabase(t)), keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 1)
	ctx := t.Context()
	for n, end := range []func(testing.TB){server.Stop, server.Kill} {
		// Many connections, all of which are lost at once.
		for range 4 {
			go func() { _, _ = s.KeyByClientID(context.Background(), testKey(0).ClientID) }()
		}
		end(t)
		began := time.Now()
		_, err := s.Head(ctx)
		require.Error(t, err)
		_, err = s.KeyByClientID(ctx, testKey(0).ClientID)
		require.Error(t, err)
		require.NotErrorIs(t, err, keystore.ErrNotFound)
		_, err = s.Update(ctx, func(keystore.Tx) error { return nil })
		require.Error(t, err)
		_, err = s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(0).ID}})
		require.Error(t, err)
		require.Less(t, time.Since(began), 2*time.Second, "refused at once")
		server.Start(t)
		_, err = s.KeyByClientID(ctx, testKey(0).ClientID)
		require.NoError(t, err)
		_, err = s.Head(ctx)
		require.NoError(t, err)
		putKeys(t, s, 10+n, 1)
		_, err = s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(0).ID}})
		require.NoError(t, err)
	}
}

func TestAConnectionThatTheServerEndsIsReplacedWithoutAnError(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 1)
	admin := connect(t, dsn)
	for range 5 {
		run(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		_, err := s.KeyByClientID(t.Context(), testKey(0).ClientID)
		require.NoError(t, err)
		run(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		putKeys(t, s, 0, 1)
	}
}

func TestATransactionWhoseConnectionIsLostIsRunAgain(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	admin := connect(t, dsn)
	runs := 0
	ctx := t.Context()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		if runs++; runs == 1 {
			run(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
		}
		if err := tx.PutKey(ctx, testKey(1)); err != nil {
			return errors.New("told as something else")
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, runs)
}

func TestNoAcknowledgedWriteIsLostWhenTheServerIsKilled(t *testing.T) {
	server := pgtest.Start(t)
	s := open(t, server.DSN(pgtest.Superuser, server.NewDatabase(t)), keystore.NewSystemClock())
	seed(t, s)
	ctx := context.Background()
	var acknowledged atomic.Int64
	acknowledged.Store(-1)
	for range 3 {
		done := make(chan struct{})
		begin := acknowledged.Load() + 1
		go func() {
			defer close(done)
			for n := begin; ; n++ {
				k := testKey(int(n))
				if _, err := s.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, k) }); err != nil {
					return
				}
				acknowledged.Store(n)
			}
		}()
		require.Eventually(t, func() bool { return acknowledged.Load() >= begin+5 }, 20*time.Second, time.Millisecond)
		server.Kill(t)
		<-done
		server.Start(t)
		for n := range acknowledged.Load() + 1 {
			k, err := s.KeyByClientID(ctx, testKey(int(n)).ClientID)
			require.NoError(t, err, "acknowledged key %d is gone", n)
			require.Len(t, k.Secrets, 1)
		}
	}
}

func TestAFullDiskIsErrFullAndTheStoreGoesOnOnceThereIsRoom(t *testing.T) {
	dsn := newDSN(t)
	s := open(t, dsn, keystore.NewSystemClock())
	seed(t, s)
	admin := connect(t, dsn)
	run(t, admin, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`)
	run(t, admin, "CREATE TRIGGER full_disk BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION full_disk()")
	ctx := t.Context()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		_ = tx.PutKey(ctx, testKey(1))
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "hidden", Name: "H"})
	})
	require.ErrorIs(t, err, keystore.ErrFull, "also where the function goes on")
	run(t, admin, "DROP TRIGGER full_disk ON keys")
	putKeys(t, s, 1, 1)
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		_, err := r.Customer(ctx, "hidden")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		return nil
	}))
}

func TestWhoListensIsWokenByAChangeOfAnotherProcessAndAfterARestart(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	dsn := server.DSN(pgtest.Superuser, server.NewDatabase(t))
	follower, writer := open(t, dsn, keystore.NewSystemClock()), open(t, dsn, keystore.NewSystemClock())
	seed(t, writer)
	putKeys(t, writer, 0, 1)
	woken := func(why string) {
		t.Helper()
		select {
		case <-follower.Wake():
		case <-time.After(20 * time.Second):
			t.Fatal(why)
		}
	}
	quiet := func(why string) {
		t.Helper()
		for {
			select {
			case <-follower.Wake():
			case <-time.After(300 * time.Millisecond):
				return
			}
		}
	}
	woken("once it listens")
	quiet("")
	putKeys(t, writer, 1, 1)
	woken("by a change")
	quiet("")
	_, err := writer.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(0).ID}})
	require.NoError(t, err)
	select {
	case <-follower.Wake():
		t.Fatal("a failure is no change")
	case <-time.After(200 * time.Millisecond):
	}
	server.Kill(t)
	server.Start(t)
	woken("once it listens again, of what it may have missed")
	quiet("")
	putKeys(t, writer, 2, 1)
	woken("by a change after that")
}

func TestClosingLeavesNothingRunning(t *testing.T) {
	dsn := newDSN(t)
	before := goleak.IgnoreCurrent()
	s, err := Open(t.Context(), Options{DSN: dsn, Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	seed(t, s)
	require.NoError(t, s.Close())
	goleak.VerifyNone(t, before)
}
