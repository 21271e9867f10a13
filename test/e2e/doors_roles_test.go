package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/stretchr/testify/require"
)

// someGrants are permissions, at times beyond what most actors hold.
func (w *world) someGrants() grants {
	g := grants{}
	for range 1 + w.rand.IntN(2) {
		g[pick(w, "*", "application-segments", "policy-rules", "keyreeve/keys", "keyreeve/audit")] = pick(w, mayRead, mayRead, mayAll, mayRead|mayCreate)
	}
	return g
}

func (w *world) createRole() {
	a := w.anyone()
	r := &doorRole{name: w.name("role"), customer: a.customer, grants: w.someGrants(), by: a}
	if a.local || w.chance(10) {
		r.customer = pick(w, w.h.customer, w.second)
	}
	want := w.may(a, "roles", mayCreate)
	want = first(want, a.grantsRole(r.customer, r.grants))
	door := w.door(a, byAPI, byAPI, byCLI, byApply)
	if r.customer != a.customer && !a.all {
		door = byAPI
	}
	w.step("%s makes %s %v by %s", a.name, r.name, r.grants.body(), door)
	switch door {
	case byAPI:
		w.answered(door, want, w.api(a, "POST", "/v1/roles", map[string]any{"name": r.name, "customer_id": r.customer, "permissions": r.grants.body()}))
	case byCLI:
		text, err := json.Marshal(r.grants.body())
		require.NoError(w, err)
		w.ended(want, w.command(a, string(text), "role", "create", r.name, "--customer", r.customer, "--grants-file", "-"))
	default:
		w.roleWithKey(a, r, want)
		return
	}
	w.roleMade(a, r, want)
}

// roleWithKey applies a file with a role and a key that has it.
func (w *world) roleWithKey(a *doorActor, r *doorRole, want verdict) {
	k := &doorKey{customer: r.customer, microtenant: a.microtenant, name: w.name("key"), enabled: true, by: a, role: r}
	item := k.state()
	item["role"] = r.name
	both := first(w.may(a, "roles", mayRead), want, w.may(a, "keys", mayRead))
	if both.ok() {
		both = w.makes(a, k)
	}
	out := w.apply(a, stateFile{
		Roles: []map[string]any{{"name": r.name, "customer_id": r.customer, "permissions": r.grants.body()}},
		Keys:  []map[string]any{item},
	})
	w.ended(both, out)
	w.roleMade(a, r, first(w.may(a, "roles", mayRead), want))
	if both.ok() {
		w.madeAs(a, k, out.stdout)
	}
}

func (w *world) roleMade(a *doorActor, r *doorRole, v verdict) {
	if !v.ok() {
		return
	}
	for _, item := range w.must(200, "GET", "/v1/roles?page_size=500&customer_id="+r.customer, nil).items() {
		if item["name"] == r.name {
			r.id = item["id"].(string)
		}
	}
	require.NotEmpty(w, r.id, "the role that was made")
	w.roles = append(w.roles, r)
	w.recordBy(a, "role.create", r.id)
}

// role is one to work on, at times one that is gone, predefined, or somebody's own.
func (w *world) role() *doorRole {
	some := slices.Clone(w.roles)
	if w.chance(20) {
		some = append(slices.Clone(w.predefined), w.admin.role, w.limited.role, w.bounded.role, w.foreign.role, w.inMicrotenant.role)
	}
	if len(some) == 0 {
		return w.predefined[0]
	}
	return some[w.rand.IntN(len(some))]
}

// editRole changes what a role grants. The roles of the actors only change in name:
// what they hold is what everything else is held against.
func (w *world) editRole() {
	a, r := w.anyone(), w.role()
	next := maps.Clone(r.grants)
	patch := map[string]any{}
	if slices.Contains(w.roles, r) || a.role == r || !w.holds(a, r, mayUpdate).ok() {
		for resource, m := range w.someGrants() {
			next[resource] = m
			patch[resource] = grants{resource: m}.body()[resource]
		}
		if len(r.grants) > 0 && w.chance(30) {
			gone := slices.Sorted(maps.Keys(r.grants))[0]
			delete(next, gone)
			patch[gone] = nil
		}
	}
	want := w.holds(a, r, mayUpdate)
	if want.ok() {
		want = a.grantsRole(r.customer, next)
	}
	if want.ok() && !next.within(r.grants) {
		want = w.withinHolders(a, r, next)
	}
	w.step("%s changes role %s by %v", a.name, r.id, patch)
	if door := w.door(a, byAPI, byAPI, byCLI); door == byCLI {
		text, err := json.Marshal(next.body())
		require.NoError(w, err)
		out := w.command(a, string(text), "role", "edit", r.id, "--grants-file", "-")
		w.ended(w.findingRole(a, r, want), out)
	} else {
		w.answered(byAPI, want, w.api(a, "PATCH", "/v1/roles/"+r.id, map[string]any{"permissions": patch}, "Content-Type", "application/merge-patch+json"))
	}
	if want.ok() && !maps.Equal(next, r.grants) {
		r.grants, r.by = next, a
		w.recordBy(a, "role.update", r.id)
		w.check(w.users(r)...)
	}
}

// findingRole is the verdict where the CLI reads the role first.
func (w *world) findingRole(a *doorActor, r *doorRole, want verdict) verdict {
	if v := w.may(a, "roles", mayRead); !v.ok() {
		return v
	}
	if r.gone || (r.customer != "" && r.customer != a.customer && !a.all) {
		return unknownHere
	}
	return want
}

// withinHolders: no key that gains by a role's change may reach further than the actor.
func (w *world) withinHolders(a *doorActor, r *doorRole, next grants) verdict {
	if !a.narrow && a.ends.IsZero() {
		return verdict{}
	}
	for _, k := range w.users(r) {
		gained := *k
		gained.role = &doorRole{id: r.id, customer: r.customer, grants: next}
		if v := a.within(&gained); !v.ok() {
			return v
		}
	}
	return verdict{}
}

func (w *world) deleteRole() {
	a, r := w.anyone(), w.role()
	want := w.holds(a, r, mayDelete)
	if want.ok() && (len(w.users(r)) > 0 || !slices.Contains(w.roles, r)) {
		want = verdict{409, "in_use"}
	}
	w.step("%s deletes role %s", a.name, r.id)
	if door := w.door(a, byAPI, byAPI, byCLI); door == byCLI {
		w.ended(w.findingRole(a, r, want), w.command(a, "", "role", "delete", r.id, "--yes"))
	} else {
		w.answered(byAPI, want, w.api(a, "DELETE", "/v1/roles/"+r.id, nil))
	}
	if want.ok() {
		r.gone = true
		w.recordBy(a, "role.delete", r.id)
	}
}

// switchTenant disables a microtenant or enables it again.
func (w *world) switchTenant() {
	a, id := w.anyone(), pick(w, w.branch, w.branch, w.h.microtenant)
	w.setTenant(a, id, w.disabled[id] || w.chance(10))
}

// withinTenant: enabling a microtenant lets none of its keys be used again that the
// actor could not enable by itself.
func (w *world) withinTenant(a *doorActor, id string) verdict {
	for _, k := range w.keys {
		asleep := k.gone || !k.enabled || k.here || !k.ends.IsZero() && time.Now().After(k.ends)
		if k.microtenant == id && !asleep && !a.within(k).ok() {
			return beyondRights
		}
	}
	return verdict{}
}

func (w *world) setTenant(a *doorActor, id string, enabled bool) {
	want := w.may(a, "tenants", mayUpdate)
	switch {
	case !want.ok():
	case !a.all && (a.customer != w.h.customer || (a.microtenant != "" && a.microtenant != id)):
		want = unknownHere
	case a.microtenant != "":
		want = beyondRights
	}
	if want.ok() && enabled && w.disabled[id] {
		want = w.withinTenant(a, id)
	}
	door := w.door(a, byAPI, byCLI)
	w.step("%s sets microtenant %s enabled: %t by %s", a.name, id, enabled, door)
	if door == byAPI {
		target := "/v1/microtenants/" + id
		if a.all {
			target += "?customer_id=" + w.h.customer
		}
		w.answered(door, want, w.api(a, "PATCH", target, map[string]any{"enabled": enabled}, "Content-Type", "application/merge-patch+json"))
	} else {
		verb := map[bool]string{true: "enable", false: "disable"}[enabled]
		w.ended(want, w.command(a, "", "microtenant", verb, id, "--customer", w.h.customer))
	}
	if !want.ok() || enabled != w.disabled[id] {
		return
	}
	w.disabled[id] = !enabled
	w.recordBy(a, "microtenant.update", id)
	var inside []*doorKey
	for _, k := range w.keys {
		if k.microtenant == id {
			if !enabled {
				k.cut()
			}
			inside = append(inside, k)
		}
	}
	w.check(inside...)
}

// push makes the keys of the external source what a list says.
func (w *world) push() {
	a := pick(w, w.pusher, w.pusher, w.pusher, w.admin, w.operator, w.limited, w.bounded, w.foreign, w.inMicrotenant)
	var list []*doorKey
	changed, removed := map[*doorKey]bool{}, []*doorKey{}
	secrets := map[*doorKey]string{}
	for _, k := range w.keys {
		switch {
		case k.gone || k.source == "":
		case w.chance(15):
			removed = append(removed, k)
		default:
			next := *k
			if w.chance(30) {
				next.enabled = !k.enabled
			}
			if w.chance(20) {
				secrets[k] = w.name("pushed secret of more than enough characters")
			}
			changed[k] = !same(k, &next) || secrets[k] != ""
			list = append(list, &next)
		}
	}
	fresh := map[*doorKey]bool{}
	for range w.rand.IntN(3) {
		k := &doorKey{clientID: "idp-" + hex.EncodeToString([]byte(w.name("c"))), name: w.name("theirs"), customer: w.h.customer,
			microtenant: pick(w, "", "", w.branch), source: "idp", role: w.predefined[2], by: a, enabled: true}
		fresh[k] = true
		list = append(list, k)
	}
	want, list := w.spoil(a, list, fresh)
	var body []any
	for _, k := range list {
		item := map[string]any{"client_id": k.clientID, "name": k.name, "role_id": k.role.id, "enabled": k.enabled}
		if k.microtenant != "" {
			item["microtenant_id"] = k.microtenant
		}
		if fresh[k] {
			secrets[k] = w.name("pushed secret of more than enough characters")
		}
		for _, of := range []*doorKey{k, w.byID(k.id)} {
			if text := secrets[of]; of != nil && text != "" {
				sum := sha256.Sum256([]byte(text))
				item["secret_sha256"] = hex.EncodeToString(sum[:])
			}
		}
		body = append(body, item)
	}
	door := w.door(a, byAPI, byAPI, byCLI)
	w.step("%s pushes %d keys, %d of them new, %d missing, by %s", a.name, len(list), len(fresh), len(removed), door)
	document := map[string]any{"keys": append([]any{}, body...), "max_removals": 100}
	if door == byAPI {
		w.answered(door, want, w.api(a, "PUT", "/v1/sources/idp/keys", document))
	} else {
		text, err := json.Marshal(document)
		require.NoError(w, err)
		w.ended(want, w.command(a, string(text), "source", "push", "idp", "-f", "-"))
	}
	switch {
	case want.ok():
		w.pushed(a, list, fresh, changed, removed, secrets)
	case want.code == "client_id_taken":
		w.recordBy(a, "source.sync", "idp") // a list that asks for what others have is noted
	}
}

// spoil is the verdict on a list, to which it may add a key that must not be.
func (w *world) spoil(a *doorActor, list []*doorKey, fresh map[*doorKey]bool) (verdict, []*doorKey) {
	want := w.may(a, "sources", mayUpdate)
	switch {
	case !want.ok():
	case a.microtenant != "":
		want = beyondRights
	case a.customer != w.h.customer && !a.all:
		want = unknownHere
	}
	if !want.ok() || !w.chance(25) {
		return want, list
	}
	bad := &doorKey{clientID: "idp-bad", name: w.name("theirs"), customer: w.h.customer, source: "idp", role: w.predefined[2], enabled: true}
	want = invalidFields
	if w.chance(50) {
		bad.role = w.predefined[1] // beyond what the source may give
	} else {
		bad.clientID, want = w.h.full.clientID, verdict{409, "client_id_taken"} // another owner's
	}
	fresh[bad] = true
	return want, append(list, bad)
}

func (w *world) byID(id string) *doorKey {
	for _, k := range w.keys {
		if k.id == id && id != "" {
			return k
		}
	}
	return nil
}

func (w *world) pushed(a *doorActor, list []*doorKey, fresh, changed map[*doorKey]bool, removed []*doorKey, secrets map[*doorKey]string) {
	sort.Slice(removed, func(i, j int) bool { return removed[i].clientID < removed[j].clientID })
	touched := slices.Clone(removed)
	wrote := len(removed) > 0
	for _, k := range removed {
		w.removed(a, k)
	}
	for _, next := range list {
		if fresh[next] {
			next.id = w.g.keyID(w.T, key{clientID: next.clientID})
			w.keys = append(w.keys, next)
			w.recordBy(a, "key.create", next.id)
			w.given(next, secrets[next])
			touched, wrote = append(touched, next), true
			continue
		}
		k := w.byID(next.id)
		if !changed[k] {
			continue
		}
		if k.enabled && !next.enabled {
			k.cut()
		}
		k.enabled = next.enabled
		w.recordBy(a, "key.update", k.id)
		if text := secrets[k]; text != "" {
			for _, s := range k.secrets {
				s.ended = true
			}
			w.given(k, text)
		}
		touched, wrote = append(touched, k), true
	}
	if wrote {
		w.recordBy(a, "source.sync", "idp")
	}
	w.check(touched...)
}

// refuseHere switches a key of the source off or on here, whatever the source says.
func (w *world) refuseHere() {
	a := w.anyone()
	k := w.key(a, func(k *doorKey) bool { return k.source != "" || w.chance(10) })
	if k == nil {
		return
	}
	next := *k
	next.here = !k.here
	door := w.door(a, byAPI, byCLI)
	w.step("%s refuses %s here: %t by %s", a.name, k.name, next.here, door)
	want := w.switches(a, k)
	if door == byAPI {
		w.answered(door, want, w.api(a, "PATCH", "/v1/keys/"+k.id, map[string]any{"disabled_here": next.here}, "Content-Type", "application/merge-patch+json"))
	} else {
		w.ended(want, w.command(a, "", "key", map[bool]string{true: "disable", false: "enable"}[next.here], "--here", k.id))
	}
	if want.ok() {
		w.edited(a, k, &next)
	}
	w.check(k)
}
