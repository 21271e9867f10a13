package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
)

// command runs a line as the binary does and returns what it wrote and its exit code.
func command(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := CLIEnv("keyreeve")
	env.Stdout, env.Stderr, env.Stdin, env.Exit = &stdout, &stderr, strings.NewReader(""), nil
	root := &cobra.Command{Use: "keyreeve", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.Commands(env)...)
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err != nil {
		var coded *cli.CodeError
		require.True(t, errors.As(err, &coded), err)
		code = coded.Code
	}
	return stdout.String(), stderr.String(), code
}

// movedKeys are the names of the keys in a store.
func movedKeys(t *testing.T, args ...string) []string {
	t.Helper()
	out, errOut, code := command(t, append([]string{"key", "list", "-o", "json"}, args...)...)
	require.Zero(t, code, errOut)
	var list struct {
		Items []struct{ Name string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &list), out)
	var names []string
	for _, k := range list.Items {
		names = append(names, k.Name)
	}
	return names
}

// newPostgres is the DSN of an empty database.
func newPostgres(t *testing.T) string {
	server := pgtest.Shared(t)
	return server.DSN(pgtest.Superuser, server.NewDatabase(t))
}

// shLines are the commands of a page's fenced blocks of a shell.
func shLines(t *testing.T, page string) (lines [][]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../docs", page))
	require.NoError(t, err)
	in := false
	for line := range strings.SplitSeq(string(text), "\n") {
		switch line = strings.TrimSpace(line); {
		case line == "```sh":
			in = true
		case strings.HasPrefix(line, "```"):
			in = false
		case in:
			lines = append(lines, strings.Fields(strings.ReplaceAll(line, "'", "")))
		}
	}
	return lines
}

func TestTheMovesOfTheDocsAreWhatTheySay(t *testing.T) {
	i := newInstallation(t)
	i.use()
	t.Setenv("KEYREEVE_DSN", newPostgres(t))
	copied := filepath.Join(i.dir, "moved", "keyreeve.db")
	lines := shLines(t, "moving.md")
	require.Len(t, lines, 3)
	for n, line := range lines {
		require.Equal(t, []string{"keyreeve", "migrate"}, line[:2])
		args := line[1:]
		for at, arg := range args {
			args[at] = strings.NewReplacer("/etc/caddy/Caddyfile", i.config, "/etc/keyreeve/master.key", i.key,
				"/var/lib/keyreeve/keyreeve.db", copied, "/srv/keyreeve/keyreeve.db", filepath.Join(i.dir, "third.db")).Replace(arg)
		}
		out, errOut, code := command(t, args...)
		require.Zero(t, code, errOut)
		require.Contains(t, errOut, "proved by their seals", "line %d", n)
		require.Contains(t, errOut, "\nnext: ")
		if n == len(lines)-1 {
			require.True(t, json.Valid([]byte(out)), out)
		}
	}
	i.options = "store sqlite " + filepath.Join(i.dir, "third.db") + "\nmaster_key_file " + i.key
	i.diagnose()
	require.Equal(t, []string{"first"}, movedKeys(t, "--config", i.config))
	_, errOut, code := command(t, "audit", "verify", "--config", i.config)
	require.Zero(t, code, errOut)
}

func TestAMoveRefusesWhatShowsAPasswordOrCannotBeAStore(t *testing.T) {
	i := newInstallation(t)
	i.use()
	from := "sqlite:" + i.store
	t.Setenv("EMPTY", "")
	for _, c := range []struct {
		from, to, says string
	}{
		{from, "postgres://gate:hunter2@127.0.0.1:1/x", "seen by others"},
		{from, "host=127.0.0.1 port=1 password=hunter2", "seen by others"},
		{from, "postgres://gate@127.0.0.1:1/x?password=hunter2", "seen by others"},
		{from, "mysql://gate@127.0.0.1/x", "expected a store such as sqlite:"},
		{from, "sqlite:", "names no file"},
		{from, "{env.KEYREEVE_NOT_SET}", "{env.KEYREEVE_NOT_SET} set?"},
		{"sqlite:" + filepath.Join(i.dir, "none.db"), "sqlite:" + filepath.Join(i.dir, "to.db"), "there is no key store at"},
		{from, from, "are one store"},
	} {
		out, errOut, code := command(t, "migrate", "--from", c.from, "--to", c.to)
		require.Equal(t, cli.ExitError, code, errOut)
		require.Contains(t, errOut, c.says)
		require.NotContains(t, errOut, "hunter2")
		require.Empty(t, out)
	}
	require.NoFileExists(t, filepath.Join(i.dir, "none.db"))
	require.NoFileExists(t, filepath.Join(i.dir, "to.db"))
}

func TestAMoveNeedsTheMasterKeysWhereItIsToldOfSome(t *testing.T) {
	i := newInstallation(t)
	i.use()
	other := filepath.Join(i.dir, "other.key")
	_, err := credential.CreateMasterKeyFile(other)
	require.NoError(t, err)
	to := filepath.Join(i.dir, "to.db")
	_, errOut, code := command(t, "migrate", "--from-config", i.config, "--to", "sqlite:"+to, "--master-key-file", other)
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, "wrong master key")
	target := i.write("Caddyfile.to", "{\nkeyreeve {\nstore sqlite "+to+"\nmaster_key_file "+other+"\n}\n}\n")
	_, errOut, code = command(t, "migrate", "--from-config", i.config, "--to-config", target)
	require.Equal(t, cli.ExitError, code)
	require.Contains(t, errOut, "wrong master key", "the gates could not use the target")
	require.NoFileExists(t, to)
	_, errOut, code = command(t, "migrate", "--from", "sqlite:"+i.store, "--to", "sqlite:"+to)
	require.Zero(t, code, errOut)
	require.Contains(t, errOut, "without --master-key-file their seals were not checked")
}

func TestAServerInTheWayIsAConflict(t *testing.T) {
	i := newInstallation(t)
	i.use()
	server, err := sqlite.Open(context.Background(), sqlite.Options{Path: i.store, Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	defer server.Close()
	_, errOut, code := command(t, "migrate", "--from-config", i.config, "--to", "sqlite:"+filepath.Join(i.dir, "to.db"))
	require.Equal(t, cli.ExitConflict, code, errOut)
	require.Contains(t, errOut, "a server has it open")
}
