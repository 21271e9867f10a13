package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

type policyMask = policy.Mask

func TestWhatIsExportedAppliesToTheSameAsNothingAndElsewhereAsAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, stateText("description: deploys", `description: "deploys\n\n  - and: more\n"`)))
	for _, form := range []string{"yaml", "json"} {
		state := h.must(t, "export", "-o", form)
		require.NotContains(t, state.out, "krs_")
		require.NotContains(t, state.out, sha("elsewhere"), "not even a digest")
		require.Contains(t, h.must(t, "apply", "-f", write(t, state.out)).errOut, "nothing to do")

		other := newHouse(t)
		got := other.must(t, "apply", "-f", write(t, state.out))
		require.Equal(t, 3, strings.Count(got.out, "krs_"), "keys made anew have new secrets")
		require.Equal(t, state.out, other.must(t, "export", "-o", form).out, "client IDs and roles mean the same there")
	}
	require.Equal(t, h.must(t, "export").out, h.must(t, "export", "-o", "yaml").out)
}

func TestAnExportIsBoundedToWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, stateText()))
	h.must(t, "source", "push", "idp", "-f", write(t, `[{"client_id":"owned","name":"owned","role_id":"role_api_read_only","secret_sha256":"`+sha("x")+`"}]`))
	got := h.must(t, "export", "--customer", "acme", "-o", "json")
	require.Contains(t, got.errOut, "left out 1 keys of external sources")
	var state map[string][]map[string]any
	require.NoError(t, json.Unmarshal([]byte(strings.NewReplacer(`"version":1,`, "", ",\n\"complete\":true", "").Replace(got.out)), &state))
	names := func(section, member string) (out []any) {
		for _, i := range state[section] {
			out = append(out, i[member])
		}
		return out
	}
	require.Equal(t, []any{"acme"}, names("customers", "id"))
	require.Equal(t, []any{"emea"}, names("microtenants", "id"))
	require.Equal(t, []any{"Auditor", "Deployer"}, names("roles", "name"))
	require.Equal(t, []any{"idp"}, names("sources", "name"))
	require.Equal(t, []any{"ci", "ci"}, names("keys", "name"))
	require.ElementsMatch(t, []any{"Deployer", "role_api_read_only"}, names("keys", "role"))
	require.NotContains(t, state["keys"][0], "client_secret")

	only := h.must(t, "export", "--only", "roles")
	require.True(t, strings.HasPrefix(only.out, "version: 1\nroles:\n  - name: Auditor\n"), only.out)
	require.NotContains(t, only.out, "keys:")
	require.Equal(t, "version: 1\nkeys: []\ncomplete: true\n", h.must(t, "export", "--only", "keys", "--customer", "globex").out)
	for _, args := range [][]string{{"-o", "csv"}, {"-o", "table"}, {"--only", "people"}} {
		require.Equal(t, ExitUsage, h.do(t, append([]string{"export"}, args...)...).code, args)
	}
	require.Equal(t, ExitNotFound, h.do(t, "export", "--customer", "none").code)
}

// oldRoles puts roles into the store that nobody could make now: named as another
// is, or as another's id.
func (h *house) oldRoles(t *testing.T, roles ...keystore.Role) {
	t.Helper()
	_, err := h.store.Update(t.Context(), func(tx keystore.Tx) error {
		for _, r := range roles {
			if err := tx.PutRole(t.Context(), &r); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
}

func TestARoleNameThatCouldMeanAnotherIsExportedById(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.oldRoles(t, keystore.Role{ID: "role_far", Name: "Shared"}, keystore.Role{ID: "role_own", Name: "Shared", CustomerID: "acme"},
		keystore.Role{ID: "role_x", Name: "role_operator", CustomerID: "acme"}, keystore.Role{ID: "role_y", Name: "id:role_far", CustomerID: "acme"},
		keystore.Role{ID: "role_z", Name: "Plain", CustomerID: "acme"}, keystore.Role{ID: "role_p", Name: "Plain", CustomerID: "globex"})
	for ref, ids := range map[string][]string{"role_operator": {"role_operator", "role_x"}, "Shared": {"role_far", "role_own"}} {
		refused := h.do(t, "apply", "-f", write(t, "version: 1\nkeys: [{name: x, customer_id: acme, role: "+ref+"}]\n"))
		require.Equal(t, ExitError, refused.code)
		for _, id := range ids {
			require.Contains(t, refused.errOut, "id:"+id)
		}
	}
	keys := "version: 1\nkeys:\n  - {name: far, customer_id: globex, role: Shared}\n"
	for _, id := range []string{"role_far", "role_own", "role_x", "role_y", "role_z", "role_operator"} {
		keys += "  - {name: as " + id + ", customer_id: acme, role: 'id:" + id + "'}\n"
	}
	h.must(t, "apply", "-f", write(t, keys))
	roles := h.must(t, "export", "--only", "roles").out
	require.Less(t, strings.Index(roles, "customer_id: null"), strings.Index(roles, "customer_id: acme"), "by customer, whatever the ids")
	out := h.must(t, "export", "--only", "keys").out
	require.NotContains(t, out, "role: Shared\n")
	for role, times := range map[string]int{"role_far": 2, "role_own": 1, "id:role_operator": 1, "role_x": 1, "role_y": 1, "Plain": 1} {
		require.Equal(t, times, strings.Count(out, "role: "+role+"\n"), "%s in %s", role, out)
	}
	require.Contains(t, h.must(t, "apply", "-f", write(t, out)).errOut, "nothing to do")
}

func TestKeysOfOneNameAreExportedInTheSameOrderEverywhere(t *testing.T) {
	t.Parallel()
	h, other := newHouse(t), newHouse(t)
	for i := range 8 {
		id := fmt.Sprintf("m%d", i)
		h.must(t, "microtenant", "create", id, "--id", id, "--customer", "acme")
		h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme", "--microtenant", id)
	}
	h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	state := h.must(t, "export").out
	other.must(t, "apply", "-f", write(t, state))
	require.Equal(t, state, other.must(t, "export").out)
}

func TestWhatWasCutOffPrunesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, stateText()))
	for _, form := range []string{"yaml", "json"} {
		whole := h.must(t, "export", "-o", form).out
		for end := range len(whole) - 1 { // the last byte ends the last line
			file := &stateFile{name: "cut", text: []byte(whole[:end])}
			err := file.walk(stateVisitor{section: func(*stateKind) {}, item: func(stateItem, []error) error { return nil }})
			require.False(t, err == nil && file.complete, "%s of %d bytes", form, end)
		}
		require.Contains(t, h.must(t, "apply", "--prune", "--yes", "-f", write(t, whole)).errOut, "nothing to do")
	}
	whole := h.must(t, "export", "--only", "keys").out
	cut := whole[:strings.LastIndex(whole, "  - ")]
	got := h.do(t, "apply", "--prune", "--yes", "-f", write(t, cut))
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "complete: true")
	require.Contains(t, got.errOut, "nothing was changed")
	require.Contains(t, h.must(t, "key", "list", "-o", "json").out, `"total":3`)
}

func TestAnExportThatMayNotReadEverythingFailsAndSaysSo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	me := h.create(t, "me", "--customer", "acme", "--role", "role_api_full_access")
	vars := map[string]string{"KEYREEVE_CLIENT_ID": me.ClientID, "KEYREEVE_CLIENT_SECRET": me.ClientSecret}
	got := run(t, Env{}, vars, "export", "--url", "http://"+h.address+"/site")
	require.Equal(t, ExitNotAuthorised, got.code)
	require.Contains(t, got.errOut, "--only")
	for _, form := range []string{"yaml", "json"} {
		got = run(t, Env{}, vars, "export", "--url", "http://"+h.address+"/site", "-o", form)
		_, err := readAll(got.out)
		require.Error(t, err, "what lacks its end cannot be applied: %s", got.out)
	}
}
