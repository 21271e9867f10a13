package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
)

// written makes a customer in the store itself, as one command, and tells what the
// answer said and how long the command's end took.
func (i *installation) written(name string) (propagation string, end time.Duration) {
	i.t.Helper()
	handler, done, err := openOffline(i.t.Context(), i.config)
	require.NoError(i.t, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/v1/customers", strings.NewReader(`{"name":"`+name+`"}`))
	r.RemoteAddr = "@"
	r.Header.Set("Content-Type", "application/json")
	handler.ServeHTTP(w, r)
	require.Equal(i.t, http.StatusCreated, w.Code, w.Body)
	began := time.Now()
	require.NoError(i.t, done())
	return w.Header().Get("Keyreeve-Propagation"), time.Since(began)
}

func TestACommandOnTheStoreItselfClaimsOnlyWhatItKnows(t *testing.T) {
	i := newInstallation(t)
	i.use()
	propagation, _ := i.written("alone")
	require.Equal(t, "confirmed=1; pending=0", propagation)

	server, err := sqlite.Open(t.Context(), sqlite.Options{Path: i.store, Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	propagation, end := i.written("beside a server")
	require.Equal(t, "confirmed=1; pending=1", propagation)
	require.Greater(t, end, keystore.SeenWithin/2, "it ends once the server has had time to see it")
	require.NoError(t, server.Close())

	propagation, _ = i.written("alone again")
	require.Equal(t, "confirmed=1; pending=0", propagation)
	require.NoError(t, os.Remove(i.store+".users"))
	require.NoError(t, os.Mkdir(i.store+".users", 0o700))
	propagation, _ = i.written("where nobody can tell")
	require.Equal(t, "confirmed=1; pending=1", propagation)
}

func TestNothingIsWrittenWithoutTheMasterKey(t *testing.T) {
	i := newInstallation(t)
	i.use()
	require.NoError(t, os.Rename(i.key, i.key+".away"))
	i.sql("UPDATE roles SET description = 'of another version' WHERE id = '" + keystore.RoleReadOnly + "'")
	before := i.files()
	_, _, err := openOffline(t.Context(), i.config)
	require.ErrorContains(t, err, "no such file")
	i.findings()
	require.Equal(t, before, i.files())
	require.NoFileExists(t, i.key)
	require.NoError(t, os.Rename(i.key+".away", i.key))
	i.written("with it")
	require.NotEqual(t, before, i.files())
}

func TestACommandDoesNotMigrateTheStoreOfAnOlderServer(t *testing.T) {
	i := newInstallation(t)
	i.use()
	i.sql("DELETE FROM goose_db_version WHERE version_id > 1")
	before := i.files()
	_, _, err := openOffline(t.Context(), i.config)
	require.ErrorIs(t, err, sqlite.ErrOlder)
	require.ErrorContains(t, err, "start the server")
	i.findings()
	require.Equal(t, before, i.files())
}

// files is what the directory of the store holds.
func (i *installation) files() map[string]string {
	i.t.Helper()
	held := map[string]string{}
	entries, err := os.ReadDir(filepath.Dir(i.store))
	require.NoError(i.t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-wal") || strings.HasSuffix(e.Name(), "-shm") {
			continue // made by whoever only reads
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(i.store), e.Name()))
		require.NoError(i.t, err)
		held[e.Name()] = string(text)
	}
	return held
}
