package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestStoreConforms(t *testing.T) {
	server := pgtest.Shared(t)
	storetest.Run(t, func(t testing.TB) storetest.Database {
		dsn := server.DSN(pgtest.Superuser, server.NewDatabase(t))
		return func(t testing.TB, clock *storetest.Clock) keystore.Store { return open(t, dsn, clock) }
	})
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
