package page

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func asked(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return "/keyreeve/policy?" + values.Encode()
}

func TestThePolicyIsAskedAboutAKeyByAnyOfItsNames(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.operator)
	for _, name := range []string{"admin", w.admin.ID, w.admin.ClientID} {
		a := b.get(asked("key_id", name, "method", "GET", "path", "/c/acme/orders", "gate", "1"))
		require.Equal(t, http.StatusOK, a.StatusCode, a.says())
		holds(t, a.text(), "Allowed Nothing stands against it.")
		holds(t, a.body, `href="/keyreeve/keys/`+w.admin.ID+`"`)
	}
	part := b.get(asked("key_id", "admin", "role_id", "", "method", "GET", "path", "/c/acme/orders"), "HX-Request", "true", "HX-Target", "policy-check")
	require.Equal(t, asked("key_id", "admin", "method", "GET", "path", "/c/acme/orders"), part.Header.Get("HX-Push-Url"))
	holds(t, part.text(), "Gate next.example.com: Allowed:")

	w.key(lifecycle.NewKey{Name: "admin", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella"})
	a := b.get(asked("key_id", "admin", "method", "GET", "path", "/"))
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.text(), "2 keys go by this name. Give the client ID of one:")
	holds(t, a.body, `<option value="`+w.admin.ClientID+`">admin</option>`)
	require.Equal(t, http.StatusOK, w.as(w.admin).get(asked("key_id", "admin", "method", "GET", "path", "/")).StatusCode, "whoever sees one alone is not asked")
}

func TestThePolicyIsAskedAboutARoleAlone(t *testing.T) {
	w := newWorld(t)
	w.gated()
	a := w.as(w.operator).get(asked("role_id", "API Read Only", "method", "POST", "path", "/c/acme/orders", "gate", "1"))
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	holds(t, a.text(), "orders:create is needed, API Read Only holds read, by *")
	holds(t, a.body, "--role "+keystore.RoleReadOnly)
	holds(t, a.text(), "Key Not judged A role alone, of no key.")
}

func TestWhoseRequestItIsHasToBeSaidOnce(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.operator)
	for _, c := range []struct{ url, fault string }{
		{asked("method", "GET", "path", "/"), "Choose the key or the role that it is about."},
		{asked("key_id", "nobody", "method", "GET", "path", "/"), "No key that you may see has this name, client ID or id."},
		{asked("role_id", "nothing", "method", "GET", "path", "/"), "No role that you may see has this name or id."},
		{asked("key_id", "admin", "role_id", "API Read Only", "method", "GET", "path", "/"), "Give a key or a role, not both."},
		{asked("key_id", "\x00", "method", "GET", "path", "/"), "No key that you may see"},
	} {
		a := b.get(c.url)
		require.Equal(t, http.StatusBadRequest, a.StatusCode, c.url)
		holds(t, a.text(), c.fault)
		lacks(t, a.body, `class="verdict`)
	}
	holds(t, w.as(w.foreign).get(asked("key_id", w.admin.ClientID, "method", "GET", "path", "/")).text(), "No key that you may see")
}

func TestKeysAreSuggestedByNameWithinReach(t *testing.T) {
	w := newWorld(t)
	w.gated()
	const at = "/keyreeve/policy/keys?key_id="
	require.Equal(t, `<option value="viewer">`+w.viewer.ClientID+`</option>`, w.as(w.admin).get(at+"VIEW", "HX-Request", "true").body)
	require.Empty(t, w.as(w.foreign).get(at+"view", "HX-Request", "true").body)
	require.Equal(t, "/keyreeve/policy?key_id=view", w.as(w.admin).get(at+"view").Header.Get("Location"))
	lacks(t, w.as(w.foreign).get("/keyreeve/policy").body, "bystander")
}

func TestTheRoomOfThePolicyIsForWhoMayReadKeysOrRoles(t *testing.T) {
	w := newWorld(t)
	w.gated()
	keysOnly := w.as(w.viewer)
	holds(t, keysOnly.get("/keyreeve/keys").body, `href="/keyreeve/policy"`)
	holds(t, keysOnly.get("/keyreeve/policy").body, `id="f-key_id"`)
	lacks(t, keysOnly.get("/keyreeve/policy").body, `id="f-role_id"`)

	// A session whose key holds roles alone, and one that holds neither.
	for _, c := range []struct {
		role                   policy.Permissions
		check, explain, routes int
	}{
		{policy.Permissions{"keyreeve/roles": policy.View}, http.StatusOK, http.StatusForbidden, http.StatusOK},
		{policy.Permissions{"keyreeve/audit": policy.View}, http.StatusForbidden, http.StatusForbidden, http.StatusForbidden},
	} {
		patch := map[string]*policy.Mask{"keyreeve/keys": nil, "keyreeve/roles": nil}
		for name, mask := range c.role {
			patch[name] = &mask
		}
		_, _, err := w.svc.UpdateRole(t.Context(), atMachine, w.stored("viewer").RoleID, lifecycle.RolePatch{Permissions: lifecycle.Some(patch)}, nil)
		require.NoError(t, err)
		require.Equal(t, c.check, keysOnly.get("/keyreeve/policy").StatusCode)
		require.Equal(t, c.explain, keysOnly.get("/keyreeve/policy/explain?request_id=req-denied").StatusCode)
		require.Equal(t, c.routes, keysOnly.get("/keyreeve/policy/routes").StatusCode)
	}
}

func TestARefusalIsExplainedByItsRequest(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.viewer)
	lacks(t, b.get("/keyreeve/policy/explain").body, `class="verdict`)
	whole := b.get("/keyreeve/policy/explain?request_id=+req-denied")
	part := b.get("/keyreeve/policy/explain?request_id=req-denied", "HX-Request", "true", "HX-Target", "policy-explain")
	lacks(t, part.body, "<html")
	for _, a := range []answer{whole, part} {
		require.Equal(t, http.StatusOK, a.StatusCode, a.says())
		for _, want := range []string{"Then: Refused Whatever no rule permits is refused. No rule names it.", "The client saw 403 Forbidden no_route",
			"Request GET /nowhere", "The same request would be decided alike now.", "Now: Refused", "Key admin"} {
			holds(t, a.text(), want)
		}
		holds(t, a.body, "keyreeve policy explain req-denied")
	}
	for _, other := range []lifecycle.CreatedKey{w.foreign, w.tenant} {
		a := w.as(other).get("/keyreeve/policy/explain?request_id=req-denied")
		require.Equal(t, http.StatusNotFound, a.StatusCode)
		holds(t, a.text(), "There is no recent denial with this request id")
	}
}

func TestRulesAreFoundByTextResourceAndGate(t *testing.T) {
	w := newWorld(t)
	w.gated()
	b := w.as(w.viewer)
	const at = "/keyreeve/policy/routes"
	for query, rules := range map[string]string{"": "6 rules", "?q=HEALTH": "2 rules found", "?q=order+man": "4 rules found", "?resource=orders&gate=1": "2 rules found",
		"?gate=next.example.com": "3 rules found", "?q=nothing": "No rule matches", "?page_size=1&page=2": "6 rules"} {
		a := b.get(at + query)
		require.Equal(t, http.StatusOK, a.StatusCode, query)
		holds(t, a.text(), rules, query)
	}
	a := b.get(at + "?q=healthz&gate=1")
	holds(t, a.text(), "/healthz gate.yaml:7 GET Public nobody is asked who calls")
	holds(t, b.get(at+"?resource=orders").text(), "Order Management, group sales")
	require.Equal(t, http.StatusBadRequest, b.get(at+"?gate=9").StatusCode)
	require.Equal(t, at+"?q=x", b.get(at+"?q=x&gate=").Header.Get("Location"), "what a form sends without script is tidied up")
	lacks(t, b.get(at+"?q=x", "HX-Request", "true", "HX-Target", "policy-routes").body, "<h1>")
}

func TestEveryDecisionHasWords(t *testing.T) {
	for _, reason := range policy.Reasons() {
		require.NotEmpty(t, reasonWords[reason], reason)
	}
	require.Equal(t, "brand_new", verdict{PolicyDecision: lifecycle.PolicyDecision{Code: "brand_new"}}.Reason())
	require.Equal(t, "orders:read is needed", clause("orders:read is needed"), "a name stays as it is")
	require.Equal(t, "The key is disabled.", clause("the key is disabled"))
}
