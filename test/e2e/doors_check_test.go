package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

// check holds some keys against the model: as the API shows them, and as the gate
// takes each secret and token that they ever had.
func (w *world) check(keys ...*doorKey) {
	w.Helper()
	for _, k := range keys {
		w.agrees(k)
	}
	w.probe(keys...)
}

// agrees holds what the API shows of a key against the model.
func (w *world) agrees(k *doorKey) {
	w.Helper()
	what := k.name + " after " + w.steps[len(w.steps)-1]
	if k.gone {
		w.must(404, "GET", "/v1/keys/"+k.id, nil)
		return
	}
	var r reply
	var lock map[string]any
	counted := func() bool {
		return lock["locked"] == k.locked && (k.locked || lock["failed_attempts"] == float64(k.fails))
	}
	// An answer waits half a second for its count to be stored, and no longer where
	// the disk stalls; the gate itself has it at once, which probe holds it to.
	for began := time.Now(); lock == nil || (!counted() && time.Since(began) < patience); {
		r = w.must(200, "GET", "/v1/keys/"+k.id, nil)
		lock = r.body["lock"].(map[string]any)
	}
	require.True(w, counted(), "%s: %v, not locked: %t with %d failures", what, lock, k.locked, k.fails)
	require.Equal(w, []any{k.name, k.clientID, k.role.id, k.enabled, k.here}, []any{r.body["name"], r.body["client_id"], r.body["role_id"],
		r.body["enabled"], r.body["disabled_here"]}, what)
	var live, shown []string
	for _, s := range k.secrets {
		if !s.ended {
			live = append(live, s.id)
		}
	}
	for _, s := range r.body["secrets"].([]any) {
		shown = append(shown, s.(map[string]any)["id"].(string))
	}
	require.ElementsMatch(w, live, shown, "live secrets of %s", what)
	require.LessOrEqual(w, len(shown), 2, "live secrets of %s", what)
}

// upstreamOf is a path behind the gate that is the key's own.
func (w *world) upstreamOf(k *doorKey) string {
	target := "http://" + w.g.address + "/mgmtconfig/v1/admin/customers/" + k.customer + "/application"
	if k.microtenant != "" {
		target += "?microtenantId=" + k.microtenant
	}
	return target
}

// trial is one request to the gate and what must become of it.
type trial struct {
	key          *doorKey
	auth, method string
	accepted     bool
	what         string
}

// probe shows the gate every secret and token, and requires the right answers: a
// dead one is refused, and a live one gets what the role grants and nothing else.
func (w *world) probe(keys ...*doorKey) {
	w.Helper()
	var trials []trial
	for _, k := range keys {
		for _, s := range k.secrets {
			ok := w.accepts(k, s)
			trials = append(trials, trial{k, basic(k.clientID, s.text), "GET", ok, "secret " + s.id})
			if ok {
				k.fails, s.used = 0, true
			}
		}
		for _, t := range k.tokens {
			ok := w.honours(k, t)
			trials = append(trials, trial{k, bearer(t.text), "POST", ok, "token " + t.jti})
			t.secret.used = t.secret.used || ok
		}
	}
	w.try(trials)
}

func (w *world) try(trials []trial) {
	w.Helper()
	faults := make([]string, len(trials))
	var group sync.WaitGroup
	slots := make(chan struct{}, 8) // refusals wait for their floor
	for i, one := range trials {
		group.Add(1)
		slots <- struct{}{}
		go func() {
			defer group.Done()
			faults[i] = w.tried(one)
			<-slots
		}()
	}
	group.Wait()
	for _, f := range faults {
		require.Empty(w, f, "after %s", w.steps[len(w.steps)-1])
	}
}

// tried says what is wrong with the gate's answer; "" is nothing.
func (w *world) tried(one trial) string {
	r, err := w.tryRequest(one.auth, one.method, w.upstreamOf(one.key), nil)
	if err != nil {
		return err.Error()
	}
	want, needed := 401, map[string]mask{"GET": mayRead, "POST": mayCreate}[one.method]
	if one.accepted {
		if want = 403; one.key.role.grants.on("application-segments")&needed != 0 {
			want = 200
		}
	}
	if r.status != want {
		return fmt.Sprintf("%s of %s (%s): %s answered %d, not %d: %v", one.what, one.key.name, one.key.id, one.method, r.status, want, r.body)
	}
	return ""
}

// sweep holds everything against the model, and looks for rights that nobody gave.
func (w *world) sweep() {
	w.Helper()
	w.step("(sweep)")
	w.check(w.keys...)
	w.noRightGained()
	w.noForeignRead()
	w.bystanders()
}

// noRightGained looks at the keys and roles as they are stored: what a key may do is
// within the rights of who gave it its role, or of who gave the role more since.
func (w *world) noRightGained() {
	w.Helper()
	stored := map[string]grants{}
	for _, r := range w.all("/v1/roles?page_size=500") {
		stored[r["id"].(string)] = grantsOf(r["permissions"])
	}
	for _, r := range w.roles {
		if !r.gone {
			require.Equal(w, r.grants.body(), stored[r.id].body(), r.name)
			require.True(w, stored[r.id].within(r.by.role.grants), "%s grants more than %s holds", r.name, r.by.name)
		}
	}
	known := map[string]*doorKey{}
	for _, k := range w.keys {
		known[k.id] = k
	}
	found := 0
	for _, item := range w.all("/v1/keys?page_size=500") {
		k := known[item["id"].(string)]
		if k == nil {
			continue // an actor, or a key of the demo
		}
		found++
		has := stored[item["role_id"].(string)]
		given := has.within(k.by.role.grants) && (k.role.id != "role_operator" || k.by.all)
		require.True(w, given || has.within(w.giver(k).role.grants), "%s can do more than %s, who gave it %s", k.name, k.by.name, k.role.id)
	}
	alive := slices.DeleteFunc(slices.Clone(w.keys), func(k *doorKey) bool { return k.gone })
	require.Equal(w, len(alive), found, "keys that are there")
}

// giver is who made the key's role what it is.
func (w *world) giver(k *doorKey) *doorActor {
	if k.role.by == nil {
		return k.by
	}
	return k.role.by
}

// all reads every page of a list as the operator.
func (w *world) all(target string) (items []map[string]any) {
	w.Helper()
	page := w.must(200, "GET", target, nil)
	require.Empty(w, page.text("next_cursor"), "a longer list than expected")
	return page.items()
}

// noForeignRead asks for everything of the first customer as an administrator of
// another one, and for what is outside its microtenant as the administrator of one.
func (w *world) noForeignRead() {
	w.Helper()
	for _, a := range []*doorActor{w.foreign, w.inMicrotenant} {
		if a.microtenant != "" && w.disabled[a.microtenant] {
			continue
		}
		for _, k := range w.keys {
			if !a.sees(k.customer, k.microtenant) && w.chance(30) {
				w.unseen(a, k)
			}
		}
		w.ownListsOnly(a)
	}
	for _, r := range w.roles {
		if r.customer == w.h.customer {
			w.hidden(w.foreign, "GET", "/v1/roles/"+r.id, nil)
		}
	}
	for _, target := range []string{"/v1/customers/" + w.h.customer, "/v1/microtenants/" + w.branch, "/v1/sources/idp", "/v1/sources/idp/keys",
		"/v1/audit-events/verify?customer_id=" + w.h.customer} {
		w.hidden(w.foreign, "GET", target, nil)
	}
	r := w.request(w.foreign.key.basic(), "GET", w.keysURL(w.h.customer, "", ""), nil)
	require.Equal(w, 404, r.status, "%v", r.body)
}

// hidden is what an actor must not know of.
func (w *world) hidden(a *doorActor, method, target string, body any) {
	w.Helper()
	r := w.request(a.key.basic(), method, "http://"+w.g.admin+target, body)
	require.Equal(w, []any{404, "not_found"}, []any{r.status, r.text("code")}, "%s: %s %s: %v", a.name, method, target, r.body)
}

// unseen tries every path of a key that an actor must not see.
func (w *world) unseen(a *doorActor, k *doorKey) {
	w.Helper()
	for _, part := range []string{"", "/secrets", "/lock", "/sessions", "/usage"} {
		w.hidden(a, "GET", "/v1/keys/"+k.id+part, nil)
	}
	for _, t := range k.tokens {
		w.hidden(a, "GET", "/v1/sessions/"+t.jti, nil)
	}
	if !k.gone {
		w.hidden(a, "POST", "/v1/policy/check", map[string]any{"key_id": k.id, "method": "GET", "path": "/"})
	}
	w.foreigns++
	r := w.request(a.key.basic(), "GET", w.keysURL(a.customer, k.id, a.microtenant), nil)
	require.Equal(w, []any{404, "resource.not.found"}, []any{r.status, r.text("id")}, "%v", r.body)
	for _, t := range k.tokens {
		if a.customer == k.customer { // introspection is by customer
			continue
		}
		form := url.Values{"token": {t.text}}
		got := w.g.form(w.T, "/oauth2/v1/introspect", form, a.key.basic())
		require.Equal(w, []any{200, `{"active":false}`}, []any{got.status, strings.TrimSpace(got.body)})
		require.Equal(w, 200, w.g.form(w.T, "/oauth2/v1/revoke", form, a.key.basic()).status)
	}
	w.probe(k) // whose tokens nobody else revoked
}

// ownListsOnly reads each list as the actor, and with a filter for what is not its own.
func (w *world) ownListsOnly(a *doorActor) {
	w.Helper()
	elsewhere := map[string]string{w.h.customer: w.second, w.second: w.h.customer}[a.customer]
	for _, list := range []string{"keys", "roles", "locks", "sessions", "audit-events", "microtenants", "customers"} {
		r := w.request(a.key.basic(), "GET", "http://"+w.g.admin+"/v1/"+list+"?page_size=500", nil)
		require.Equal(w, 200, r.status, "%s: %v", list, r.body)
		for _, item := range r.items() {
			w.isOwn(a, list, item)
		}
		if list == "customers" {
			continue
		}
		r = w.request(a.key.basic(), "GET", "http://"+w.g.admin+"/v1/"+list+"?customer_id="+elsewhere, nil)
		require.Equal(w, 200, r.status, "%s: %v", list, r.body)
		require.Empty(w, r.items(), "%s of another customer", list)
	}
}

func (w *world) isOwn(a *doorActor, list string, item map[string]any) {
	w.Helper()
	customer := item["customer_id"]
	if list == "customers" {
		customer = item["id"]
	}
	if list == "roles" && customer == nil {
		return // of every customer
	}
	require.Equal(w, a.customer, customer, "%s: %v", list, item)
	if a.microtenant == "" || list == "roles" || list == "customers" {
		return
	}
	microtenant := item["microtenant_id"]
	if list == "microtenants" {
		microtenant = item["id"]
	}
	require.Equal(w, a.microtenant, microtenant, "%s: %v", list, item)
}

// bystanders are the keys that nobody worked on: they are as they were.
func (w *world) bystanders() {
	w.Helper()
	for _, k := range []key{w.h.full, w.h.readonly} {
		w.g.works(w.T, k)
	}
}

// oneEventEach counts the events: as many as changes were made.
func (w *world) oneEventEach() {
	w.Helper()
	total := 0
	for _, customer := range []string{w.h.customer, w.second} {
		page := w.must(200, "GET", "/v1/audit-events?page_size=1&customer_id="+customer, nil)
		total += int(page.body["total"].(float64))
	}
	require.Equal(w, w.before+len(w.events), total, "audit events after %s; the last expected is %s", w.steps[len(w.steps)-1], w.events[len(w.events)-1])
}

// finish verifies the audit trail, online and offline, and holds it against what
// was done.
func (w *world) finish() {
	w.Helper()
	w.step("(end)")
	var got []string
	for _, e := range w.trail()[w.before:] {
		actor, target := e["actor"].(map[string]any), e["target"].(map[string]any)
		by := actor["id"].(string)
		if actor["kind"] == "local" || actor["kind"] == "system" {
			by = actor["kind"].(string)
		}
		got = append(got, fmt.Sprintf("%s %s by %s", e["action"], target["id"], by))
		text, err := json.Marshal(e)
		require.NoError(w, err)
		for _, s := range w.h.secrets {
			require.NotContains(w, string(text), s, "a secret in the audit trail")
		}
	}
	// Events of two customers are two chains; a list of both is ordered by time, in
	// which two may be equal.
	require.Equal(w, counted(w.events), counted(got), "one event for each change")
	verified := w.must(200, "GET", "/v1/audit-events/verify", nil)
	require.Equal(w, true, verified.body["ok"], "%v", verified.body)
	for _, a := range []*doorActor{w.local, w.admin, w.foreign} {
		export := w.command(a, "", "audit", "export")
		require.Zero(w, export.code, export.stderr)
		file := w.h.write(w.T, "trail.ndjson", export.stdout)
		proof := runCLI(w.T, nil, "", "audit", "verify", "--file", file, "--master-key-file", w.h.masterKey)
		require.Zero(w, proof.code, "%s%s", proof.stdout, proof.stderr)
		if a == w.foreign {
			require.NotContains(w, export.stdout, w.h.customer, "events of another customer")
		}
		// One byte of it changed is found.
		spoilt := strings.Replace(export.stdout, `"action":"key.create"`, `"action":"key.delete"`, 1)
		require.NotEqual(w, export.stdout, spoilt)
		require.NoError(w, os.WriteFile(file, []byte(spoilt), 0o600))
		require.Equal(w, 1, runCLI(w.T, nil, "", "audit", "verify", "--file", file, "--master-key-file", w.h.masterKey).code)
	}
}

// counted is how often each event is there, for sets too long to compare by hand.
func counted(events []string) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		n[e]++
	}
	return n
}
