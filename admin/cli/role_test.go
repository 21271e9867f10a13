package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

// cliRole runs a role command and reads the role that it prints.
func (h *house) cliRole(t *testing.T, args ...string) (r roleItem) {
	t.Helper()
	got := h.mustCLI(t, append(append([]string{"role"}, args...), "-o", "json")...)
	require.NoError(t, json.Unmarshal([]byte(got.out), &r))
	return r
}

func TestARoleIsMadeShownEditedAndDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := h.cliRole(t, "create", "Deployers", "--customer", "acme", "--description", "deploys", "--grant", "segments=full", "--grant", "servers=update,read", "--grant", "keyreeve/keys=view")
	require.Equal(t, "keyreeve/keys=view segments=full servers=read,update", made.permissions(" "))
	require.Equal(t, "acme", made.CustomerID)
	require.Equal(t, made, h.cliRole(t, "show", "Deployers"))
	require.Equal(t, made, h.cliRole(t, "show", made.ID))
	out := h.mustCLI(t, "role", "show", "Deployers").out
	for _, text := range []string{"Deployers", "deploys", "acme", "servers=read,update", made.ID} {
		require.Contains(t, out, text)
	}

	edited := h.cliRole(t, "edit", "Deployers", "--name", "Releasers", "--grant", "servers-", "--grant", "logs=view")
	require.Equal(t, "keyreeve/keys=view logs=view segments=full", edited.permissions(" "))
	require.Equal(t, "deploys", edited.Description, "what no flag names stays")
	require.Empty(t, h.cliRole(t, "edit", "Releasers", "--description", "").Description)

	file := filepath.Join(t.TempDir(), "grants.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"segments":["read","create"],"*":"view"}`), 0o600))
	edited = h.cliRole(t, "edit", "Releasers", "-f", file, "--grant", "*=full")
	require.Equal(t, "*=full segments=read,create", edited.permissions(" "), "a file replaces all, flags go over it")
	global := h.cliRole(t, "create", "From file", "--every-customer", "--grants-file", file)
	require.Equal(t, "*=view segments=read,create", global.permissions(" "))
	require.Empty(t, global.CustomerID)

	h.create(t, "user", "--role", "Releasers", "--customer", "acme")
	require.Contains(t, h.mustCLI(t, "role", "show", "Releasers", "-o", "csv").out, ",1\n", "how many keys have it")
	used := h.cli(t, "role", "delete", "Releasers", "--yes")
	require.Equal(t, ExitConflict, used.code)
	require.Contains(t, used.errOut, "used by 1 key")
	h.mustKey(t, "delete", "user", "--yes")
	require.Contains(t, h.mustCLI(t, "role", "delete", "Releasers", "--yes").errOut, "deleted Releasers ("+made.ID+")")
	require.Equal(t, ExitNotFound, h.cli(t, "role", "show", "Releasers").code)
}

func TestWrongRoleAndTenantUsageSendsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"role", "create"}, "NAME is missing"},
		{[]string{"role", "create", "R", "--grant", "segments"}, "grants nothing"},
		{[]string{"role", "create", "R", "--grant", "=full"}, "grants nothing"},
		{[]string{"role", "create", "R", "--grant", "segments="}, "grants nothing"},
		{[]string{"role", "create", "R", "--grant", "segments-"}, "grants nothing"},
		{[]string{"role", "create", "R", "--grant", "segments=read,fly"}, `unknown action "fly"`},
		{[]string{"role", "create", "R", "--customer", "acme", "--every-customer"}, "exclude each other"},
		{[]string{"role", "edit", "R"}, "nothing to change"},
		{[]string{"role", "edit", "R", "--grant", "-"}, "grants nothing"},
		{[]string{"role", "delete", "R"}, "--yes is missing"},
		{[]string{"role", "show"}, "ROLE is missing"},
		{[]string{"customer", "create"}, "NAME is missing"},
		{[]string{"customer", "show"}, "CUSTOMER is missing"},
		{[]string{"customer", "edit", "acme"}, "--name is missing"},
		{[]string{"customer", "delete", "acme"}, "--yes is missing"},
		{[]string{"customer", "show", "acme", "--customer", "x"}, "unknown flag"},
		{[]string{"microtenant", "disable"}, "MICROTENANT is missing"},
		{[]string{"microtenant", "delete", "emea"}, "--yes is missing"},
	} {
		server := &serve{status: 200, kind: "application/json", body: "{}"}
		got := run(t, Env{}, nil, append(c.args, "--address", server.start(t))...)
		require.Equal(t, ExitUsage, got.code, c.args)
		require.Contains(t, got.errOut, c.says, c.args)
		require.Zero(t, server.calls, c.args)
	}
}

func TestAFileOfPermissionsIsReadStrictly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, text := range []string{"", "[]", `{"segments":"most"}`, `{"segments":null}x`, `"full"`} {
		file := filepath.Join(t.TempDir(), "grants.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		got := h.cli(t, "role", "create", "R", "--customer", "acme", "-f", file)
		require.Equal(t, ExitError, got.code, text)
		require.Contains(t, got.errOut, "no JSON object of permissions", text)
	}
	require.Contains(t, h.cli(t, "role", "create", "R", "-f", "/nowhere").errOut, "file of permissions cannot be read")
	require.NotContains(t, h.mustCLI(t, "role", "list").out, " R ")
}

func TestRefusalsOfRolesAndTenantsHaveTheirExitCodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role(t, "Chief", policy.Permissions{"segments": policy.View, "keyreeve/roles": policy.Full, "keyreeve/tenants": policy.Full})
	chief := h.create(t, "chief", "--role", role, "--customer", "acme")
	vars := map[string]string{"KEYREEVE_CLIENT_ID": chief.ClientID, "KEYREEVE_CLIENT_SECRET": chief.ClientSecret}
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"role create R --grant segments=full", "exceeds_own_rights", ExitNotAuthorised},
		{"role create R --every-customer", "exceeds_own_rights", ExitNotAuthorised},
		{"role edit Chief --grant segments-", "own role", ExitNotAuthorised},
		{"role edit Operator --name X", "predefined", ExitConflict},
		{"role delete role_operator --yes", "predefined", ExitConflict},
		{"role create Operator", "name of a predefined role", ExitError},
		{"role edit nobody --name X", "no role has", ExitNotFound},
		{"customer create New", "only an Operator", ExitNotAuthorised},
		{"customer disable acme", "only an Operator", ExitNotAuthorised},
		{"customer show globex", "no customer has", ExitNotFound},
		{"customer delete globex --yes", "no customer has", ExitNotFound},
		{"microtenant show nowhere", "no microtenant has", ExitNotFound},
		{"microtenant create emea --id other", "name_taken", ExitConflict},
	} {
		got := run(t, Env{}, vars, append(strings.Fields(c.args), "--url", "http://"+h.address+"/site")...)
		require.Equal(t, c.code, got.code, "%s: %s", c.args, got.errOut)
		require.Contains(t, got.errOut, c.says, c.args)
		require.Empty(t, got.out, c.args)
	}
}

func TestARoleEditLosesAgainstAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.role(t, "R", nil)
	var interfered atomic.Bool
	h.before = func(r *http.Request) {
		if r.Method == http.MethodPatch && interfered.CompareAndSwap(false, true) {
			got := run(t, Env{}, nil, "role", "edit", id, "--description", "first", "--address", h.address)
			assert.Zero(t, got.code, got.errOut) // in the server's goroutine
		}
	}
	got := h.cli(t, "role", "edit", id, "--description", "second")
	require.Equal(t, ExitConflict, got.code, got.errOut)
	require.Contains(t, got.errOut, "someone else changed it")
	require.Equal(t, "first", h.cliRole(t, "show", id).Description)
}

func TestEveryRoleAndTenantVerbTeaches(t *testing.T) {
	t.Parallel()
	tenant := []string{"create", "list", "show", "edit", "enable", "disable", "delete"}
	for group, verbs := range map[string][]string{"role": {"create", "list", "show", "edit", "delete"}, "customer": tenant, "microtenant": tenant} {
		for _, verb := range append(verbs, "") {
			got := run(t, Env{Program: "caddy keyreeve"}, nil, append(strings.Fields(group+" "+verb), "--help")...)
			require.Zero(t, got.code)
			require.Contains(t, got.out, strings.TrimSpace("caddy keyreeve "+group+" "+verb))
			require.Contains(t, got.out, "Examples:", "%s %s", group, verb)
			for _, placeholder := range []string{"PROGRAM", "NOUN"} {
				require.NotContains(t, got.out, placeholder, fmt.Sprint(group, verb))
			}
		}
	}
}
