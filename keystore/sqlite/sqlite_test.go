package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Database {
		path := filepath.Join(t.TempDir(), "keyreeve.db")
		return func(t testing.TB, clock *storetest.Clock) keystore.Store { return open(t, path, clock) }
	})
}

// open opens a store that is closed when t ends.
func open(t testing.TB, path string, clock keystore.Clock) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path, Clock: clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	s.SealAudit(storetest.NewSealer("mk"))
	return s
}
