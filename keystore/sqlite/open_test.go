package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// made is the path of a store with a key in it, closed.
func made(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	s, err := Open(t.Context(), Options{Path: path, Clock: storetest.NewClock()})
	require.NoError(t, err)
	seed(t, s)
	putKeys(t, s, 0, 50)
	require.NoError(t, s.Close())
	return path
}

func seed(t testing.TB, s *Store) {
	t.Helper()
	_, err := s.Update(t.Context(), func(tx keystore.Tx) error {
		return tx.PutCustomer(t.Context(), &keystore.Customer{ID: "c", Name: "C", Enabled: true})
	})
	require.NoError(t, err)
}

func testKey(n int) *keystore.Key {
	k := &keystore.Key{ID: fmt.Sprintf("key_%08d", n), ClientID: fmt.Sprintf("client-%08d", n), Name: fmt.Sprintf("Key %08d", n),
		CustomerID: "c", RoleID: keystore.RoleReadOnly, Enabled: true}
	k.Secrets = []keystore.Secret{{ID: fmt.Sprintf("sec_%08d", n), MasterKeyID: "mk", Hint: "abcd"}}
	return k
}

func putKeys(t testing.TB, s *Store, first, n int) {
	t.Helper()
	ctx := context.Background()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		for i := range n {
			if err := tx.PutKey(ctx, testKey(first+i)); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// raw runs statements on a file without going through the store.
func raw(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, ""))
	require.NoError(t, err)
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err, s)
	}
	require.NoError(t, db.Close())
}

func TestAFileThatCannotBeTheStoreIsRefusedAndLeftAsItWas(t *testing.T) {
	rewrite := func(t *testing.T, change func([]byte) []byte) string {
		path := made(t)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, change(data), 0o600))
		return path
	}
	cases := []struct {
		name  string
		make  func(t *testing.T) string
		wants string
		is    error
	}{
		{"newer version", func(t *testing.T) string {
			path := made(t)
			raw(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (7, 1)")
			return path
		}, fmt.Sprintf("has schema 7 and this program knows up to %d", schema.Newest()), keystore.ErrNewer},
		{"newer version, not yet checkpointed", func(t *testing.T) string {
			path := made(t)
			db, err := sql.Open("sqlite", dsn(path, ""))
			require.NoError(t, err)
			defer db.Close()
			db.SetMaxOpenConns(1)
			_, err = db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (7, 1)")
			require.NoError(t, err)
			// As a process that was killed leaves it: nobody has the files open.
			killed := filepath.Join(t.TempDir(), "keyreeve.db")
			for _, part := range []string{"", "-wal"} {
				data, err := os.ReadFile(path + part)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(killed+part, data, 0o600))
			}
			return killed
		}, "has schema 7", keystore.ErrNewer},
		{"text file", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "notes.txt")
			require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("not a database\n", 100)), 0o600))
			return path
		}, "is not an SQLite database", nil},
		{"damaged header", func(t *testing.T) string {
			return rewrite(t, func(data []byte) []byte { copy(data, "XXXX"); return data })
		}, "its header is damaged", nil},
		{"cut within the header", func(t *testing.T) string {
			return rewrite(t, func(data []byte) []byte { return data[:60] })
		}, "its header is damaged", nil},
		{"cut within the first page", func(t *testing.T) string {
			return rewrite(t, func(data []byte) []byte { return data[:1000] })
		}, "is damaged or cut short", nil},
		{"cut within a later page", func(t *testing.T) string {
			return rewrite(t, func(data []byte) []byte { return data[:len(data)-5000] })
		}, "is damaged or cut short", nil},
		{"a page that does not add up", func(t *testing.T) string {
			return rewrite(t, func(data []byte) []byte {
				const page, fragments = 4096, 7 // of a b-tree page's header, where one is not empty
				last := len(data) - page
				for data[last] != 0x0d && data[last] != 0x0a {
					last -= page
				}
				data[last+fragments] += 9
				return data
			})
		}, "is damaged or cut short", nil},
		{"garbage in a page", func(t *testing.T) string {
			return rewrite(t, func(data []byte) []byte {
				for i := 4096; i < len(data); i++ {
					data[i] ^= 0x5a
				}
				return data
			})
		}, "is damaged or cut short", nil},
		{"another program's database", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "other.db")
			raw(t, path, "CREATE TABLE keys (id TEXT)")
			return path
		}, "of another program", nil},
		{"another program's database with an application id", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "other.db")
			raw(t, path, "PRAGMA application_id = 252006674", "CREATE TABLE t (id TEXT)", "PRAGMA journal_mode = WAL")
			return path
		}, "of another program", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = Open(t.Context(), Options{Path: path, Clock: storetest.NewClock()})
			require.ErrorContains(t, err, c.wants)
			require.ErrorContains(t, err, path)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	_, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "x.db")})
	require.ErrorContains(t, err, "no clock")
	_, err = Open(t.Context(), Options{Clock: storetest.NewClock()})
	require.ErrorContains(t, err, "no path")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Open(t.Context(), Options{Path: filepath.Join(file, "x.db"), Clock: storetest.NewClock()})
	require.ErrorContains(t, err, "making the directory of the key store")

	dir := t.TempDir()
	_, err = Open(t.Context(), Options{Path: dir, Clock: storetest.NewClock()})
	require.ErrorContains(t, err, "not a regular file")

	dangling := filepath.Join(dir, "link.db")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere", "x.db"), dangling))
	_, err = Open(t.Context(), Options{Path: dangling, Clock: storetest.NewClock()})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestOnlyTheOwnerCanReadTheFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes mean little there")
	}
	dir := filepath.Join(t.TempDir(), "made", "for it")
	path := filepath.Join(dir, "keyreeve.db")
	clock := storetest.NewClock()
	s := open(t, path, clock)
	seed(t, s)
	modes := func() map[string]os.FileMode {
		modes := make(map[string]os.FileMode)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			info, err := e.Info()
			require.NoError(t, err)
			modes[e.Name()] = info.Mode().Perm()
		}
		return modes
	}
	const private = os.FileMode(0o600)
	all := map[string]os.FileMode{"keyreeve.db": private, "keyreeve.db-wal": private, "keyreeve.db-shm": private, "keyreeve.db.lock": private,
		"keyreeve.db.users": private}
	require.Equal(t, all, modes())
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	for name := range all {
		require.NoError(t, os.Chmod(filepath.Join(dir, name), 0o644))
	}
	open(t, path, clock)
	got := modes()
	delete(got, "keyreeve.db.lock") // holds nothing
	delete(got, "keyreeve.db.users")
	for name, mode := range got {
		require.Equal(t, private, mode, name)
	}
}

func TestClosingLeavesOneFile(t *testing.T) {
	path := made(t)
	require.NoFileExists(t, path+"-wal")
	require.NoFileExists(t, path+"-shm")
}

func TestAnyPathIsAPath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a?mode=memory.db", "b#c.db", "100%25.db", "d e&_pragma=x.db", ":memory:", "ünïcode.db", "file:x"} {
		path := filepath.Join(dir, name)
		s := open(t, path, storetest.NewClock())
		seed(t, s)
		require.NoError(t, s.Close())
		require.FileExists(t, path)
		s = open(t, path, storetest.NewClock())
		require.NoError(t, s.View(t.Context(), func(r keystore.Reader) error {
			_, err := r.Customer(t.Context(), "c")
			return err
		}), name)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), "\x00")
	}
}

func TestIdentityIsTheCanonicalPath(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, os.Mkdir(real, 0o700))
	require.NoError(t, os.Symlink(real, link))
	want := "sqlite:" + filepath.Join(real, "x.db")
	clock := storetest.NewClock()
	require.Equal(t, want, open(t, filepath.Join(link, "x.db"), clock).Identity(), "before the file is there")
	require.Equal(t, want, open(t, filepath.Join(link, "x.db"), clock).Identity())
	require.NoError(t, os.Symlink(filepath.Join(real, "x.db"), filepath.Join(dir, "y.db")))
	require.Equal(t, want, open(t, filepath.Join(dir, "y.db"), clock).Identity())
}

func TestAnEmptyFileAndOneThatDiedWhileBeingMadeAreTakenUp(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, path string){
		"empty":  func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
		"marked": func(t *testing.T, path string) { require.NoError(t, createFile(t.Context(), path)) },
		"marked, and WAL": func(t *testing.T, path string) {
			require.NoError(t, createFile(t.Context(), path))
			raw(t, path, "PRAGMA journal_mode = WAL")
		},
		"versioned": func(t *testing.T, path string) {
			require.NoError(t, createFile(t.Context(), path))
			raw(t, path, "PRAGMA journal_mode = WAL", "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))",
				"INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)")
		},
		"foreign write-ahead log": func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path+"-wal", []byte("left over"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyreeve.db")
			begin(t, path)
			seed(t, open(t, path, storetest.NewClock()))
		})
	}
}

func TestAChangedPredefinedRoleIsMadeAnew(t *testing.T) {
	path := made(t)
	raw(t, path, `UPDATE roles SET permissions = '{"*":15}', description = 'old' WHERE id = 'role_api_read_only'`)
	s := open(t, path, storetest.NewClock())
	require.NoError(t, s.View(t.Context(), func(r keystore.Reader) error {
		role, err := r.Role(t.Context(), keystore.RoleReadOnly)
		require.Equal(t, keystore.PredefinedRoles()[2].Permissions, role.Permissions)
		head, _ := r.Head(t.Context())
		require.Equal(t, head, role.Revision, "and caches hear of it")
		return err
	}))
}
