package e2e

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func (w *world) createKey() {
	a := w.anyone()
	k := &doorKey{customer: a.customer, microtenant: a.microtenant, enabled: !w.chance(10), name: w.name("key"), by: a}
	if a.local || w.chance(10) {
		k.customer = pick(w, w.h.customer, w.second)
	}
	if k.customer == w.h.customer && w.chance(40) {
		k.microtenant = pick(w, "", w.branch, w.h.microtenant)
	}
	if k.customer != w.h.customer {
		k.microtenant = ""
	}
	k.role = w.roleFor(a, k.customer)
	if a == w.bounded && w.chance(80) || w.chance(10) {
		k.narrow, k.ends = true, w.later()
	}
	door := w.door(a, byAPI, byAPI, byAPI, byZPA, byCLI, byApply)
	if k.customer != a.customer && door == byApply && !a.all {
		door = byAPI
	}
	w.step("%s makes %s (%s, microtenant %q) by %s", a.name, k.name, k.role.id, k.microtenant, door)
	switch door {
	case byAPI:
		w.createByAPI(a, k)
	case byZPA:
		w.createByZPA(a, k)
	case byCLI:
		w.createByCLI(a, k)
	default:
		w.createByApply(a, k)
	}
}

// later is an end some hours ahead, in whole seconds, as the CLI sends them.
func (w *world) later() time.Time {
	return time.Now().Add(time.Duration(60+w.rand.IntN(600)) * time.Minute).Truncate(time.Second)
}

// settings are a key's as the API and state files take them.
func (k *doorKey) settings() map[string]any {
	body := map[string]any{"name": k.name, "role_id": k.role.id, "customer_id": k.customer, "microtenant_id": nil, "enabled": k.enabled}
	if k.microtenant != "" {
		body["microtenant_id"] = k.microtenant
	}
	if k.narrow {
		body["allowed_cidrs"] = []string{"127.0.0.0/8"}
	}
	if !k.ends.IsZero() {
		body["expires_at"] = k.ends.UTC().Format(time.RFC3339Nano)
	}
	return body
}

func (w *world) createByAPI(a *doorActor, k *doorKey) {
	body, headers := k.settings(), []string{}
	if k.customer == a.customer && w.chance(50) {
		delete(body, "customer_id")
		if k.microtenant == a.microtenant {
			delete(body, "microtenant_id")
		}
	}
	name := w.name("request")
	if named := w.chance(50); named {
		headers = []string{"Idempotency-Key", strings.ReplaceAll(name, " ", "-")}
	}
	want := w.makes(a, k)
	r := w.api(a, "POST", "/v1/keys", body, headers...)
	w.answered(byAPI, want, r)
	if !want.ok() {
		return
	}
	w.made(a, k, r.text("id"), r.text("client_id"), r.text("client_secret"))
	if len(headers) > 0 {
		w.named = append(w.named, namedCreate{a, "/v1/keys", headers[1], body, k.id})
	}
}

func (w *world) createByZPA(a *doorActor, k *doorKey) {
	k.narrow, k.ends = false, time.Time{}
	role := k.role.id
	if role == "role_api_full_access" {
		role = "28"
	}
	want := first(w.reaches(a, k.customer, k.microtenant), w.makes(a, k))
	body := map[string]any{"name": k.name, "roleId": role}
	if k.enabled {
		body["enabled"] = true // left out it means false
	}
	r := w.request(w.credential(a), "POST", w.keysURL(k.customer, "", k.microtenant), body)
	w.answered(byZPA, want, r)
	if want.ok() {
		w.made(a, k, r.text("id"), r.text("clientId"), r.text("clientSecret"))
	}
}

func (w *world) createByCLI(a *doorActor, k *doorKey) {
	if k.microtenant == "" {
		k.microtenant = a.microtenant // left out, it is one's own
	}
	args := []string{"key", "create", k.name, "--role", k.role.id, "--customer", k.customer, "-o", "json"}
	if k.microtenant != "" {
		args = append(args, "--microtenant", k.microtenant)
	}
	if k.narrow {
		args = append(args, "--cidr", "127.0.0.0/8")
	}
	if !k.ends.IsZero() {
		args = append(args, "--expires", k.ends.UTC().Format(time.RFC3339Nano))
	}
	if !k.enabled {
		args = append(args, "--disabled")
	}
	want := w.makes(a, k)
	if !w.findsRole(a, k.role, k.customer) {
		want = unknownHere // it is looked for first
	}
	r := w.command(a, "", args...)
	w.ended(want, r)
	if want.ok() {
		w.madeAs(a, k, r.stdout)
	}
}

func (w *world) createByApply(a *doorActor, k *doorKey) {
	want := first(w.may(a, "roles", mayRead), w.makes(a, k))
	r := w.apply(a, stateFile{Keys: []map[string]any{k.state()}})
	w.ended(want, r)
	if want.ok() {
		w.madeAs(a, k, r.stdout)
	}
}

// state is the key as a state file has it.
func (k *doorKey) state() map[string]any {
	item := k.settings()
	item["role"] = item["role_id"]
	delete(item, "role_id")
	return item
}

// stateFile is what apply takes; the order of its members counts.
type stateFile struct {
	Version int              `json:"version"`
	Roles   []map[string]any `json:"roles,omitempty"`
	Keys    []map[string]any `json:"keys"`
}

func (w *world) apply(a *doorActor, state stateFile) result {
	w.Helper()
	state.Version = 1
	text, err := json.Marshal(state)
	require.NoError(w, err)
	return w.command(a, string(text), "apply", "-f", "-")
}

func (w *world) madeAs(a *doorActor, k *doorKey, text string) {
	w.Helper()
	var out struct {
		ID           string `json:"id"`
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	require.NoError(w, json.Unmarshal([]byte(text), &out), text)
	w.made(a, k, out.ID, out.ClientID, out.ClientSecret)
}

// made takes a new key into the model.
func (w *world) made(a *doorActor, k *doorKey, id, clientID, secret string) {
	w.Helper()
	require.NotEmpty(w, secret, "a secret is shown once")
	k.id, k.clientID = id, clientID
	w.keys = append(w.keys, k)
	w.recordBy(a, "key.create", id)
	w.given(k, secret)
	w.check(k)
}

// given takes a new secret of a key into the model.
func (w *world) given(k *doorKey, text string) {
	w.Helper()
	w.h.secrets = append(w.h.secrets, text)
	newest := w.must(200, "GET", "/v1/keys/"+k.id+"/secrets", nil).items()[0]
	k.secrets = append(k.secrets, &doorSecret{id: newest["id"].(string), text: text})
}
