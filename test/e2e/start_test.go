package e2e

import (
	"database/sql"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // to look into stores, and to make files that are none
)

func openDatabase(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	return db
}

// change runs statements on a database file of the house.
func change(t *testing.T, path string, statements ...string) {
	t.Helper()
	db := openDatabase(t, path)
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
}

// sendUnix is send over a unix socket.
func sendUnix(t *testing.T, socket, raw string) answer {
	t.Helper()
	a, err := trySendOn("unix", socket, raw)
	require.NoError(t, err)
	return a
}

// said is what a command logged, as it meant it: logs are JSON.
func (r result) said() string { return strings.ReplaceAll(r.stderr, `\"`, `"`) }

// files are the hashes of everything in the house but sockets, locks and what
// SQLite puts beside a database in order to read it.
func (h *house) files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".lock") || strings.HasPrefix(path, h.path("data")) || strings.HasSuffix(path, "autosave.json") {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.HasSuffix(path, "-shm") || (strings.HasSuffix(path, "-wal") && len(data) == 0) {
			return err
		}
		found[strings.TrimPrefix(path, h.dir)] = sha(string(data))
		return err
	}))
	return found
}

func TestABadStartSaysWhatToDoAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// spoil makes the house or its configuration bad.
		spoil func(t *testing.T, h *house, s *site)
		says  []string
	}{
		{"another store's master key", func(t *testing.T, h *house, s *site) {
			other := &house{dir: h.dir, db: h.path("other.db"), masterKey: h.path("other.key")}
			r := h.command(t, "key", "list", "--config", h.write(t, "other", other.caddyfile(&site{upstream: "127.0.0.1:9"})))
			require.Zero(t, r.code, r.stderr)
			h.masterKey = other.masterKey
		}, []string{"wrong master key", "keyreeve.db", "other.key", "restore that key"}},
		{"no master key for a store that has keys", func(t *testing.T, h *house, s *site) {
			require.NoError(t, os.Remove(h.masterKey))
		}, []string{"master key", "master.key"}},
		{"a master key that is no key", func(t *testing.T, h *house, s *site) {
			require.NoError(t, os.WriteFile(h.masterKey, []byte("hunter2\n"), 0o600))
		}, []string{"master key", "master.key"}},
		{"a directory that cannot be made", func(t *testing.T, h *house, s *site) {
			h.db = filepath.Join(h.write(t, "a-file", ""), "sub", "keyreeve.db")
		}, []string{"directory of the key store", "a-file"}},
		{"a file that is no database", func(t *testing.T, h *house, s *site) {
			require.NoError(t, os.WriteFile(h.db, []byte(strings.Repeat("not a database ", 100)), 0o600))
		}, []string{"keyreeve.db", "not an SQLite database"}},
		{"a damaged database", func(t *testing.T, h *house, s *site) {
			data, err := os.ReadFile(h.db)
			require.NoError(t, err)
			for i := 4096; i < len(data); i++ {
				data[i] = 0xa5
			}
			require.NoError(t, os.WriteFile(h.db, data, 0o600))
		}, []string{"keyreeve.db", "damaged", "restore a backup"}},
		{"a database cut short", func(t *testing.T, h *house, s *site) {
			require.NoError(t, os.Truncate(h.db, 8192))
		}, []string{"keyreeve.db", "cut short"}},
		{"another program's database", func(t *testing.T, h *house, s *site) {
			h.db = h.path("foreign.db")
			change(t, h.db, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")
		}, []string{"foreign.db", "another program"}},
		{"a newer version's database", func(t *testing.T, h *house, s *site) {
			change(t, h.db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		}, []string{"keyreeve.db", "schema 9999", "newer version"}},
		{"a directory in the store's place", func(t *testing.T, h *house, s *site) {
			h.db = h.path("directory")
			require.NoError(t, os.Mkdir(h.db, 0o700))
		}, []string{"directory"}},
		{"an unknown word in the gate", func(t *testing.T, h *house, s *site) {
			s.gate = "route GET /x y\nroutes GET /y y"
		}, []string{"Caddyfile:18", `unknown word "routes"`, "expected"}},
		{"a surplus argument", func(t *testing.T, h *house, s *site) {
			s.gate = "shadow on"
		}, []string{"Caddyfile:17", `"on"`, "expected"}},
		{"a route in Caddy's own shorthand", func(t *testing.T, h *house, s *site) {
			s.gate = "route GET /{path} y"
		}, []string{"Caddyfile:17", "path"}},
		{"two routes that conflict", func(t *testing.T, h *house, s *site) {
			s.gate = "route GET /x/{a} y\nroute GET /x/{b} z"
		}, []string{"Caddyfile:17", "Caddyfile:18"}},
		{"header credentials without filtered logs", func(t *testing.T, h *house, s *site) {
			s.gate = "credentials header"
		}, []string{"Caddyfile:17", "unsafe_logs_filtered"}},
		{"a bad lockout", func(t *testing.T, h *house, s *site) {
			s.app = "lockout {\nattempts many\n}"
		}, []string{"Caddyfile:11", `"many"`, "whole number"}},
		{"a policy that is broken", func(t *testing.T, h *house, s *site) {
			s.gate = "policy " + h.write(t, "policy.yaml", "version: 1\nresources:\n  a: {}\nroutes:\n  - {methods: [GET], path: no-slash, resource: a}\n")
		}, []string{"policy.yaml:5", "no-slash"}},
		{"a policy with a resource nobody declared", func(t *testing.T, h *house, s *site) {
			s.app = "policy " + h.write(t, "policy.yaml", "version: 1\nroutes:\n  - {methods: [GET], path: /x, resource: nothing}\n")
		}, []string{"policy.yaml:3", `"nothing"`, "declared"}},
		{"a policy that is missing", func(t *testing.T, h *house, s *site) {
			s.gate = "policy " + h.path("missing.yaml")
		}, []string{"missing.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			s := &site{gate: "route GET /x policy-rules", upstream: "127.0.0.1:9"}
			c.spoil(t, h, s)
			config := h.write(t, "Caddyfile", h.caddyfile(s))
			before := h.files(t)
			r := h.command(t, "run", "--config", config)
			require.NotZero(t, r.code)
			for _, words := range c.says {
				require.Contains(t, r.said(), words)
			}
			require.Equal(t, before, h.files(t))
			_, err := net.Dial("tcp", s.gateAddress)
			require.Error(t, err, "nothing listens")
		})
	}
}

func TestABrokenReloadLeavesTheRunningPolicyInForce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	policy := h.write(t, "policy.yaml", "version: 1\nresources:\n  policy-rules: {}\nroutes:\n  - {methods: [GET], path: /x, resource: policy-rules}\n")
	s := &site{gate: "policy " + policy, upstream: newUpstream(t).url}
	g := h.run(t, s)
	g.fails(t, h.policyOnly, 1)
	reload := func() result {
		return h.command(t, "reload", "--force", "--config", h.path("Caddyfile"), "--address", "unix/"+h.socket())
	}
	serves := func() {
		t.Helper()
		require.Equal(t, 200, g.get(t, "/x", h.readonly.basic()).status)
		g.get(t, "/y", h.readonly.basic()).refused(t, 403, "no_route")
		require.Equal(t, lock{FailedAttempts: 1}, g.lock(t, h.policyOnly))
	}
	serves()
	moved := "version: 1\nresources:\n  policy-rules: {}\nroutes:\n  - {methods: [GET], path: /y, resource: policy-rules}\n"
	h.write(t, "policy.yaml", moved+"  - {methods: [FETCH], path: /y, resource: policy-rules}\n")
	r := reload()
	require.NotZero(t, r.code)
	require.Contains(t, r.stderr, "policy.yaml:6")
	serves()
	broken := strings.Replace(h.caddyfile(s), "keyreeve_admin", "keyreeve_admin {\nnonsense\n}", 1)
	h.write(t, "Caddyfile", broken)
	r = reload()
	require.NotZero(t, r.code)
	require.Contains(t, r.stderr, "Caddyfile:"+itoa(1+strings.Count(broken[:strings.Index(broken, "nonsense")], "\n")))
	require.Contains(t, r.stderr, "nonsense")
	serves()
	h.write(t, "policy.yaml", moved)
	h.write(t, "Caddyfile", strings.Replace(h.caddyfile(s), h.masterKey, h.path("missing.key"), 1))
	r = reload()
	require.NotZero(t, r.code)
	require.Contains(t, r.stderr+g.Said(), "missing.key")
	require.NoFileExists(t, h.path("missing.key"))
	serves()

	h.write(t, "Caddyfile", h.caddyfile(s))
	r = reload()
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, 200, g.get(t, "/y", h.readonly.basic()).status, "a changed file is picked up")
	g.get(t, "/x", h.readonly.basic()).refused(t, 403, "no_route")
}

func TestValidateMakesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := &site{gate: "route GET /x y", upstream: "127.0.0.1:9"}
	fresh := &house{dir: h.dir, db: h.path("new/keys.db"), masterKey: h.path("new/master.key")}
	config := h.write(t, "Caddyfile", fresh.caddyfile(s))
	r := h.command(t, "validate", "--config", config)
	require.Zero(t, r.code, r.stderr)
	require.NoDirExists(t, h.path("new"))
	s.gate = "route GET x y"
	h.write(t, "Caddyfile", fresh.caddyfile(s))
	r = h.command(t, "validate", "--config", config)
	require.NotZero(t, r.code)
	require.Contains(t, r.stderr, "Caddyfile:17")
	require.NoDirExists(t, h.path("new"))
}

func TestTheSameConfigurationInJSONServesTheSame(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	s := &site{gate: "policy " + h.policyFile(t) + "\ncredentials header unsafe_logs_filtered\nerror_format zpa", upstream: up.url, app: "lockout {\nattempts 1\n}"}
	h.write(t, "Caddyfile", h.caddyfile(s))
	adapted := h.command(t, "adapt", "--config", h.path("Caddyfile"))
	require.Zero(t, adapted.code, adapted.stderr)
	s.json = adapted.stdout
	g := h.run(t, s)
	pair := func(k key, secret string) []string {
		return []string{"X-Client-Id: " + k.clientID, "X-Client-Secret: " + secret}
	}
	upstreamSaw(t, g.get(t, h.applications(), pair(h.full, h.full.secret)...)).onlyOwn(t, h.full)
	require.Contains(t, g.get(t, h.applications(), pair(h.policyOnly, h.policyOnly.secret)...).body, `"id":"permission.denied"`)
	require.Equal(t, 401, g.get(t, h.applications(), h.full.basic()).status, "Basic is not enabled")
	require.Equal(t, 401, g.get(t, h.applications(), pair(h.full, "wrong")...).status)
	require.True(t, g.lock(t, h.full).Locked, "attempts 1")
}
