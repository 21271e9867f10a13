package cli

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// imported makes a key of globex whose client ID its owner chose.
func (h *house) imported(t *testing.T, name, clientID string) string {
	t.Helper()
	k, _, err := h.service.CreateKey(t.Context(), here, lifecycle.NewKey{Name: name, CustomerID: "globex", RoleID: keystore.RoleReadOnly,
		ClientID: clientID, SecretSHA256: sha(name)})
	require.NoError(t, err)
	return k.ID
}

func TestAChosenClientIDOrNameNeverStandsForAnotherKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.create(t, "ci-deploy", "--role", "role_api_read_only", "--customer", "acme")
	asID := h.create(t, a.ID, "--role", "role_api_read_only", "--customer", "globex")
	asClientID := h.create(t, a.ClientID, "--role", "role_api_read_only", "--customer", "acme", "--microtenant", "emea")
	asName := h.imported(t, "innocent", "ci-deploy")

	for ref, other := range map[string]string{"ci-deploy": asName, a.ID: asID.ID, a.ClientID: asClientID.ID} {
		for _, verb := range [][]string{{"disable", ref}, {"edit", ref, "--description", "taken"}, {"delete", ref, "--yes"}} {
			got := h.key(t, verb...)
			require.Equal(t, ExitConflict, got.code, "%v: %s", verb, got.errOut)
			require.Contains(t, got.errOut, "id:"+a.ID)
			require.Contains(t, got.errOut, "id:"+other)
			require.Contains(t, got.errOut, "customer acme")
		}
	}
	require.Contains(t, h.key(t, "get", "ci-deploy").errOut, "customer globex")
	require.Contains(t, h.key(t, "get", a.ClientID).errOut, "microtenant emea")
	for _, id := range []string{a.ID, asID.ID, asClientID.ID, asName} {
		var k key
		require.NoError(t, json.Unmarshal([]byte(h.mustKey(t, "get", "id:"+id, "-o", "json").out), &k))
		require.Equal(t, id, k.ID, "an id that is called one means nothing else")
		require.True(t, k.Enabled)
		require.Empty(t, k.Description)
	}
	require.Contains(t, h.mustKey(t, "get", "ci-deploy", "--customer", "acme", "-o", "json").out, a.ID)
	require.Contains(t, h.mustKey(t, "get", "ci-deploy", "--customer", "globex", "-o", "json").out, asName)
	require.Contains(t, h.mustKey(t, "get", a.ID, "--customer", "acme", "-o", "json").out, a.ID)
	require.Contains(t, h.mustKey(t, "get", a.ClientID, "--customer", "acme", "--microtenant", "null", "-o", "json").out, a.ID)
	require.Equal(t, ExitNotFound, h.key(t, "get", "id:"+a.ID, "--customer", "globex").code, "--customer bounds ids too")
	require.Equal(t, ExitNotFound, h.key(t, "get", "id:ci-deploy").code)
	require.Equal(t, ExitNotFound, h.key(t, "get", "id:").code)
}

func TestAnIDOrClientIDThatNothingElseHasIsEnough(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.create(t, "ci-deploy", "--role", "role_api_read_only", "--customer", "acme")
	twice := h.imported(t, "same", "same")
	for ref, id := range map[string]string{a.ID: a.ID, a.ClientID: a.ID, "ci-deploy": a.ID, "same": twice} {
		require.Contains(t, h.mustKey(t, "get", ref, "-o", "json").out, `"id":"`+id+`"`, ref)
	}
}

func TestARoleNamedAsAnotherIsNeverTakenForIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.oldRoles(t, keystore.Role{ID: "role_far", Name: "Shared"}, keystore.Role{ID: "role_own", Name: "Shared", CustomerID: "acme"},
		keystore.Role{ID: "role_x", Name: "role_operator", CustomerID: "acme"})
	k := h.create(t, "ci", "--role", "role_api_read_only", "--customer", "acme")
	for ref, ids := range map[string][]string{"Shared": {"role_far", "role_own"}, "role_operator": {"role_operator", "role_x"}} {
		got := h.key(t, "edit", k.ID, "--role", ref)
		require.Equal(t, ExitConflict, got.code)
		for _, id := range ids {
			require.Contains(t, got.errOut, "id:"+id)
			h.mustKey(t, "edit", k.ID, "--role", "id:"+id)
			require.Contains(t, h.mustKey(t, "get", k.ID, "-o", "json").out, `"role_id":"`+id+`"`)
		}
		require.Equal(t, ExitConflict, h.cli(t, "role", "show", ref, "--customer", "acme").code)
	}
	require.Equal(t, "role_far", h.cliRole(t, "show", "Shared", "--customer", "globex").ID, "another customer's roles are none of its own")
}

func TestSourcesOfOneNameMustBeToldApart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, customer := range []string{"acme", "globex"} {
		h.must(t, "source", "create", "idp", "--customer", customer, "--rule", "locked", "--max-role", "role_api_read_only")
	}
	for _, args := range [][]string{{"edit", "idp", "--owner", "x"}, {"delete", "idp", "--yes"}, {"push", "idp", "-f", write(t, "keys: []")}} {
		got := h.do(t, append([]string{"source"}, args...)...)
		require.Equal(t, ExitConflict, got.code, args)
		require.Contains(t, got.errOut, "--customer")
	}
	h.must(t, "source", "delete", "idp", "--yes", "--customer", "globex")
	h.must(t, "source", "delete", "idp", "--yes")
}
