package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func TestAnOpenStoreTakesAnotherUserOfTheSameDatabase(t *testing.T) {
	server := pgtest.Shared(t)
	name := server.NewDatabase(t)
	server.CreateUser(t, "second")
	owner := connect(t, server.DSN(pgtest.Superuser, name))
	t.Cleanup(func() { run(t, owner, "DROP OWNED BY second; DROP ROLE second") })
	s := open(t, server.DSNBy(server.Address(), pgtest.Superuser, name), storetest.NewClock())
	seed(t, s)
	run(t, owner, "GRANT ALL ON ALL TABLES IN SCHEMA public TO second; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO second")

	users := func() map[string]int {
		found := map[string]int{}
		rows, err := owner.Query(t.Context(), "SELECT usename::text, count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1")
		require.NoError(t, err)
		for rows.Next() {
			var user string
			var n int
			require.NoError(t, rows.Scan(&user, &n))
			found[user] = n
		}
		require.NoError(t, rows.Err())
		return found
	}
	require.NotZero(t, users()[pgtest.Superuser])
	require.NoError(t, s.Reconnect(Options{DSN: server.DSNBy(server.Address(), "second", name)}))
	seed(t, s)
	require.Eventually(t, func() bool {
		_, err := s.Head(t.Context())
		require.NoError(t, err)
		found := users()
		return found[pgtest.Superuser] == 0 && found["second"] >= 2 // one listens
	}, 20*time.Second, 20*time.Millisecond)
	for len(s.Wake()) > 0 {
		<-s.Wake()
	}
	require.Eventually(t, func() bool {
		seed(t, s)
		return len(s.Wake()) > 0
	}, 20*time.Second, 20*time.Millisecond, "it is still told of changes")

	err := s.Reconnect(Options{DSN: server.DSNBy(server.Address(), "second", "postgres")})
	require.ErrorContains(t, err, "another database")
	err = s.Reconnect(Options{DSN: strings.Replace(server.DSNBy(server.Address(), "second", name), ":", ":/", 2)})
	require.Error(t, err)
	require.NotContains(t, err.Error(), server.Password())
	seed(t, s)
}

func TestWhatTheDSNDoesNotHoldIsComparedToo(t *testing.T) {
	same := func(a, b string) bool {
		x, err := Options{DSN: a}.config()
		require.NoError(t, err)
		y, err := Options{DSN: b}.config()
		require.NoError(t, err)
		return sameWay(&x.ConnConfig.Config, &y.ConnConfig.Config)
	}
	const dsn = "postgres://gate@h/k?sslmode=require"
	require.True(t, same(dsn, dsn))
	for _, other := range []string{"postgres://other@h/k?sslmode=require", "postgres://gate:new@h/k?sslmode=require", "postgres://gate@h/k?sslmode=verify-full",
		"postgres://gate@h/k?sslmode=disable", dsn + "&work_mem=8MB", dsn + "&connect_timeout=1", dsn + "&ssl_min_protocol_version=TLSv1.3"} {
		require.False(t, same(dsn, other), other)
	}
}

func TestLookingAtADatabaseTellsWhatAGateNeedsAndChangesNothing(t *testing.T) {
	server := pgtest.Shared(t)
	name := server.NewDatabase(t)
	owner := server.DSN(pgtest.Superuser, name)
	look := func(dsn string) Examination {
		found, err := Examine(t.Context(), Options{DSN: dsn})
		require.NoError(t, err)
		return found
	}
	found := look(owner)
	require.Zero(t, found.Schema)
	require.Equal(t, migrations.Newest(), found.Newest)
	require.True(t, found.Local)
	require.True(t, found.Superuser)
	require.Empty(t, found.TLS)
	require.NotEmpty(t, found.Server)
	require.Positive(t, found.MaxConns)
	require.Less(t, found.Ahead.Abs(), time.Second)
	admin := connect(t, owner)
	var tables int
	require.NoError(t, admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").Scan(&tables))
	require.Zero(t, tables)

	s := open(t, owner, storetest.NewClock())
	seed(t, s)
	putKeys(t, s, 0, 3)
	found = look(owner)
	require.Equal(t, found.Newest, found.Schema)
	require.Equal(t, []string{"mk"}, found.MasterKeyIDs)
	require.Empty(t, found.Missing)

	server.CreateUser(t, "looker")
	t.Cleanup(func() { run(t, admin, "DROP OWNED BY looker; DROP ROLE looker") })
	run(t, admin, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO looker; GRANT INSERT, UPDATE, DELETE ON keys TO looker")
	found = look(server.DSN("looker", name))
	require.False(t, found.Superuser)
	require.Contains(t, found.Missing, "UPDATE on secrets")
	require.Contains(t, found.Missing, "USAGE on tally_seqs")
	require.NotContains(t, found.Missing, "UPDATE on keys")
	require.NotContains(t, found.Missing, "INSERT on state", "which nobody needs")
	run(t, admin, "REVOKE SELECT ON goose_db_version FROM looker")
	_, err := Examine(t.Context(), Options{DSN: server.DSN("looker", name)})
	require.ErrorContains(t, err, "lacks a privilege")
	_, err = Examine(t.Context(), Options{DSN: server.DSNBy(server.Address(), "looker", "nowhere")})
	require.ErrorContains(t, err, "does not exist")
	require.NotContains(t, err.Error(), server.Password())
}
