package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestExaminingADatabaseChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys.db")
	found, err := Examine(t.Context(), path)
	require.NoError(t, err)
	require.False(t, found.Exists)
	require.NoFileExists(t, path)
	newest := found.Newest
	require.Positive(t, newest)

	store, err := Open(t.Context(), Options{Path: path, Clock: storetest.NewClock()})
	require.NoError(t, err)
	found, err = Examine(t.Context(), path)
	require.NoError(t, err, "while it is in use too")
	require.Equal(t, Examination{Exists: true, Schema: newest, Newest: newest, Mode: 0o600}, found)
	require.NoError(t, store.Close())
	require.NoError(t, os.Chmod(path, 0o640))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	found, err = Examine(t.Context(), path)
	require.NoError(t, err)
	require.EqualValues(t, 0o640, found.Mode, "and is left so")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
