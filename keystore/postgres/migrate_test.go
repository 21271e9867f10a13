package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

// schemaRows are rows as the version that a migration belongs to wrote them, into what
// that migration made. Each migration has some.
var schemaRows = map[string][]string{
	"00001_init.sql": {
		"UPDATE state SET head = 7, trimmed = 7, master_key_id = 'mk'",
		"INSERT INTO customers (id, name, enabled, generation, created, modified, revision, search) VALUES ('acme', 'Acme', true, 2, 1000, 2000, 3, 'acme')",
		"INSERT INTO microtenants (customer_id, id, name, enabled, generation, created, modified, revision, search) VALUES ('acme', 'lab', 'Lab', true, 0, 1000, 2000, 4, 'lab')",
		`INSERT INTO roles (id, customer_id, name, description, permissions, predefined, created, modified, revision)
			VALUES ('role_own', 'acme', 'Own', '', '{"a":1}', false, 1, 1, 1)`,
		`INSERT INTO sources (customer_id, name, owner, rule, max_role_id, created, modified, synced, synced_by, revision)
			VALUES ('acme', 'directory', 'them', 'locked', 'role_own', 1, 1, 1, 'x', 5)`,
		`INSERT INTO keys (id, client_id, name, description, customer_id, microtenant_id, role_id, enabled, disabled_here, session_validity_ns, expires_at,
			allowed_cidrs, labels, source, generation, last_used, last_used_address, last_used_route, created, created_by, modified, modified_by, revision, search)
			VALUES ('key_1', 'client-1', 'One', '', 'acme', 'lab', 'role_own', true, false, 0, 0, '192.0.2.0/24', '{"a":"b"}', 'directory', 4, 5000, '192.0.2.1', 'GET /a',
				1000, 'x', 2000, 'x', 6, 'one')`,
		`INSERT INTO secrets (key_id, pos, id, verifier, master_key_id, hint, created, expires, retired, ends, last_used, last_used_address, tried, tried_address)
			VALUES ('key_1', 0, 'sec_1', decode(repeat('ab', 32), 'hex'), 'mk', 'abcd', 1000, 0, 0, 0, 5000, '', 0, '')`,
		`INSERT INTO sessions (id, key_id, secret_id, generation, address, issued, expires, ended, end_reason)
			VALUES ('ses_1.4.sec_1', 'key_1', 'sec_1', 4, '192.0.2.1', 1000, 99999999999999, 0, '')`,
		`INSERT INTO idempotency (owner, key, fingerprint, result, revision, created) VALUES ('key_1', 'again', decode(repeat('00', 32), 'hex'), '{}', 6, 1000)`,
		"INSERT INTO preferences (owner, name, value) VALUES ('key_1', 'columns', '[]')",
		"INSERT INTO key_calls (key_id, hour, calls) VALUES ('key_1', 3600000, 12)",
	},
}

// migrateTo brings a database to these migrations and no further.
func migrateTo(t *testing.T, db *sql.DB, names ...string) {
	t.Helper()
	some := fstest.MapFS{}
	for _, name := range names {
		text, err := files.ReadFile("migrations/" + name)
		require.NoError(t, err)
		some[name] = &fstest.MapFile{Data: text}
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, some, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	require.NoError(t, err)
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
}

// texts are the rows of a query with one column.
func texts(t *testing.T, db *sql.DB, query string, args ...any) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	require.NoError(t, err, query)
	defer rows.Close()
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		all = append(all, text)
	}
	require.NoError(t, rows.Err())
	slices.Sort(all)
	return all
}

const (
	schemaColumns = "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, collation_name) FROM information_schema.columns WHERE table_schema = 'public'"
	schemaIndexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
	schemaChecks  = "SELECT conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
)

func TestADatabaseOfEachSchemaComesUpWithAllItHolds(t *testing.T) {
	names, err := fs.Glob(files, "migrations/*.sql")
	require.NoError(t, err)
	handle := func(dsn string) *sql.DB {
		db := stdlib.OpenDB(*connect(t, dsn).Config())
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	freshDSN := newDSN(t)
	open(t, freshDSN, keystore.NewSystemClock())
	fresh := handle(freshDSN)
	for version := range names {
		t.Run(filepath.Base(names[version]), func(t *testing.T) {
			dsn := newDSN(t)
			db := handle(dsn)
			var so []string
			for _, name := range names[:version+1] {
				so = append(so, filepath.Base(name))
				migrateTo(t, db, so...)
				rows, known := schemaRows[filepath.Base(name)]
				require.True(t, known, "schemaRows has no rows of %s", name)
				for _, text := range rows {
					_, err := db.ExecContext(t.Context(), text)
					require.NoError(t, err, text)
				}
			}
			was := texts(t, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
			columns := map[string][]string{}
			for _, table := range was {
				columns[table] = texts(t, db, "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1", table)
			}
			rows := func() map[string][]string {
				found := map[string][]string{}
				for _, table := range was {
					if !slices.Contains([]string{"customers", "microtenants", "sources", "keys", "secrets", "sessions", "idempotency", "preferences", "key_calls"}, table) {
						continue // what a store writes of its own
					}
					text := "''"
					for _, c := range columns[table] {
						text += fmt.Sprintf(" || quote_nullable(%s::text) || ' '", c)
					}
					found[table] = texts(t, db, "SELECT "+text+" FROM "+table)
				}
				return found
			}
			before := rows()
			require.NotEmpty(t, before["keys"])
			s := open(t, dsn, keystore.NewSystemClock())
			require.Equal(t, before, rows())
			for _, what := range []string{schemaColumns, schemaIndexes, schemaChecks} {
				require.Equal(t, texts(t, fresh, what), texts(t, db, what), "the schema is that of a new database")
			}
			ctx := context.Background()
			k, err := s.KeyByClientID(ctx, "client-1")
			require.NoError(t, err)
			_, err = s.Update(ctx, func(tx keystore.Tx) error {
				if err := tx.AddAudit(ctx, &keystore.Audit{At: tx.Now().Wall, CustomerID: "acme", ActorKind: "local", Action: "key.update"}); err != nil {
					return err
				}
				return tx.PutKey(ctx, k)
			})
			require.NoError(t, err)
			require.Empty(t, verifyChain(t, s, "acme"))
		})
	}
}

// newer makes this process one of a later version, which has a table and a column more.
func newer(t *testing.T) {
	t.Helper()
	was := migrations
	t.Cleanup(func() { migrations = was })
	init, err := files.ReadFile("migrations/00001_init.sql")
	require.NoError(t, err)
	migrations.Files = fstest.MapFS{
		"migrations/00001_init.sql": &fstest.MapFile{Data: init},
		"migrations/00002_more.sql": &fstest.MapFile{Data: []byte("-- +goose Up\nALTER TABLE keys ADD COLUMN more text NOT NULL DEFAULT '';\nCREATE TABLE others (id text PRIMARY KEY);\n")},
	}
}

func TestAGatesUserCannotUpgradeTheTablesAndIsToldWhoCan(t *testing.T) {
	server := pgtest.Shared(t)
	name := server.NewDatabase(t)
	super := server.DSN(pgtest.Superuser, name)
	asSuper := connect(t, super)
	for _, user := range []string{"landlord", "lodger"} {
		server.CreateUser(t, user)
		t.Cleanup(func() {
			c := connect(t, super)
			run(t, c, "DROP OWNED BY "+user)
			run(t, c, "DROP ROLE "+user)
		})
	}
	run(t, asSuper, "GRANT ALL ON SCHEMA public TO landlord")
	owner, gate := Options{DSN: server.DSN("landlord", name)}, Options{DSN: server.DSN("lodger", name), Clock: keystore.NewSystemClock()}
	grants, err := os.ReadFile("../../docs/postgres-grants.sql")
	require.NoError(t, err)
	grant := strings.ReplaceAll(string(grants), `:"gate"`, "lodger")
	from, to, err := Upgrade(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, []int64{0, 1}, []int64{from, to})
	require.NoError(t, Grant(t.Context(), owner, "lodger", grant))
	open(t, gate.DSN, gate.Clock)

	newer(t)
	for range 2 {
		_, err = Open(t.Context(), gate)
		require.ErrorContains(t, err, "run `keyreeve schema upgrade` with the dsn of their owner, and --grant for this user")
		require.NotErrorIs(t, err, keystore.ErrUnavailable, "waiting does not mend it")
		_, _, err = Upgrade(t.Context(), gate)
		require.ErrorContains(t, err, "does not own the tables")
		found, err := Examine(t.Context(), gate)
		require.NoError(t, err)
		require.Equal(t, []int64{1, 2}, []int64{found.Schema, found.Newest}, "nothing was changed")
		require.False(t, found.MayMigrate)
	}
	found, err := Examine(t.Context(), owner)
	require.NoError(t, err)
	require.True(t, found.MayMigrate)
	from, to, err = Upgrade(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2}, []int64{from, to})
	require.NoError(t, Grant(t.Context(), owner, "lodger", grant))
	open(t, gate.DSN, gate.Clock)
	from, to, err = Upgrade(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 2}, []int64{from, to})
}
