package e2e

import (
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// The doors that an operation may come in by.
const (
	byAPI   = "API"
	byZPA   = "ZPA face"
	byCLI   = "CLI"
	byApply = "apply"
)

// door is one of those that are open to the actor.
func (w *world) door(a *doorActor, doors ...string) string {
	if a.local {
		doors = slices.DeleteFunc(doors, func(d string) bool { return d == byAPI || d == byZPA })
	}
	return pick(w, doors...)
}

// answered holds an answer of the API or the ZPA face against the verdict.
func (w *world) answered(door string, want verdict, r reply) {
	w.Helper()
	what := w.steps[len(w.steps)-1]
	w.count(want)
	if want.ok() {
		require.Less(w, r.status, 300, "%s: %v", what, r.body)
		return
	}
	code := r.text("code")
	if door == byZPA {
		id := map[string]string{"not_found": "resource.not.found", "invalid_client": "access.denied"}[want.code]
		if id == "" {
			id = strings.ReplaceAll(want.code, "_", ".")
		}
		require.Equal(w, []any{want.status, id}, []any{r.status, r.text("id")}, "%s: %v", what, r.body)
		return
	}
	require.Equal(w, []any{want.status, want.code}, []any{r.status, code}, "%s: %v", what, r.body)
}

// ended holds a command's exit code against the verdict.
func (w *world) ended(want verdict, r result) {
	w.Helper()
	w.count(want)
	require.Equal(w, want.exit(), r.code, "%s: %s", w.steps[len(w.steps)-1], r.stderr)
}

// count keeps the number of each kind of outcome, so that a run that tried nothing
// is told from one that held.
func (w *world) count(v verdict) {
	switch {
	case v.ok():
		w.accepted++
		return
	case v == beyondRights:
		w.exceeded++
	case v == unknownHere:
		w.foreigns++
	}
	w.refused++
}

func (w *world) keysURL(customer, id, microtenant string) string {
	u := "http://" + w.g.address + "/mgmtconfig/v1/admin/customers/" + customer + "/apiKeys"
	if id != "" {
		u += "/" + id
	}
	if microtenant != "" {
		u += "?microtenantId=" + microtenant
	}
	return u
}

func (w *world) editKey() {
	a := w.anyone()
	k := w.key(a)
	if k == nil {
		return
	}
	next := *k
	what := pick(w, "name", "role", "enabled", "enabled", "bounds")
	switch what {
	case "name":
		next.name = w.name("renamed")
	case "role":
		next.role = w.roleFor(a, k.customer)
	case "enabled":
		next.enabled = !k.enabled || w.chance(20)
	case "bounds":
		next.narrow, next.ends = w.chance(50), time.Time{}
		if w.chance(50) {
			next.ends = w.later()
		}
	}
	doors := []string{byAPI, byAPI, byCLI}
	if what != "bounds" {
		doors = append(doors, byZPA)
	}
	if a.sees(k.customer, k.microtenant) && !k.gone && k.source == "" {
		doors = append(doors, byApply)
	}
	door := w.door(a, doors...)
	w.step("%s changes %s of %s to %q %s %t by %s", a.name, what, k.name, next.name, next.role.id, next.enabled, door)
	w.editIn(door, a, k, &next, what)
	w.check(k)
}

// editIn takes an edit by a door into the model.
func (w *world) editIn(door string, a *doorActor, k, next *doorKey, what string) {
	if want := w.editBy(door, a, k, next, what); want.ok() {
		w.edited(a, k, next)
	}
}

// editBy sends the edit in by a door and holds the answer against the verdict.
func (w *world) editBy(door string, a *doorActor, k, next *doorKey, what string) verdict {
	want := w.changes(a, k, next, mayUpdate)
	settings := next.settings()
	member := map[string]string{"name": "name", "role": "role_id", "enabled": "enabled"}[what]
	switch door {
	case byAPI:
		patch := map[string]any{member: settings[member]}
		if what == "bounds" {
			patch = map[string]any{"allowed_cidrs": settings["allowed_cidrs"], "expires_at": settings["expires_at"]}
		}
		w.answered(door, want, w.api(a, "PATCH", "/v1/keys/"+k.id, patch, "Content-Type", "application/merge-patch+json"))
	case byZPA:
		customer := k.customer
		if !a.all && w.chance(50) {
			customer = a.customer
		}
		microtenant := k.microtenant
		if customer != k.customer {
			microtenant = ""
		}
		want = first(w.reaches(a, customer, microtenant), want)
		body := map[string]any{"id": k.id, "name": next.name, "roleId": next.role.id, "enabled": next.enabled}
		w.answered(door, want, w.request(w.credential(a), "PUT", w.keysURL(customer, k.id, microtenant), body))
	case byCLI:
		w.ended(w.lookingFor(a, k, next, want), w.command(a, "", editArgs(k, next, what)...))
	default:
		item := next.state()
		item["client_id"] = k.clientID
		if what == "bounds" {
			item["allowed_cidrs"], item["expires_at"] = settings["allowed_cidrs"], settings["expires_at"]
		}
		if same(k, next) {
			want = w.may(a, "keys", mayRead) // nothing is asked for
		}
		want = first(w.may(a, "roles", mayRead), want)
		w.ended(want, w.apply(a, stateFile{Keys: []map[string]any{item}}))
	}
	return want
}

// lookingFor is the verdict where the CLI looks for the key and the role first.
func (w *world) lookingFor(a *doorActor, k, next *doorKey, want verdict) verdict {
	if v := w.on(a, k, "keys", mayRead); !v.ok() {
		return v
	}
	if next.role != k.role && !w.findsRole(a, next.role, k.customer) {
		return unknownHere
	}
	return want
}

// findsRole is whether the CLI finds a role that it is given the id of, among those
// for a customer's keys: who may not look at roles is believed.
func (w *world) findsRole(a *doorActor, r *doorRole, customer string) bool {
	return r.customer == "" || r.customer == customer || !w.may(a, "roles", mayRead).ok()
}

func editArgs(k, next *doorKey, what string) []string {
	switch what {
	case "name":
		return []string{"key", "edit", k.id, "--name", next.name}
	case "role":
		return []string{"key", "edit", k.id, "--role", next.role.id}
	case "enabled":
		return []string{"key", map[bool]string{true: "enable", false: "disable"}[next.enabled], k.id}
	}
	cidr, ends := "any", "never"
	if next.narrow {
		cidr = "127.0.0.0/8"
	}
	if !next.ends.IsZero() {
		ends = next.ends.UTC().Format(time.RFC3339Nano)
	}
	return []string{"key", "edit", k.id, "--cidr", cidr, "--expires", ends}
}

func same(a, b *doorKey) bool {
	return a.name == b.name && a.role == b.role && a.enabled == b.enabled && a.here == b.here && a.narrow == b.narrow && a.ends.Equal(b.ends)
}

// edited takes a change into the model.
func (w *world) edited(a *doorActor, k, next *doorKey) {
	if same(k, next) {
		return
	}
	if k.enabled && !k.here && (!next.enabled || next.here) {
		k.cut()
	}
	if k.role != next.role {
		k.by = a
	}
	k.name, k.role, k.enabled, k.here, k.narrow, k.ends = next.name, next.role, next.enabled, next.here, next.narrow, next.ends
	w.recordBy(a, "key.update", k.id)
}

func (w *world) deleteKey() {
	a := w.anyone()
	k := w.key(a)
	if k == nil {
		return
	}
	door := w.door(a, byAPI, byZPA, byCLI)
	w.step("%s deletes %s by %s", a.name, k.name, door)
	want := w.changes(a, k, nil, mayDelete)
	switch door {
	case byAPI:
		w.answered(door, want, w.api(a, "DELETE", "/v1/keys/"+k.id, nil))
	case byZPA:
		want = first(w.reaches(a, k.customer, k.microtenant), want)
		w.answered(door, want, w.request(w.credential(a), "DELETE", w.keysURL(k.customer, k.id, k.microtenant), nil))
	default:
		w.ended(want, w.command(a, "", "key", "delete", k.id, "--yes"))
	}
	if want.ok() {
		w.removed(a, k)
	}
	w.check(k)
}

func (w *world) removed(a *doorActor, k *doorKey) {
	k.gone = true
	w.recordBy(a, "key.delete", k.id)
}

// expireKey lets a key end at once, or takes its end away.
func (w *world) expireKey() {
	a := pick(w, w.operator, w.admin)
	k := w.key(a, func(k *doorKey) bool { return k.source == "" })
	if k == nil {
		return
	}
	next := *k
	if !k.ends.IsZero() && k.ends.Before(time.Now()) {
		next.ends = time.Time{}
		door := w.door(a, byAPI, byCLI)
		w.step("%s lets %s never end by %s", a.name, k.name, door)
		w.editIn(door, a, k, &next, "bounds")
		w.check(k)
		return
	}
	w.step("%s lets %s end", a.name, k.name)
	for wait := 200 * time.Millisecond; ; wait *= 2 {
		next.ends = time.Now().Add(wait).Truncate(time.Millisecond)
		want := w.changes(a, k, &next, mayUpdate)
		r := w.api(a, "PATCH", "/v1/keys/"+k.id, map[string]any{"expires_at": next.ends.UTC()}, "Content-Type", "application/merge-patch+json")
		if r.status == 400 && next.ends.Before(time.Now()) {
			continue // it took too long
		}
		if w.answered(byAPI, want, r); want.ok() {
			w.edited(a, k, &next)
		}
		break
	}
	time.Sleep(time.Until(next.ends.Add(time.Millisecond)))
	w.check(k)
}
