package sqlite

import (
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// schemaRows are rows as the version that a migration belongs to wrote them, into what
// that migration made; those of the first are firstSchema's. Each migration has some.
var schemaRows = map[string][]string{
	"00001_init.sql": nil,
	"00002_lifecycle.sql": {
		"UPDATE sources SET owner = 'them', synced = 3000 WHERE name = 'directory'",
		"INSERT INTO idempotency VALUES ('key_1', 'again', zeroblob(32), '{\"id\":1}', 7, 1000)",
		"UPDATE keys SET last_used_address = '192.0.2.7', last_used_route = 'GET /a', disabled_here = 1 WHERE id = 'key_2'",
		"UPDATE secrets SET tried = 4000, tried_address = '192.0.2.8'",
		"UPDATE customers SET generation = 2 WHERE id = 'acme'",
		fmt.Sprintf("INSERT INTO tallies VALUES ('key_2', '192.0.2.0/24', 2, 1, 'b', 2, 3, 'b', 4, 0, x'%016x', 5, 6, 7)", 99),
		"UPDATE state SET tally_seq = 6",
	},
	"00003_usage.sql": {
		"INSERT INTO key_calls VALUES ('key_1', 3600000, 12)",
		"INSERT INTO tallies (key_id, source, failures, last_wall_ns, last_boot, last_since_ns, lock_wall_ns, lock_boot, lock_since_ns, locked_for_ns, trusted_ns, seq, at, tries) VALUES ('key_1', '', 1, 1, 'b', 2, 0, '', 0, 0, 0, 8, 7, x'00')",
	},
}

// tables are those of a database with their columns.
func tables(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	rows, err := db.Query("SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'goose_db_version'")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var table, column string
		require.NoError(t, rows.Scan(&table, &column))
		found[table] = append(found[table], column)
	}
	require.NoError(t, rows.Err())
	return found
}

// texts are the rows of a query with one column.
func texts(t *testing.T, db *sql.DB, query string) (all []string) {
	t.Helper()
	rows, err := db.Query(query)
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

func TestADatabaseOfEachSchemaComesUpWithAllItHolds(t *testing.T) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	require.NoError(t, err)
	fresh := filepath.Join(t.TempDir(), "fresh.db")
	open(t, fresh, storetest.NewClock())
	made, err := sql.Open("sqlite", dsn(fresh, "mode=ro"))
	require.NoError(t, err)
	defer made.Close()
	const schemaText = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
	for version := range names {
		t.Run(filepath.Base(names[version]), func(t *testing.T) {
			path := firstSchema(t)
			var so []string
			for _, name := range names[:version+1] {
				so = append(so, filepath.Base(name))
				migrateTo(t, path, so...)
				rows, known := schemaRows[filepath.Base(name)]
				require.True(t, known, "schemaRows has no rows of %s", name)
				raw(t, path, rows...)
			}
			db, err := sql.Open("sqlite", dsn(path, ""))
			require.NoError(t, err)
			defer db.Close()
			was := tables(t, db)
			rows := func() map[string][]string {
				found := map[string][]string{}
				for table, columns := range was {
					switch table {
					case "state", "roles", "changes", "audit_root": // what every version makes of its own
						continue
					case "customers", "microtenants":
						columns = slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return c == "search" }) // filled in
					}
					quoted := make([]string, len(columns))
					for i, c := range columns {
						if table == "audit" && c == "chain" && slices.Contains(tables(t, db)[table], "hash") {
							c = "hash" // its name since
						}
						quoted[i] = "quote(" + c + ")"
					}
					found[table] = texts(t, db, "SELECT "+strings.Join(quoted, " || ' ' || ")+" FROM "+table)
				}
				return found
			}
			before := rows()
			require.NotEmpty(t, before["keys"])
			s := open(t, path, storetest.NewClock())
			require.Equal(t, before, rows())
			require.Equal(t, texts(t, made, schemaText), texts(t, db, schemaText), "the schema is that of a new database")
			require.Empty(t, texts(t, db, "SELECT \"table\" FROM pragma_foreign_key_check"))
			require.Equal(t, []string{"ok"}, texts(t, db, "SELECT * FROM pragma_integrity_check"))

			ctx := t.Context()
			k, err := s.KeyByClientID(ctx, "client-1")
			require.NoError(t, err)
			_, err = s.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, k) })
			require.NoError(t, err)
			addEvents(t, s, "acme", 2)
			require.Empty(t, verifyChain(t, s, "acme"))
		})
	}
}
