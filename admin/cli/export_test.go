package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	require.NoError(t, json.Unmarshal([]byte(strings.Replace(got.out, `"version":1,`, "", 1)), &state))
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
	require.Equal(t, "version: 1\nkeys: []\n", h.must(t, "export", "--only", "keys", "--customer", "globex").out)
	for _, args := range [][]string{{"-o", "csv"}, {"-o", "table"}, {"--only", "people"}} {
		require.Equal(t, ExitUsage, h.do(t, append([]string{"export"}, args...)...).code, args)
	}
	require.Equal(t, ExitNotFound, h.do(t, "export", "--customer", "none").code)
}

func TestARoleNameThatCouldMeanAnotherIsExportedById(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, `
version: 1
roles:
  - {name: Shared, customer_id: null, permissions: {logs: view}}
  - {name: Shared, customer_id: acme, permissions: {logs: full}}
  - {name: role_operator, customer_id: acme, permissions: {logs: view}}
`))
	refused := h.do(t, "apply", "-f", write(t, "version: 1\nkeys: [{name: x, customer_id: acme, role: role_operator}]\n"))
	require.Equal(t, ExitError, refused.code)
	require.Contains(t, refused.errOut, "the id of one role and the name of another")
	h.must(t, "apply", "-f", write(t, "version: 1\nkeys: [{name: own, customer_id: acme, role: Shared}, {name: far, customer_id: globex, role: Shared}]\n"))
	roles := h.must(t, "export", "--only", "roles").out
	require.Less(t, strings.Index(roles, "customer_id: null"), strings.Index(roles, "customer_id: acme"), "by customer, whatever the ids")
	out := h.must(t, "export", "--only", "keys").out
	require.Equal(t, 1, strings.Count(out, "role: Shared\n"), out)
	require.Contains(t, h.must(t, "apply", "-f", write(t, out)).errOut, "nothing to do")
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
