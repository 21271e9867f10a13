package page

import (
	"html"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// keyNow is a key as it is stored.
func (w *world) keyNow(id string) lifecycle.Key {
	w.Helper()
	k, err := w.svc.GetKey(w.Context(), atMachine, id)
	require.NoError(w, err)
	return k
}

// change is a change by somebody else.
func (w *world) change(id string, p lifecycle.KeyPatch) {
	w.Helper()
	_, _, err := w.svc.UpdateKey(w.Context(), atMachine, id, p, nil)
	require.NoError(w, err)
}

// fails shows wrong secrets, told apart by their letters, from an address.
func (w *world) fails(id, address, secrets string) {
	w.Helper()
	for _, letter := range secrets {
		_, err := w.store.Count(w.Context(), policy.DefaultLockout(), []keystore.Proof{{KeyID: id, Address: address, Fingerprint: uint64(letter)}})
		require.NoError(w, err)
	}
}

// editForm is the form of a key as the dialog shows it, with these fields changed.
func editForm(k lifecycle.Key, changed url.Values) url.Values {
	f := NewForm(keyValues(k))
	f.keepWas(k)
	for name, values := range changed {
		f.Values[name] = values
	}
	return f.Values
}

func version(k lifecycle.Key) string { return strconv.FormatInt(int64(k.Revision), 10) }

// inTable are the headers of a dialog over the table.
func (w *world) inTable() []string {
	return []string{"HX-Request", "true", "HX-Current-URL", w.url + "/keyreeve/keys?q=view"}
}

func TestADialogOfAnotherTenantsKeyIsNotThere(t *testing.T) {
	w := newWorld(t)
	foreign, tenant := w.as(w.foreign), w.as(w.tenant)
	for _, what := range []string{"edit", "status", "delete", "unlock"} {
		path := keyURL(w.viewer.ID, what)
		form := url.Values{"confirm": {"viewer"}, "to": {"off"}, "name": {"mine"}}
		require.Equal(t, http.StatusNotFound, foreign.get(path).StatusCode, what)
		require.Equal(t, http.StatusNotFound, foreign.post(path, form).StatusCode, what)
		require.Equal(t, http.StatusNotFound, tenant.get(path).StatusCode, what)
		require.Equal(t, http.StatusNotFound, tenant.post(path, form).StatusCode, what)
		require.Equal(t, http.StatusForbidden, w.as(w.viewer).get(path).StatusCode, what)
		require.Equal(t, http.StatusForbidden, w.as(w.viewer).post(path, form).StatusCode, what)
	}
	require.Equal(t, w.viewer.Key.Revision, w.keyNow(w.viewer.ID).Revision)
}

func TestTheMenuOfARowHasWhatTheActorsRoleHolds(t *testing.T) {
	w := newWorld(t)
	body := w.as(w.admin).get("/keyreeve/keys?q=viewer").body
	for _, id := range []string{"edit-", "rotate-", "status-", "delete-"} {
		holds(t, body, `<a id="`+id+w.viewer.ID+`"`)
	}
	lacks(t, body, `id="end-sessions-`, "its role does not hold sessions")
	holds(t, body, `unlock" hidden>Unlock`, "there is nothing to unlock")
	body = w.as(w.viewer).get("/keyreeve/keys?q=viewer").body
	lacks(t, body, `<a id="edit-`)
	holds(t, body, `data-copy="`+w.viewer.ClientID+`">Copy client ID`)
}

func TestAMenuIsKeptUpToDateWithTheStates(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	w.fails(w.viewer.ID, "192.0.2.9", "A")
	body := b.get("/keyreeve/keys/live?q=viewer&seen=x", "HX-Request", "true").body
	holds(t, body, `<a id="unlock-`+w.viewer.ID+`" href="`+keyURL(w.viewer.ID, "unlock")+`" hx-swap-oob="true">Unlock</a>`)
	w.change(w.viewer.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)})
	holds(t, b.get("/keyreeve/keys/live?q=viewer&seen=x", "HX-Request", "true").body, `hx-swap-oob="true">Enable</a>`)
}

func TestAnEditSendsOnlyWhatWasChanged(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.key(lifecycle.NewKey{Name: "k", Description: "two\nlines", RoleID: keystore.RoleReadOnly, CustomerID: "acme", AllowedCIDRs: []string{"192.0.2.0/24"},
		Labels: map[string]string{"env": "prod"}, ExpiresAt: lifecycle.Some(w.clock.Now().Wall.Add(1000 * time.Second))}).Key
	path := keyURL(k.ID, "edit")
	page := b.get(path)
	require.Equal(t, http.StatusOK, page.StatusCode)
	require.Equal(t, version(k), page.hidden("version"))

	// As it was shown, nothing is written: not even the seconds of the end.
	a := b.post(path, editForm(k, nil))
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
	require.Equal(t, keyURL(k.ID), a.Header.Get("Location"))
	require.Equal(t, k, w.keyNow(k.ID))

	a = b.post(path, editForm(k, url.Values{"name": {"renamed"}, "labels": {"env=dev\r\nteam=a"}}), w.inTable()...)
	require.Equal(t, "keyreeve:done", a.Header.Get("HX-Trigger"))
	require.Empty(t, a.Header.Get("HX-Redirect"), "the table stays where it is")
	holds(t, a.body, "renamed is saved.")
	now := w.keyNow(k.ID)
	require.Equal(t, "renamed", now.Name)
	require.Equal(t, map[string]string{"env": "dev", "team": "a"}, now.Labels)
	require.Equal(t, k.ExpiresAt, now.ExpiresAt)
	require.Equal(t, k.AllowedCIDRs, now.AllowedCIDRs)
}

func TestWhatAnEditGetsWrongIsSaidAtItsField(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.viewer.Key
	for field, changed := range map[string]url.Values{
		"name":                     {"name": {"admin"}},
		"session_validity_seconds": {"session_validity_seconds": {"7"}},
		"allowed_cidrs":            {"allowed_cidrs": {"here"}},
		"role_id":                  {"role_id": {keystore.RoleFullAccess}},
		"labels":                   {"labels": {"=x"}},
	} {
		a := b.post(keyURL(k.ID, "edit"), editForm(k, changed))
		require.GreaterOrEqual(t, a.StatusCode, 400, field)
		holds(t, a.body, `href="#f-`+field+`"`, field)
		holds(t, a.body, `id="f-`+field+`-error"`, field)
	}
	require.Equal(t, k, w.keyNow(k.ID))
}

func TestAKeyBeyondTheActorsRightsIsExplainedBeforeAnythingIsTyped(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	a := b.get(keyURL(w.bystander.ID, "edit"))
	require.Equal(t, http.StatusForbidden, a.StatusCode)
	holds(t, a.body, "The role grants more than the acting key holds.")
	lacks(t, a.body, `name="role_id"`)
	for _, what := range []string{"delete", "status"} {
		a := b.get(keyURL(w.bystander.ID, what))
		require.Equal(t, http.StatusForbidden, a.StatusCode)
		holds(t, a.body, "The role grants more than the acting key holds.")
	}
	a = b.post(keyURL(w.bystander.ID, "delete"), url.Values{"confirm": {"bystander"}})
	require.Equal(t, http.StatusForbidden, a.StatusCode)
	require.Equal(t, http.StatusForbidden, b.post(keyURL(w.bystander.ID, "status"), url.Values{"to": {"off"}}).StatusCode)
	require.True(t, w.keyNow(w.bystander.ID).Enabled)
}

func TestTwoEditsAtOnceAreShownSideBySide(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	k := w.viewer.Key
	path := keyURL(k.ID, "edit")
	mine := editForm(k, url.Values{"name": {"mine"}, "description": {"my words"}})
	w.change(k.ID, lifecycle.KeyPatch{Name: lifecycle.Some("theirs"), SessionValiditySeconds: lifecycle.Some(int64(600))})

	a := b.post(path, mine)
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	for _, id := range []string{"conflict-name", "conflict-description", "conflict-session_validity_seconds"} {
		holds(t, a.body, id)
	}
	lacks(t, a.body, "conflict-labels", "nobody changed them")
	require.Equal(t, "theirs", w.keyNow(k.ID).Name)
	// What only they changed is theirs from here on.
	require.Equal(t, "600", a.hidden("session_validity_seconds"))
	require.Equal(t, "mine", a.hidden("name"))
	require.Equal(t, version(w.keyNow(k.ID)), a.hidden("version"))

	sent := url.Values{"resolve": {"chosen"}, "pick_name": {"theirs"}, "pick_description": {"mine"}}
	for _, name := range []string{"version", "name", "description", "role_id", "enabled", "session_validity_seconds", "expires", "was_name", "was_role_id", "was_enabled", "was_session_validity_seconds", "was_expires"} {
		sent.Set(name, a.hidden(name))
	}
	require.Equal(t, http.StatusSeeOther, b.post(path, sent).StatusCode)
	now := w.keyNow(k.ID)
	require.Equal(t, "theirs", now.Name)
	require.Equal(t, "my words", now.Description)
	require.EqualValues(t, 600, *now.SessionValiditySeconds)

	// Who has nothing of their own to save is not asked.
	require.Equal(t, http.StatusSeeOther, b.post(path, editForm(k, url.Values{"description": {"my words"}})).StatusCode)
	require.Equal(t, now, w.keyNow(k.ID))

	// Keep mine; and theirs, which writes nothing.
	w.change(k.ID, lifecycle.KeyPatch{Name: lifecycle.Some("theirs again")})
	a = b.post(path, editForm(now, url.Values{"name": {"mine"}}))
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	sent = editForm(w.keyNow(k.ID), url.Values{"name": {"mine"}, "resolve": {"theirs"}})
	require.Equal(t, http.StatusSeeOther, b.post(path, sent).StatusCode)
	require.Equal(t, "theirs again", w.keyNow(k.ID).Name)
	sent.Set("resolve", "edit")
	holds(t, b.post(path, sent).body, `value="mine"`)
	require.Equal(t, "theirs again", w.keyNow(k.ID).Name)
	sent.Set("resolve", "mine")
	require.Equal(t, http.StatusSeeOther, b.post(path, sent).StatusCode)
	require.Equal(t, "mine", w.keyNow(k.ID).Name)
}

func TestAChangeThatTheFormDoesNotShowIsNoConflict(t *testing.T) {
	w := newWorld(t)
	k := w.viewer.Key
	_, err := w.svc.EndKeySessions(t.Context(), atMachine, k.ID, nil)
	require.NoError(t, err)
	require.NotEqual(t, k.Revision, w.keyNow(k.ID).Revision)
	a := w.as(w.admin).post(keyURL(k.ID, "edit"), editForm(k, url.Values{"name": {"renamed"}}))
	require.Equal(t, http.StatusSeeOther, a.StatusCode)
	require.Equal(t, "renamed", w.keyNow(k.ID).Name)
}

func TestAnEditShowsItsCommandsAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	k := w.viewer.Key
	a := w.as(w.admin).post(keyURL(k.ID, "edit"), editForm(k, url.Values{"name": {"it's new"}, "enabled": {}, "as": {"commands"}}))
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, html.UnescapeString(a.body), `key edit id:`+k.ID+` --name 'it'\''s new'`)
	holds(t, html.UnescapeString(a.body), `key disable id:`+k.ID)
	holds(t, html.UnescapeString(a.body), `"name":"it'\''s new"`)
	require.Equal(t, k, w.keyNow(k.ID))
}

func TestTurningAKeyOffIsNotTurningItOnWhenItWasOffAlready(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	path := keyURL(w.viewer.ID, "status")
	a := b.get(path)
	holds(t, a.body, "Disable viewer")
	sent := url.Values{"to": {a.hidden("to")}, "version": {a.hidden("version")}}
	require.Equal(t, "off", sent.Get("to"))
	w.change(w.viewer.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)})
	a = b.post(path, sent)
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	holds(t, a.body, "Enable viewer", "it is shown as it is now")
	require.False(t, w.keyNow(w.viewer.ID).Enabled)
	require.Equal(t, http.StatusSeeOther, b.post(path, url.Values{"to": {"on"}, "version": {a.hidden("version")}}).StatusCode)
	require.True(t, w.keyNow(w.viewer.ID).Enabled)
	holds(t, w.as(w.admin).get(keyURL(w.admin.ID, "status")).body, "you will be signed out")
	require.Equal(t, http.StatusBadRequest, b.post(path, nil).StatusCode)
	// What stays in the way is said.
	k := w.key(lifecycle.NewKey{Name: "old", RoleID: keystore.RoleReadOnly, CustomerID: "acme", Enabled: lifecycle.Some(false), ExpiresAt: lifecycle.Some(w.clock.Now().Wall.Add(time.Minute))})
	lacks(t, b.get(keyURL(k.ID, "status")).body, "it expired on")
	w.clock.Advance(2 * time.Minute)
	holds(t, b.get(keyURL(k.ID, "status")).body, "It stays refused all the same: it expired on")
}

func TestAKeyIsDeletedOnceItsNameIsTyped(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	path := keyURL(w.viewer.ID, "delete")
	a := b.get(path)
	holds(t, a.body, "Calls in the last 24 hours")
	a = b.post(path, url.Values{"confirm": {"Viewer"}, "version": {a.hidden("version")}})
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `id="f-confirm-error"`)
	require.Equal(t, http.StatusPreconditionFailed, b.post(path, url.Values{"confirm": {"viewer"}, "version": {"1"}}).StatusCode)
	w.keyNow(w.viewer.ID)
	a = b.post(path, url.Values{"confirm": {"viewer"}, "version": {version(w.viewer.Key)}}, "HX-Request", "true", "HX-Current-URL", w.url+keyURL(w.viewer.ID))
	require.Equal(t, "/keyreeve/keys", a.Header.Get("HX-Redirect"), "its own page is no more")
	require.Equal(t, http.StatusNotFound, b.get(path).StatusCode)
}

func TestUnlockingTellsAForgottenDeploymentFromGuessing(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	path := keyURL(w.viewer.ID, "unlock")
	holds(t, b.get(path).body, "There is nothing to do.")
	w.fails(w.viewer.ID, "192.0.2.9", "AAA")
	w.fails(w.bystander.ID, "198.51.100.7", "ABC")
	a := b.get(path)
	holds(t, a.body, "One wrong secret, again and again")
	holds(t, a.body, "<code>192.0.2.9</code>")
	a = b.get(keyURL(w.bystander.ID, "unlock"))
	holds(t, a.body, "Several different wrong secrets")
	holds(t, a.body, "<code>198.51.100.7</code>")

	a = b.post(path, url.Values{"reason": {"it's the old\u202epipeline"}})
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `id="f-reason-error"`)
	a = b.post(path, url.Values{"reason": {"the old pipeline"}, "as": {"commands"}})
	holds(t, html.UnescapeString(a.body), "--reason 'the old pipeline'")
	require.True(t, w.keyNow(w.viewer.ID).Lock.Locked)
	require.Equal(t, http.StatusSeeOther, b.post(path, url.Values{"reason": {"the old pipeline"}}).StatusCode)
	require.False(t, w.keyNow(w.viewer.ID).Lock.Locked)
}

func TestAKeyOfASourceExplainsWhoChangesIt(t *testing.T) {
	w := newWorld(t)
	ref := lifecycle.SourceRef{Name: w.source("acme", "idp").Name, CustomerID: "acme"}
	w.push(ref, "from-idp")
	found, err := w.svc.ListKeys(t.Context(), atMachine, lifecycle.KeyFilter{Source: "idp"})
	require.NoError(t, err)
	k := found.Items[0]
	steward := w.as(w.steward("acme"))
	for _, what := range []string{"edit", "delete"} {
		a := steward.get(keyURL(k.ID, what))
		require.Equal(t, http.StatusOK, a.StatusCode)
		holds(t, a.body, "Identity team")
		holds(t, a.body, `href="/keyreeve/sources/idp"`)
		holds(t, a.body, "Disable here")
		a = w.as(w.admin).get(keyURL(k.ID, what))
		lacks(t, a.body, "Identity team", "it may not look at sources")
		holds(t, a.body, "idp")
		require.Equal(t, http.StatusOK, steward.post(keyURL(k.ID, "edit"), editForm(k, url.Values{"name": {"mine"}})).StatusCode)
		require.Equal(t, http.StatusConflict, steward.post(keyURL(k.ID, "delete"), url.Values{"confirm": {k.Name}}).StatusCode)
	}
	require.Equal(t, k, w.keyNow(k.ID))

	// Where a source is made is called as one may be.
	w.push(lifecycle.SourceRef{Name: w.source("acme", "new").Name, CustomerID: "acme"}, "from-new")
	at := w.stored("from-new").ID
	holds(t, steward.get(keyURL(at, "edit")).body, `href="/keyreeve/sources/new/"`)
	holds(t, w.as(w.operator).get(keyURL(at)).body, `href="/keyreeve/sources/new/?customer_id=acme"`)

	path := keyURL(k.ID, "status")
	a := steward.get(path)
	holds(t, a.body, "a sync does not undo it")
	holds(t, html.UnescapeString(a.body), "key disable id:"+k.ID+" --here")
	require.Equal(t, http.StatusSeeOther, steward.post(path, url.Values{"to": {"off"}, "version": {a.hidden("version")}}).StatusCode)
	require.True(t, w.keyNow(k.ID).DisabledHere)
	require.Equal(t, http.StatusSeeOther, steward.post(path, url.Values{"to": {"on"}}).StatusCode)
	require.False(t, w.keyNow(k.ID).DisabledHere)
}
