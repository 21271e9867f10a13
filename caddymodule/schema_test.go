package caddymodule

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
)

func TestTheOwnerMakesTheTablesAndTheGatesUserServesByThem(t *testing.T) {
	server, name, super := emptyDatabase(t)
	for _, user := range []string{"proprietor", "tenant"} {
		server.CreateUser(t, user)
		t.Cleanup(func() { runSQL(t, super, "DROP OWNED BY "+user+"; DROP ROLE "+user) })
	}
	runSQL(t, super, "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT ALL ON SCHEMA public TO proprietor")
	t.Setenv("OWNER", server.DSN("proprietor", name))
	t.Setenv("GATE", server.DSN("tenant", name))
	upgrade := func(args ...string) (string, int) {
		_, errOut, code := command(t, append([]string{"schema", "upgrade"}, args...)...)
		return errOut, code
	}

	errOut, code := upgrade("--store", "{env.GATE}")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, "may not make or migrate the tables: run `keyreeve schema upgrade` with the dsn of their owner")
	errOut, code = upgrade("--store", "{env.OWNER}", "--grant", "tenant")
	require.Equal(t, cli.ExitError, code, "the tables are its own and the schema is not: the server only warns")
	require.Contains(t, errOut, "tenant still lacks USAGE on the schema public")
	_, errOut, code = command(t, "schema", "upgrade", "--store", "{env.GATE}")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, "run `keyreeve schema upgrade` with the dsn of their owner")
	runSQL(t, super, "ALTER SCHEMA public OWNER TO proprietor")
	errOut, code = upgrade("--store", "{env.OWNER}", "--grant", "nobody")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, `role "nobody" does not exist`)
	errOut, code = upgrade("--store", "{env.OWNER}", "--grant", `tenant"; DROP TABLE keys; --`)
	require.Equal(t, cli.ExitError, code, "a name and no more: %s", errOut)
	for range 2 { // the second time there is nothing to do
		errOut, code = upgrade("--store", "{env.OWNER}", "--grant", "tenant")
		require.Zero(t, code, errOut)
		require.Contains(t, errOut, "has schema 1 already")
	}
	found, err := postgres.Examine(t.Context(), postgres.Options{DSN: server.DSN("tenant", name)})
	require.NoError(t, err)
	require.Empty(t, found.Missing)
	require.False(t, found.MayMigrate)

	g := startEdited(t, "", onPostgres(t, fixed(server.DSN("tenant", name))))
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	require.Len(t, g.nodes(), 1, "whoever made the tables is no node")
	errOut, code = upgrade("--store", "{env.OWNER}", "--grant", "tenant")
	require.Zero(t, code, errOut)
	require.Equal(t, 200, g.call(k, k.secret), "beside gates that run, it changes nothing that is there")

	errOut, code = upgrade("--store", "sqlite:"+t.TempDir()+"/keyreeve.db")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, "there is nothing to do")
	errOut, code = upgrade("--store", "postgres://owner:hunter2@127.0.0.1:1/x")
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, "seen by others")
	require.NotContains(t, errOut, "hunter2")
}

func TestTheDoctorTellsAGatesUserWhoUpgradesTheTables(t *testing.T) {
	for _, may := range []bool{false, true} {
		d := &doctor{app: &App{opener: &PostgresStore{DSN: "postgres://gate@127.0.0.1/x"}}}
		require.False(t, d.server(examination{where: "postgres:db/x", schema: 1, newest: 2, postgres: &postgres.Examination{MayMigrate: may}}, nil))
		last := d.findings[len(d.findings)-1]
		require.Equal(t, checkSchema, last.Check)
		want := cli.StatusFail // a gate would not start
		if may {
			want = cli.StatusWarn
		}
		require.Equal(t, want, last.Status)
		require.Equal(t, !may, strings.Contains(last.Advice, "keyreeve schema upgrade"))
	}
}
