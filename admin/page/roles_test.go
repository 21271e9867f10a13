package page

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const rolesPolicy = `version: 1
resources:
  segments: {group: configuration, title: Application Segments}
  servers: {group: configuration}
  files: {}
routes:
  - {methods: [GET, POST], path: "/c/{customerId}/segments", resource: segments}
  - {methods: [GET], path: "/c/{customerId}/servers", resource: servers}
  - {methods: [GET], path: "/files/{name...}", resource: files}
`

// ruled has one gate, of which roles only need the policy.
type ruled struct {
	lifecycle.Gatekeeper
	set *policy.Set
}

func (r ruled) Gates() []lifecycle.Gate { return []lifecycle.Gate{{Name: "gate", Set: r.set}} }

// underPolicy is a world with rolesPolicy in force.
func underPolicy(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	file, err := policy.ParseFile("policy.yaml", []byte(rolesPolicy))
	require.NoError(t, err)
	set, err := policy.Compile([]*policy.File{file}, nil)
	require.NoError(t, err)
	w.svc = lifecycle.New(lifecycle.Config{Store: w.store, Keyring: w.ring, GroupOf: set.GroupOf, Gatekeeper: ruled{set: set}})
	w.page.svc = w.svc
	return w
}

// role makes a role of acme.
func (w *world) role(name string, p policy.Permissions) lifecycle.Role {
	w.Helper()
	r, _, err := w.svc.CreateRole(w.Context(), atMachine, lifecycle.NewRole{Name: name, CustomerID: lifecycle.Some("acme"), Permissions: p})
	require.NoError(w, err)
	return r
}

// roleAdmin is a key that administers roles and may give servers and segments to read.
func (w *world) roleAdmin() lifecycle.CreatedKey {
	w.Helper()
	r := w.role("Role admin", policy.Permissions{"configuration": policy.View, "files": policy.Full, "keyreeve/keys": policy.View, "keyreeve/roles": policy.Full})
	return w.key(lifecycle.NewKey{Name: "role admin", RoleID: r.ID, CustomerID: "acme"})
}

// radio is the input of a level of the matrix, as it stands in the form.
func (a answer) radio(name, level string) string {
	pattern := `<input type="radio" name="permissions\.` + regexp.QuoteMeta(html.EscapeString(name)) + `" value="` + level + `"[^>]*>`
	return regexp.MustCompile(pattern).FindString(a.body)
}

var roleNames = regexp.MustCompile(`class="key-name"[^>]*>([^<]*)<`)

func (a answer) roles() []string {
	found := []string{}
	for _, m := range roleNames.FindAllStringSubmatch(a.body, -1) {
		found = append(found, m[1])
	}
	return found
}

func TestTheListShowsTheRolesThatTheActorsKeysMayHave(t *testing.T) {
	w := underPolicy(t)
	admin := w.roleAdmin()
	_, _, err := w.svc.CreateRole(t.Context(), atMachine, lifecycle.NewRole{Name: "Elsewhere", CustomerID: lifecycle.Some("umbrella"), Permissions: policy.Permissions{}})
	require.NoError(t, err)
	a := w.as(admin).get("/keyreeve/roles")
	require.Equal(t, []string{"API Full Access", "API Read Only", "Admin", "Operator", "Role admin", "Viewer"}, a.roles())
	holds(t, a.body, `href="/keyreeve/keys?role_id=`+w.adminRole+`&amp;view=none">2 keys</a>`, "as many as the actor sees")
	holds(t, a.body, "every customer")
	require.Contains(t, w.as(w.operator).get("/keyreeve/roles").roles(), "Elsewhere")
	require.Equal(t, []string{"Viewer"}, w.as(admin).get("/keyreeve/roles?q=view", "HX-Request", "true", "HX-Target", "role-list").roles())
	holds(t, w.as(admin).get("/keyreeve/roles?q=zzz").body, "No role matches")
	require.Equal(t, http.StatusForbidden, w.as(w.viewer).get("/keyreeve/roles").StatusCode)
}

func TestARolesPageShowsWhatItGrantsAndWhy(t *testing.T) {
	w := underPolicy(t)
	r := w.role("Mixed", policy.Permissions{"configuration": policy.View, "segments": policy.Read | policy.Create, "planned": policy.Full, "keyreeve/keys": policy.View})
	body := w.as(w.operator).get("/keyreeve/roles/" + r.ID).body
	require.Regexp(t, `(?s)Configuration <code class="dim">configuration</code>.*?data-title="View".*?Application Segments <code class="dim">segments</code>.*?class="exact held" data-title="Exactly">read, create<`, body)
	lacks(t, body, `<code>servers</code>`, "what is as its group has no row")
	require.Regexp(t, `(?s)In no policy in force.*?<code>planned</code>`, body)
	holds(t, body, "/keyreeve/audit?target_id="+r.ID+"&amp;target_kind=role")
	require.Regexp(t, `(?s)Read Configuration.*Read API keys in Keyreeve`, body)
	require.Regexp(t, `(?s)by <code>\*</code>`, w.as(w.operator).get("/keyreeve/roles/"+keystore.RoleFullAccess).body, "a wider entry is named")
	require.Equal(t, http.StatusNotFound, w.as(w.foreignAdmin()).get("/keyreeve/roles/"+r.ID).StatusCode)
}

// foreignAdmin administers roles of another customer.
func (w *world) foreignAdmin() lifecycle.CreatedKey {
	w.Helper()
	r, _, err := w.svc.CreateRole(w.Context(), atMachine, lifecycle.NewRole{Name: "Far", CustomerID: lifecycle.Some("umbrella"),
		Permissions: policy.Permissions{"keyreeve/keys": policy.Full, "keyreeve/roles": policy.Full}})
	require.NoError(w, err)
	return w.key(lifecycle.NewKey{Name: "far", RoleID: r.ID, CustomerID: "umbrella"})
}

var onceField = regexp.MustCompile(`name="once" value="([^"]+)"`)

func TestARoleIsMadeOnceHoweverOftenItsFormIsSent(t *testing.T) {
	w := underPolicy(t)
	b := w.as(w.roleAdmin())
	once := onceField.FindStringSubmatch(b.get("/keyreeve/roles/new").body)[1]
	form := url.Values{"once": {once}, "name": {"Readers"}, "description": {"first\r\nsecond"}, "permissions.configuration": {"view"},
		"permissions.files": {"custom"}, "actions.files": {"read", "delete"}, "permissions.*": {"none"}}
	shown := form
	shown.Set("as", "commands")
	a := b.post("/keyreeve/roles/new", shown)
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, html.UnescapeString(a.body), "keyreeve role create Readers --description 'first\nsecond' --grant configuration=view --grant files=read,delete --url ")
	holds(t, html.UnescapeString(a.body), `"permissions":{"configuration":"view","files":["read","delete"]}`)
	form.Del("as")

	a = b.post("/keyreeve/roles/new", form)
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
	at := a.Header.Get("Location")
	require.Equal(t, at, b.post("/keyreeve/roles/new", form).Header.Get("Location"), "sent twice, made once")
	r, err := w.svc.GetRole(t.Context(), atMachine, strings.TrimPrefix(at, "/keyreeve/roles/"))
	require.NoError(t, err)
	require.Equal(t, policy.Permissions{"configuration": policy.View, "files": policy.Read | policy.Delete}, r.Permissions)
	require.Equal(t, "first\nsecond", r.Description)
	require.Equal(t, "acme", *r.CustomerID)
	holds(t, b.get(at).body, "Role “Readers” made.")

	form.Set("once", "another")
	a = b.post("/keyreeve/roles/new", form, "HX-Request", "true")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	holds(t, a.body, `href="#f-name"`)
	lacks(t, a.body, "<html")
	require.Contains(t, a.radio("configuration", "view"), " checked", "nothing is lost")
}

func TestFaultsOfTheMatrixStandAtTheirRows(t *testing.T) {
	w := underPolicy(t)
	b := w.as(w.operator)
	a := b.post("/keyreeve/roles/new", url.Values{"name": {""}, "permissions.configuration": {"custom"}, "customer_id": {"acme"}})
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `href="#f-permissions.configuration"`)
	holds(t, a.body, `id="f-permissions.configuration" class="grant wrong"`)
	require.Contains(t, a.radio("configuration", "custom"), " checked")
	a = b.post("/keyreeve/roles/new", url.Values{"name": {"x"}, "customer_id": {"acme"}, "permissions.NOT A NAME": {"view"}})
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	holds(t, a.body, `href="#f-permissions"`)
	require.Contains(t, a.radio("NOT A NAME", "view"), " checked")
	a = b.post("/keyreeve/roles/new", url.Values{"do": {"add"}, "other": {"planned"}, "name": {"half typed"}})
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Contains(t, a.radio("planned", "view"), " checked")
	holds(t, a.body, `value="half typed"`)
	require.Equal(t, http.StatusBadRequest, b.post("/keyreeve/roles/new", url.Values{"do": {"add"}, "other": {" "}}).StatusCode)
}

func TestNobodyIsOfferedToGiveWhatTheyDoNotHold(t *testing.T) {
	w := underPolicy(t)
	b := w.as(w.roleAdmin())
	a := b.get("/keyreeve/roles/new")
	require.NotContains(t, a.radio("configuration", "view"), "disabled")
	require.Contains(t, a.radio("configuration", "full"), "disabled")
	require.Contains(t, a.radio("servers", "full"), "disabled", "a member as its group")
	require.NotContains(t, a.radio("files", "full"), "disabled")
	require.Contains(t, a.radio("*", "view"), "disabled")
	require.Contains(t, a.radio("keyreeve/audit", "view"), "disabled")
	require.NotContains(t, a.radio("keyreeve/roles", "full"), "disabled")
	holds(t, a.body, "Your own key holds read here, so you cannot give more.")
	lacks(t, a.body, `name="customer_id"`)
	// Asked for all the same, it is lifecycle that refuses.
	a = b.post("/keyreeve/roles/new", url.Values{"name": {"Too much"}, "permissions.*": {"full"}})
	require.Equal(t, http.StatusForbidden, a.StatusCode)
	holds(t, a.body, "grant more than the acting key holds")

	// A copy leaves out what the actor does not hold, and says so.
	r := w.role("Above", policy.Permissions{"configuration": policy.Full, "keyreeve/audit": policy.View})
	a = b.get("/keyreeve/roles/new?from=" + r.ID)
	holds(t, a.body, `value="Copy of Above"`)
	require.Contains(t, a.radio("configuration", "view"), " checked")
	require.Regexp(t, `(?s)left out of the copy.*Create, update and delete Configuration.*Read the audit trail`, a.body)
	require.Equal(t, http.StatusNotFound, w.as(w.foreignAdmin()).get("/keyreeve/roles/new?from="+r.ID).StatusCode)
}

var versionField = regexp.MustCompile(`name="version" value="(\d+)"`)

func TestWhatAnEditChangesIsSaidBeforeItIsDone(t *testing.T) {
	w := underPolicy(t)
	b := w.as(w.roleAdmin())
	r := w.role("Edited", policy.Permissions{"configuration": policy.View, "files": policy.Full})
	for _, name := range []string{"one", "two"} {
		w.key(lifecycle.NewKey{Name: name, RoleID: r.ID, CustomerID: "acme"})
	}
	at := "/keyreeve/roles/" + r.ID + "/edit"
	a := b.get(at)
	holds(t, a.body, "all of them at once")
	require.Contains(t, a.radio("files", "full"), " checked")
	form := url.Values{"version": versionField.FindStringSubmatch(a.body)[1:], "name": {"Renamed"}, "description": {""}, "do": {"review"},
		"permissions.files": {"view"}, "permissions.configuration": {"view"}, "permissions.servers": {"view"}, "permissions.keyreeve/roles": {"view"}}
	a = b.post(at, form)
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, a.body, "<strong>2 keys</strong> have this role")
	holds(t, a.body, "<strong>Removed:</strong> Create, update and delete files<")
	holds(t, a.body, "<strong>Added:</strong> Read roles in Keyreeve<")
	require.Regexp(t, `Added:</strong> Read servers<small>makes no difference: the entry for configuration grants it already<`, a.body)
	holds(t, a.body, "Its name becomes “Renamed”")
	holds(t, html.UnescapeString(a.body), "keyreeve role edit id:"+r.ID+" --name Renamed --grant files=view --grant keyreeve/roles=view --grant servers=view --url")
	unchanged, err := w.svc.GetRole(t.Context(), atMachine, r.ID)
	require.NoError(t, err)
	require.Equal(t, r.Revision, unchanged.Revision, "nothing is written yet")

	form.Set("do", "edit")
	require.Contains(t, b.post(at, form).radio("servers", "view"), " checked", "back in the form nothing is lost")
	form.Set("do", "save")
	a = b.post(at, form)
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
	require.Equal(t, "/keyreeve/roles/"+r.ID, a.Header.Get("Location"))
	saved, err := w.svc.GetRole(t.Context(), atMachine, r.ID)
	require.NoError(t, err)
	require.Equal(t, "Renamed", saved.Name)
	require.Equal(t, policy.Permissions{"configuration": policy.View, "files": policy.View, "servers": policy.View, "keyreeve/roles": policy.View}, saved.Permissions)

	// Somebody else was faster: what would change now is shown anew, nothing written.
	form.Set("permissions.files", "full")
	a = b.post(at, form)
	require.Equal(t, http.StatusPreconditionFailed, a.StatusCode)
	holds(t, a.body, "Somebody else changed the role")
	holds(t, a.body, "<strong>Added:</strong> Create, update and delete files<")
	form["version"] = versionField.FindStringSubmatch(a.body)[1:]
	require.Equal(t, http.StatusSeeOther, b.post(at, form).StatusCode)
	form["version"] = versionField.FindStringSubmatch(b.get(at).body)[1:]
	form.Set("do", "review")
	holds(t, b.post(at, form).body, "Nothing changes")
}

func TestRolesThatCannotBeChangedSayWhy(t *testing.T) {
	w := underPolicy(t)
	admin := w.roleAdmin()
	b := w.as(admin)
	above := w.role("Above", policy.Permissions{"*": policy.Full})
	for id, why := range map[string]string{
		keystore.RoleReadOnly: "comes with Keyreeve",
		admin.RoleID:          "the role of your own key",
		w.adminRole:           "the keys of every customer",
		above.ID:              "Beyond what you hold",
	} {
		for _, what := range []string{"/edit", "/delete"} {
			a := b.get("/keyreeve/roles/"+id+what, "HX-Request", "true", "HX-Target", "dialog")
			require.Equal(t, http.StatusConflict, a.StatusCode)
			holds(t, a.body, why)
			lacks(t, a.body, "<form")
		}
		a := b.post("/keyreeve/roles/"+id+"/edit", url.Values{"name": {"x"}, "do": {"save"}})
		require.Equal(t, http.StatusConflict, a.StatusCode, why)
		require.Equal(t, http.StatusOK, b.get("/keyreeve/roles/"+id).StatusCode)
	}
	inside := w.key(lifecycle.NewKey{Name: "inside", RoleID: admin.RoleID, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")})
	holds(t, w.as(inside).get("/keyreeve/roles/new").body, "your key to one microtenant")
	operator := w.as(w.key(lifecycle.NewKey{Name: "operator inside", RoleID: keystore.RoleOperator, CustomerID: "acme", MicrotenantID: lifecycle.Some("emea")}))
	require.Equal(t, http.StatusOK, operator.get("/keyreeve/roles/new").StatusCode, "whose reach is everything, wherever the key is")
	require.Equal(t, http.StatusOK, operator.get("/keyreeve/roles/"+above.ID+"/edit").StatusCode)
	require.Equal(t, http.StatusSeeOther, operator.post("/keyreeve/roles/new", url.Values{"name": {"Made inside"}, "customer_id": {"acme"}, "permissions.files": {"view"}}).StatusCode)
	require.Equal(t, http.StatusForbidden, w.as(w.viewer).get("/keyreeve/roles/new").StatusCode)
}

func TestARoleIsDeletedOnlyOnceNoKeyHasIt(t *testing.T) {
	w := underPolicy(t)
	b := w.as(w.roleAdmin())
	r := w.role("Doomed", policy.Permissions{"files": policy.View})
	k := w.key(lifecycle.NewKey{Name: "holder", RoleID: r.ID, CustomerID: "acme"})
	at := "/keyreeve/roles/" + r.ID + "/delete"
	for _, a := range []answer{b.get(at), b.post(at, url.Values{})} {
		require.Equal(t, http.StatusConflict, a.StatusCode)
		holds(t, a.body, "1 key has this role")
		holds(t, a.body, `href="/keyreeve/keys?role_id=`+r.ID)
	}
	_, err := w.svc.DeleteKey(t.Context(), atMachine, k.ID, nil)
	require.NoError(t, err)
	a := b.get(at)
	holds(t, html.UnescapeString(a.body), "keyreeve role delete id:"+r.ID+" --yes --url")
	require.Equal(t, http.StatusPreconditionFailed, b.post(at, url.Values{"version": {"1"}}).StatusCode)
	require.Equal(t, "/keyreeve/roles", b.post(at, url.Values{"version": versionField.FindStringSubmatch(a.body)[1:]}).Header.Get("Location"))
	require.NotContains(t, b.get("/keyreeve/roles").roles(), "Doomed")
	require.Equal(t, http.StatusNotFound, b.get(at).StatusCode)
}

func TestAnOperatorMakesRolesForEveryCustomer(t *testing.T) {
	w := underPolicy(t)
	b := w.as(w.operator)
	holds(t, b.get("/keyreeve/roles/new").body, `<option value="acme" selected>`)
	a := b.post("/keyreeve/roles/new", url.Values{"name": {"Everywhere"}, "customer_id": {"*"}, "permissions.*": {"view"}})
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
	holds(t, b.get(a.Header.Get("Location")).body, "the keys of every customer")
}

func TestWhoReadsRolesAloneMayCheckThePolicy(t *testing.T) {
	w := underPolicy(t)
	r := w.role("Roles alone", policy.Permissions{"keyreeve/roles": policy.View})
	k := w.key(lifecycle.NewKey{Name: "roles alone", RoleID: r.ID, CustomerID: "acme"})
	token := "roles-alone"
	w.door.sessions[token] = k.ClientID
	b := w.browser()
	a := b.get("/keyreeve/roles", "Cookie", plainCookie+"="+w.page.cookies.seal(plainCookie, ticket{Token: token, Seen: w.clock.Now().Wall.Unix()}))
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, a.body, `href="/keyreeve/policy"`)
	lacks(t, a.body, `href="/keyreeve/keys"`)
}
