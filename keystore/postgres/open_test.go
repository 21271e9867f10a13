package postgres

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestProcessesThatOpenANewDatabaseAtOnceAllSucceed(t *testing.T) {
	dsn := newDSN(t)
	errs := make(chan error)
	const stores = 4
	for range stores {
		go func() {
			s, err := Open(context.Background(), Options{DSN: dsn, Clock: keystore.NewSystemClock()})
			if err == nil {
				err = s.Close()
			}
			errs <- err
		}()
	}
	for range stores {
		require.NoError(t, <-errs)
	}
	s := open(t, dsn, keystore.NewSystemClock())
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, head, "the predefined roles were made once")
}

func TestADatabaseOfANewerVersionIsRefused(t *testing.T) {
	dsn := newDSN(t)
	require.NoError(t, open(t, dsn, keystore.NewSystemClock()).Close())
	run(t, connect(t, dsn), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	_, err := Open(t.Context(), Options{DSN: dsn, Clock: keystore.NewSystemClock()})
	require.ErrorIs(t, err, keystore.ErrNewer)
}

func TestAVisitorLeavesAnOlderSchemaAsItIs(t *testing.T) {
	dsn := newDSN(t)
	require.NoError(t, open(t, dsn, keystore.NewSystemClock()).Close())
	visit := func() error {
		s, err := Open(t.Context(), Options{DSN: dsn, Clock: keystore.NewSystemClock(), Visit: true})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	require.NoError(t, visit())
	// There is one version so far, so that none older can be made.
	for _, c := range []struct {
		version  int64
		visit    bool
		done     bool
		sentinel error
	}{
		{0, true, false, nil}, {1, true, false, ErrOlder}, {1, false, false, nil}, {3, true, true, nil}, {4, true, false, keystore.ErrNewer},
	} {
		done, err := fits(c.version, 3, c.visit)
		require.ErrorIs(t, err, c.sentinel)
		require.Equal(t, c.done, done)
	}
}

func TestADatabaseInAnotherEncodingIsRefused(t *testing.T) {
	server := pgtest.Shared(t)
	server.Exec(t, "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
	t.Cleanup(func() { server.Exec(t, "DROP DATABASE latin WITH (FORCE)") })
	_, err := Open(t.Context(), Options{DSN: server.DSN(pgtest.Superuser, "latin"), Clock: keystore.NewSystemClock()})
	require.ErrorContains(t, err, "expected UTF8")
}

func TestAServerThatIsNotThereIsNamedWithoutThePassword(t *testing.T) {
	_, err := Open(t.Context(), Options{DSN: "postgres://u:hidden@127.0.0.1:1/k", Clock: keystore.NewSystemClock()})
	require.ErrorContains(t, err, "127.0.0.1:1")
	require.NotContains(t, err.Error(), "hidden")
}

func TestAGateNeedsNoMoreThanTheGrantedRights(t *testing.T) {
	server := pgtest.Shared(t)
	name := server.NewDatabase(t)
	owner := server.DSN(pgtest.Superuser, name)
	server.CreateUser(t, "gate")
	_, err := Open(t.Context(), Options{DSN: server.DSN("gate", name), Clock: keystore.NewSystemClock()})
	require.ErrorContains(t, err, "lacks a privilege", "it cannot make the tables")

	require.NoError(t, open(t, owner, keystore.NewSystemClock()).Close())
	script, err := os.ReadFile("../../docs/postgres-grants.sql")
	require.NoError(t, err)
	admin := connect(t, owner)
	run(t, admin, strings.ReplaceAll(string(script), `:"gate"`, "gate"))
	t.Cleanup(func() { run(t, admin, "DROP OWNED BY gate; DROP ROLE gate") })

	clock := pgtest.TurnClock(t, owner)
	s := open(t, server.DSN("gate", name), keystore.NewSystemClock())
	seed(t, s)
	putKeys(t, s, 0, 2)
	ctx := t.Context()
	_, err = s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: testKey(0).ID}, {KeyID: testKey(0).ID}, {KeyID: testKey(0).ID}})
	require.NoError(t, err)
	_, err = s.Update(ctx, func(tx keystore.Tx) error {
		if err := tx.DeleteKey(ctx, testKey(1).ID); err != nil {
			return err
		}
		return tx.Unlock(ctx, testKey(0).ID)
	})
	require.NoError(t, err)
	clock.Ahead(100 * 24 * time.Hour)
	require.NoError(t, s.Trim(ctx, policy.DefaultLockout(), 1))
	require.NoError(t, s.TrimAudit(ctx, 1))
	require.NoError(t, s.Close())
	for _, forbidden := range []string{"CREATE TABLE own (x int)", "DROP TABLE keys", "DELETE FROM state", "TRUNCATE audit"} {
		c, err := pgx.Connect(ctx, server.DSN("gate", name))
		require.NoError(t, err)
		if server.Version(t) < 15 && strings.HasPrefix(forbidden, "CREATE") {
			continue // anyone may, in the schema public of those days
		}
		_, err = c.Exec(ctx, forbidden)
		require.ErrorContains(t, err, "SQLSTATE 42501", forbidden)
		require.NoError(t, c.Close(ctx))
	}
}
