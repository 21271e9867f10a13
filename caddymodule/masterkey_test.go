package caddymodule

import (
	"os"
	"path/filepath"
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
