package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// signIn stores a session of a key, as a sign-in with its newest secret does.
func (w *world) signIn(k lifecycle.CreatedKey, random string) string {
	w.t.Helper()
	ctx := w.t.Context()
	var id string
	_, err := w.store.Update(ctx, func(tx keystore.Tx) error {
		stored, err := tx.Key(ctx, k.ID)
		if err != nil {
			return err
		}
		now, secret := tx.Now().Wall, stored.Secrets[0].ID
		id = keystore.SessionID("ses_"+random, stored.Generation, secret)
		return tx.PutSession(ctx, &keystore.Session{ID: id, KeyID: k.ID, SecretID: secret, Address: "192.0.2.7", Issued: now, Expires: now.Add(time.Hour)})
	})
	require.NoError(w.t, err)
	return id
}

// warden is a key that may look after sessions and locks, and nothing else here.
func (w *world) warden(name, customerID, microtenantID string, level policy.Mask) lifecycle.CreatedKey {
	w.t.Helper()
	r, _, err := w.svc.CreateRole(w.t.Context(), local, lifecycle.NewRole{Name: "role of " + name, CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"keyreeve/sessions": level, "keyreeve/locks": level}})
	require.NoError(w.t, err)
	in := lifecycle.NewKey{Name: name, RoleID: r.ID, CustomerID: customerID}
	if microtenantID != "" {
		in.MicrotenantID = lifecycle.Some(microtenantID)
	}
	return w.key(in)
}

// member is one member of each item of a list, in order.
func (a answer) member(name string) []string {
	out := []string{}
	for _, item := range a.body["items"].([]any) {
		out = append(out, fmt.Sprint(item.(map[string]any)[name]))
	}
	return out
}

func TestASessionIsShownAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warden := w.warden("warden", "acme", "", policy.Full)
	id := w.signIn(w.viewer, "a")
	want := map[string]any{
		"id": id, "key_id": w.viewer.ID, "key_name": "viewer", "client_id": w.viewer.ClientID, "customer_id": "acme", "microtenant_id": nil,
		"secret_id": w.viewer.Secrets[0].ID, "address": "192.0.2.7", "state": "active",
		"issued_at": "2026-01-02T03:04:05Z", "expires_at": "2026-01-02T04:04:05Z", "ended_at": nil, "end_reason": nil,
	}
	require.Equal(t, want, w.do(warden, "GET", "/v1/sessions/"+id, "").body)
	require.Equal(t, []any{want}, w.do(warden, "GET", "/v1/sessions", "").body["items"])

	w.clock.Advance(time.Minute)
	ended := w.do(warden, "DELETE", "/v1/sessions/"+id, "")
	require.Equal(t, 204, ended.status, ended.raw)
	require.NotEmpty(t, ended.header.Get("Keyreeve-Revision"))
	require.Equal(t, "confirmed=1; pending=0", ended.header.Get("Keyreeve-Propagation"))
	want["state"], want["ended_at"], want["end_reason"] = "ended", "2026-01-02T03:05:05Z", "admin"
	require.Equal(t, want, w.do(warden, "GET", "/v1/sessions/"+id, "").body)

	w.clock.Advance(time.Minute)
	again := w.do(warden, "DELETE", "/v1/sessions/"+id, "")
	require.Equal(t, 204, again.status, "what is over can be ended again")
	require.Equal(t, ended.header.Get("Keyreeve-Revision"), again.header.Get("Keyreeve-Revision"), "and nothing is written")
	require.Equal(t, want, w.do(warden, "GET", "/v1/sessions/"+id, "").body)
	require.Equal(t, []string{"session.end"}, w.audited("session"))
	var events []*keystore.Audit
	require.NoError(t, w.store.View(t.Context(), func(r keystore.Reader) (err error) {
		events, _, err = r.AuditEvents(t.Context(), keystore.AuditQuery{AllCustomers: true, Action: "session.end", Limit: 1})
		return err
	}))
	record := `{"key_id":"` + w.viewer.ID + `","client_id":"` + w.viewer.ClientID + `","secret_id":"` + w.viewer.Secrets[0].ID +
		`","address":"192.0.2.7","issued_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-02T04:04:05Z",`
	require.JSONEq(t, record+`"ended_at":null,"end_reason":null}`, string(events[0].Before))
	require.JSONEq(t, record+`"ended_at":"2026-01-02T03:05:05Z","end_reason":"admin"}`, string(events[0].After))

	expired := w.signIn(w.viewer, "b")
	w.clock.Advance(time.Hour)
	require.Equal(t, "expired", w.do(warden, "GET", "/v1/sessions/"+expired, "").body["state"])
	require.Equal(t, 204, w.do(warden, "DELETE", "/v1/sessions/"+expired, "").status)
	require.Equal(t, "expired", w.do(warden, "GET", "/v1/sessions/"+expired, "").body["state"])
}

// audited lists the actions on one kind of target, the newest first.
func (w *world) audited(kind string) (actions []string) {
	w.t.Helper()
	require.NoError(w.t, w.store.View(w.t.Context(), func(r keystore.Reader) error {
		events, _, err := r.AuditEvents(w.t.Context(), keystore.AuditQuery{AllCustomers: true, Limit: 1000})
		for _, e := range events {
			if e.TargetKind == kind {
				actions = append(actions, e.Action)
			}
		}
		return err
	}))
	return actions
}

func TestAllSessionsOfAKeyEndInOneWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	warden := w.warden("warden", "acme", "", policy.Full)
	for i := range 3 {
		w.signIn(w.viewer, fmt.Sprint(i))
	}
	other := w.signIn(w.bystander, "other")
	before := w.do(w.admin, "GET", "/v1/keys/"+w.viewer.ID, "")
	path := "/v1/keys/" + w.viewer.ID + "/sessions"
	require.EqualValues(t, 3, w.do(warden, "GET", path+"?state=active", "").body["total"])

	ended := w.do(warden, "DELETE", path, "")
	require.Equal(t, 204, ended.status, ended.raw)
	list := w.do(warden, "GET", path, "")
	require.Equal(t, []string{"ended", "ended", "ended"}, list.member("state"))
	require.Equal(t, []string{"sessions_ended", "sessions_ended", "sessions_ended"}, list.member("end_reason"))
	require.Equal(t, []string{"<nil>", "<nil>", "<nil>"}, list.member("ended_at"), "they carry no time of their own")
	require.Equal(t, "active", w.do(warden, "GET", "/v1/sessions/"+other, "").body["state"], "another key's goes on")

	after := w.do(w.admin, "GET", "/v1/keys/"+w.viewer.ID, "")
	require.Equal(t, before.body, after.body, "its settings stay as they are")
	require.NotEqual(t, before.header.Get("ETag"), after.header.Get("ETag"))
	w.clock.Advance(time.Second)
	fresh := w.signIn(w.viewer, "fresh")
	require.Equal(t, []string{fresh}, w.do(warden, "GET", path+"?state=active", "").member("id"), "it can sign in again")
	require.Contains(t, w.audited("key"), "key.end_sessions")
}

func TestASecretThatEndsTakesItsSessionsAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.signIn(w.viewer, "a")
	ctx, at := t.Context(), w.clock.Now().Wall.Add(10*time.Minute)
	_, err := w.store.Update(ctx, func(tx keystore.Tx) error {
		k, err := tx.Key(ctx, w.viewer.ID)
		if err != nil {
			return err
		}
		k.Secrets[0].Expires = at
		return tx.PutKey(ctx, k)
	})
	require.NoError(t, err)
	require.Equal(t, "active", w.asLocal("GET", "/v1/sessions/"+id, "").body["state"])
	w.clock.Advance(10 * time.Minute)
	a := w.asLocal("GET", "/v1/sessions/"+id, "")
	require.Equal(t, []any{"ended", "secret_ended", "2026-01-02T03:14:05Z"}, []any{a.body["state"], a.body["end_reason"], a.body["ended_at"]})
	require.Equal(t, []string{id}, w.asLocal("GET", "/v1/sessions?state=ended", "").member("id"))
}

func TestSessionsAreForWhoseRoleNamesThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full, view := w.warden("full", "acme", "", policy.Full), w.warden("view", "acme", "", policy.View)
	id := w.signIn(w.viewer, "a")
	for _, r := range []struct {
		method, path               string
		operator, full, view, none int
	}{
		{"GET", "/v1/sessions", 200, 200, 200, 403},
		{"GET", "/v1/sessions/" + id, 200, 200, 200, 403},
		{"GET", "/v1/keys/" + w.viewer.ID + "/sessions", 200, 200, 200, 403},
		{"GET", "/v1/locks", 200, 200, 200, 403},
		{"DELETE", "/v1/sessions/" + id, 204, 204, 403, 403},
		{"DELETE", "/v1/keys/" + w.viewer.ID + "/sessions", 204, 204, 403, 403},
		{"GET", "/v1/sessions/ses_none", 404, 404, 404, 403},
		{"DELETE", "/v1/sessions/ses_none", 404, 404, 403, 403},
		{"DELETE", "/v1/keys/key_none/sessions", 404, 404, 403, 403},
	} {
		for name, who := range map[string]struct {
			as   lifecycle.CreatedKey
			want int
		}{"operator": {w.operator, r.operator}, "full": {full, r.full}, "view": {view, r.view}, "none": {w.bystander, r.none}} {
			require.Equal(t, who.want, w.do(who.as, r.method, r.path, "").status, "%s %s by %s", r.method, r.path, name)
		}
	}
}

func TestForeignSessionsAndLocksDoNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, inside := w.warden("own", "acme", "", policy.Full), w.warden("inside", "acme", "emea", policy.Full)
	sibling := w.key(lifecycle.NewKey{Name: "sibling", RoleID: w.viewerRole, CustomerID: "acme", MicrotenantID: lifecycle.Some("apac")})
	ids := map[string]string{}
	for _, k := range []lifecycle.CreatedKey{w.viewer, w.tenant, sibling, w.foreign} {
		ids[k.ID] = w.signIn(k, k.Name)
		w.lock(k)
		w.clock.Advance(time.Second)
	}
	for _, c := range []struct {
		as     lifecycle.CreatedKey
		hidden []lifecycle.CreatedKey
		seen   []string // newest first
		locked []string // by name
	}{
		{own, []lifecycle.CreatedKey{w.foreign}, []string{"sibling", "tenant", "viewer"}, []string{"sibling", "tenant", "viewer"}},
		{inside, []lifecycle.CreatedKey{w.foreign, w.viewer, sibling}, []string{"tenant"}, []string{"tenant"}},
		{w.operator, nil, []string{"foreign", "sibling", "tenant", "viewer"}, []string{"foreign", "sibling", "tenant", "viewer"}},
	} {
		for _, k := range c.hidden {
			for _, method := range []string{"GET", "DELETE"} {
				a := w.do(c.as, method, "/v1/sessions/"+ids[k.ID], "")
				require.Equal(t, 404, a.status)
				require.Equal(t, w.do(c.as, method, "/v1/sessions/ses_none", "").only("code", "detail"), a.only("code", "detail"))
				require.Equal(t, 404, w.do(c.as, method, "/v1/keys/"+k.ID+"/sessions", "").status)
			}
			require.Empty(t, w.do(c.as, "GET", "/v1/sessions?key_id="+k.ID, "").body["items"])
		}
		require.Equal(t, c.seen, w.do(c.as, "GET", "/v1/sessions", "").member("key_name"))
		require.Equal(t, c.locked, w.do(c.as, "GET", "/v1/locks", "").member("key_name"))
	}
	for _, path := range []string{"/v1/sessions", "/v1/locks"} {
		require.EqualValues(t, 0, w.do(own, "GET", path+"?customer_id=umbrella", "").body["total"], "a filter does not widen what is seen")
		require.Equal(t, []string{"sibling"}, w.do(own, "GET", path+"?microtenant_id=apac", "").member("key_name"))
		require.Equal(t, []string{"foreign"}, w.do(w.operator, "GET", path+"?customer_id=umbrella", "").member("key_name"))
	}
}

// lock counts failures of a key until it locks.
func (w *world) lock(k lifecycle.CreatedKey) {
	w.t.Helper()
	for range policy.DefaultLockout().Attempts {
		_, err := w.store.Count(w.t.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: k.ID, Address: "192.0.2.9"}})
		require.NoError(w.t, err)
	}
}

func TestLockedKeysAreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lock(w.viewer)
	require.Equal(t, []any{map[string]any{
		"key_id": w.viewer.ID, "key_name": "viewer", "client_id": w.viewer.ClientID, "customer_id": "acme", "microtenant_id": nil, "source": nil,
		"locked_at": "2026-01-02T03:04:05Z", "locked_until": "2026-01-02T03:34:05Z",
	}}, w.do(w.admin, "GET", "/v1/locks", "").body["items"])
	require.Equal(t, 204, w.do(w.admin, "DELETE", "/v1/keys/"+w.viewer.ID+"/lock", "").status)
	require.JSONEq(t, `{"items":[],"next_cursor":null,"total":0}`, w.do(w.admin, "GET", "/v1/locks", "").raw)
}

func TestSessionsAndLocksComeInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		k := w.key(lifecycle.NewKey{Name: fmt.Sprint(i), RoleID: w.viewerRole, CustomerID: "acme"})
		w.signIn(k, fmt.Sprint(i))
		w.lock(k)
		w.clock.Advance(time.Second)
	}
	for path, want := range map[string][]string{"/v1/sessions": {"4", "3", "2", "1", "0"}, "/v1/locks": {"0", "1", "2", "3", "4"}} {
		var got []string
		query := "?page_size=2"
		for pages := 1; ; pages++ {
			a := w.do(w.operator, "GET", path+query, "")
			require.Equal(t, 200, a.status, a.raw)
			require.EqualValues(t, 5, a.body["total"])
			got = append(got, a.member("key_name")...)
			next, more := a.body["next_cursor"].(string)
			if !more {
				require.Equal(t, 3, pages)
				break
			}
			query = "?page_size=2&cursor=" + next
			require.Equal(t, 400, w.do(w.operator, "GET", path+query+"&customer_id=acme", "").status, "a cursor belongs to its filters")
			require.Equal(t, 400, w.do(w.operator, "GET", "/v1/keys?cursor="+next, "").status, "and to its list")
		}
		require.Equal(t, want, got)
		require.Equal(t, want[2:4], w.do(w.operator, "GET", path+"?page_size=2&page=2", "").member("key_name"))
		for _, bad := range []string{"page_size=0", "page_size=501", "page=0", "cursor=x", "state=locked", "colour=red"} {
			require.Equal(t, 400, w.do(w.operator, "GET", path+"?"+bad, "").status, "%s %s", path, bad)
		}
	}
}
