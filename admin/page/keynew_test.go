package page

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const newKeyURL = "/keyreeve/keys/new"

// newKeyForm is what the dialog sends for a key of that name and role.
func newKeyForm(name, roleID string, more ...string) url.Values {
	form := url.Values{"once": {newOnce()}, "name": {name}, "description": {""}, "role_id": {roleID}, "session_validity_seconds": {""},
		"expires": {"never"}, "expires_at": {""}, "allowed_cidrs": {""}, "labels": {""}, "enabled": {"true"}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

var shownIDs = regexp.MustCompile(`id="shown-(id|secret|env|curl|manifest)">([^<]*)<`)

// shown is what the secret dialog offers to copy, by what it is.
func (a answer) shown() map[string]string {
	found := map[string]string{}
	for _, m := range shownIDs.FindAllStringSubmatch(a.body, -1) {
		found[m[1]] = html.UnescapeString(m[2])
	}
	return found
}

// stored is the key with this name.
func (w *world) stored(name string) lifecycle.Key {
	w.Helper()
	page, err := w.svc.ListKeys(w.Context(), atMachine, lifecycle.KeyFilter{Name: name})
	require.NoError(w, err)
	require.Len(w, page.Items, 1, name)
	return page.Items[0]
}

func TestAKeyIsMadeWithAllThatTheFormSays(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	a := b.post(newKeyURL, newKeyForm("Nightly", keystore.RoleReadOnly, "customer_id", "acme", "microtenant_id", "emea",
		"description", "two\r\nlines", "session_validity_seconds", "900", "expires", "30", "allowed_cidrs", "192.0.2.0/24\r\n\r\n 2001:db8::/32 ",
		"labels", "env=prod\r\nteam: platform\r\nurl=https://a.example/?x=1", "enabled", ""))
	require.Equal(t, http.StatusCreated, a.StatusCode, a.says())
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	require.Empty(t, a.Header.Get("Location"))

	k := w.stored("Nightly")
	require.Equal(t, "two\nlines", k.Description)
	require.Equal(t, "emea", *k.MicrotenantID)
	require.Equal(t, int64(900), *k.SessionValiditySeconds)
	require.WithinDuration(t, w.clock.Now().Wall.AddDate(0, 0, 30), *k.ExpiresAt, time.Minute)
	require.Len(t, k.AllowedCIDRs, 2)
	require.Equal(t, map[string]string{"env": "prod", "team": "platform", "url": "https://a.example/?x=1"}, k.Labels)
	require.False(t, k.Enabled)

	shown := a.shown()
	require.Equal(t, k.ClientID, shown["id"])
	require.True(t, credential.CheckSecret(shown["secret"]))
	require.Contains(t, shown["env"], "KEYREEVE_CLIENT_SECRET="+shown["secret"])
	require.Contains(t, shown["curl"], k.ClientID+":"+shown["secret"])
	require.Contains(t, shown["manifest"], "name: keyreeve-nightly\n")
}

func TestTheSecretIsInOneAnswerAlone(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	form := newKeyForm("Once", w.adminRole)
	a := b.post(newKeyURL, form, "HX-Request", "true", "HX-Current-URL", w.url+"/keyreeve/keys")
	secret := a.shown()["secret"]
	require.NotEmpty(t, secret)
	holds(t, a.body, "data-hold")
	require.Equal(t, "keyreeve:done", a.Header.Get("HX-Trigger-After-Swap"), "the list behind it is loaded anew")
	lacks(t, a.body, "<html")

	again := b.post(newKeyURL, form)
	require.Equal(t, http.StatusCreated, again.StatusCode)
	lacks(t, again.body, secret)
	lacks(t, again.body, "data-hold", "there is nothing to hold")
	k := w.stored("Once")
	holds(t, again.body, "/keyreeve/keys/"+k.ID+"/secrets/new", "what to do instead")
	for _, path := range []string{"/keyreeve/keys", "/keyreeve/keys/" + k.ID + "/secrets/new", newKeyURL} {
		lacks(t, b.get(path).body, secret, path)
	}
	require.Equal(t, http.StatusUnprocessableEntity, b.post(newKeyURL, newKeyForm("Another", w.adminRole, "once", form.Get("once"))).StatusCode)
}

func TestFaultsOfANewKeyStandAtTheirFieldsAndNothingIsLost(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	for name, c := range map[string]struct {
		more   []string
		status int
		want   []string
	}{
		"no name":     {[]string{"name", ""}, 400, []string{`href="#f-name"`}},
		"no role":     {[]string{"role_id", ""}, 400, []string{`href="#f-role_id"`, "Choose what the key may do."}},
		"its role":    {[]string{"role_id", "role_none"}, 400, []string{`href="#f-role_id"`}},
		"validity":    {[]string{"session_validity_seconds", "an hour"}, 400, []string{`href="#f-session_validity_seconds"`, "whole number of seconds"}},
		"its bounds":  {[]string{"session_validity_seconds", "59"}, 400, []string{`href="#f-session_validity_seconds"`, "from 60 to 3600"}},
		"no date":     {[]string{"expires", "at"}, 400, []string{`href="#f-expires_at"`}},
		"the past":    {[]string{"expires", "at", "expires_at", "2001-01-01T00:00"}, 400, []string{`href="#f-expires_at"`, "in the future"}},
		"networks":    {[]string{"allowed_cidrs", "\n192.0.2.0/24\n10.0.0.1/8"}, 400, []string{`href="#f-allowed_cidrs"`, "Line 3: 10.0.0.1/8 has address bits"}},
		"label twice": {[]string{"labels", "a=1\na: 2"}, 400, []string{`href="#f-labels"`, "Line 2: a stands there twice"}},
		"label name":  {[]string{"labels", "-a=1"}, 400, []string{`href="#f-labels"`}},
		"label value": {[]string{"labels", "a=" + strings.Repeat("x", 256)}, 400, []string{`href="#f-labels"`, "A: has 256"}},
		"name taken":  {[]string{"name", "viewer"}, 409, []string{`href="#f-name"`, "another key has this name"}},
	} {
		form := newKeyForm("Kept <text>", keystore.RoleReadOnly, append([]string{"customer_id", "acme", "description", "kept & safe"}, c.more...)...)
		a := b.post(newKeyURL, form)
		require.Equal(t, c.status, a.StatusCode, name)
		for _, want := range c.want {
			holds(t, strings.ToLower(html.UnescapeString(a.body)), strings.ToLower(want), name)
		}
		holds(t, a.body, "kept &amp; safe", name)
		lacks(t, a.body, `value="`+form.Get("once")+`"`, "what failed is sent anew under another name")
	}
	lacks(t, b.get("/keyreeve/keys").body, "Kept &lt;text&gt;")
}

func TestRolesBeyondOnesOwnCannotBeChosen(t *testing.T) {
	w := newWorld(t)
	a := w.as(w.admin).get(newKeyURL)
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Regexp(t, `value="`+w.adminRole+`"[^>]*required aria`, a.body)
	require.Regexp(t, `value="`+keystore.RoleOperator+`"[^>]*disabled`, a.body)
	require.Regexp(t, `value="`+keystore.RoleFullAccess+`"[^>]*disabled`, a.body)
	holds(t, a.body, "Not yours to give: the role grants more than the acting key holds.")
	holds(t, a.body, "Read everything of the upstreams")
	holds(t, a.body, "Administers Keyreeve")
	lacks(t, a.body, `name="customer_id"`, "it sees one alone")
	holds(t, a.body, `name="microtenant_id"`)
	lacks(t, w.as(w.tenant).get(newKeyURL).body, `name="microtenant_id"`)
	holds(t, w.as(w.operator).get(newKeyURL).body, "Everything, for every customer, administration included")

	// Sent all the same, it is refused where it is.
	a = w.as(w.admin).post(newKeyURL, newKeyForm("Strong", keystore.RoleOperator))
	require.Equal(t, http.StatusForbidden, a.StatusCode)
	holds(t, a.body, `href="#f-role_id"`)
}

func TestKeysAreMadeOnlyWhereTheActorMay(t *testing.T) {
	w := newWorld(t)
	viewer := w.as(w.viewer)
	require.Equal(t, http.StatusForbidden, viewer.get(newKeyURL).StatusCode)
	require.Equal(t, http.StatusForbidden, viewer.post(newKeyURL, newKeyForm("x", w.adminRole)).StatusCode)
	lacks(t, viewer.get("/keyreeve/keys").body, `id="new-key"`)
	holds(t, w.as(w.admin).get("/keyreeve/keys").body, `id="new-key"`)

	require.Equal(t, http.StatusNotFound, w.as(w.foreign).get(newKeyURL+"?customer_id=acme").StatusCode)
	require.Equal(t, http.StatusNotFound, w.as(w.foreign).post(newKeyURL, newKeyForm("x", w.adminRole, "customer_id", "acme")).StatusCode)
	a := w.as(w.tenant).post(newKeyURL, newKeyForm("inside", w.adminRole))
	require.Equal(t, http.StatusCreated, a.StatusCode)
	require.Equal(t, "emea", *w.stored("inside").MicrotenantID)
}

func TestAnotherCustomerHasOtherRolesAndMicrotenants(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.svc.CreateRole(t.Context(), atMachine, lifecycle.NewRole{Name: "Of Umbrella", CustomerID: lifecycle.Some("umbrella"), Permissions: policy.Permissions{"*": policy.View}})
	require.NoError(t, err)
	b := w.as(w.operator)
	lacks(t, b.get(newKeyURL).body, "Of Umbrella")
	form := newKeyForm("", "", "customer_id", "umbrella", "description", "still here", "as", "customer")
	a := b.post(newKeyURL, form)
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, a.body, "Of Umbrella")
	holds(t, a.body, "still here")
	lacks(t, a.body, `class="faults"`, "nothing was to be made yet")
	lacks(t, a.body, `name="microtenant_id"`)
	holds(t, b.get(newKeyURL+"?customer_id=umbrella&role_id="+keystore.RoleReadOnly).body, "Of Umbrella")
}

func TestANewKeyCanBeShownAsCommands(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	a := b.post(newKeyURL, newKeyForm("it's CI", keystore.RoleReadOnly, "customer_id", "acme", "labels", "env=prod", "allowed_cidrs", "192.0.2.0/24",
		"expires", "at", "expires_at", "2999-01-02T03:04", "enabled", "", "as", "commands"))
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	text := html.UnescapeString(a.body)
	holds(t, text, `keyreeve key create 'it'\''s CI' --role role_api_read_only --customer acme --disabled --expires 2999-01-02T03:04:00Z --cidr 192.0.2.0/24 --label env=prod --url http`)
	holds(t, text, `"expires_at":"2999-01-02T03:04:00Z"`)
	holds(t, text, `/v1/keys`)
	require.NotContains(t, b.get("/keyreeve/keys").names(), "it's CI")
}

func TestAPatchHoldsWhatWasChangedInTheFormAlone(t *testing.T) {
	validity := int64(900)
	end := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	k := lifecycle.Key{Name: "n", Description: "a\nb", RoleID: "r", Enabled: true, SessionValiditySeconds: &validity, ExpiresAt: &end,
		Labels: map[string]string{"env": "prod", "bare": "", "padded": " x "}}
	unchanged := readKeyFields(NewForm(keyValues(k)), end)
	require.Equal(t, lifecycle.KeyPatch{}, unchanged.patch(k), "seconds that the form cannot show are no change")

	values := keyValues(k)
	values.Set("expires", "never")
	values.Set("session_validity_seconds", "")
	values.Set("labels", "env: dev\nnew")
	values.Set("allowed_cidrs", "192.0.2.0/24")
	values.Del("enabled")
	dev, empty := "dev", ""
	require.Equal(t, lifecycle.KeyPatch{Enabled: lifecycle.Some(false), ExpiresAt: lifecycle.Null[time.Time](),
		SessionValiditySeconds: lifecycle.Null[int64](), AllowedCIDRs: lifecycle.Some([]string{"192.0.2.0/24"}),
		Labels: lifecycle.Some(map[string]*string{"env": &dev, "new": &empty, "bare": nil, "padded": nil})},
		readKeyFields(NewForm(values), end).patch(k))
}
