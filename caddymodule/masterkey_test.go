package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestAReloadMayNotLoseAMasterKeyThatWhatIsServedFromASnapshotDependsOn(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	name := server.NewDatabase(t)
	g := startEdited(t, "", onPostgres(t, fixed(server.DSNBy(server.Address(), pgtest.Superuser, name))))
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	require.NoError(t, caddy.Stop())
	server.Stop(t)
	require.NoError(t, g.load(""))
	require.Equal(t, 200, g.call(k, k.secret), "from the snapshot: the store was never asked what it depends on")

	file := filepath.Join(filepath.Dir(os.Getenv("XDG_DATA_HOME")), "master.key")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.Remove(file))
	_, err = credential.CreateMasterKeyFile(file)
	require.NoError(t, err)
	require.ErrorContains(t, g.load("max_stale 4m"), "wrong master key")
	for range 2 * policy.DefaultLockout().Attempts {
		require.Equal(t, 200, g.call(k, k.secret), "the configuration before is in force")
	}
	require.NoError(t, os.WriteFile(file, good, 0o600))
	require.NoError(t, g.load("max_stale 3m"))

	server.Start(t)
	require.Eventually(t, func() bool { _, _, lost := storeOf().keys.Followed(); return !lost }, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, 200, g.call(k, k.secret))
	tallies, err := storeOf().keys.Store().Tallies(t.Context(), -1)
	require.NoError(t, err)
	require.Empty(t, tallies)
}

// TestAStoreThatComesBackUnderAnotherMasterKeyIsNotUsedAndNobodyIsLocked starts a gate
// without its store, and with a master key that the store does not depend on.
func TestAStoreThatComesBackUnderAnotherMasterKeyIsNotUsedAndNobodyIsLocked(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	name := server.NewDatabase(t)
	log := filepath.Join(t.TempDir(), "log")
	edit := onPostgres(t, fixed(server.DSNBy(server.Address(), pgtest.Superuser, name)))
	g := startEdited(t, "", func(s string) string {
		return edit(strings.Replace(s, "level ERROR", "level ERROR\n\t\toutput file "+log, 1))
	})
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	file := filepath.Join(filepath.Dir(os.Getenv("XDG_DATA_HOME")), "master.key")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	id := active.Load().running.Load().ring.CurrentID()
	require.NoError(t, caddy.Stop())
	server.Stop(t)
	require.NoError(t, os.Remove(file))
	require.ErrorContains(t, g.load(""), "master.key", "none at all is no reason to wait for")
	_, err = credential.CreateMasterKeyFile(file)
	require.NoError(t, err)
	require.NoError(t, g.load(""), "what the store depends on cannot be known")

	server.Start(t)
	said := func(what string) int {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		return strings.Count(string(text), what)
	}
	require.Eventually(t, func() bool { return said("in reach but cannot be used") > 0 }, 30*time.Second, 20*time.Millisecond)
	for range 2 * policy.DefaultLockout().Attempts {
		require.Equal(t, 503, g.call(k, k.secret))
		require.Equal(t, 503, g.call(k, "wrong"))
	}
	require.Equal(t, 1, said("in reach but cannot be used"), "once a minute, however often it is tried")
	require.Equal(t, 1, said("wrong master key"))
	require.Equal(t, 1, said("holds verifiers under master key "+id))
	require.NoError(t, g.load("max_stale 4m"))
	require.Equal(t, 503, g.call(k, k.secret), "a reload with the same one changes nothing")

	// The file put right is not what this process read: until it is reloaded, nothing is
	// decided by the store, and nothing written into it under the other key.
	require.NoError(t, os.WriteFile(file, good, 0o600))
	shared := storeOf()
	for range 3 {
		_, err := shared.open(t.Context())
		require.ErrorContains(t, err, "which is configured by now")
		require.ErrorContains(t, err, "reload it")
		require.Equal(t, 503, g.call(k, k.secret))
	}
	require.NoError(t, g.load("max_stale 3m"))
	require.Same(t, shared, storeOf())
	require.Eventually(t, func() bool { return g.call(k, k.secret) == 200 }, 30*time.Second, 50*time.Millisecond, "without a restart")
	tallies, err := storeOf().keys.Store().Tallies(t.Context(), -1)
	require.NoError(t, err)
	require.Empty(t, tallies, "nothing of it was counted")
}
