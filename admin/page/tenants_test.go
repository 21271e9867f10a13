package page

import (
	"html"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func (w *world) microtenant(customerID, id, name string) {
	w.Helper()
	_, _, err := w.svc.CreateMicrotenant(w.Context(), atMachine, lifecycle.NewMicrotenant{ID: id, CustomerID: customerID, Name: name})
	require.NoError(w, err)
}

func TestTenantsAreThoseThatTheActorSees(t *testing.T) {
	w := newWorld(t)
	w.microtenant("umbrella", "emea", "Their Europe")
	require.Equal(t, []string{"Europe", "Their Europe"}, w.as(w.operator).get("/keyreeve/microtenants").names())
	require.Equal(t, []string{"Their Europe"}, w.as(w.operator).get("/keyreeve/microtenants?customer_id=umbrella").names())
	require.Equal(t, []string{"ACME", "UMBRELLA"}, w.as(w.operator).get("/keyreeve/customers").names())
	steward := w.as(w.steward("acme"))
	require.Equal(t, []string{"Europe"}, steward.get("/keyreeve/microtenants").names())
	require.Equal(t, []string{"ACME"}, steward.get("/keyreeve/customers").names())
	lacks(t, steward.get("/keyreeve/customers").body, `id="tenant-new"`)
	lacks(t, steward.get("/keyreeve/microtenants").body, `name="customer_id"`)
	form := url.Values{"name": {"Mine"}, "enabled": {"false"}, "confirm": {"Their Europe"}}
	for _, what := range []string{"edit", "status", "delete"} {
		for _, at := range []string{"/keyreeve/microtenants/umbrella/emea/", "/keyreeve/customers/umbrella/"} {
			require.Equal(t, http.StatusNotFound, steward.get(at+what).StatusCode, at+what)
			require.Equal(t, http.StatusNotFound, steward.post(at+what, form).StatusCode, at+what)
		}
		require.Equal(t, http.StatusForbidden, w.as(w.admin).get("/keyreeve/microtenants/acme/emea/"+what).StatusCode, what)
		require.Equal(t, http.StatusForbidden, w.as(w.admin).post("/keyreeve/microtenants/acme/emea/"+what, form).StatusCode, what)
	}
	require.Equal(t, http.StatusForbidden, w.as(w.admin).get("/keyreeve/microtenants").StatusCode)
	require.Equal(t, http.StatusForbidden, steward.post("/keyreeve/customers/new", url.Values{"name": {"Mine"}}).StatusCode)
	require.Equal(t, http.StatusForbidden, steward.post("/keyreeve/customers/acme/edit", url.Values{"name": {"Mine"}}).StatusCode)
}

func TestNoMicrotenantsYetIsToldFromNoMatch(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.steward("umbrella"))
	holds(t, b.get("/keyreeve/microtenants").body, "No microtenants yet")
	for i := range 25 {
		w.microtenant("umbrella", "mt"+strconv.Itoa(i), "Branch "+strconv.Itoa(100+i))
	}
	require.Len(t, b.get("/keyreeve/microtenants").names(), 20)
	require.Equal(t, "Branch 120", b.get("/keyreeve/microtenants?page=2").names()[0])
	require.Equal(t, "Branch 124", b.get("/keyreeve/microtenants?sort=-name&page_size=20").names()[0])
	holds(t, b.get("/keyreeve/microtenants?q=nothing").body, "No microtenant matches")
	require.Equal(t, http.StatusBadRequest, b.get("/keyreeve/microtenants?sort=secret").StatusCode)
	part := b.get("/keyreeve/microtenants?q=branch+11", "HX-Request", "true", "HX-Target", "tenant-list")
	require.Len(t, part.names(), 10)
	lacks(t, part.body, `id="find"`)
}

func TestAMicrotenantIsMadeOnceWithAnIdOfOnesOwn(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	page := b.get("/keyreeve/microtenants/new?customer_id=umbrella")
	holds(t, page.body, `<option value="umbrella" selected>`)
	form := url.Values{"once": {page.hidden("once")}, "name": {"Asia"}, "id": {"216196257331281921"}, "customer_id": {"umbrella"}, "enabled": {"true"}}
	for range 2 {
		a := b.post("/keyreeve/microtenants/new", form)
		require.Equal(t, "/keyreeve/microtenants", a.Header.Get("Location"), a.body)
	}
	holds(t, b.get("/keyreeve/microtenants").body, `data-copy="216196257331281921"`)
	form.Set("once", "another")
	a := b.post("/keyreeve/microtenants/new", form)
	require.Equal(t, http.StatusConflict, a.StatusCode)
	a = b.post("/keyreeve/microtenants/new", url.Values{"name": {""}, "id": {"0"}, "customer_id": {"umbrella"}}, "HX-Request", "true")
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `href="#f-name"`)
	holds(t, a.body, `href="#f-id"`)
	a = b.post("/keyreeve/customers/new", url.Values{"name": {"Initech"}})
	require.Equal(t, "/keyreeve/customers", a.Header.Get("Location"))
	holds(t, b.get("/keyreeve/customers").body, "Disabled", "the tick was taken away")
	require.Equal(t, http.StatusForbidden, w.as(w.tenant).get("/keyreeve/microtenants/new").StatusCode)
}

func TestATenantThatSomebodyElseRenamedIsNotWrittenOver(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.steward("acme"))
	const at = "/keyreeve/microtenants/acme/emea/edit"
	form := url.Values{"version": {b.get(at).hidden("version")}, "name": {"Mine"}}
	_, _, err := w.svc.UpdateMicrotenant(t.Context(), atMachine, lifecycle.MicrotenantRef{ID: "emea", CustomerID: "acme"}, lifecycle.TenantPatch{Name: lifecycle.Some("Theirs")}, nil)
	require.NoError(t, err)
	a := b.post(at, form, "HX-Request", "true")
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	holds(t, a.body, "<td>Theirs</td><td>Mine</td>")
	form.Set("version", a.hidden("version"))
	require.Equal(t, http.StatusSeeOther, b.post(at, form).StatusCode)
	require.Equal(t, []string{"Mine"}, b.get("/keyreeve/microtenants").names())
	status := url.Values{"enabled": {"false"}, "version": {"1"}}
	require.Equal(t, http.StatusPreconditionFailed, b.post("/keyreeve/microtenants/acme/emea/status", status).StatusCode)
}

func TestDisablingATenantSaysWhatComesOfIt(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	const at = "/keyreeve/microtenants/acme/emea/status"
	dialog := b.get(at)
	holds(t, dialog.body, "The 1 key in it is refused from then on")
	holds(t, dialog.body, "Sessions of its keys end at once")
	holds(t, html.UnescapeString(dialog.body), "keyreeve microtenant disable id:emea --customer acme --url")
	form := url.Values{"enabled": {dialog.hidden("enabled")}, "version": {dialog.hidden("version")}}
	a := b.post(at, form)
	require.Equal(t, "/keyreeve/microtenants", a.Header.Get("Location"), a.body)
	holds(t, b.get("/keyreeve/microtenants").body, "Microtenant “Europe” disabled; its sessions are over.")
	again := b.get(at)
	holds(t, again.body, "The keys of “Europe” can be used again.")
	require.Equal(t, "true", again.hidden("enabled"))
	require.Equal(t, http.StatusSeeOther, b.post(at, url.Values{"enabled": {"true"}}).StatusCode)

	// A customer is more: its name is asked for, and nobody locks themselves out.
	require.Equal(t, http.StatusBadRequest, b.post("/keyreeve/customers/umbrella/status", url.Values{"enabled": {"false"}}).StatusCode)
	require.Equal(t, http.StatusSeeOther, b.post("/keyreeve/customers/umbrella/status", url.Values{"enabled": {"false"}, "confirm": {"UMBRELLA"}}).StatusCode)
	a = b.post("/keyreeve/customers/acme/status", url.Values{"enabled": {"false"}, "confirm": {"ACME"}})
	require.Equal(t, http.StatusConflict, a.StatusCode)
	holds(t, a.body, "would lock itself out")
}

func TestATenantWithSomethingInItSaysWhatMustGoFirst(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	const at = "/keyreeve/microtenants/acme/emea/delete"
	for status, a := range map[int]answer{http.StatusOK: b.get(at), http.StatusConflict: b.post(at, url.Values{"confirm": {"Europe"}})} {
		require.Equal(t, status, a.StatusCode)
		holds(t, a.body, "cannot be deleted while there is something in it")
		holds(t, a.body, `href="/keyreeve/keys?customer_id=acme&amp;microtenant_id=emea">Show the 1 key</a>`)
	}
	w.source("umbrella", "idp")
	w.microtenant("umbrella", "apac", "Asia")
	customer := b.get("/keyreeve/customers/umbrella/delete").body
	holds(t, customer, "Show the 1 key")
	holds(t, customer, "Show the 1 microtenant")
	holds(t, customer, "Show the 1 source")

	const empty = "/keyreeve/microtenants/umbrella/apac/delete"
	require.Equal(t, http.StatusBadRequest, b.post(empty, url.Values{"confirm": {"asia"}}).StatusCode)
	a := b.post(empty, url.Values{"confirm": {"Asia"}, "version": {b.get(empty).hidden("version")}})
	require.Equal(t, "/keyreeve/microtenants", a.Header.Get("Location"), a.body)
	require.Equal(t, http.StatusNotFound, b.get(empty).StatusCode)
	_, _, err := w.svc.CreateCustomer(t.Context(), atMachine, lifecycle.NewCustomer{ID: "gone", Name: "Gone"})
	require.NoError(t, err)
	require.Equal(t, http.StatusSeeOther, b.post("/keyreeve/customers/gone/delete", url.Values{"confirm": {"Gone"}}).StatusCode)
}

func TestATenantsDialogsShowTheirCommandsAndWriteNothing(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	form := url.Values{"as": {"commands"}, "name": {"Asia & more"}, "id": {"apac"}, "customer_id": {"acme"}}
	a := b.post("/keyreeve/microtenants/new", form)
	holds(t, html.UnescapeString(a.body), "keyreeve microtenant create 'Asia & more' --id apac --customer acme --disabled --url")
	holds(t, html.UnescapeString(a.body), `{"customer_id":"acme","enabled":false,"id":"apac","name":"Asia & more"}`)
	a = b.post("/keyreeve/customers/acme/edit", form)
	holds(t, html.UnescapeString(a.body), "keyreeve customer edit id:acme --name 'Asia & more' --url")
	require.Equal(t, []string{"Europe"}, b.get("/keyreeve/microtenants").names())
	require.Equal(t, []string{"ACME", "UMBRELLA"}, b.get("/keyreeve/customers").names())
}

func TestThePageOfAnActorInsideAMicrotenantOffersNoChangeOfIt(t *testing.T) {
	w := newWorld(t)
	w.source("acme", "idp")
	inside := w.key(lifecycle.NewKey{Name: "inside", RoleID: keystore.RoleOperator, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")})
	holds(t, w.as(inside).get("/keyreeve/microtenants").body, `id="tenant-new"`, "an Operator's reach is everything, wherever the key is")
	r, _, err := w.svc.CreateRole(t.Context(), atMachine, lifecycle.NewRole{Name: "Tenants", CustomerID: lifecycle.Null[string](),
		Permissions: policy.Permissions{"keyreeve/*": policy.Full}})
	require.NoError(t, err)
	b := w.as(w.key(lifecycle.NewKey{Name: "narrow", RoleID: r.ID, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")}))
	body := b.get("/keyreeve/microtenants").body
	holds(t, body, "Europe")
	lacks(t, body, `id="tenant-new"`)
	lacks(t, body, `>Rename</a>`)
	lacks(t, body, `href="/keyreeve/sources"`)
	require.Equal(t, http.StatusForbidden, b.get("/keyreeve/sources").StatusCode)
	require.Equal(t, http.StatusForbidden, b.post("/keyreeve/microtenants/acme/emea/edit", url.Values{"name": {"Mine"}}).StatusCode)
}
