package e2e

import (
	"strings"

	"github.com/stretchr/testify/require"
)

// escape tries ways to more rights than one has. Each must be refused, by whichever
// door, and leave nothing behind: no event is taken into the model.
func (w *world) escape() {
	a := pick(w, w.limited, w.bounded, w.admin, w.inMicrotenant)
	if a.microtenant != "" && w.disabled[a.microtenant] {
		return
	}
	w.step("%s tries to escape", a.name)
	for _, role := range []string{"role_operator", "role_api_full_access", "role_api_read_only"} {
		w.beyond(a, "PATCH", "/v1/keys/"+a.key.id, map[string]any{"role_id": role})
	}
	w.beyond(a, "PATCH", "/v1/keys/"+w.operator.key.id, map[string]any{"enabled": false})
	w.beyond(a, "POST", "/v1/keys", map[string]any{"name": "out", "role_id": "role_api_read_only", "customer_id": w.second})
	w.beyond(a, "POST", "/v1/keys", map[string]any{"name": "out", "role_id": "role_operator"})
	w.commanded(a, "key", "create", "out", "--role", "role_operator", "--customer", w.h.customer)
	w.assigned(a)
	w.beyond(w.inMicrotenant, "POST", "/v1/roles", map[string]any{"name": "out", "permissions": map[string]any{}})
	w.beyond(w.admin, "POST", "/v1/roles", map[string]any{"name": "out", "permissions": map[string]any{}, "customer_id": nil})
	w.beyond(w.admin, "PATCH", "/v1/roles/"+w.admin.role.id, map[string]any{"permissions": map[string]any{"*": "view"}})
	w.escapeWithLess(pick(w, w.limited, w.bounded))
	w.beyond(w.bounded, "PATCH", "/v1/keys/"+w.bounded.key.id, map[string]any{"allowed_cidrs": nil})
	w.beyond(w.bounded, "PATCH", "/v1/keys/"+w.bounded.key.id, map[string]any{"expires_at": nil})
	w.beyond(w.bounded, "POST", "/v1/roles", map[string]any{"name": "out", "permissions": map[string]any{"*": "full"}})
}

// escapeWithLess tries to become an administrator of the same customer.
func (w *world) escapeWithLess(a *doorActor) {
	w.step("%s tries to become an administrator", a.name)
	admins := "/v1/keys/" + w.admin.key.id
	w.beyond(a, "POST", admins+"/secrets", map[string]any{"previous_expires_in": 0})
	w.beyond(a, "DELETE", admins, nil)
	w.beyond(a, "PATCH", admins, map[string]any{"role_id": "role_api_read_only"})
	w.beyond(a, "POST", "/v1/keys", map[string]any{"name": "out", "role_id": w.admin.role.id})
	r := w.request(a.key.basic(), "DELETE", w.keysURL(w.h.customer, w.admin.key.id, ""), nil)
	require.Equal(w, []any{403, "exceeds.own.rights"}, []any{r.status, r.text("id")}, "%v", r.body)
	if w.chance(50) {
		w.commanded(a, "secret", "rotate", w.admin.key.id)
		return
	}
	item := map[string]any{"name": "admin", "client_id": w.admin.key.clientID, "customer_id": w.h.customer, "enabled": false}
	require.Equal(w, 4, w.apply(a, stateFile{Keys: []map[string]any{item}}).code)
}

// beyond is refused because nobody gives or takes what they do not hold.
func (w *world) beyond(a *doorActor, method, target string, body any) {
	w.Helper()
	if a.microtenant != "" && w.disabled[a.microtenant] {
		return
	}
	want := beyondRights
	if a.microtenant != "" && strings.Contains(target, w.operator.key.id) {
		want = unknownHere
	}
	r := w.api(a, method, target, body, "Content-Type", map[bool]string{true: "application/merge-patch+json", false: "application/json"}[method == "PATCH"])
	w.answered(byAPI, want, r)
}

// commanded is a command that is beyond the actor.
func (w *world) commanded(a *doorActor, args ...string) {
	w.Helper()
	r := w.command(a, "", args...)
	require.Equal(w, 4, r.code, "%s: %v: %s", a.name, args, r.stderr)
	require.Empty(w, r.stdout)
}

// assigned sets what is not to be set.
func (w *world) assigned(a *doorActor) {
	w.Helper()
	for member, value := range map[string]any{"customer_id": w.second, "client_id": "mine", "source": nil, "lock": map[string]any{"locked": false},
		"secrets": []any{}, "created_by": "local", "microtenant_id": nil, "hash": "x"} {
		r := w.api(a, "PATCH", "/v1/keys/"+a.key.id, map[string]any{member: value}, "Content-Type", "application/merge-patch+json")
		require.Equal(w, []any{400, "unknown_field"}, []any{r.status, r.text("code")}, "%s: %v", member, r.body)
	}
}
