package caddymodule

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

// followed waits until this process follows its store, or no longer does.
func followed(t *testing.T, want bool) {
	t.Helper()
	require.Eventually(t, func() bool { _, _, lost := storeOf().keys.Followed(); return lost != want }, 30*time.Second, 20*time.Millisecond)
}

func TestASnapshotThatAReloadChangesIsTheOneThatAStartGoesOnFrom(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	name := server.NewDatabase(t)
	g := startEdited(t, "", onPostgres(t, fixed(server.DSNBy(server.Address(), pgtest.Superuser, name))))
	k, revoked := g.newKey("a", keystore.RoleFullAccess), g.newKey("b", keystore.RoleFullAccess)
	standard := storeOf().snapshot
	require.NotEmpty(t, standard)
	moved := filepath.Join(g.dir, "moved", "snapshot")
	var ids []string
	for _, c := range []struct{ extra, path string }{{"", standard}, {"snapshot " + moved, moved}, {"snapshot off", ""}, {"", standard}, {"snapshot " + moved, moved}} {
		require.NoError(t, g.load(c.extra))
		require.Equal(t, c.path, storeOf().snapshot)
		require.Equal(t, 200, g.call(k, k.secret), "a reload turns nobody away")
		require.Equal(t, 200, g.call(revoked, revoked.secret))
		if c.path != "" {
			require.Eventually(t, func() bool { _, err := os.Stat(c.path); return err == nil }, 30*time.Second, 20*time.Millisecond)
		}
		ids = append(ids, storeOf().keys.NodeID())
		serving := 0
		for _, n := range g.nodes() {
			switch {
			case n.Self:
				require.Equal(t, []string{ids[len(ids)-1], lifecycle.NodeServing}, []string{n.ID, n.State})
				serving++
			default: // what it was before serves nothing any more
				require.Equal(t, lifecycle.NodeStopped, n.State)
			}
		}
		require.Equal(t, 1, serving)
	}
	require.Equal(t, ids[0], ids[3], "a snapshot that is come back to is the same node's")
	require.Equal(t, ids[1], ids[4])
	require.NotEqual(t, ids[0], ids[1])
	require.NotContains(t, []string{ids[0], ids[1]}, ids[2])

	_, err := Service().DeleteKey(t.Context(), lifecycle.Local("test", false), revoked.id, nil)
	require.NoError(t, err)
	server.Stop(t)
	followed(t, false)
	// Begun anew without the store it would turn everybody away who is served now.
	for _, extra := range []string{"snapshot off", "snapshot " + filepath.Join(g.dir, "third"), ""} {
		err := g.load(extra)
		require.ErrorContains(t, err, "reload once the store is in reach, or restart")
		require.Equal(t, moved, storeOf().snapshot)
		require.Equal(t, 200, g.call(k, k.secret), "the configuration before still runs")
	}
	require.NoFileExists(t, filepath.Join(g.dir, "third"))
	require.NoError(t, g.load("snapshot "+moved+"\nmax_stale 4m"), "any other change takes effect")
	require.NoError(t, caddy.Stop())
	require.NoError(t, g.load("snapshot "+moved))
	require.Equal(t, 200, g.call(k, k.secret), "from the snapshot that was named last")
	require.NotEqual(t, 200, g.call(revoked, revoked.secret))
	require.NoError(t, caddy.Stop())
	require.NoError(t, g.load("snapshot off"), "a start is no reload")
	require.Equal(t, 503, g.call(k, k.secret), "there is none to go on from")
	server.Start(t)
	require.Eventually(t, func() bool { return g.call(k, k.secret) == 200 }, 30*time.Second, 50*time.Millisecond)
}

func TestAReloadToAnotherStoreThatIsOutOfReachIsRefused(t *testing.T) {
	_, _, dsn := emptyDatabase(t)
	now := dsn
	g := startEdited(t, "", onPostgres(t, func() string { return now }))
	k := g.newKey("a", keystore.RoleFullAccess)
	before := storeOf()
	now = "postgres://gate@127.0.0.1:1/keyreeve" // a slip in the dsn's host names another store
	require.ErrorContains(t, g.load(""), "reload once the store is in reach, or restart")
	require.Same(t, before, storeOf())
	require.Equal(t, 200, g.call(k, k.secret))
}

func TestASnapshotOfAFileIsChangedByARestartOnly(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	before := storeOf()
	option := "snapshot " + filepath.Join(g.dir, "snapshot")
	require.ErrorContains(t, g.load(option), "snapshot: with this store it cannot be changed by a reload: restart")
	require.Same(t, before, storeOf())
	require.Equal(t, 200, g.call(k, k.secret))
	require.NoError(t, g.load("snapshot off"), "which it was")
	require.NoError(t, caddy.Stop())
	require.NoError(t, g.load(option))
	require.Equal(t, 200, g.call(k, k.secret))
	require.NoError(t, g.load(option+"\nmax_stale 1m"))
	require.ErrorContains(t, g.load(""), "restart")
}
