package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

const someState = `
version: 1
customers:
  - id: acme
    name: Acme
  - id: initech
    name: Initech
microtenants:
  - {id: emea, customer_id: acme, name: EMEA}
  - {id: east, customer_id: initech, name: East}
roles:
  - name: Auditor
    customer_id: null
    permissions: {logs: [read], keyreeve/audit: view}
  - name: Deployer
    customer_id: acme
    description: deploys
    permissions: {segments: [read, update], servers: [delete, create, update, read]}
sources:
  - {name: idp, customer_id: acme, rule: locked, max_role: role_api_read_only}
keys:
  - name: ci
    customer_id: acme
    role: Deployer
    allowed_cidrs: [192.0.2.0/24, 198.51.100.0/24]
    labels: {team: platform, env: prod}
    expires_at: 2099-01-01
  - name: ci
    customer_id: acme
    microtenant_id: emea
    role: role_api_read_only
    session_validity_seconds: 600
  - client_id: elsewhere-1
    name: imported
    customer_id: initech
    role: Auditor
    enabled: false
    secret_sha256: SHA
`

func stateText(edits ...string) string {
	text := strings.Replace(someState, "SHA", sha("elsewhere"), 1)
	for i := 0; i+1 < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			panic("the state has no " + edits[i])
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	return text
}

func TestApplyMakesWhatTheFileSaysAndThenHasNothingToDo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	file := write(t, stateText())
	would := h.must(t, "apply", "-f", file, "--dry-run", "-o", "json")
	var plan struct{ Items []planItem }
	require.NoError(t, json.Unmarshal([]byte(would.out), &plan))
	require.Len(t, plan.Items, 10)
	require.Equal(t, planItem{Action: "update", Kind: "customer", Name: "acme", Changes: []string{"name"}}, plan.Items[0])
	require.Equal(t, planItem{Action: "create", Kind: "key", Name: "initech/imported", ClientID: "elsewhere-1"}, plan.Items[9])
	require.Equal(t, ExitNotFound, h.do(t, "key", "get", "ci").code, "a dry run changes nothing")

	did := h.must(t, "apply", "-f", file)
	require.Contains(t, did.errOut, "+ key acme/emea/ci")
	require.Contains(t, did.errOut, "~ microtenant acme/emea: name")
	require.Contains(t, did.errOut, "plan: 8 to create, 2 to update, 0 to delete, 0 unchanged")
	require.NotContains(t, did.errOut, "krs_", "no secret in the plan")
	lines := strings.Split(strings.TrimSpace(did.out), "\n")
	require.Len(t, lines, 2, "the key that has a secret elsewhere gets none")
	var secret keySecret
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &secret))
	require.Equal(t, []string{"ci", "acme", "emea"}, []string{secret.Name, secret.CustomerID, secret.MicrotenantID})
	require.True(t, strings.HasPrefix(secret.ClientSecret, "krs_"))
	require.NotContains(t, did.errOut, secret.ClientSecret)

	for range 2 {
		again := h.must(t, "apply", "-f", file)
		require.Contains(t, again.errOut, "0 to create, 0 to update, 0 to delete, 10 unchanged\nnothing to do")
		require.Empty(t, again.out)
	}
	var k key
	require.NoError(t, json.Unmarshal([]byte(h.must(t, "key", "get", "elsewhere-1", "-o", "json").out), &k))
	require.Equal(t, []any{"imported", false, "initech"}, []any{k.Name, k.Enabled, k.CustomerID})
}

func TestApplyChangesOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, stateText()))
	edited := stateText("{team: platform, env: prod}", "{team: security}", "segments: [read, update]", "segments: view",
		"    session_validity_seconds: 600\n", "    session_validity_seconds: null\n", "    description: deploys\n", "", "expires_at: 2099-01-01", "expires_at: 2099-01-01T00:00:00.0Z")
	got := h.must(t, "apply", "-f", write(t, edited))
	require.Contains(t, got.errOut, "~ role acme/Deployer: permissions\n")
	require.Contains(t, got.errOut, "~ key acme/ci (")
	require.Contains(t, got.errOut, "): labels\n")
	require.Contains(t, got.errOut, "): session_validity_seconds\n")
	require.Contains(t, got.errOut, "plan: 0 to create, 3 to update, 0 to delete, 7 unchanged")
	var page struct{ Items []key }
	require.NoError(t, json.Unmarshal([]byte(h.must(t, "key", "list", "--customer", "acme", "-q", "ci", "-o", "json").out), &page))
	require.Contains(t, []map[string]string{page.Items[0].Labels, page.Items[1].Labels}, map[string]string{"team": "security"}, "a label that is gone from the file is gone")
	require.Contains(t, h.must(t, "role", "list", "-o", "json").out, `"description":"deploys"`, "what the file leaves out stays")
	require.Contains(t, h.must(t, "apply", "-f", write(t, edited)).errOut, "nothing to do")
}

func TestPruneDeletesWhatTheFileDoesNotNameAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, stateText()))
	other := h.create(t, "stays", "--customer", "globex", "--role", "role_api_read_only")
	h.must(t, "source", "push", "idp", "-f", write(t, `[{"client_id":"owned","name":"owned","role_id":"role_api_read_only","secret_sha256":"`+sha("x")+`"}]`))
	less := `
version: 1
microtenants: []
roles:
  - {name: Deployer, customer_id: acme}
keys:
  - {name: ci, customer_id: acme}
complete: true
`
	plain := h.must(t, "apply", "-f", write(t, less))
	require.Contains(t, plain.errOut, "nothing to do", "nothing is deleted unasked")
	file := write(t, less)
	require.Equal(t, ExitUsage, h.do(t, "apply", "-f", file, "--prune").code, "nobody can be asked")
	would := h.must(t, "apply", "-f", file, "--prune", "--dry-run", "-o", "csv")
	require.Equal(t, "action,kind,name,client_id,changes\n", strings.SplitAfter(would.out, "\n")[0])
	did := h.must(t, "apply", "-f", file, "--prune", "--yes")
	require.Contains(t, did.errOut, "- key acme/emea/ci (")
	require.Contains(t, did.errOut, "- microtenant acme/emea\n")
	require.Contains(t, did.errOut, "done: 0 created, 0 updated, 2 deleted")

	h.must(t, "key", "get", other.ID)      // another customer
	h.must(t, "key", "get", "elsewhere-1") // likewise, although the file before named it
	h.must(t, "key", "get", "owned")       // its source's
	h.must(t, "source", "show", "idp")     // a section that the file does not have
	require.Contains(t, h.must(t, "role", "list").out, "Auditor", "a role for every customer")
}

func TestAFileThatCannotBeAppliedChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.must(t, "apply", "-f", write(t, stateText()))
	h.must(t, "source", "push", "idp", "-f", write(t, `[{"client_id":"owned","name":"owned","role_id":"role_api_read_only","secret_sha256":"`+sha("x")+`"}]`))
	for _, c := range []struct{ name, text, says string }{
		{"an unknown member", stateText("    role: Deployer\n", "    rolle: Deployer\n"), "keys[0].rolle does not exist"},
		{"an unknown role", stateText("role: Deployer\n", "role: Nobody\n"), `keys[0].role: there is no role "Nobody" for customer acme`},
		{"a role of another customer", stateText("role: Auditor\n", "role: Deployer\n"), `keys[2].role: there is no role "Deployer" for customer initech`},
		{"one key twice", stateText("    microtenant_id: emea\n", ""), "keys[1] is the same key as keys[0]"},
		{"a new key without a role", stateText("    enabled: false\n", "    enabled: false\n  - name: new\n    customer_id: acme\n  - name: old\n    customer_id: acme\n    role: Auditor\n    client_id: x\n"), "keys[3].role is missing"},
		{"no customer", stateText("    customer_id: initech\n    role", "    role"), "keys[2].customer_id is missing"},
		{"a client ID of its own and another's name", stateText("client_id: elsewhere-1", "client_id: elsewhere-2"), "another key has this name"},
		{"a key that moves", stateText("    customer_id: initech\n    role: Auditor\n", "    customer_id: initech\n    microtenant_id: east\n    role: Auditor\n"), "keys[2].microtenant_id cannot change"},
		{"a key of a source", stateText("client_id: elsewhere-1\n    name: imported\n    customer_id: initech", "client_id: owned\n    name: imported\n    customer_id: acme"), "is owned by the external source idp"},
		{"a secret without a client ID", stateText("client_id: elsewhere-1\n    name: imported", "name: new"), "keys[2].client_id is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.do(t, "apply", "-f", write(t, strings.Replace(c.text, "- name: Auditor\n", "- name: Renamed\n", 1)), "--secrets-out", filepath.Join(t.TempDir(), "s"))
			require.Equal(t, ExitError, got.code, got.errOut)
			if !strings.Contains(got.errOut, c.says) {
				got = h.do(t, "apply", "-f", write(t, c.text))
			}
			require.Contains(t, got.errOut, c.says)
			require.Contains(t, got.errOut, "nothing was changed")
		})
	}
	require.NotContains(t, h.must(t, "role", "list").out, "Renamed")
}

func TestApplyStopsAtTheFirstFailureAndGoesOnWhenRunAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	broken := stateText("session_validity_seconds: 600", "session_validity_seconds: 5")
	got := h.do(t, "apply", "-f", write(t, broken))
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "stopped at keys[1] (key acme/emea/ci)")
	require.Contains(t, got.errOut, "session_validity_seconds")
	require.Contains(t, got.errOut, "done: 6 created, 2 updated, 0 deleted; not done: 2 to create")
	require.Equal(t, 1, strings.Count(got.out, "krs_"), "the secret of what was made is not lost")
	rest := h.must(t, "apply", "-f", write(t, stateText()))
	require.Contains(t, rest.errOut, "plan: 2 to create, 0 to update")
}

func TestSecretsGoToAFileOfTheirOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	path := filepath.Join(t.TempDir(), "secrets.jsonl")
	got := h.must(t, "apply", "-f", write(t, stateText()), "--secrets-out", path)
	require.Empty(t, got.out)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(text), "krs_"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	fresh := newHouse(t)
	refused := fresh.do(t, "apply", "-f", write(t, stateText()), "--secrets-out", path)
	require.Equal(t, ExitError, refused.code)
	require.Contains(t, refused.errOut, "nothing was changed")
	require.Equal(t, ExitNotFound, fresh.do(t, "key", "get", "ci").code)
	require.Equal(t, ExitUsage, fresh.do(t, "apply", "-f", write(t, stateText()), "--secrets-out", path, "--dry-run").code)
	require.Equal(t, ExitUsage, fresh.do(t, "apply").code)
}

// flaky loses the answer of every first request that makes something.
type flaky struct {
	http.Handler
	lost  atomic.Int32
	asked map[string]bool
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get("Idempotency-Key")
	if name == "" || f.asked[name] {
		f.Handler.ServeHTTP(w, r)
		return
	}
	f.asked[name] = true
	f.Handler.ServeHTTP(httptest.NewRecorder(), r)
	f.lost.Add(1)
	panic(http.ErrAbortHandler) // the connection breaks
}

func TestALostAnswerMakesNothingTwiceAndLosesNoSecret(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	f := &flaky{Handler: http.StripPrefix("/keyreeve", h.handler), asked: map[string]bool{}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	there := strings.TrimPrefix(server.URL, "http://")
	got := run(t, Env{}, nil, "apply", "-f", write(t, stateText()), "--address", there)
	require.Zero(t, got.code, got.errOut)
	require.EqualValues(t, 8, f.lost.Load())
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 2)
	for _, line := range lines {
		var s keySecret
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		k, err := h.store.KeyByClientID(t.Context(), s.ClientID)
		require.NoError(t, err)
		verifier, ok := h.ring.Verifier(k.Secrets[0].MasterKeyID, h.ring.Digest(s.ClientSecret))
		require.True(t, ok)
		require.Equal(t, k.Secrets[0].Verifier, verifier, "the secret that is written is the one that is good")
	}
	require.Contains(t, h.must(t, "apply", "-f", write(t, stateText())).errOut, "nothing to do")
}

func TestTheKeyThatAppliesIsNeverPruned(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	me := h.create(t, "me", "--customer", "acme", "--role", "role_operator")
	vars := map[string]string{"KEYREEVE_CLIENT_ID": me.ClientID, "KEYREEVE_CLIENT_SECRET": me.ClientSecret}
	got := run(t, Env{}, vars, "apply", "--url", "http://"+h.address+"/site", "--prune", "--yes", "-f",
		write(t, "version: 1\ncustomers: [{id: acme, name: acme}]\nkeys: []\ncomplete: true\n"))
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "the key that you are signed in with")
	h.must(t, "key", "get", me.ID)
}

func TestAMembersOwnCustomerGoesWithoutSaying(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role, _, err := h.service.CreateRole(t.Context(), here, lifecycle.NewRole{Name: "Keys", CustomerID: lifecycle.Null[string](),
		Permissions: map[string]policyMask{"*": 15, "keyreeve/keys": 15, "keyreeve/roles": 1}})
	require.NoError(t, err)
	me := h.create(t, "me", "--customer", "acme", "--microtenant", "emea", "--role", role.ID)
	vars := map[string]string{"KEYREEVE_CLIENT_ID": me.ClientID, "KEYREEVE_CLIENT_SECRET": me.ClientSecret}
	file := write(t, "version: 1\nkeys:\n  - {name: mine, role: API Read Only}\n")
	for _, says := range []string{"+ key acme/emea/mine", "nothing to do"} {
		got := run(t, Env{}, vars, "apply", "--url", "http://"+h.address+"/site", "-f", file)
		require.Zero(t, got.code, got.errOut)
		require.Contains(t, got.errOut, says)
	}
	refused := run(t, Env{}, vars, "apply", "--url", "http://"+h.address+"/site", "-f",
		write(t, "version: 1\nkeys:\n  - {name: strong, role: "+keystore.RoleOperator+"}\n"))
	require.Equal(t, ExitNotAuthorised, refused.code, refused.errOut)
}
