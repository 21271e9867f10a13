package page

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// openSession opens a session of a key, and returns its id.
func (w *world) openSession(k lifecycle.CreatedKey) string {
	w.Helper()
	id := keystore.SessionID("ses_"+newOnce(), 0, k.Secrets[0].ID)
	now := w.clock.Now().Wall
	_, err := w.store.Update(w.Context(), func(tx keystore.Tx) error {
		return tx.PutSession(w.Context(), &keystore.Session{ID: id, KeyID: k.ID, SecretID: k.Secrets[0].ID, Address: "192.0.2.7", Issued: now, Expires: now.Add(time.Hour)})
	})
	require.NoError(w, err)
	return id
}

// warden is a key of acme that may look at sessions and end them.
func (w *world) warden() lifecycle.CreatedKey {
	w.Helper()
	r, _, err := w.svc.CreateRole(w.Context(), atMachine, lifecycle.NewRole{Name: "Warden", CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"keyreeve/sessions": policy.Full, "keyreeve/keys": policy.View}})
	require.NoError(w, err)
	return w.key(lifecycle.NewKey{Name: "warden", RoleID: r.ID, CustomerID: "acme"})
}

// own makes the session that a browser is signed in with one of the store's.
func (w *world) own(k lifecycle.CreatedKey) (*browser, string) {
	w.Helper()
	b := w.as(k)
	id := w.openSession(k)
	for token, clientID := range w.door.sessions {
		if clientID == k.ClientID {
			w.door.ids[token] = id
		}
	}
	return b, id
}

func (w *world) stateOf(id string) string {
	w.Helper()
	s, err := w.svc.GetSession(w.Context(), atMachine, id)
	require.NoError(w, err)
	return s.State
}

func sessionURL(id string) string { return "/keyreeve/sessions/" + url.PathEscape(id) + "/end" }

func TestSessionsAreNarrowedByEachFilter(t *testing.T) {
	w := newWorld(t)
	ended := w.openSession(w.bystander)
	_, err := w.svc.EndSession(t.Context(), atMachine, ended, nil)
	require.NoError(t, err)
	for _, k := range []lifecycle.CreatedKey{w.tenant, w.foreign, w.bystander} {
		w.clock.Advance(time.Minute)
		w.openSession(k)
	}
	b := w.as(w.operator)
	for query, want := range map[string][]string{
		"":                                      {"bystander", "foreign", "tenant", "bystander"},
		"?state=active":                         {"bystander", "foreign", "tenant"},
		"?state=ended":                          {"bystander"},
		"?state=expired":                        {},
		"?key_id=" + w.bystander.ID:             {"bystander", "bystander"},
		"?customer_id=umbrella":                 {"foreign"},
		"?customer_id=acme&microtenant_id=emea": {"tenant"},
		"?key_id=key_none":                      {},
	} {
		a := b.get("/keyreeve/sessions" + query)
		require.Equal(t, http.StatusOK, a.StatusCode, query)
		require.Equal(t, want, a.names(), query)
		require.Equal(t, want, b.get("/keyreeve/sessions"+query, "HX-Request", "true", "HX-Target", "session-list").names(), query)
	}
	require.Equal(t, http.StatusBadRequest, b.get("/keyreeve/sessions?state=odd").StatusCode)
	holds(t, b.get("/keyreeve/sessions?state=expired").body, "No session matches")
	require.Equal(t, "/keyreeve/sessions?key_id="+w.viewer.ID, b.get("/keyreeve/sessions?key_id=viewer&state=").Header.Get("Location"), "a key goes by its name")
	require.Equal(t, []string{"bystander", "tenant", "bystander"}, w.as(w.warden()).get("/keyreeve/sessions").names())
	require.Equal(t, []string{"tenant"}, w.as(w.auditor("emea")).get("/keyreeve/sessions").names())
	require.Equal(t, http.StatusForbidden, w.as(w.viewer).get("/keyreeve/sessions").StatusCode)
}

func TestASessionIsEndedOnceItWasAskedFor(t *testing.T) {
	w := newWorld(t)
	id := w.openSession(w.bystander)
	b := w.as(w.warden())
	a := b.get(sessionURL(id))
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, words(a.body), "It was opened by the key “bystander” from 192.0.2.7")
	holds(t, html.UnescapeString(a.body), "keyreeve session end "+id)
	require.Equal(t, keystore.SessionActive, w.stateOf(id))

	a = b.post(sessionURL(id), url.Values{})
	require.Equal(t, "/keyreeve/sessions", a.Header.Get("Location"))
	holds(t, b.get("/keyreeve/sessions").body, "Session of bystander ended.")
	require.Equal(t, keystore.SessionEnded, w.stateOf(id))
	holds(t, b.get(sessionURL(id)).body, "This session is over already")
	b.post(sessionURL(id), url.Values{})
	holds(t, b.get("/keyreeve/sessions").body, "That session was over already.")

	other := w.openSession(w.bystander)
	a = b.post(sessionURL(other), url.Values{}, "HX-Request", "true", "HX-Current-URL", w.url+"/keyreeve/sessions?state=active")
	require.Equal(t, "keyreeve:done", a.Header.Get("HX-Trigger"))
	holds(t, a.body, "Session of bystander ended.")
}

func TestSessionsOfOthersAreNotEnded(t *testing.T) {
	w := newWorld(t)
	foreign, own := w.openSession(w.foreign), w.openSession(w.bystander)
	b, looker := w.as(w.warden()), w.as(w.auditor(""))
	for _, path := range []string{sessionURL(foreign), "/keyreeve/keys/" + w.foreign.ID + "/sessions/end", sessionURL("ses_none")} {
		require.Equal(t, http.StatusNotFound, b.get(path).StatusCode, path)
		require.Equal(t, http.StatusNotFound, b.post(path, url.Values{}).StatusCode, path)
	}
	for _, path := range []string{sessionURL(own), "/keyreeve/keys/" + w.bystander.ID + "/sessions/end"} {
		require.Equal(t, http.StatusForbidden, looker.get(path).StatusCode, path)
		require.Equal(t, http.StatusForbidden, looker.post(path, url.Values{}).StatusCode, path)
	}
	lacks(t, looker.get("/keyreeve/sessions").body, "/end")
	require.Equal(t, []string{keystore.SessionActive, keystore.SessionActive}, []string{w.stateOf(foreign), w.stateOf(own)})
}

func TestAllSessionsOfAKeyAreEndedTogether(t *testing.T) {
	w := newWorld(t)
	ids := []string{w.openSession(w.bystander), w.openSession(w.bystander)}
	b := w.as(w.warden())
	path := "/keyreeve/keys/" + w.bystander.ID + "/sessions/end"
	a := b.get(path)
	holds(t, words(a.body), "2 open sessions of “bystander” end now.")
	holds(t, html.UnescapeString(a.body), "keyreeve session end --key "+w.bystander.ID)
	a = b.post(path, url.Values{})
	require.Equal(t, "/keyreeve/keys/"+w.bystander.ID, a.Header.Get("Location"))
	for _, id := range ids {
		require.Equal(t, keystore.SessionEnded, w.stateOf(id))
	}
	holds(t, words(b.get(path).body), "No session of “bystander” is open at the moment.")
	holds(t, words(b.get("/keyreeve/sessions").body), "with all others of the key or its tenant")
}

func TestOnesOwnSessionIsMarkedAndSignsOut(t *testing.T) {
	w := newWorld(t)
	k := w.warden()
	b, id := w.own(k)
	other := w.openSession(k)
	require.Len(t, regexp.MustCompile("You, here").FindAllString(b.get("/keyreeve/sessions").body, -1), 1)
	holds(t, words(b.get(sessionURL(id)).body), "Sign yourself out")
	lacks(t, words(b.get(sessionURL(other)).body), "Sign yourself out")
	a := b.post(sessionURL(id), url.Values{})
	require.Contains(t, a.Header.Get("Location"), "/keyreeve/login")
	require.Equal(t, keystore.SessionEnded, w.stateOf(id))
	require.Contains(t, b.get("/keyreeve/sessions").Header.Get("Location"), "/keyreeve/login", "the browser forgot it")

	b, _ = w.own(k)
	path := "/keyreeve/keys/" + k.ID + "/sessions/end"
	holds(t, words(b.get(path).body), "This is your own key")
	a = b.post(path, url.Values{}, "HX-Request", "true")
	require.Contains(t, a.Header.Get("HX-Redirect"), "/keyreeve/login")
	require.Equal(t, keystore.SessionEnded, w.stateOf(other))
}
