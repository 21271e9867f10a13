package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
)

func TestTheUsersOfTheExampleAreNotMadeWithoutPasswords(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	dsn := server.DSN(pgtest.Superuser, "postgres")
	psql := func(secrets string, args ...string) (string, error) {
		c := exec.CommandContext(t.Context(), "psql", append([]string{"-d", dsn}, args...)...)
		c.Env = append(os.Environ(), "KEYREEVE_SECRETS="+secrets)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	made := func() string {
		out, err := psql("", "-At", "-c", "SELECT count(*), count(rolpassword) FROM pg_authid WHERE rolname LIKE 'keyreeve%'")
		require.NoError(t, err, out)
		return strings.TrimSpace(out)
	}
	script := filepath.Join(exampleDir, "roles.sql")
	secrets := t.TempDir()
	for _, there := range []map[string]string{
		{},
		{"owner-password": strings.Repeat("a", 64)},
		{"owner-password": strings.Repeat("a", 64), "gate-password": "\n"},
	} {
		for name, text := range there {
			require.NoError(t, os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600))
		}
		out, err := psql(secrets, "-f", script) // whether or not it is told to stop at errors
		require.Error(t, err, out)
		require.Contains(t, out, "cannot be read by the user who runs psql")
		require.Equal(t, "0|0", made())
	}
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "gate-password"), []byte(strings.Repeat("b", 64)), 0o600))
	out, err := psql(secrets, "-f", script)
	require.NoError(t, err, out)
	require.Equal(t, "2|2", made())
}
