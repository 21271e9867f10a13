package e2e

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

func (w *world) rotate() {
	a := w.anyone()
	k := w.key(a)
	if k == nil {
		return
	}
	overlap := pick(w, "", "0", "3600", "null", "")
	if w.chance(8) {
		overlap = "1" // and that long is waited
	}
	want := w.changes(a, k, nil, mayUpdate)
	if want.ok() && overlap != "0" && k.live() == 2 {
		want = verdict{409, "too_many_secrets"}
	}
	door := w.door(a, byAPI, byCLI)
	w.step("%s rotates %s with an overlap of %q by %s", a.name, k.name, overlap, door)
	secret := ""
	if door == byAPI {
		secret = w.rotateByAPI(a, k, overlap, want)
	} else {
		args := []string{"secret", "rotate", k.id, "-o", "json"}
		if overlap == "null" {
			args = append(args, "--previous-expires-in", "never")
		} else if overlap != "" {
			args = append(args, "--previous-expires-in", overlap)
		}
		r := w.command(a, "", args...)
		w.ended(want, r)
		var out struct {
			ClientSecret string `json:"client_secret"`
		}
		_ = json.Unmarshal([]byte(r.stdout), &out) // none where it was refused
		secret = out.ClientSecret
	}
	if want.ok() {
		require.NotEmpty(w, secret)
		w.rotated(a, k, overlap, secret)
	}
	w.check(k)
}

func (w *world) rotateByAPI(a *doorActor, k *doorKey, overlap string, want verdict) string {
	var body any
	if overlap != "" {
		body = map[string]any{"previous_expires_in": json.RawMessage(overlap)}
	}
	target, headers := "/v1/keys/"+k.id+"/secrets", []string{}
	if w.chance(50) {
		headers = []string{"Idempotency-Key", strings.ReplaceAll(w.name("rotation"), " ", "-")}
	}
	r := w.api(a, "POST", target, body, headers...)
	w.answered(byAPI, want, r)
	if want.ok() && len(headers) > 0 {
		w.named = append(w.named, namedCreate{a, target, headers[1], body, k.id})
	}
	return r.text("client_secret")
}

func (w *world) rotated(a *doorActor, k *doorKey, overlap, secret string) {
	w.recordBy(a, "key.rotate", k.id)
	if overlap == "1" {
		time.Sleep(time.Second + 10*time.Millisecond)
	}
	for _, s := range k.secrets {
		s.ended = s.ended || overlap == "0" || overlap == "1"
	}
	w.given(k, secret)
}

func (w *world) retire() {
	a := w.anyone()
	k := w.key(a)
	if k == nil {
		return
	}
	s := k.secrets[w.rand.IntN(len(k.secrets))]
	force := w.chance(60)
	want := w.changes(a, k, nil, mayUpdate)
	if want.ok() && !s.ended && s.used && !force {
		want = verdict{409, "secret_in_use"}
	}
	door := w.door(a, byAPI, byCLI)
	w.step("%s retires secret %s of %s (force: %t) by %s", a.name, s.id, k.name, force, door)
	if door == byAPI {
		target := "/v1/keys/" + k.id + "/secrets/" + s.id
		if force {
			target += "?force=true"
		}
		w.answered(door, want, w.api(a, "DELETE", target, nil))
	} else {
		args := []string{"secret", "retire", k.id, s.id}
		if force {
			args = append(args, "--force")
		}
		w.ended(want, w.command(a, "", args...))
	}
	if want.ok() && !s.ended {
		s.ended = true
		w.recordBy(a, "secret.retire", k.id)
	}
	w.check(k)
}

// guess shows a key wrong secrets, which may lock it.
func (w *world) guess() {
	k := w.key(w.operator)
	if k == nil {
		return
	}
	n := 1 + w.rand.IntN(3)
	w.step("somebody guesses at %s %d times", k.name, n)
	for range n {
		r := w.request(basic(k.clientID, "not-the-secret"), "GET", w.upstreamOf(k), nil)
		require.Equal(w, 401, r.status, "%v", r.body)
		if !w.serving(k) || k.locked {
			continue
		}
		if k.fails++; k.fails == 3 {
			k.fails, k.locked = 0, true
			w.record("key.lock", k.id, "system")
		}
	}
	if k.locked {
		w.probe(k) // the right secret is refused from now on
	}
	w.agrees(k) // where it is not locked, no right secret yet: it would clear the count
}

func (w *world) unlock() {
	a := w.anyone()
	k := w.key(a, func(k *doorKey) bool { return k.locked || w.chance(20) })
	if k == nil {
		return
	}
	door := w.door(a, byAPI, byCLI)
	w.step("%s unlocks %s by %s", a.name, k.name, door)
	want := w.on(a, k, "locks", mayDelete)
	if door == byAPI {
		w.answered(door, want, w.api(a, "DELETE", "/v1/keys/"+k.id+"/lock", nil))
	} else {
		r := w.command(a, "", pick(w, "key", "lock"), "unlock", k.id)
		if v := w.on(a, k, "keys", mayRead); !v.ok() {
			want = v
		}
		w.ended(want, r)
	}
	if want.ok() {
		w.unlocked(a, k)
	}
	w.check(k)
}

func (w *world) unlocked(a *doorActor, k *doorKey) {
	k.fails, k.locked = 0, false
	w.recordBy(a, "key.unlock", k.id)
}

// signIn gets a token of a key, with any secret it ever had.
func (w *world) signIn() {
	k := w.key(w.operator)
	if k == nil {
		return
	}
	w.signInWith(k, k.secrets[w.rand.IntN(len(k.secrets))])
}

func (w *world) signInWith(k *doorKey, s *doorSecret) {
	accepted := w.accepts(k, s)
	w.step("%s signs in with secret %s", k.name, s.id)
	form := url.Values{"client_id": {k.clientID}, "client_secret": {s.text}}
	path := "/signin"
	if w.chance(50) {
		path = "/oauth2/v1/token"
		form.Set("grant_type", "client_credentials")
	}
	a := w.g.form(w.T, path, form)
	if !accepted {
		require.Equal(w, 401, a.status, "%s with secret %s: %s", k.name, s.id, a.body)
		return
	}
	require.Equal(w, 200, a.status, a.body)
	var out struct {
		Token string `json:"access_token"`
	}
	require.NoError(w, json.Unmarshal([]byte(a.body), &out))
	w.h.secrets = append(w.h.secrets, out.Token)
	k.tokens = append(k.tokens, &doorToken{text: out.Token, jti: segment(w.T, out.Token, 1)["jti"].(string), secret: s})
	k.fails, s.used = 0, true
	w.check(k)
}

// offAndOn switches a key, or its microtenant, off while it has a session, and on
// again: the session is over for good.
func (w *world) offAndOn() {
	a := pick(w, w.operator, w.local, w.admin)
	k := w.key(a, func(k *doorKey) bool {
		return w.accepts(k, k.secrets[len(k.secrets)-1]) && w.changes(a, k, k, mayUpdate).ok()
	})
	if k == nil {
		return
	}
	w.signInWith(k, k.secrets[len(k.secrets)-1])
	for _, enabled := range []bool{false, true} {
		door := w.door(a, byAPI, byZPA, byCLI, byApply)
		w.step("%s sets %s enabled: %t by %s", a.name, k.name, enabled, door)
		if k.microtenant == w.branch && w.chance(70) {
			w.setTenant(a, w.branch, enabled)
		} else {
			next := *k
			next.enabled = enabled
			w.editIn(door, a, k, &next, "enabled")
		}
		w.check(k)
	}
}

// endSession ends one session, by its client or by an administrator.
func (w *world) endSession() {
	a := w.anyone()
	k := w.key(a, func(k *doorKey) bool { return len(k.tokens) > 0 })
	if k == nil {
		return
	}
	t := k.tokens[w.rand.IntN(len(k.tokens))]
	if w.chance(30) {
		w.signOut(k, t)
		return
	}
	door := w.door(a, byAPI, byCLI)
	w.step("%s ends session %s of %s by %s", a.name, t.jti, k.name, door)
	want := w.on(a, k, "sessions", mayDelete)
	if door == byAPI {
		w.answered(door, want, w.api(a, "DELETE", "/v1/sessions/"+t.jti, nil))
	} else {
		w.ended(want, w.command(a, "", "session", "end", t.jti))
	}
	if want.ok() && !t.over && !t.secret.ended {
		t.over, t.ended = true, true
		w.recordBy(a, "session.end", t.jti)
	}
	w.check(k)
}

// signOut takes any token that was signed here and was not ended by itself,
// whatever became of its key.
func (w *world) signOut(k *doorKey, t *doorToken) {
	w.step("%s signs out of %s", k.name, t.jti)
	a := w.g.post(w.T, "/signout", "", bearer(t.text))
	if t.ended {
		require.Equal(w, 401, a.status, a.body)
		return
	}
	require.Equal(w, 204, a.status, a.body)
	if !k.gone {
		w.record("session.end", t.jti, k.id)
	}
	t.over, t.ended = true, true
	w.check(k)
}

func (w *world) endSessions() {
	a := w.anyone()
	k := w.key(a)
	if k == nil {
		return
	}
	door := w.door(a, byAPI, byCLI)
	w.step("%s ends all sessions of %s by %s", a.name, k.name, door)
	want := w.on(a, k, "sessions", mayDelete)
	if door == byAPI {
		w.answered(door, want, w.api(a, "DELETE", "/v1/keys/"+k.id+"/sessions", nil))
	} else {
		if v := w.on(a, k, "keys", mayRead); !v.ok() {
			want = v
		}
		w.ended(want, w.command(a, "", "session", "end", "--key", k.id))
	}
	if want.ok() {
		w.signedOut(a, k)
	}
	w.check(k)
}

func (w *world) signedOut(a *doorActor, k *doorKey) {
	k.cut()
	w.recordBy(a, "key.end_sessions", k.id)
}

// again sends a named request again: as it was, with another body, or by another
// actor, for whom the name is a new one.
func (w *world) again() {
	if len(w.named) == 0 {
		return
	}
	n := pick(w, w.named...)
	if v := w.may(n.actor, "keys", mayRead); !v.ok() {
		return
	}
	w.step("%s sends %s to %s again", n.actor.name, n.name, n.target)
	w.replays++
	if w.chance(30) {
		r := w.api(n.actor, "POST", n.target, map[string]any{"name": "another", "role_id": "role_api_read_only"}, "Idempotency-Key", n.name)
		if n.target == "/v1/keys" { // elsewhere these are members that do not exist
			require.Equal(w, []any{422, "idempotency_key_reused"}, []any{r.status, r.text("code")}, "%v", r.body)
		} else {
			require.Equal(w, 400, r.status, "%v", r.body)
		}
		return
	}
	r := w.api(n.actor, "POST", n.target, n.body, "Idempotency-Key", n.name)
	require.Equal(w, []any{201, "true", n.id}, []any{r.status, r.header.Get("Idempotency-Replayed"), r.text("id")}, "%v", r.body)
	require.NotContains(w, r.body, "client_secret", "a replay returns no secret")
	other := pick(w, w.admin, w.limited, w.foreign)
	used := slices.ContainsFunc(w.named, func(o namedCreate) bool { return o.actor == other && o.name == n.name })
	if !used && n.target == "/v1/keys" {
		w.step("%s sends it too", other.name)
		k := &doorKey{customer: other.customer, enabled: true, name: w.name("key"), by: other, role: w.predefined[2]}
		made := w.api(other, "POST", n.target, map[string]any{"name": k.name, "role_id": k.role.id}, "Idempotency-Key", n.name)
		require.Equal(w, 201, made.status, "%v", made.body)
		require.NotEqual(w, n.id, made.text("id"), "names of different clients never meet")
		w.made(other, k, made.text("id"), made.text("client_id"), made.text("client_secret"))
		w.named = append(w.named, namedCreate{other, n.target, n.name, map[string]any{"name": k.name, "role_id": k.role.id}, k.id})
	}
}
