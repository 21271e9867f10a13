package page

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

var hiddenID = regexp.MustCompile(`<input type="hidden" name="ids" value="([^"]*)">`)

// goOn is the form by which a dry run goes on.
func (a answer) goOn(action string) url.Values {
	form := url.Values{"step": {"do"}, "action": {action}, "once": {a.hidden("once")}}
	for _, m := range hiddenID.FindAllStringSubmatch(a.body, -1) {
		form.Add("ids", m[1])
	}
	return form
}

const bulkPath = "/keyreeve/keys/batch"

func TestABatchIsADryRunFirst(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	w.change(w.tenant.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)})
	ids := []string{w.viewer.ID, w.bystander.ID, w.tenant.ID, w.foreign.ID, w.viewer.ID}
	a := b.post(bulkPath, url.Values{"action": {"disable"}, "ids": ids, "back": {"/keyreeve/keys?q=e"}})
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	holds(t, a.body, "Disable 1 key?")
	holds(t, a.body, "1 will be disabled")
	holds(t, a.body, "1 is so already")
	holds(t, a.body, "2 cannot be, and are left out")
	holds(t, a.body, "The role grants more than the acting key holds.")
	holds(t, a.body, "It is not there any more.")
	lacks(t, a.body, "foreign", "nothing of another customer is told")
	holds(t, a.body, `href="/keyreeve/keys?q=e"`)
	holds(t, html.UnescapeString(a.body), "key disable id:"+w.viewer.ID+" --url")
	require.True(t, w.keyNow(w.viewer.ID).Enabled)

	form := a.goOn("disable")
	require.Equal(t, []string{w.viewer.ID}, form["ids"], "what was refused is not tried")
	a = b.post(bulkPath, form, "HX-Request", "true")
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	holds(t, a.body, "1 key is disabled")
	require.Equal(t, "keyreeve:done", a.Header.Get("HX-Trigger"))
	now := w.keyNow(w.viewer.ID)
	require.False(t, now.Enabled)
	w.change(w.viewer.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(true)})
	require.Equal(t, http.StatusOK, b.post(bulkPath, form).StatusCode)
	require.True(t, w.keyNow(w.viewer.ID).Enabled, "sent again it does nothing more")
}

func TestABatchThatDeletesAsksForTheNumberOfKeys(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	ids := []string{w.viewer.ID, w.tenant.ID, w.bystander.ID, w.admin.ID}
	a := b.post(bulkPath, url.Values{"action": {"delete"}, "ids": ids})
	holds(t, a.body, "Type 3 to delete 3 keys")
	holds(t, a.body, "is the key that you are signed in with")
	form := a.goOn("delete")
	form["ids"] = []string{w.viewer.ID, w.tenant.ID}
	form.Set("confirm", "3")
	a = b.post(bulkPath, form)
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `id="f-confirm-error"`)
	w.keyNow(w.viewer.ID)
	form = a.goOn("delete")
	form.Set("confirm", " 2 ")
	holds(t, b.post(bulkPath, form).body, "2 keys are deleted")
	require.Equal(t, []string{"admin", "bystander", "operator"}, b.get("/keyreeve/keys").names())
}

func TestEachBulkActionHasItsEffect(t *testing.T) {
	w := newWorld(t)
	w.push(lifecycle.SourceRef{Name: w.source("acme", "idp").Name, CustomerID: "acme"}, "from-idp")
	found, err := w.svc.ListKeys(t.Context(), atMachine, lifecycle.KeyFilter{Source: "idp"})
	require.NoError(t, err)
	theirs := found.Items[0].ID
	b := w.as(w.steward("acme"))
	do := func(action, id string) answer {
		a := b.post(bulkPath, url.Values{"action": {action}, "ids": {id}})
		require.Equal(t, http.StatusOK, a.StatusCode, action)
		a = b.post(bulkPath, a.goOn(action))
		require.Equal(t, http.StatusOK, a.StatusCode, action)
		return a
	}
	holds(t, b.post(bulkPath, url.Values{"action": {"disable"}, "ids": {theirs}}).body, "“Disable here”, under More")
	do("disable_here", theirs)
	require.True(t, w.keyNow(theirs).DisabledHere)
	do("enable_here", theirs)
	require.False(t, w.keyNow(theirs).DisabledHere)
	w.fails(w.viewer.ID, "192.0.2.9", "ABC")
	require.True(t, w.keyNow(w.viewer.ID).Lock.Locked)
	do("unlock", w.viewer.ID)
	require.False(t, w.keyNow(w.viewer.ID).Lock.Locked)
	before := w.keyNow(w.viewer.ID).Revision
	do("end_sessions", w.viewer.ID)
	require.Greater(t, w.keyNow(w.viewer.ID).Revision, before)
	do("disable", w.viewer.ID)
	do("enable", w.viewer.ID)
	require.True(t, w.keyNow(w.viewer.ID).Enabled)
	holds(t, b.post(bulkPath, url.Values{"action": {"enable"}, "ids": {w.viewer.ID}}).body, "None of these keys would change.")
}

func TestABatchNeedsKeysAndTheRightToIt(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, http.StatusBadRequest, w.as(w.admin).post(bulkPath, url.Values{"action": {"enable"}}).StatusCode)
	require.Equal(t, http.StatusBadRequest, w.as(w.admin).post(bulkPath, url.Values{"action": {"explode"}, "ids": {w.viewer.ID}}).StatusCode)
	for _, step := range []string{"", "do"} {
		form := url.Values{"action": {"disable"}, "ids": {w.viewer.ID}, "step": {step}}
		require.Equal(t, http.StatusForbidden, w.as(w.viewer).post(bulkPath, form).StatusCode)
	}
	require.True(t, w.keyNow(w.viewer.ID).Enabled)
	body := w.as(w.viewer).get("/keyreeve/keys").body
	lacks(t, body, `id="bulk-`, "nobody is offered what their role does not hold")
	body = w.as(w.admin).get("/keyreeve/keys").body
	holds(t, body, `id="bulk-disable"`)
	lacks(t, body, `id="bulk-end_sessions"`)
}
