package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// world is a running gate, those who work on its keys, and the model of what must
// come of it.
type world struct {
	*testing.T
	h      *house
	g      *gate
	rand   *rand.Rand
	client *http.Client

	second                                         string // customer, beside the demo's
	branch                                         string // microtenant, beside the demo's
	operator, local, admin, limited, bounded       *doorActor
	inMicrotenant, foreign, pusher                 *doorActor
	predefined, roles                              []*doorRole
	keys                                           []*doorKey // gone ones too
	disabled                                       map[string]bool
	named                                          []namedCreate
	events                                         []string // that the audit trail must have, from `before` on
	before                                         int
	names                                          int
	steps                                          []string // what was done, told when the test fails
	accepted, refused, exceeded, foreigns, replays int
}

// namedCreate is a request that made something under an Idempotency-Key.
type namedCreate struct {
	actor        *doorActor
	target, name string
	body         any
	id           string
}

func newWorld(t *testing.T, seed uint64) *world {
	h := newHouse(t)
	w := &world{T: t, h: h, g: h.demo(t, ""), rand: rand.New(rand.NewPCG(seed, 0)), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		second: "second", branch: "branch", disabled: map[string]bool{}}
	t.Cleanup(w.client.CloseIdleConnections)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("KEYREEVE_SEED=%d; what was done:\n%s", seed, strings.Join(w.steps, "\n"))
		}
	})
	w.predefined = []*doorRole{
		{id: "role_operator", grants: grants{"*": mayAll, "keyreeve/*": mayAll}}, {id: "role_api_full_access", grants: grants{"*": mayAll}},
		{id: "role_api_read_only", grants: grants{"*": mayRead}},
	}
	w.operator = &doorActor{name: "operator", key: h.operator, all: true, customer: h.customer, role: w.predefined[0]}
	w.operator.key.id = w.g.keyID(t, h.operator)
	w.local = &doorActor{name: "local", local: true, all: true, role: w.predefined[0]}
	w.must(201, "POST", "/v1/customers", map[string]any{"id": w.second, "name": "Second"})
	w.must(201, "POST", "/v1/microtenants", map[string]any{"id": w.branch, "name": "Branch", "customer_id": h.customer})
	w.must(201, "POST", "/v1/sources", map[string]any{"name": "idp", "customer_id": h.customer, "rule": "read_only", "max_role_id": "role_api_read_only", "owner": "Identity team"})
	everything := grants{"*": mayAll, "keyreeve/*": mayAll}
	w.admin = w.actor("admin", h.customer, "", everything, false)
	w.limited = w.actor("limited", h.customer, "", grants{"*": mayRead, "keyreeve/keys": mayAll}, false)
	w.bounded = w.actor("bounded", h.customer, "", grants{"*": mayRead, "keyreeve/keys": mayAll, "keyreeve/roles": mayAll}, true)
	w.inMicrotenant = w.actor("microtenant admin", h.customer, h.microtenant, everything, false)
	w.foreign = w.actor("foreign", w.second, "", everything, false)
	w.pusher = w.actor("pusher", h.customer, "", grants{"*": mayRead, "keyreeve/sources": mayAll}, false)
	w.before = len(w.trail())
	return w
}

// actor makes a role and a key for somebody.
func (w *world) actor(name, customer, microtenant string, g grants, bounded bool) *doorActor {
	a := &doorActor{name: name, customer: customer, microtenant: microtenant, narrow: bounded}
	role := w.must(201, "POST", "/v1/roles", map[string]any{"name": "Of " + name, "customer_id": customer, "permissions": g.body()})
	a.role = &doorRole{id: role.text("id"), name: "Of " + name, customer: customer, grants: g}
	body := map[string]any{"name": name, "role_id": a.role.id, "customer_id": customer}
	if microtenant != "" {
		body["microtenant_id"] = microtenant
	}
	if bounded {
		a.ends = time.Now().Add(24 * time.Hour)
		body["allowed_cidrs"], body["expires_at"] = []string{"127.0.0.0/8"}, a.ends.Format(time.RFC3339Nano)
	}
	made := w.must(201, "POST", "/v1/keys", body)
	a.key = keyOf(made)
	w.h.secrets = append(w.h.secrets, a.key.secret)
	return a
}

// request sends one request and reads its answer.
func (w *world) request(auth, method, url string, body any, headers ...string) reply {
	w.Helper()
	r, err := w.tryRequest(auth, method, url, body, headers...)
	require.NoError(w, err)
	return r
}

func (w *world) tryRequest(auth, method, url string, body any, headers ...string) (reply, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, url, sent)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", strings.TrimPrefix(auth, "Authorization: "))
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	out := reply{status: resp.StatusCode, header: resp.Header}
	_ = json.Unmarshal(text, &out.body) // no object: nil
	return out, err
}

func (w *world) api(a *doorActor, method, target string, body any, headers ...string) reply {
	w.Helper()
	return w.request(w.credential(a), method, "http://"+w.g.admin+target, body, headers...)
}

// credential is the actor's secret, or a token got by it.
func (w *world) credential(a *doorActor) string {
	if w.rand.IntN(4) > 0 || w.disabled[a.microtenant] {
		return a.key.basic()
	}
	return bearer(w.g.token(w.T, a.key))
}

// must is a request of the operator that nothing is wrong with.
func (w *world) must(status int, method, target string, body any) reply {
	w.Helper()
	r := w.request(w.h.operator.basic(), method, "http://"+w.g.admin+target, body)
	require.Equal(w, status, r.status, "%s %s: %v", method, target, r.body)
	return r
}

func (r reply) items() (items []map[string]any) {
	list, _ := r.body["items"].([]any)
	for _, item := range list {
		items = append(items, item.(map[string]any))
	}
	return items
}

// command runs the CLI as the actor.
func (w *world) command(a *doorActor, stdin string, args ...string) result {
	w.Helper()
	dir := w.h.dir
	env := []string{"KEYREEVE_CLIENT_ID=" + a.key.clientID, "KEYREEVE_CLIENT_SECRET=" + a.key.secret, "HOME=" + dir,
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "XDG_DATA_HOME=" + filepath.Join(dir, "data"), "PATH=" + os.Getenv("PATH")}
	if a.local {
		args, env = append(args, "--address", "unix/"+w.h.socket()), env[2:]
	} else {
		args = append(args, "--url", "http://"+w.g.admin)
	}
	return runCLI(w.T, env, stdin, args...)
}

// record lists what the audit trail must have gained.
func (w *world) record(action, target string, by string) {
	w.events = append(w.events, action+" "+target+" by "+by)
}

func (w *world) recordBy(a *doorActor, action, target string) {
	by := "local"
	if !a.local {
		by = a.key.id
	}
	w.record(action, target, by)
}

// trail is the whole audit trail of the customers, the oldest first.
func (w *world) trail() (events []map[string]any) {
	w.Helper()
	for target := "/v1/audit-events?sort=at&page_size=500"; ; {
		page := w.must(200, "GET", target, nil)
		for _, e := range page.items() {
			if e["customer_id"] != nil {
				events = append(events, e)
			}
		}
		next := page.text("next_cursor")
		if next == "" {
			return events
		}
		target = "/v1/audit-events?sort=at&page_size=500&cursor=" + next
	}
}

func (w *world) name(kind string) string {
	w.names++
	return fmt.Sprintf("%s %d", kind, w.names)
}

func pick[T any](w *world, from ...T) T { return from[w.rand.IntN(len(from))] }

// chance is true in n of a hundred cases.
func (w *world) chance(n int) bool { return w.rand.IntN(100) < n }

// key is one to work on: mostly one that a sees, at times one that is gone.
func (w *world) key(a *doorActor, wanted ...func(*doorKey) bool) *doorKey {
	own := w.chance(75)
	wanted = append(wanted, func(k *doorKey) bool { return (!k.gone || w.chance(10)) && (!own || a.sees(k.customer, k.microtenant)) })
	var some []*doorKey
	for _, k := range w.keys {
		if !slices.ContainsFunc(wanted, func(ok func(*doorKey) bool) bool { return !ok(k) }) {
			some = append(some, k)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[w.rand.IntN(len(some))]
}

func (w *world) anyone() *doorActor {
	return pick(w, w.operator, w.operator, w.local, w.local, w.admin, w.admin, w.admin, w.admin, w.limited, w.limited, w.bounded, w.inMicrotenant, w.foreign)
}

// roleFor is a role that a key might be given: at times one that a must not give.
func (w *world) roleFor(a *doorActor, customer string) *doorRole {
	var some, within []*doorRole
	for _, r := range append(slices.Clone(w.predefined), w.roles...) {
		if r.gone || (r.customer != "" && r.customer != customer && !w.chance(10)) {
			continue
		}
		some = append(some, r)
		if r.grants.within(a.role.grants) && (r != w.predefined[0] || a.all) {
			within = append(within, r)
		}
	}
	if len(within) > 0 && w.chance(70) {
		some = within
	}
	return some[w.rand.IntN(len(some))]
}
