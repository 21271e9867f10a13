package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
)

// granted makes a user with the rights of a gate, and returns its dsn without the
// password, which the environment has.
func granted(t *testing.T, server *pgtest.Server, name, user string) string {
	t.Helper()
	owner := server.DSN(pgtest.Superuser, name)
	server.CreateUser(t, user)
	t.Cleanup(func() { runSQL(t, owner, "DROP OWNED BY "+user+"; DROP ROLE "+user) })
	grant(t, owner, user)
	return server.DSN(user, name)
}

func grant(t *testing.T, owner, user string) {
	t.Helper()
	script, err := os.ReadFile("../docs/postgres-grants.sql")
	require.NoError(t, err)
	runSQL(t, owner, strings.ReplaceAll(string(script), `:"gate"`, user))
}

func TestTheGatesOwnUserMayBeMovedFromAndIsToldThatItCannotBeMovedTo(t *testing.T) {
	i := newInstallation(t)
	i.use()
	server, name, owner := emptyDatabase(t)
	t.Setenv("OWNER", owner)
	_, errOut, code := command(t, "migrate", "--from-config", i.config, "--to", "{env.OWNER}")
	require.Zero(t, code, errOut)
	require.NotContains(t, errOut, `"level"`, "a command's words are no log")
	require.NotContains(t, errOut, "an era of")

	t.Setenv("GATE", granted(t, server, name, "mover"))
	back := "sqlite:" + filepath.Join(i.dir, "back.db")
	_, errOut, code = command(t, "migrate", "--from", "{env.GATE}", "--to", back, "--master-key-file", i.key)
	require.Zero(t, code, errOut)
	require.Contains(t, errOut, "proved by their seals")

	_, errOut, code = command(t, "migrate", "--from-config", i.config, "--to", "{env.GATE}")
	require.Equal(t, cli.ExitError, code, errOut)
	require.Contains(t, errOut, "the target's user lacks UPDATE on the sequence")
	require.Contains(t, errOut, "dsn of its tables' owner")
	require.NotContains(t, errOut, "copying", "nothing was copied for nothing")

	runSQL(t, owner, "REVOKE SELECT ON tallies FROM mover")
	_, errOut, code = command(t, "migrate", "--from", "{env.GATE}", "--to", "sqlite:"+filepath.Join(i.dir, "third.db"))
	require.Equal(t, cli.ExitError, code, errOut)
	require.Contains(t, errOut, "source: the user of the dsn lacks SELECT on tallies")
	_, errOut, code = command(t, "migrate", "--from-config", i.config, "--to", "{env.GATE}")
	require.Equal(t, cli.ExitError, code, errOut)
	require.Contains(t, errOut, "target: the user of the dsn lacks SELECT on tallies")
}

func TestAUserWhoMayMakeNoTablesIsToldSoBeforeTheFirstStart(t *testing.T) {
	server, name, owner := emptyDatabase(t)
	server.CreateUser(t, "tableless")
	t.Cleanup(func() { runSQL(t, owner, "DROP OWNED BY tableless; DROP ROLE tableless") })
	runSQL(t, owner, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	i := newInstallation(t)
	i.withPostgres(server.DSN("tableless", name))
	found, _ := i.diagnose()
	require.Equal(t, cli.StatusFail, found[checkRights].Status, "%+v", found)
	require.Contains(t, found[checkRights].Detail, "has no tables yet, and the user of the dsn may not make them")
	_, _, err := openOffline(t.Context(), i.config)
	require.ErrorContains(t, err, "run `keyreeve schema upgrade` with the dsn of their owner, and --grant for this user")

	source := newInstallation(t)
	source.use()
	t.Setenv("TABLELESS", server.DSN("tableless", name))
	_, errOut, code := command(t, "migrate", "--from-config", source.config, "--to", "{env.TABLELESS}")
	require.Equal(t, cli.ExitError, code, errOut)
	require.Contains(t, errOut, "target: the user of the dsn may not make its tables")
}

// TestAMoveFromOrToADatabaseThatAGateServesByIsRefused stands for every node that is
// registered and not known to serve nothing.
func TestAMoveFromOrToADatabaseThatAGateServesByIsRefused(t *testing.T) {
	i := newInstallation(t)
	i.options = "store sqlite " + i.store + "\nmaster_key_file " + i.key
	_, err := credential.CreateMasterKeyFile(i.key)
	require.NoError(t, err)
	i.use()
	_, _, dsn := emptyDatabase(t)
	t.Setenv("LIVE", dsn)
	g := startEdited(t, "", onPostgres(t, fixed(dsn), "max_stale 2s"))
	away := filepath.Join(i.dir, "away.db")
	from := []string{"migrate", "--from", "{env.LIVE}", "--to", "sqlite:" + away, "--unproved-audit"}
	to := []string{"migrate", "--from-config", i.config, "--to", "{env.LIVE}"}
	refused := func(side, why string, args []string) {
		t.Helper()
		_, errOut, code := command(t, args...)
		require.Equal(t, cli.ExitConflict, code, errOut)
		require.Contains(t, errOut, "nothing was moved: the "+side+" ")
		require.Contains(t, errOut, why)
	}
	node := storeOf().keys.NodeID()
	refused("source", "("+node+") uses it; stop it, or wait", from)
	refused("target", "("+node+") uses it; stop it, or wait", to)
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret), "it serves on")

	// It may begin again from its snapshot, for as long as it could have served.
	require.NoError(t, caddy.Stop())
	stopped := time.Now()
	_, errOut, code := command(t, from...)
	if time.Since(stopped) < time.Second { // else a machine that is busy took longer than the lease
		require.Equal(t, cli.ExitConflict, code, errOut)
		require.Contains(t, errOut, "("+node+") has stopped, and could begin again from its snapshot; wait")
	}
	require.Eventually(t, func() bool {
		_, errOut, code = command(t, from...)
		return code == 0
	}, 30*time.Second, 200*time.Millisecond, errOut)

	// One that was lost, and that nobody has forgotten: it may still serve.
	store, err := postgres.Open(t.Context(), postgres.Options{DSN: dsn, Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, store.Renew(t.Context(), keystore.Registration{ID: "lost", Name: "gate 7", Lease: time.Hour, MaxStale: time.Hour}))
	refused("source", "gate 7 (lost) uses it", from)
	require.NoError(t, store.Leave(t.Context(), "lost"))
	_, errOut, code = command(t, from...)
	require.Zero(t, code, errOut)
}
