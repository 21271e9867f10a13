package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// house is the real admin API over a real store with two customers, acme (with
// the microtenant emea) and globex.
type house struct {
	store   *sqlite.Store
	ring    *credential.Keyring
	clock   *storetest.Clock
	service *lifecycle.Service
	handler http.Handler
	address string
	// masterKey is the file of the ring's one key.
	masterKey string
	// before, when set, sees each request before the API does.
	before func(*http.Request)
}

var here = lifecycle.Local("test", false)

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx := t.Context()
	clock := storetest.NewClock()
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "keys.db"), Clock: clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	masterKey := filepath.Join(t.TempDir(), "master.key")
	key, err := credential.CreateMasterKeyFile(masterKey)
	require.NoError(t, err)
	ring, err := credential.NewKeyring(key)
	require.NoError(t, err)
	store.SealAudit(ring)
	h := &house{store: store, ring: ring, masterKey: masterKey, clock: clock, service: lifecycle.New(lifecycle.Config{Store: store, Keyring: ring})}
	for _, id := range []string{"acme", "globex"} {
		_, _, err := h.service.CreateCustomer(ctx, here, lifecycle.NewCustomer{ID: id, Name: id})
		require.NoError(t, err)
	}
	_, _, err = h.service.CreateMicrotenant(ctx, here, lifecycle.NewMicrotenant{ID: "emea", CustomerID: "acme", Name: "emea"})
	require.NoError(t, err)

	h.handler = api.New(h.service, h.signIn)
	mux := http.NewServeMux()
	mux.Handle("/keyreeve/", http.StripPrefix("/keyreeve", h.handler))
	mux.Handle("/site/", http.StripPrefix("/site", h.handler))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.before != nil {
			h.before(r)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	h.address = strings.TrimPrefix(srv.URL, "http://")
	return h
}

// signIn proves Basic credentials; a request without any is local.
func (h *house) signIn(r *http.Request) (lifecycle.Actor, *api.AuthProblem) {
	id, secret, given := r.BasicAuth()
	if !given {
		return here, nil
	}
	refused := &api.AuthProblem{Status: http.StatusUnauthorized, Code: "invalid_client", Detail: "client authentication failed"}
	key, err := h.store.KeyByClientID(r.Context(), id)
	if err != nil {
		return lifecycle.Actor{}, refused
	}
	verifier, ok := h.ring.Verifier(key.Secrets[0].MasterKeyID, h.ring.Digest(secret))
	if !ok || !credential.Equal(verifier, key.Secrets[0].Verifier) {
		return lifecycle.Actor{}, refused
	}
	var role *keystore.Role
	err = h.store.View(r.Context(), func(in keystore.Reader) error {
		role, err = in.Role(r.Context(), key.RoleID)
		return err
	})
	if err != nil {
		return lifecycle.Actor{}, refused
	}
	return lifecycle.ForKey(key, role, "192.0.2.1", "req"), nil
}

// key runs a `key` command over the local reach.
func (h *house) key(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, Env{}, nil, append([]string{"key", "--address", h.address}, args...)...)
}

// mustKey is key for commands that must succeed.
func (h *house) mustKey(t *testing.T, args ...string) result {
	t.Helper()
	got := h.key(t, args...)
	require.Zero(t, got.code, got.errOut)
	return got
}

// create makes a key and reads it from the JSON output.
func (h *house) create(t *testing.T, args ...string) key {
	t.Helper()
	got := h.mustKey(t, append([]string{"create", "-o", "json"}, args...)...)
	var k key
	require.NoError(t, json.Unmarshal([]byte(got.out), &k))
	return k
}

func (h *house) lock(t *testing.T, k key) {
	t.Helper()
	for n := range 3 {
		_, err := h.store.Count(t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: k.ID, Address: "192.0.2.9", Fingerprint: uint64(n)}})
		require.NoError(t, err)
	}
}

func TestCreateShowsTheSecretOnceOnStdout(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.mustKey(t, "create", "ci-deploy", "--role", "API Read Only", "--customer", "acme", "--microtenant", "emea",
		"--description", "deploys", "--session-validity", "30m", "--expires", "2099-01-01", "--cidr", "192.0.2.0/24",
		"--cidr", "2001:db8::/32", "--label", "team=platform", "--disabled")
	require.Contains(t, got.out, "krs_")
	require.NotContains(t, got.errOut, "krs_")
	require.Contains(t, got.errOut, "only this once")

	got = h.mustKey(t, "get", "ci-deploy", "-o", "json")
	require.NotContains(t, got.out, "krs_")
	var k key
	require.NoError(t, json.Unmarshal([]byte(got.out), &k))
	require.Equal(t, "role_api_read_only", k.RoleID)
	require.Equal(t, "acme", k.CustomerID)
	require.Equal(t, "emea", k.MicrotenantID)
	require.Equal(t, "deploys", k.Description)
	require.EqualValues(t, 1800, *k.Validity)
	require.Equal(t, "2099-01-01T00:00:00Z", k.ExpiresAt)
	require.Equal(t, []string{"192.0.2.0/24", "2001:db8::/32"}, k.AllowedCIDRs)
	require.Equal(t, map[string]string{"team": "platform"}, k.Labels)
	require.Equal(t, "disabled", k.State)
}

func TestCreateInEveryFormGivesTheSecret(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for form, secret := range map[string]func(out string) string{
		"json": func(out string) string {
			var k key
			require.NoError(t, json.Unmarshal([]byte(out), &k))
			return k.ClientSecret
		},
		"yaml": func(out string) string {
			var k map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(out), &k))
			return k["client_secret"].(string)
		},
		"csv": func(out string) string {
			records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
			require.NoError(t, err)
			require.Equal(t, "client_secret", records[0][len(records[0])-1])
			return records[1][len(records[1])-1]
		},
		"table": func(out string) string {
			_, after, _ := strings.Cut(out, "Client secret")
			return strings.Fields(after)[0]
		},
	} {
		got := h.mustKey(t, "create", "as-"+form, "--role", "role_api_read_only", "--customer", "acme", "-o", form)
		require.True(t, credential.CheckSecret(secret(got.out)), form)
	}
}

func TestHostileNamesAreLiteralAndFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{"..", "a/b?c#d", "50%_off", "'; DROP TABLE keys;--", "{env.HOME}", "ключ", "--"} {
		h.mustKey(t, "create", "--role", "role_api_read_only", "--customer", "acme", "--", name)
		got := h.mustKey(t, "get", "-o", "json", "--", name)
		var k key
		require.NoError(t, json.Unmarshal([]byte(got.out), &k))
		require.Equal(t, name, k.Name)
	}
}

func TestOneNameOfSeveralKeysIsAConflictThatListsThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	b := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "globex")
	got := h.key(t, "disable", "ci")
	require.Equal(t, ExitConflict, got.code)
	for _, text := range []string{a.ID, a.ClientID, b.ID, b.ClientID, "acme", "globex"} {
		require.Contains(t, got.errOut, text)
	}
	require.Contains(t, h.mustKey(t, "get", "ci", "--customer", "globex", "-o", "json").out, b.ID)
	require.Contains(t, h.mustKey(t, "get", b.ID, "-o", "json").out, `"enabled":true`, "nothing was done")
}

func TestWhatIsNotThereExitsFive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, args := range [][]string{
		{"get", "nobody"}, {"get", "key_nobody"}, {"unlock", "nobody"}, {"disable", "nobody"}, {"enable", "nobody"},
		{"edit", "nobody", "--name", "x"}, {"delete", "nobody", "--yes"},
		{"create", "ci", "--customer", "acme", "--role", "role_nobody"}, {"list", "--role", "nobody"},
	} {
		got := h.key(t, args...)
		require.Equal(t, ExitNotFound, got.code, "%v: %s", args, got.errOut)
		require.Empty(t, got.out)
	}
	require.Contains(t, h.key(t, "list", "--role", "nobody").errOut, "role_api_read_only (API Read Only)")
}

func TestATakenNameExitsSix(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	got := h.key(t, "create", "ci", "--role", "role_api_read_only", "--customer", "acme")
	require.Equal(t, ExitConflict, got.code, got.errOut)
}

func TestAnInvalidValueExitsOneAndNamesTheField(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.key(t, "create", "ci", "--role", "role_api_read_only", "--customer", "acme", "--session-validity", "59")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "session_validity_seconds: ")
	got = h.key(t, "create", "ci", "--role", "role_api_read_only")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "customer_id: ")
}

func TestUnlockEndsALock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	require.Contains(t, h.mustKey(t, "unlock", "ci").errOut, "was not locked")
	h.lock(t, k)
	require.Contains(t, h.mustKey(t, "get", "ci").out, "locked until ")
	require.Contains(t, h.mustKey(t, "list", "--state", "locked").out, k.ClientID)

	got := h.mustKey(t, "unlock", "ci")
	require.Contains(t, got.errOut, "is unlocked")
	require.Empty(t, got.out)
	require.NotContains(t, h.mustKey(t, "list", "--state", "locked").out, k.ClientID)
	require.Contains(t, h.mustKey(t, "get", "ci", "-o", "json").out, `"locked":false`)
}

func TestUsageIsShownByTheHour(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	hour := h.clock.Now().Wall.Truncate(time.Hour)
	require.NoError(t, h.store.Use(t.Context(), nil, keystore.Calls{KeyID: k.ID, Hour: hour, Calls: 40}, keystore.Calls{KeyID: k.ID, Hour: hour.Add(-time.Hour), Calls: 10}))
	got := h.mustKey(t, "usage", "ci")
	require.Contains(t, got.errOut, "50 calls in 24 hours")
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 25)
	require.Regexp(t, `^2026-01-02 02:00:00Z +10 +#{10}$`, lines[23])
	require.Regexp(t, `^2026-01-02 03:00:00Z +40 +#{40}$`, lines[24])
	require.Contains(t, h.mustKey(t, "usage", "ci", "-o", "csv").out, "\n"+k.ID+",2026-01-02T03:00:00Z,40\n")
	require.Contains(t, h.mustKey(t, "usage", "ci", "-o", "json").out, `"calls_24h":50`)
}

func TestEditChangesWhatFlagsNameAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme", "--expires", "2099-01-01",
		"--cidr", "192.0.2.0/24", "--label", "team=a", "--label", "stage=prod", "--session-validity", "120")
	read := func(ref string) (k key) {
		require.NoError(t, json.Unmarshal([]byte(h.mustKey(t, "get", ref, "-o", "json").out), &k))
		return k
	}
	was := read("ci")
	h.mustKey(t, "edit", "ci", "--name", "ci2", "--label", "team=b", "--role", "API Full Access")
	now := read("ci2")
	require.Equal(t, map[string]string{"team": "b", "stage": "prod"}, now.Labels)
	require.Equal(t, "role_api_full_access", now.RoleID)
	require.Equal(t, was.ExpiresAt, now.ExpiresAt)
	require.Equal(t, was.AllowedCIDRs, now.AllowedCIDRs)
	require.Equal(t, was.Validity, now.Validity)

	h.mustKey(t, "edit", "ci2", "--expires", "never", "--cidr", "any", "--label", "team-", "--session-validity", "default")
	now = read("ci2")
	require.Empty(t, now.ExpiresAt)
	require.Empty(t, now.AllowedCIDRs)
	require.Equal(t, map[string]string{"stage": "prod"}, now.Labels)
	require.Nil(t, now.Validity)
}

func TestAnEditThatMissedAnotherExitsSix(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	h.before = func(r *http.Request) {
		if r.Method == http.MethodPatch { // someone else is quicker
			_, _, err := h.service.UpdateKey(context.Background(), here, k.ID,
				lifecycle.KeyPatch{Description: lifecycle.Some("theirs")}, nil)
			require.NoError(t, err)
		}
	}
	got := h.key(t, "edit", "ci", "--description", "mine")
	require.Equal(t, ExitConflict, got.code, got.errOut)
	require.Contains(t, got.errOut, "someone else changed it")
	h.mustKey(t, "disable", "ci") // must not be held up by that
	h.before = nil
	out := h.mustKey(t, "get", "ci", "-o", "json").out
	require.Contains(t, out, "theirs")
	require.Contains(t, out, `"enabled":false`)
}

func TestDisableEnableDelete(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	require.Contains(t, h.mustKey(t, "disable", "ci", "-o", "json").out, `"state":"disabled"`)
	require.Contains(t, h.mustKey(t, "enable", "ci", "-o", "json").out, `"state":"active"`)
	got := h.mustKey(t, "delete", "ci", "--yes")
	require.Contains(t, got.errOut, "deleted ci")
	require.Equal(t, ExitNotFound, h.key(t, "get", "ci").code)
}

func TestListAllFollowsEveryPageInEveryForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const count = 23
	for n := range count {
		_, _, err := h.service.CreateKey(t.Context(), here, lifecycle.NewKey{
			Name: fmt.Sprintf("k%02d", n), RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
		require.NoError(t, err)
	}
	all := []string{"list", "--all", "--page-size", "5"}

	var list struct {
		Items []key
		Next  *string `json:"next_cursor"`
		Total int
	}
	require.NoError(t, json.Unmarshal([]byte(h.mustKey(t, append(all, "-o", "json")...).out), &list))
	require.Len(t, list.Items, count)
	require.Equal(t, count, list.Total)
	require.Nil(t, list.Next)
	for n, k := range list.Items {
		require.Equal(t, fmt.Sprintf("k%02d", n), k.Name)
	}
	records, err := csv.NewReader(strings.NewReader(h.mustKey(t, append(all, "-o", "csv")...).out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, records, count+1)
	require.Equal(t, keyColumns, records[0])
	require.Len(t, strings.Split(strings.TrimSpace(h.mustKey(t, all...).out), "\n"), count+1)

	var fromYAML map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(h.mustKey(t, append(all, "-o", "yaml")...).out), &fromYAML))
	require.Len(t, fromYAML["items"], count)

	one := h.mustKey(t, "list", "--page-size", "5", "--sort", "-name")
	require.Contains(t, one.out, "k22")
	require.NotContains(t, one.out, "k17")
	require.Contains(t, one.errOut, "5 of 23 keys")
	require.Contains(t, h.mustKey(t, "list", "-q", "k07", "--role", "API Read Only").out, "k07")
	require.NotContains(t, h.mustKey(t, "list", "--role", "Operator").out, "k07")
}

func TestAnEmptyListIsStillAList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	require.JSONEq(t, `{"items":[],"next_cursor":null,"total":0}`, h.mustKey(t, "list", "--all", "-o", "json").out)
	require.Equal(t, strings.Join(keyColumns, ",")+"\n", h.mustKey(t, "list", "--all", "-o", "csv").out)
	require.Contains(t, h.mustKey(t, "list").out, "CLIENT ID")
}

func TestRemoteRightsHaveTheirExitCodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	operator := h.create(t, "op", "--role", "Operator", "--customer", "acme")
	reader := h.create(t, "reader", "--role", "role_api_read_only", "--customer", "acme")
	remote := func(id, secret string, args ...string) result {
		vars := map[string]string{"KEYREEVE_CLIENT_ID": id, "KEYREEVE_CLIENT_SECRET": secret}
		return run(t, Env{}, vars, append([]string{"key", "--url", "http://" + h.address + "/site"}, args...)...)
	}
	require.Zero(t, remote(operator.ClientID, operator.ClientSecret, "list").code)
	require.Zero(t, remote(operator.ClientID, operator.ClientSecret, "create", "x", "--role", "API Full Access").code, "the customer is its own")
	require.Equal(t, ExitNotAuthorised, remote(operator.ClientID, reader.ClientSecret, "list").code, "401")
	require.Equal(t, ExitNotAuthorised, remote(reader.ClientID, reader.ClientSecret, "list").code, "403")
	got := remote(reader.ClientID, reader.ClientSecret, "create", "y", "--role", "role_operator")
	require.Equal(t, ExitNotAuthorised, got.code, "a role that cannot be looked up is still refused by the API")
	require.NotContains(t, got.errOut, "krs_")
}

func TestOfflineWorksOnTheSameStore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	env := Env{Offline: func(context.Context, string) (http.Handler, func() error, error) {
		return h.handler, func() error { return nil }, nil
	}}
	got := run(t, env, nil, "key", "create", "first", "--role", "role_operator", "--customer", "acme", "--config", "Caddyfile")
	require.Zero(t, got.code, got.errOut)
	require.Contains(t, got.out, "krs_")
	require.Contains(t, h.mustKey(t, "list").out, "first")
	require.Equal(t, ExitNotFound, run(t, env, nil, "key", "get", "nobody", "--config", "Caddyfile").code)
}

// failing is a stdout that is gone.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestASecretThatCouldNotBeWrittenIsSaid(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var errOut strings.Builder
	cmds := Commands(Env{Stdout: failing{}, Stderr: &errOut})
	cmds[0].SetArgs([]string{"create", "ci", "--role", "role_api_read_only", "--customer", "acme", "--address", h.address})
	var coded *CodeError
	require.ErrorAs(t, cmds[0].ExecuteContext(t.Context()), &coded)
	require.Equal(t, ExitError, coded.Code)
	require.Contains(t, errOut.String(), "is lost")
	require.NotContains(t, errOut.String(), "krs_")
}
