package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/internal/pgtest"
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
	require.ErrorContains(t, err, "start once with the dsn of their owner, then run docs/postgres-grants.sql")

	source := newInstallation(t)
	source.use()
	t.Setenv("TABLELESS", server.DSN("tableless", name))
	_, errOut, code := command(t, "migrate", "--from-config", source.config, "--to", "{env.TABLELESS}")
	require.Equal(t, cli.ExitError, code, errOut)
	require.Contains(t, errOut, "target: the user of the dsn may not make its tables")
}
