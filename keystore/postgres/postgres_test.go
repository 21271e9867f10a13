package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

func TestStoreConforms(t *testing.T) {
	server := pgtest.Shared(t)
	// A schema for each, of one database: to drop a database costs a checkpoint.
	database := server.DSN(pgtest.Superuser, server.NewDatabase(t))
	var schemas atomic.Int64
	storetest.Run(t, func(t testing.TB) storetest.Database {
		schema := fmt.Sprintf("case_%d", schemas.Add(1))
		run(t, connect(t, database), "CREATE SCHEMA "+schema)
		dsn := database + "&search_path=" + schema
		var turned sync.Once
		return func(now testing.TB, clock *storetest.Clock) keystore.Store {
			turned.Do(func() { follow(t, dsn, clock) })
			return open(now, dsn, clock)
		}
	})
}

// follow makes the database's clock that of the test, whose time of day it shows.
func follow(t testing.TB, dsn string, clock *storetest.Clock) {
	c := turnClock(t, dsn)
	c.Stand(clock.Now().Wall)
	clock.OnTurn(func(now policy.Instant) { c.Stand(now.Wall) })
}

// turnClock makes the tables of a store and their clock one that can be turned.
func turnClock(t testing.TB, dsn string) *pgtest.Clock {
	t.Helper()
	cfg, err := Options{DSN: dsn}.config()
	require.NoError(t, err)
	require.NoError(t, migrate(t.Context(), cfg.ConnConfig, false))
	return pgtest.TurnClock(t, dsn)
}

// open opens a store that is closed when t ends.
func open(t testing.TB, dsn string, clock keystore.Clock) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{DSN: dsn, Clock: clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	s.SealAudit(storetest.NewSealer("mk"))
	return s
}
