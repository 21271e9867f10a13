package page

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// steward is a key of a customer that administers its tenants and sources.
func (w *world) steward(customerID string) lifecycle.CreatedKey {
	w.Helper()
	r, _, err := w.svc.CreateRole(w.Context(), atMachine, lifecycle.NewRole{Name: "Steward", CustomerID: lifecycle.Some(customerID),
		Permissions: policy.Permissions{"*": policy.View, "keyreeve/*": policy.Full}})
	require.NoError(w, err)
	return w.key(lifecycle.NewKey{Name: "steward", RoleID: r.ID, CustomerID: customerID})
}

func (w *world) source(customerID, name string) lifecycle.Source {
	w.Helper()
	s, _, err := w.svc.CreateSource(w.Context(), atMachine, lifecycle.NewSource{Name: name, CustomerID: customerID, Owner: "Identity team",
		Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(w, err)
	return s
}

// push makes the keys of a source what these client IDs say.
func (w *world) push(ref lifecycle.SourceRef, clientIDs ...string) {
	w.Helper()
	in := lifecycle.SourcePush{Keys: []lifecycle.SourceKey{}}
	for _, id := range clientIDs {
		in.Keys = append(in.Keys, lifecycle.SourceKey{ClientID: id, Name: id, RoleID: keystore.RoleReadOnly, SecretSHA256: strings.Repeat("ab", 32)})
	}
	_, _, err := w.svc.PushSourceKeys(w.Context(), atMachine, ref, in, nil)
	require.NoError(w, err)
}

// hidden is the value of a hidden input.
func (a answer) hidden(name string) string {
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(a.body)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

func TestSourcesAreThoseThatTheActorSees(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	w.source("umbrella", "vault")
	require.Equal(t, []string{"idp", "vault"}, w.as(w.operator).get("/keyreeve/sources").names())
	steward := w.as(w.steward("acme"))
	require.Equal(t, []string{"idp"}, steward.get("/keyreeve/sources").names())
	require.Empty(t, steward.get("/keyreeve/sources?customer_id=umbrella").names())
	for _, path := range []string{"/vault", "/vault?customer_id=umbrella", "/vault/edit?customer_id=umbrella", "/vault/delete"} {
		require.Equal(t, http.StatusNotFound, steward.get("/keyreeve/sources"+path).StatusCode, path)
	}
	form := url.Values{"confirm": {"vault"}, "owner": {"me"}, "rule": {"locked"}, "max_role_id": {keystore.RoleReadOnly}}
	for _, path := range []string{"/vault/edit?customer_id=umbrella", "/vault/delete?customer_id=umbrella"} {
		require.Equal(t, http.StatusNotFound, steward.post("/keyreeve/sources"+path, form).StatusCode, path)
	}
	for _, path := range []string{"", "/idp", "/new", "/idp/edit", "/idp/delete"} {
		require.Equal(t, http.StatusForbidden, w.as(w.admin).get("/keyreeve/sources"+path).StatusCode, path)
	}
	lacks(t, w.as(w.admin).get("/keyreeve/keys").body, `href="/keyreeve/sources"`)
	holds(t, steward.get("/keyreeve/keys").body, `href="/keyreeve/sources"`)
}

func TestNoSourcesYetIsToldFromNoMatch(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	holds(t, b.get("/keyreeve/sources").body, "No sources yet")
	w.source("acme", "idp")
	holds(t, b.get("/keyreeve/sources?q=nothing").body, "No source matches")
	part := b.get("/keyreeve/sources?q=IDENT&customer_id=", "HX-Request", "true", "HX-Target", "source-list")
	require.Equal(t, []string{"idp"}, part.names())
	require.Equal(t, "/keyreeve/sources?q=IDENT", part.Header.Get("HX-Push-Url"))
	lacks(t, part.body, `id="find"`)
	require.Equal(t, "/keyreeve/sources?q=ident", b.get("/keyreeve/sources?q=ident&customer_id=").Header.Get("Location"))
}

func TestASourceIsMadeOnceHoweverOftenItsFormIsSent(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.steward("acme"))
	once := b.get("/keyreeve/sources/new").hidden("once")
	require.NotEmpty(t, once)
	form := url.Values{"once": {once}, "name": {"idp"}, "owner": {"Identity team"}, "rule": {"read_only"}, "max_role_id": {keystore.RoleReadOnly}}
	for range 2 {
		a := b.post("/keyreeve/sources/new", form)
		require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
		require.Equal(t, "/keyreeve/sources/idp", a.Header.Get("Location"))
	}
	holds(t, b.get("/keyreeve/sources/idp").body, "It owns no keys until its first list is pushed.")
	form.Set("once", "another")
	a := b.post("/keyreeve/sources/new", form, "HX-Request", "true")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	holds(t, a.body, `href="#f-name"`)
}

func TestWhatIsWrongWithASourceStandsAtItsFields(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.steward("acme"))
	a := b.post("/keyreeve/sources/new", url.Values{"name": {"Not a name"}, "rule": {"loose"}, "owner": {"kept"}})
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	for _, field := range []string{"name", "rule", "max_role_id"} {
		holds(t, a.body, `href="#f-`+field+`"`)
		holds(t, a.body, `id="f-`+field+`-error"`)
	}
	holds(t, a.body, `value="kept"`, "nothing is lost")
	a = b.post("/keyreeve/sources/new", url.Values{"name": {"idp"}, "rule": {"locked"}, "max_role_id": {keystore.RoleOperator}})
	require.Equal(t, http.StatusForbidden, a.StatusCode, "beyond the actor's own rights")
	holds(t, a.body, `id="f-max_role_id-error"`)
	a = b.post("/keyreeve/sources/new", url.Values{"name": {"idp"}, "customer_id": {"umbrella"}, "rule": {"locked"}, "max_role_id": {keystore.RoleReadOnly}})
	require.GreaterOrEqual(t, a.StatusCode, 400)
	require.Empty(t, w.as(w.operator).get("/keyreeve/sources").names())
}

func TestASourceThatSomebodyElseChangedIsNotWrittenOver(t *testing.T) {
	w := newWorld(t)
	s := w.source("acme", "idp")
	b := w.as(w.operator)
	at := "/keyreeve/sources/idp/edit?customer_id=acme"
	form := url.Values{"version": {b.get(at).hidden("version")}, "owner": {"Mine"}, "rule": {"locked"}, "max_role_id": {keystore.RoleReadOnly}}
	_, _, err := w.svc.UpdateSource(t.Context(), atMachine, lifecycle.SourceRef{Name: "idp", CustomerID: "acme"}, lifecycle.SourcePatch{Owner: lifecycle.Some("Theirs")}, nil)
	require.NoError(t, err)
	a := b.post(at, form)
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	require.Regexp(t, `(?s)Owner</th><td>Theirs</td><td>Mine</td>.*Neither edited nor deleted</td>`, a.body)
	lacks(t, a.body, "Highest role</th>", "which is the same")

	form.Set("version", a.hidden("version"))
	a = b.post(at, form)
	require.Equal(t, "/keyreeve/sources/idp?customer_id=acme", a.Header.Get("Location"))
	got, err := w.svc.GetSource(t.Context(), atMachine, lifecycle.SourceRef{Name: "idp", CustomerID: "acme"})
	require.NoError(t, err)
	require.Equal(t, []string{"Mine", "locked"}, []string{got.Owner, got.Rule})

	form.Set("version", b.get(at).hidden("version"))
	w.push(lifecycle.SourceRef{Name: s.Name, CustomerID: "acme"}, "pushed-meanwhile")
	a = b.post(at, form)
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	holds(t, a.body, "list was pushed meanwhile")
}

func TestASourceIsDeletedOnlyWithoutKeysAndByItsName(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	ref := lifecycle.SourceRef{Name: "idp", CustomerID: "acme"}
	b := w.as(w.steward("acme"))
	w.push(ref, "one", "two")
	for _, a := range []answer{b.get("/keyreeve/sources/idp/delete"), b.post("/keyreeve/sources/idp/delete", url.Values{"confirm": {"idp"}})} {
		holds(t, a.body, "It owns 2 keys, so it cannot be deleted.")
		holds(t, a.body, `href="/keyreeve/keys?source=idp"`)
		holds(t, html.UnescapeString(a.body), `echo 'keys: []' | keyreeve source push idp -f - --max-removals 2 --url`)
	}
	w.push(ref)
	require.Equal(t, http.StatusBadRequest, b.post("/keyreeve/sources/idp/delete", url.Values{"confirm": {"IDP"}}).StatusCode)
	a := b.post("/keyreeve/sources/idp/delete", url.Values{"confirm": {"idp"}, "version": {b.get("/keyreeve/sources/idp/delete").hidden("version")}})
	require.Equal(t, "/keyreeve/sources", a.Header.Get("Location"), a.body)
	holds(t, b.get("/keyreeve/sources").body, "Source “idp” deleted.")
}

func TestASourcesPageTellsWhatItsListsDid(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	ref := lifecycle.SourceRef{Name: "idp", CustomerID: "acme"}
	b := w.as(w.operator)
	holds(t, b.get("/keyreeve/sources/idp").body, "No list was pushed yet.")
	w.push(ref, "one", "two", "three")
	w.clock.Advance(time.Minute)
	w.push(ref, "one", "four")
	body := b.get("/keyreeve/sources/idp").body
	holds(t, body, "1 new, 2 removed, 1 as before")
	holds(t, body, "3 new")
	lacks(t, body, "It changed nothing.")
	holds(t, body, "from somebody at the machine")
	holds(t, html.UnescapeString(body), "keyreeve source push idp -f keys.yaml --dry-run --customer acme")
	holds(t, html.UnescapeString(body), "/v1/sources/idp/keys?dry_run=true&customer_id=acme")
	w.clock.Advance(time.Minute)
	w.push(ref, "one", "four")
	holds(t, b.get("/keyreeve/sources/idp").body, "It changed nothing.")
	lacks(t, b.get("/keyreeve/sources").body, "Overdue")
	w.clock.Advance(9 * 24 * time.Hour)
	b = w.as(w.operator)
	holds(t, b.get("/keyreeve/sources").body, "Overdue")
	holds(t, b.get("/keyreeve/sources/idp").body, "That is more than 8 days ago.")
	holds(t, b.get("/keyreeve/sources/idp").body, "ask Identity team")
}

func TestASourceThatNeverHadAListIsOverdueByItsAge(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	b := w.as(w.steward("acme"))
	lacks(t, b.get("/keyreeve/sources/idp").body, "so a list should have come by now")
	w.clock.Advance(9 * 24 * time.Hour)
	body := w.as(w.operator).get("/keyreeve/sources/idp").body
	holds(t, body, "No list was pushed yet.")
	holds(t, body, "It was made more than 8 days ago, so a list should have come by now: ask Identity team.")
}

func TestARefusedListIsNotTakenForTheLastOne(t *testing.T) {
	now := time.Now()
	did := func(ago time.Duration, refused bool) pushed { return pushed{At: now.Add(-ago), Refused: refused} }
	require.False(t, quiet([]pushed{did(0, true), did(time.Hour, false)}, now.Add(-time.Hour)))
	require.True(t, quiet([]pushed{did(0, true), did(time.Hour, false)}, now.Add(-time.Minute)))
	require.True(t, quiet(nil, now))
	require.True(t, quiet([]pushed{did(0, true)}, now.Add(-time.Hour)))
	require.False(t, quiet(slices.Repeat([]pushed{did(0, true)}, shownPushes), now.Add(-time.Hour)), "it cannot be told")
}

func TestASourceMayBeCalledAsThePlaceWhereOneIsMade(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "new")
	b := w.as(w.steward("acme"))
	holds(t, b.get("/keyreeve/sources").body, `href="/keyreeve/sources/new/"`)
	holds(t, b.get("/keyreeve/sources/new/").body, "<h1>new</h1>")
	holds(t, b.get("/keyreeve/sources/new").body, "New source</h1>")
	holds(t, b.get("/keyreeve/sources/new/edit").body, "Edit source new</h1>")
	holds(t, b.get("/keyreeve/audit?target_kind=source").body, `href="/keyreeve/sources/new/"`)
	holds(t, w.as(w.operator).get("/keyreeve/audit?target_kind=source").body, `href="/keyreeve/sources/new/?customer_id=acme"`)
}

func TestASourcesDialogsShowTheirCommandsAndWriteNothing(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	form := url.Values{"as": {"commands"}, "once": {"kept"}, "name": {"idp"}, "customer_id": {"acme"}, "owner": {"It's us"}, "rule": {"locked"}, "max_role_id": {keystore.RoleReadOnly}}
	a := b.post("/keyreeve/sources/new", form, "HX-Request", "true")
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Equal(t, "kept", a.hidden("once"))
	holds(t, html.UnescapeString(a.body), `keyreeve source create idp --rule locked --max-role role_api_read_only --owner 'It'\''s us' --customer acme --url`)
	require.Empty(t, b.get("/keyreeve/sources").names())
	w.source("acme", "idp")
	form.Set("version", "7")
	a = b.post("/keyreeve/sources/idp/edit?customer_id=acme", form)
	holds(t, html.UnescapeString(a.body), `-H 'If-Match: "`)
	holds(t, html.UnescapeString(a.body), `keyreeve source edit idp --owner`)
}

func TestASourcesPageShowsNoMoreThanTheRoleAllows(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	w.push(lifecycle.SourceRef{Name: "idp", CustomerID: "acme"}, "one")
	r, _, err := w.svc.CreateRole(t.Context(), atMachine, lifecycle.NewRole{Name: "Sources", CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"*": policy.View, "keyreeve/keys": policy.View, "keyreeve/sources": policy.Read | policy.Create}})
	require.NoError(t, err)
	b := w.as(w.key(lifecycle.NewKey{Name: "narrow", RoleID: r.ID, CustomerID: "acme"}))
	page := b.get("/keyreeve/sources/idp").body
	holds(t, page, "API Read Only")
	holds(t, page, "which your role does not show")
	for _, id := range []string{"source-audit", "source-edit", "source-delete"} {
		lacks(t, page, id)
	}
	lacks(t, page, "1 new")
	lacks(t, page, `href="/keyreeve/roles/`)
	holds(t, b.get("/keyreeve/sources/new").body, `<option value="role_api_read_only">API Read Only</option>`, "keys are told apart by their roles")
	form := url.Values{"owner": {"me"}, "rule": {"locked"}, "max_role_id": {keystore.RoleReadOnly}, "confirm": {"idp"}}
	for _, what := range []string{"edit", "delete"} {
		require.Equal(t, http.StatusForbidden, b.get("/keyreeve/sources/idp/"+what).StatusCode)
		require.Equal(t, http.StatusForbidden, b.post("/keyreeve/sources/idp/"+what, form).StatusCode)
	}
}

func TestAnOwnerIsALinkWhereItIsAnAddress(t *testing.T) {
	for owner, want := range map[string]string{
		"Identity team":                      "",
		"https://wiki.example/keys?a=1":      "https://wiki.example/keys?a=1",
		"https://":                           "",
		"https://user:word@wiki.example":     "",
		"javascript:alert(1)":                "",
		"id@example.com":                     "mailto:id@example.com",
		"mailto:id@example.com":              "mailto:id@example.com",
		"Identity team <id@example.com>":     "mailto:id@example.com",
		"mailto:id@example.com?bcc=x@y.test": "",
	} {
		require.Equal(t, want, ownerURL(owner), owner)
	}
	w := newWorld(t)
	_, _, err := w.svc.CreateSource(t.Context(), atMachine, lifecycle.NewSource{Name: "idp", CustomerID: "acme", Owner: `Team <b> <id@example.com>`, Rule: keystore.SourceLocked, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	body := w.as(w.operator).get("/keyreeve/sources/idp?customer_id=acme").body
	lacks(t, body, "<b> <id@")
	holds(t, body, "Neither edited nor deleted")
}

func TestWhetherOneMayIsLookedAtBeforeTheForm(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.viewer)
	for _, path := range []string{"sources/new", "customers/new", "microtenants/new", "audit/verify", "keys/new"} {
		require.Equal(t, http.StatusForbidden, b.do("POST", "/keyreeve/"+path, "x", "Content-Type", "text/plain").StatusCode, path)
	}
}
