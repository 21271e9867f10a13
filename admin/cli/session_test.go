package cli

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// cli runs a command over the local reach.
func (h *house) cli(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, Env{}, nil, append(args, "--address", h.address)...)
}

// mustCLI is cli for commands that must succeed.
func (h *house) mustCLI(t *testing.T, args ...string) result {
	t.Helper()
	got := h.cli(t, args...)
	require.Zero(t, got.code, got.errOut)
	return got
}

// session stores a session of a key, as a sign-in does.
func (h *house) session(t *testing.T, k key, random string) string {
	t.Helper()
	var id string
	_, err := h.store.Update(t.Context(), func(tx keystore.Tx) error {
		stored, err := tx.Key(t.Context(), k.ID)
		if err != nil {
			return err
		}
		secret, now := stored.Secrets[0].ID, tx.Now().Wall
		id = keystore.SessionID("ses_"+random, stored.Generation, secret)
		return tx.PutSession(t.Context(), &keystore.Session{ID: id, KeyID: k.ID, SecretID: secret, Address: "192.0.2.7", Issued: now, Expires: now.Add(time.Hour)})
	})
	require.NoError(t, err)
	return id
}

// role makes a role for every customer.
func (h *house) role(t *testing.T, name string, p policy.Permissions) string {
	t.Helper()
	r, _, err := h.service.CreateRole(t.Context(), here, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Null[string](), Permissions: p})
	require.NoError(t, err)
	return r.ID
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ci := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	other := h.create(t, "other", "--role", "role_api_read_only", "--customer", "globex")
	one, two, theirs := h.session(t, ci, "1"), h.session(t, ci, "2"), h.session(t, other, "3")

	out := h.mustCLI(t, "session", "list").out
	for _, id := range []string{one, two, theirs} {
		require.Contains(t, out, id)
	}
	require.Contains(t, out, "192.0.2.7")
	out = h.mustCLI(t, "session", "list", "--key", "ci").out
	require.Contains(t, out, one)
	require.NotContains(t, out, theirs)
	require.NotContains(t, h.mustCLI(t, "session", "list", "--customer", "globex").out, one)

	got := h.mustCLI(t, "session", "end", one)
	require.Contains(t, got.errOut, "ended "+one)
	require.Empty(t, got.out)
	active := func() string { return h.mustCLI(t, "session", "list", "--state", "active", "--key", ci.ClientID).out }
	require.NotContains(t, active(), one)
	require.Contains(t, active(), two)
	require.Contains(t, h.mustCLI(t, "session", "list", "--state", "ended").out, " admin")

	got = h.mustCLI(t, "session", "end", "--key", "ci")
	require.Contains(t, got.errOut, "ended all sessions of ci ("+ci.ClientID+")")
	require.NotContains(t, active(), two)
	require.Contains(t, h.mustCLI(t, "session", "list", "--state", "active").out, theirs, "another key's goes on")
}

func TestSessionsLocksAndRolesComeInEveryForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const count = 5
	for n := range count {
		k := h.create(t, fmt.Sprintf("=k%d", n), "--role", "role_api_read_only", "--customer", "acme")
		h.session(t, k, fmt.Sprint(n))
		h.lock(t, k)
	}
	for group, total := range map[string]int{"session": count, "lock": count, "role": 3} {
		all := []string{group, "list", "--all", "--page-size", "2"}
		var list struct {
			Items []map[string]any
			Total int
		}
		require.NoError(t, json.Unmarshal([]byte(h.mustCLI(t, append(all, "-o", "json")...).out), &list), group)
		require.Len(t, list.Items, total, group)
		require.Equal(t, total, list.Total, group)
		records, err := csv.NewReader(strings.NewReader(h.mustCLI(t, append(all, "-o", "csv")...).out)).ReadAll()
		require.NoError(t, err, group)
		require.Len(t, records, total+1, group)
		for i, column := range records[0] {
			require.Contains(t, list.Items[0], column, "a column of %s is a member of the API", group)
			if column == "key_name" {
				require.Equal(t, "'"+list.Items[0][column].(string), records[1][i], "no formula")
			}
		}
		require.Len(t, strings.Split(strings.TrimSpace(h.mustCLI(t, all...).out), "\n"), total+1, group)
		require.Contains(t, h.mustCLI(t, append(all, "-o", "yaml")...).out, "items:")
		one := h.mustCLI(t, group, "list", "--page-size", "2")
		require.Contains(t, one.errOut, fmt.Sprintf("2 of %d %ss; --all", total, group))
	}
	require.Contains(t, h.mustCLI(t, "role", "list", "-q", "operator").out, "*=full keyreeve/*=full")
	require.NotContains(t, h.mustCLI(t, "role", "list", "-q", "operator").out, "API Read Only")
}

func TestALockIsShownAndEnded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	require.Contains(t, h.mustCLI(t, "lock", "get", "ci").out, "not locked")
	require.JSONEq(t, `{"locked":false,"failed_attempts":0,"locked_until":null,"recent_failures":[]}`, h.mustCLI(t, "lock", "get", k.ID, "-o", "json").out)
	require.NotContains(t, h.mustCLI(t, "lock", "list").out, k.ClientID)
	h.lock(t, k)
	require.Contains(t, h.mustCLI(t, "lock", "list").out, k.ClientID)
	shown := h.mustCLI(t, "lock", "get", k.ClientID).out
	require.Contains(t, shown, "locked until ")
	require.Regexp(t, `Wrong secrets +2026-01-02 03:04:05Z secret B from 192\.0\.2\.9\n +2026-01-02 03:04:05Z secret A from`, shown, "the newest first")
	require.Equal(t, "key_id,locked,failed_attempts,locked_until\n"+k.ID+",true,3,2026-01-02T03:34:05Z\n", h.mustCLI(t, "lock", "get", "ci", "-o", "csv").out)
	require.Contains(t, h.mustCLI(t, "lock", "unlock", "ci", "--reason", "not deployed yet").errOut, "ci ("+k.ClientID+") is unlocked")
	require.Contains(t, h.mustCLI(t, "audit", "list", "--action", "key.unlock", "-o", "json").out, `"reason":"not deployed yet"`)
	require.Equal(t, ExitUsage, h.cli(t, "lock", "unlock", "ci", "--dry-run", "--reason", "x").code)
	require.Contains(t, h.mustCLI(t, "lock", "unlock", "ci").errOut, "was not locked")
	require.NotContains(t, h.mustCLI(t, "lock", "list").out, k.ClientID)
}

func TestWhoMayNotReadKeysNamesOneByItsID(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role(t, "Warden", policy.Permissions{"keyreeve/locks": policy.Full, "keyreeve/sessions": policy.Full})
	warden := h.create(t, "warden", "--role", role, "--customer", "acme")
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	h.lock(t, k)
	id := h.session(t, k, "1")
	remote := func(args ...string) result {
		vars := map[string]string{"KEYREEVE_CLIENT_ID": warden.ClientID, "KEYREEVE_CLIENT_SECRET": warden.ClientSecret}
		return run(t, Env{}, vars, append(args, "--url", "http://"+h.address+"/site")...)
	}
	require.Contains(t, remote("lock", "get", k.ID).out, "locked until ")
	require.Equal(t, k.ID+" is unlocked\n", remote("lock", "unlock", k.ID).errOut)
	require.Contains(t, remote("session", "list", "--key", k.ID).out, id)
	require.Equal(t, "ended all sessions of "+k.ID+"\n", remote("session", "end", "--key", k.ID).errOut)
	require.Equal(t, ExitNotAuthorised, remote("lock", "get", "ci deploy").code, "a name cannot be looked up")
	require.Equal(t, ExitNotFound, remote("lock", "get", "key_nobody").code)
}

func TestExitCodesOfLocksSessionsAndRoles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, customer := range []string{"acme", "globex"} {
		h.create(t, "twin", "--role", "role_api_read_only", "--customer", customer)
	}
	reader := h.create(t, "reader", "--role", "role_api_read_only", "--customer", "acme")
	vars := map[string]string{"KEYREEVE_CLIENT_ID": reader.ClientID, "KEYREEVE_CLIENT_SECRET": reader.ClientSecret}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"lock get", ExitUsage, "KEY is missing"},
		{"lock get a b", ExitUsage, "unexpected argument"},
		{"lock break", ExitUsage, "there is no `keyreeve lock break`"},
		{"lock list --page 2 --all", ExitUsage, "--all begins at the beginning"},
		{"session end", ExitUsage, "JTI is missing"},
		{"session end x --key twin", ExitUsage, "not both"},
		{"session end x y", ExitUsage, "unexpected argument"},
		{"session list --state happy", ExitUsage, "expected active, ended, expired"},
		{"session list --colour red", ExitUsage, "unknown flag"},
		{"role list surplus", ExitUsage, "unexpected argument"},
		{"role make", ExitUsage, "there is no `keyreeve role make`"},
		{"doctor surplus", ExitUsage, "unexpected argument"},
		{"role list --sort id", ExitError, "sort: must be name, or one with a - before it"},
		{"lock get nobody", ExitNotFound, "no key has"},
		{"lock unlock nobody", ExitNotFound, "no key has"},
		{"session end ses_none.0.sec_none", ExitNotFound, "there is no such session"},
		{"session end --key nobody", ExitNotFound, "no key has"},
		{"session list --key nobody", ExitNotFound, "no key has"},
		{"lock get twin", ExitConflict, "2 keys have the name"},
		{"lock unlock twin", ExitConflict, "2 keys have the name"},
		{"session end --key twin", ExitConflict, "2 keys have the name"},
		{"session list --key twin", ExitConflict, "2 keys have the name"},
		{"lock list --url URL", ExitNotAuthorised, "keyreeve/locks:read"},
		{"session list --url URL", ExitNotAuthorised, "keyreeve/sessions:read"},
		{"session end x --url URL", ExitNotAuthorised, "keyreeve/sessions:delete"},
		{"role list --url URL", ExitNotAuthorised, "keyreeve/roles:read"},
		{"role list --address 127.0.0.1:1", ExitError, "no answer"},
	} {
		args := strings.Fields(strings.Replace(c.args, "URL", "http://"+h.address+"/site", 1))
		if !strings.Contains(c.args, "--url") && !strings.Contains(c.args, "--address") {
			args = append(args, "--address", h.address)
		}
		got := run(t, Env{}, vars, args...)
		require.Equal(t, c.code, got.code, "%s: %s", c.args, got.errOut)
		require.Contains(t, got.errOut, c.says, c.args)
		require.Equal(t, 1, strings.Count(got.errOut, "error:"), "%s: reported once", c.args)
		require.Empty(t, got.out, c.args)
	}
}

func TestEveryVerbTeaches(t *testing.T) {
	t.Parallel()
	for group, verbs := range map[string][]string{"lock": {"list", "get", "unlock"}, "session": {"list", "end"}, "role": {"list"}, "doctor": {""}} {
		for _, verb := range verbs {
			args := append(strings.Fields(group+" "+verb), "--help")
			got := run(t, Env{Program: "caddy keyreeve"}, nil, args...)
			require.Zero(t, got.code)
			require.Contains(t, got.out, strings.TrimSpace("caddy keyreeve "+group+" "+verb))
			require.NotContains(t, got.out, "PROGRAM")
		}
	}
}
