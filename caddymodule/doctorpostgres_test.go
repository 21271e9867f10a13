package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

// withPostgres makes an installation use a database.
func (i *installation) withPostgres(dsn string) {
	i.t.Helper()
	i.key = filepath.Join(i.dir, "shared.key")
	if _, err := os.Stat(i.key); err != nil {
		_, err := credential.CreateMasterKeyFile(i.key)
		require.NoError(i.t, err)
	}
	i.options = fmt.Sprintf("store postgres %q\nmaster_key_file %s", dsn, i.key)
}

func TestTheDoctorLooksAtAPostgreSQLStore(t *testing.T) {
	server, name, dsn := emptyDatabase(t)
	i := newInstallation(t)
	i.withPostgres(dsn)
	found, _ := i.diagnose()
	require.Equal(t, cli.StatusWarn, found[checkStore].Status, found[checkStore].Detail)
	require.Contains(t, found[checkStore].Detail, "no tables yet")

	i.use()
	found, _ = i.diagnose()
	for _, check := range []string{checkConfig, checkSchema, checkStore, checkWriting, checkMasterKey, checkRights, checkSnapshot} {
		require.Equal(t, cli.StatusOK, found[check].Status, "%s: %+v", check, found)
	}
	require.Contains(t, found[checkServer].Detail, "superuser")

	own, in := i.options, filepath.Join(i.dir, "taken")
	require.NoError(t, os.Mkdir(in, 0o700))
	i.options += "\nsnapshot " + in
	found, _ = i.diagnose()
	require.Equal(t, cli.StatusFail, found[checkSnapshot].Status, "%+v", found[checkSnapshot])
	require.Contains(t, found[checkSnapshot].Detail, "no regular file")
	i.options = own

	server.CreateUser(t, "doctor")
	t.Cleanup(func() { runSQL(t, dsn, "DROP OWNED BY doctor; DROP ROLE doctor") })
	runSQL(t, dsn, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctor")
	i.withPostgres(server.DSNBy(server.Address(), "doctor", name))
	found, _ = i.diagnose()
	require.Equal(t, cli.StatusFail, found[checkRights].Status)
	require.Contains(t, found[checkRights].Detail, "UPDATE on keys")
	require.Contains(t, found[checkServer].Detail, "not encrypted")
	require.Contains(t, found[checkConfig].Detail, "in clear")
	require.NotContains(t, fmt.Sprint(found), server.Password())
	script, err := os.ReadFile("../docs/postgres-grants.sql")
	require.NoError(t, err)
	runSQL(t, dsn, strings.ReplaceAll(string(script), `:"gate"`, "doctor"))
	found, _ = i.diagnose()
	require.Equal(t, cli.StatusOK, found[checkRights].Status, "%+v", found[checkRights])
	require.Equal(t, cli.StatusOK, found[checkWriting].Status, "%+v", found[checkWriting])

	i.withPostgres("postgres://doctor:hidden@127.0.0.1:1/k")
	found, _ = i.diagnose()
	require.Equal(t, cli.StatusFail, found[checkStore].Status)
	require.Contains(t, found[checkStore].Advice, "starts without it")
	require.NotContains(t, fmt.Sprint(found), "hidden")
	i.withPostgres(strings.Replace(server.DSNBy(server.Address(), pgtest.Superuser, name), server.Password(), "hidden", 1))
	found, _ = i.diagnose()
	require.Contains(t, found[checkStore].Advice, "password")
	require.NotContains(t, fmt.Sprint(found), "hidden")
	i.withPostgres(dsn)
	require.NoError(t, os.Remove(i.key))
	i.withPostgres(dsn) // with another master key
	found, _ = i.diagnose()
	require.Equal(t, cli.StatusFail, found[checkMasterKey].Status)
}

func TestACommandOnAPostgreSQLStoreWaitsForItsNodes(t *testing.T) {
	_, _, dsn := emptyDatabase(t)
	i := newInstallation(t)
	i.withPostgres(dsn)
	i.diagnose()
	propagation, _ := i.written("nobody follows")
	require.Equal(t, "confirmed=0; pending=0", propagation)

	edit := onPostgres(t, fixed(dsn))
	g := startEdited(t, "", func(s string) string {
		s = edit(s)
		at := strings.Index(s, "master_key_file ")
		return s[:at] + "master_key_file " + i.key + s[at+strings.Index(s[at:], "\n"):]
	})
	k := g.newKey("a", keystore.RoleReadOnly)
	require.Equal(t, 200, g.call(k, k.secret))
	require.Eventually(t, func() bool {
		propagation, _ = i.written(fmt.Sprint("followed ", time.Now().UnixNano()))
		return propagation == "confirmed=1; pending=0"
	}, 30*time.Second, time.Millisecond)
}
