package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// childEnv makes the test binary start a server, tell where it is, and end so.
const childEnv = "KEYREEVE_TEST_PGTEST_CHILD"

func TestMain(m *testing.M) {
	how := os.Getenv(childEnv)
	if how == "" {
		os.Exit(m.Run())
	}
	s, err := start(Volatile())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.dir, s.cmd.Process.Pid)
	if how == "panic" {
		panic("own")
	}
	select {}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func TestEachTestHasADatabaseOfItsOwnThatGoesWithIt(t *testing.T) {
	s := Shared(t)
	require.Same(t, s, Shared(t), "one server in a process")
	names := map[string]bool{}
	for range 2 {
		t.Run("test", func(t *testing.T) {
			name := s.NewDatabase(t)
			names[name] = true
			c := connect(t, s.DSN(Superuser, name))
			_, err := c.Exec(t.Context(), "CREATE TABLE t (x text)")
			require.NoError(t, err)
		})
	}
	require.Len(t, names, 2)
	var left int
	c := connect(t, s.DSN(Superuser, "postgres"))
	require.NoError(t, c.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname LIKE 'test%'").Scan(&left))
	require.Zero(t, left)
}

func TestOverTheSocketAndOverTCPWithAPassword(t *testing.T) {
	s := Shared(t)
	name := s.NewDatabase(t)
	s.CreateUser(t, "plain")
	for _, dsn := range []string{s.DSN("plain", name), s.DSNBy(s.Address(), "plain", name)} {
		var user string
		require.NoError(t, connect(t, dsn).QueryRow(t.Context(), "SELECT current_user").Scan(&user))
		require.Equal(t, "plain", user)
	}
	_, err := pgx.Connect(t.Context(), strings.Replace(s.DSNBy(s.Address(), "plain", name), password, "other", 1))
	require.Error(t, err)
}

func TestSettingsAreThoseOfTheTest(t *testing.T) {
	setting := func(s *Server, name string) (value string) {
		require.NoError(t, connect(t, s.DSN(Superuser, "postgres")).QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value))
		return value
	}
	require.Equal(t, "off", setting(Shared(t), "fsync"))
	s := Start(t, "max_connections=7")
	require.Equal(t, "on", setting(s, "fsync"), "durable unless asked otherwise")
	require.Equal(t, "7", setting(s, "max_connections"))
}

func TestWhatWasCommittedIsThereAfterAStopAndAfterACrash(t *testing.T) {
	s := Start(t)
	ctx := context.Background()
	dsn := s.DSN(Superuser, "postgres")
	s.Exec(t, "CREATE TABLE t (n int)")
	for n, end := range []func(testing.TB){s.Stop, s.Kill} {
		s.Exec(t, fmt.Sprintf("INSERT INTO t VALUES (%d)", n))
		c := connect(t, dsn)
		end(t)
		end(t) // ended already
		_, err := c.Exec(ctx, "SELECT 1")
		require.Error(t, err)
		_, err = pgx.Connect(ctx, dsn)
		require.Error(t, err)
		s.Start(t)
		var rows int
		require.NoError(t, connect(t, dsn).QueryRow(ctx, "SELECT count(*) FROM t").Scan(&rows))
		require.Equal(t, n+1, rows)
	}
}

func TestAServerIsGoneWithItsTest(t *testing.T) {
	var s *Server
	var pid int
	t.Run("test", func(t *testing.T) {
		s = Start(t, Volatile()...)
		pid = s.cmd.Process.Pid
	})
	requireGone(t, s.dir, pid)
}

func TestAServerIsGoneWithItsProcessHoweverThatEnds(t *testing.T) {
	for _, how := range []string{"panic", "kill"} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+how)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			var dir string
			var pid int
			_, err = fmt.Fscan(out, &dir, &pid)
			require.NoError(t, err)
			if how == "kill" {
				require.NoError(t, cmd.Process.Kill())
			}
			var ended *exec.ExitError
			require.ErrorAs(t, cmd.Wait(), &ended)
			requireGone(t, dir, pid)
		})
	}
}

// requireGone waits until neither the server's directory nor its process is there.
func requireGone(t *testing.T, dir string, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		_, connectErr := pgx.Connect(t.Context(), (&Server{dir: dir}).DSN(Superuser, "postgres"))
		return errors.Is(err, os.ErrNotExist) && connectErr != nil && !runs(pid)
	}, patience, 20*time.Millisecond)
}

// runs reports whether a process with this pid is a server.
func runs(pid int) bool {
	p := exec.Command("ps", "-o", "stat=,comm=", "-p", strconv.Itoa(pid))
	out, err := p.Output()
	return err == nil && strings.Contains(string(out), "postgres") && !strings.HasPrefix(string(out), "Z")
}

func TestTheNewestOfDebiansVersionsIsTaken(t *testing.T) {
	require.Greater(t, version("/usr/lib/postgresql/15/bin"), version("/usr/lib/postgresql/9/bin"))
	require.Zero(t, version("/opt/pg/bin"))
	dir := t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		require.False(t, complete(dir))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700))
	}
	require.True(t, complete(dir))
	t.Setenv("PATH", dir)
	found, err := programs()
	require.NoError(t, err)
	require.Equal(t, dir, found, "on the PATH first")
	t.Setenv(programsEnv, "/opt/pg/bin")
	found, err = programs()
	require.NoError(t, err)
	require.Equal(t, "/opt/pg/bin", found)
}

func TestAServerSpeaksTLSOnlyToWhoKnowsItsAuthority(t *testing.T) {
	s := Start(t, Volatile()...)
	root := s.ServeTLS(t)
	dsn := s.DSNBy(s.Address(), Superuser, "postgres")
	var encrypted bool
	require.NoError(t, connect(t, dsn+"?sslmode=verify-full&sslrootcert="+root).
		QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted))
	require.True(t, encrypted)
	_, err := pgx.Connect(t.Context(), dsn+"?sslmode=verify-full")
	require.Error(t, err, "an authority that nobody knows")
}
