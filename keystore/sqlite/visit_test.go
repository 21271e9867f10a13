package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func visit(t *testing.T, path string) (*Store, error) {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path, Clock: storetest.NewClock(), Visit: true})
	if err == nil {
		t.Cleanup(func() { require.NoError(t, s.Close()) })
	}
	return s, err
}

func TestAVisitorLeavesAnOlderSchemaAsItIs(t *testing.T) {
	path := firstSchema(t)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = visit(t, path)
	require.ErrorIs(t, err, ErrOlder)
	require.ErrorContains(t, err, "has schema 1")
	require.ErrorContains(t, err, "start the server of this version once")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	found, err := Examine(t.Context(), path)
	require.NoError(t, err)
	require.EqualValues(t, 1, found.Schema)
	require.Equal(t, []string{"mk"}, found.MasterKeyIDs, "known of every schema")

	open(t, path, storetest.NewClock())
	_, err = visit(t, path)
	require.NoError(t, err, "once it is migrated")
}

func TestAVisitorMakesAStoreThatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	s, err := visit(t, path)
	require.NoError(t, err)
	seed(t, s)
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(path))
	require.NoError(t, createFile(t.Context(), path)) // died while it was made
	s, err = visit(t, path)
	require.NoError(t, err)
	seed(t, s)
}

func TestAVisitorKnowsWhetherTheStoreIsInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	visitor, err := visit(t, path)
	require.NoError(t, err)
	requireUse := func(want bool) {
		t.Helper()
		for range 2 { // to ask changes nothing
			used, err := visitor.InUse()
			require.NoError(t, err)
			require.Equal(t, want, used)
		}
	}
	requireUse(false)
	_, err = visit(t, path)
	require.NoError(t, err)
	requireUse(false)
	first := open(t, path, storetest.NewClock())
	second := open(t, path, storetest.NewClock())
	requireUse(true)
	require.NoError(t, first.Close())
	requireUse(true)
	require.NoError(t, second.Close())
	requireUse(false)
	require.NoError(t, os.Remove(usersFile(path)))
	require.NoError(t, os.Mkdir(usersFile(path), 0o700))
	_, err = visitor.InUse()
	require.ErrorContains(t, err, "who has the key store open")
}
