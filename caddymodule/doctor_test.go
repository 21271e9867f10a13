package caddymodule

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// installation is what a configuration names, on disk, with no server.
type installation struct {
	t               *testing.T
	dir, config     string
	store, key      string // files
	options, global string // more of the app's and of the global block
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir()}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(i.dir, "config"))
	t.Setenv("XDG_DATA_HOME", filepath.Join(i.dir, "data"))
	i.config = filepath.Join(i.dir, "Caddyfile")
	i.store = filepath.Join(i.dir, "data/caddy/keyreeve/keyreeve.db")
	i.key = filepath.Join(i.dir, "config/caddy/keyreeve/master.key")
	for name, resource := range map[string]string{"policy.yaml": "a", "gate.yaml": "b"} {
		i.write(name, fmt.Sprintf("version: 1\nresources: {%s: {}}\nroutes:\n  - {methods: [GET], path: /%s, resource: %s}\n", resource, resource, resource))
	}
	return i
}

func (i *installation) write(name, text string) string {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	require.NoError(i.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// diagnose writes the configuration and looks at it.
func (i *installation) diagnose() (map[string]cli.Finding, string) {
	i.t.Helper()
	i.write("Caddyfile", fmt.Sprintf("{\n%s\nkeyreeve {\n policy %s/policy.yaml\n%s\n}\n}\nhttp://:0 {\n keyreeve {\n  policy %s/gate.yaml\n }\n respond ok\n}\n",
		i.global, i.dir, i.options, i.dir))
	return i.findings()
}

// findings looks at the configuration as it is; the worst of each check counts.
func (i *installation) findings() (map[string]cli.Finding, string) {
	i.t.Helper()
	d := diagnose(i.t.Context(), i.config)
	if d.Close != nil {
		defer func() { require.NoError(i.t, d.Close()) }()
	}
	found := map[string]cli.Finding{}
	for _, f := range d.Findings {
		if was, twice := found[f.Check]; !twice || was.Status == cli.StatusOK || f.Status == cli.StatusFail {
			found[f.Check] = f
		}
		if f.Status != cli.StatusOK {
			require.NotEmpty(i.t, f.Advice, f.Check)
		}
	}
	return found, d.Admin
}

// use makes the store with a customer in it, as the first command does.
func (i *installation) use() {
	i.t.Helper()
	i.diagnose()
	handler, done, err := openOffline(i.t.Context(), i.config)
	require.NoError(i.t, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/v1/keys", strings.NewReader(`{"name":"first","role_id":"`+keystore.RoleOperator+`"}`))
	r.RemoteAddr = "@"
	r.Header.Set("Content-Type", "application/json")
	handler.ServeHTTP(w, r)
	require.Equal(i.t, http.StatusCreated, w.Code, w.Body)
	require.NoError(i.t, done())
}

// sql changes the database behind the store's back.
func (i *installation) sql(text string) {
	i.t.Helper()
	db, err := sql.Open("sqlite", i.store)
	require.NoError(i.t, err)
	_, err = db.ExecContext(i.t.Context(), text)
	require.NoError(i.t, err)
	require.NoError(i.t, db.Close())
}

func TestTheDoctorMakesNothing(t *testing.T) {
	i := newInstallation(t)
	found, admin := i.diagnose()
	require.Equal(t, "localhost:2019", admin)
	for check, want := range map[string]cli.Status{
		checkConfig: cli.StatusOK, checkPolicy: cli.StatusOK, checkStore: cli.StatusWarn, checkMasterKey: cli.StatusWarn,
	} {
		require.Equal(t, want, found[check].Status, "%s: %s", check, found[check].Detail)
	}
	require.Contains(t, found[checkStore].Detail, i.store+" is not there yet")
	require.NoFileExists(t, i.store)
	require.NoFileExists(t, i.key)
}

func TestTheDoctorFindsAWellInstallation(t *testing.T) {
	i := newInstallation(t)
	i.use()
	before, err := os.ReadFile(i.key)
	require.NoError(t, err)
	found, _ := i.diagnose()
	for _, check := range []string{checkConfig, checkPolicy, checkSchema, checkStore, checkWriting, checkMasterKey} {
		require.Equal(t, cli.StatusOK, found[check].Status, "%s: %s", check, found[check].Detail)
	}
	require.Contains(t, found[checkStore].Detail, "1 keys")
	after, err := os.ReadFile(i.key)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NotContains(t, fmt.Sprint(found), strings.TrimSpace(string(before)), "the key itself is never shown")
}

func TestTheDoctorNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*installation)
		check  string
		status cli.Status
		says   string
	}{
		{"a policy file that is gone", func(i *installation) { require.NoError(i.t, os.Remove(filepath.Join(i.dir, "policy.yaml"))) }, checkPolicy, cli.StatusFail, "no such file"},
		{"a gate's policy file that is gone", func(i *installation) { require.NoError(i.t, os.Remove(filepath.Join(i.dir, "gate.yaml"))) }, checkPolicy, cli.StatusFail, "gate.yaml"},
		{"and with it the configuration", func(i *installation) { require.NoError(i.t, os.Remove(filepath.Join(i.dir, "policy.yaml"))) }, checkConfig, cli.StatusFail, "no such file"},
		{"a policy file that cannot be read", func(i *installation) { i.write("policy.yaml", "routes: 3") }, checkPolicy, cli.StatusFail, "policy.yaml"},
		{"an option that does not exist", func(i *installation) { i.options = "mystery on" }, checkConfig, cli.StatusFail, "mystery"},
		{"a value out of range", func(i *installation) { i.options = "lockout {\n ceiling 1\n}" }, checkConfig, cli.StatusFail, "ceiling 1"},
		{"but not what has nothing to do with it", func(i *installation) { require.NoError(i.t, os.Remove(filepath.Join(i.dir, "policy.yaml"))) }, checkMasterKey, cli.StatusOK, "depends on"},
		{"a master key that is gone", func(i *installation) { require.NoError(i.t, os.Remove(i.key)) }, checkMasterKey, cli.StatusFail, "no such file"},
		{"a master key open to others", func(i *installation) { require.NoError(i.t, os.Chmod(i.key, 0o644)) }, checkMasterKey, cli.StatusFail, "chmod 600"},
		{"another master key", func(i *installation) {
			other := newInstallation(i.t)
			other.use()
			require.NoError(i.t, os.Rename(other.key, i.key))
			i.t.Setenv("XDG_CONFIG_HOME", filepath.Join(i.dir, "config"))
			i.t.Setenv("XDG_DATA_HOME", filepath.Join(i.dir, "data"))
		}, checkMasterKey, cli.StatusFail, "wrong master key"},
		{"a database open to others", func(i *installation) { require.NoError(i.t, os.Chmod(i.store, 0o644)) }, checkStore, cli.StatusWarn, "mode 0644"},
		{"a database that is none", func(i *installation) { require.NoError(i.t, os.WriteFile(i.store, []byte("hello"), 0o600)) }, checkStore, cli.StatusFail, "not an SQLite database"},
		{"a database of a newer program", func(i *installation) {
			i.sql("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		}, checkStore, cli.StatusFail, "run the newer version"},
		{"a database of an older program", func(i *installation) { i.sql("DELETE FROM goose_db_version WHERE version_id > 0") }, checkSchema, cli.StatusWarn, "has schema 0"},
		{"a place where no database can be", func(i *installation) { i.options = "store sqlite " + i.config + "/keys.db" }, checkStore, cli.StatusFail, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newInstallation(t)
			i.use()
			c.spoil(i)
			found, _ := i.diagnose()
			require.Equal(t, c.status, found[c.check].Status, "%+v", found)
			require.Contains(t, found[c.check].Detail+found[c.check].Advice, c.says)
		})
	}
}

func TestTheDoctorHoldsTheClockAgainstTheStore(t *testing.T) {
	i := newInstallation(t)
	i.use()
	system := newClock
	t.Cleanup(func() { newClock = system })
	clock := storetest.NewClock() // long before the store was made
	newClock = func() keystore.Clock { return clock }
	found, _ := i.diagnose()
	require.Equal(t, cli.StatusFail, found[checkClock].Status, found[checkClock].Detail)
	require.Contains(t, found[checkClock].Detail, "newest change")
	clock.StepWall(time.Since(clock.Now().Wall) + time.Hour)
	found, _ = i.diagnose()
	require.NotEqual(t, cli.StatusFail, found[checkClock].Status, found[checkClock].Detail)
}

func TestTheDoctorKnowsWhereCaddyListens(t *testing.T) {
	for global, want := range map[string]string{"": "localhost:2019", "admin localhost:3000": "localhost:3000", "admin off": "", "admin unix//tmp/a.sock": "unix//tmp/a.sock"} {
		i := newInstallation(t)
		i.global = global
		_, admin := i.diagnose()
		require.Equal(t, want, admin, global)
	}
}

func TestAConfigurationWithoutKeyreeveIsTold(t *testing.T) {
	i := newInstallation(t)
	i.write("Caddyfile", "http://:0 {\n respond ok\n}\n")
	found, _ := i.findings()
	require.Equal(t, cli.StatusWarn, found[checkConfig].Status)
	i.write("Caddyfile", "{\n keyreeve {\n")
	found, admin := i.findings()
	require.Equal(t, cli.StatusFail, found[checkConfig].Status)
	require.Empty(t, admin)
	require.Len(t, found, 1, "nothing else can be looked at")
	i.config = i.write("caddy.json", `{"apps":{"keyreeve":{"store":{"module":"nowhere"}}}}`)
	found, _ = i.findings()
	require.Equal(t, cli.StatusFail, found[checkConfig].Status)
	require.Equal(t, cli.StatusWarn, found[checkStore].Status)
	i.config = filepath.Join(i.dir, "none")
	found, _ = i.findings()
	require.Contains(t, found[checkConfig].Detail, "no such file")
}
