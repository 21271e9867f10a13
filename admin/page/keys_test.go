package page

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

var keyName = regexp.MustCompile(`class="key-name"[^>]*>([^<]*)<`)

// names are those of the keys in the table.
func (a answer) names() []string {
	names := []string{}
	for _, m := range keyName.FindAllStringSubmatch(a.body, -1) {
		names = append(names, m[1])
	}
	return names
}

func TestTheTableShowsTheKeysThatTheActorSees(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, []string{"admin", "bystander", "foreign", "operator", "tenant", "viewer"}, w.as(w.operator).get("/keyreeve/keys").names())
	require.Equal(t, []string{"admin", "bystander", "operator", "tenant", "viewer"}, w.as(w.admin).get("/keyreeve/keys").names())
	require.Equal(t, []string{"tenant"}, w.as(w.tenant).get("/keyreeve/keys").names())
	require.Equal(t, []string{"foreign"}, w.as(w.foreign).get("/keyreeve/keys").names())
	require.Empty(t, w.as(w.foreign).get("/keyreeve/keys?customer_id=acme").names())
}

func TestTheURLIsTheStateOfTheTable(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	for query, want := range map[string][]string{
		"q=VIEW":                           {"viewer"},
		"sort=-name":                       {"viewer", "tenant", "operator", "bystander", "admin"},
		"sort=-name&page_size=2&page=2":    {"operator", "bystander"},
		"microtenant_id=emea":              {"tenant"},
		"microtenant_id=null":              {"admin", "bystander", "operator", "viewer"},
		"role_id=" + keystore.RoleOperator: {"operator"},
		"state=disabled":                   {},
		"never_used=true&source=null":      {"admin", "bystander", "operator", "tenant", "viewer"},
		"expires_within=30":                {},
	} {
		a := b.get("/keyreeve/keys?" + query)
		require.Equal(t, http.StatusOK, a.StatusCode, query)
		require.Equal(t, want, a.names(), query)
		// A part of the page is what the whole is.
		part := b.get("/keyreeve/keys?"+query, "HX-Request", "true", "HX-Target", "key-list")
		require.Equal(t, want, part.names(), query)
		lacks(t, part.body, "<html")
	}
	// What a form sends without script is tidied up.
	require.Equal(t, "/keyreeve/keys?q=view", b.get("/keyreeve/keys?state=&q=view&role_id=&unknown=1").Header.Get("Location"))
	require.Equal(t, "/keyreeve/keys?q=view", b.get("/keyreeve/keys?state=&q=view", "HX-Request", "true").Header.Get("HX-Push-Url"))
}

func TestGoingOnByTheCursorMissesNothing(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	next := regexp.MustCompile(`id="page-next" rel="next" href="([^"]*)"`)
	a := b.get("/keyreeve/keys?page_size=2")
	found := a.names()
	w.key(lifecycle.NewKey{Name: "aaa made meanwhile", RoleID: w.adminRole, CustomerID: "acme"})
	for range 2 {
		m := next.FindStringSubmatch(a.body)
		require.NotNil(t, m)
		u, err := url.Parse(regexp.MustCompile(`&amp;`).ReplaceAllString(m[1], "&"))
		require.NoError(t, err)
		a = b.get(u.String())
		found = append(found, a.names()...)
	}
	require.Equal(t, []string{"admin", "bystander", "operator", "tenant", "viewer"}, found)
	require.Equal(t, http.StatusOK, b.get("/keyreeve/keys?q=e&cursor=nonsense&at=1").StatusCode, "a cursor of another list gives way to the page")
}

func TestFiltersThatCannotBeReadAreMarked(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	for _, query := range []string{"created_after=yesterday", "never_used=maybe", "state=gone", "sort=secret", "label=%21", "expires_within=x", "q=" + fmt.Sprintf("%0201d", 1)} {
		a := b.get("/keyreeve/keys?" + query)
		require.Equal(t, http.StatusBadRequest, a.StatusCode, query)
		holds(t, a.body, `class="faults"`, query)
		require.Empty(t, a.names(), query)
	}
}

func TestNoKeysYetIsToldFromNoMatch(t *testing.T) {
	w := newWorld(t)
	holds(t, w.as(w.admin).get("/keyreeve/keys?q=nothing").body, "No key matches")
	_, _, err := w.svc.CreateCustomer(t.Context(), atMachine, lifecycle.NewCustomer{ID: "empty", Name: "Empty"})
	require.NoError(t, err)
	holds(t, w.as(w.operator).get("/keyreeve/keys?customer_id=empty").body, "No key matches")
}

func TestNamesAreShownAsTextWhateverTheyAre(t *testing.T) {
	w := newWorld(t)
	w.key(lifecycle.NewKey{Name: `<script>alert("x")</script>`, Description: `"onmouseover=x {{.}}`, RoleID: w.adminRole, CustomerID: "acme"})
	body := w.as(w.admin).get("/keyreeve/keys").body
	holds(t, body, "&lt;script&gt;alert")
	lacks(t, body, "<script>alert")
}

func TestStatesAreAskedForAgainAndAnsweredOnlyWhenTheyChange(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	poll := regexp.MustCompile(`hx-get="(/keyreeve/keys/live[^"]*)"`)
	at := func(a answer) string {
		m := poll.FindStringSubmatch(a.body)
		require.NotNil(t, m, a.body)
		return regexp.MustCompile(`&amp;`).ReplaceAllString(m[1], "&")
	}
	live := at(b.get("/keyreeve/keys?q=viewer"))
	require.Equal(t, http.StatusNoContent, b.get(live, "HX-Request", "true").StatusCode)
	_, _, err := w.svc.UpdateKey(t.Context(), atMachine, w.viewer.ID, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)}, nil)
	require.NoError(t, err)
	a := b.get(live, "HX-Request", "true")
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, a.body, `id="state-`+w.viewer.ID+`" hx-swap-oob="true"`)
	holds(t, a.body, "switched off")
	require.Equal(t, http.StatusNoContent, b.get(at(a), "HX-Request", "true").StatusCode)
}

func TestColumnsAreKeptForTheAdministrator(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	heads := func(b *browser) []string {
		var titles []string
		for _, m := range regexp.MustCompile(`data-title="([^"]*)"`).FindAllStringSubmatch(b.get("/keyreeve/keys?q=viewer").body, -1) {
			titles = append(titles, m[1])
		}
		return titles
	}
	require.Len(t, heads(b), len(firstColumns))
	order := url.Values{"back": {"/keyreeve/keys"}, "order": {"name", "labels", "state", "client_id"}, "shown": {"state", "labels"}}
	a := b.post("/keyreeve/keys/columns", order)
	require.Equal(t, "/keyreeve/keys", a.Header.Get("Location"))
	require.Equal(t, []string{"Name", "Labels", "State"}, heads(w.as(w.admin)), "in another browser too")
	require.Len(t, heads(w.as(w.viewer)), len(firstColumns), "but not for others")

	order.Set("move", "state:up")
	require.Regexp(t, `(?s)value="name">.*value="state">.*value="labels">`, b.post("/keyreeve/keys/columns", order).body)
	b.post("/keyreeve/keys/columns", url.Values{"reset": {"true"}})
	require.Len(t, heads(b), len(firstColumns))
}

func TestSavedViewsKnowWhatIsNotSaved(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	a := b.post("/keyreeve/keys/views/new", url.Values{"back": {"/keyreeve/keys?q=view&sort=-name&page=2"}, "name": {"Viewers"}, "default": {"true"}})
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.says())
	at := a.Header.Get("Location")
	require.Contains(t, at, "q=view&sort=-name&view=view_")
	require.Equal(t, at, b.get("/keyreeve/keys").Header.Get("Location"), "it opens first")
	holds(t, b.get(at).body, "View “Viewers” saved.")
	lacks(t, b.get(at).body, "Not saved")
	changed := b.get(at + "&state=active")
	holds(t, changed.body, "Not saved")
	holds(t, changed.body, `id="view-discard"`)
	require.Equal(t, http.StatusOK, b.get("/keyreeve/keys?view=none").StatusCode)

	id := regexp.MustCompile(`view_\w+`).FindString(at)
	a = b.post("/keyreeve/keys/views/"+id+"/save", url.Values{"back": {at + "&state=active"}})
	require.Contains(t, a.Header.Get("Location"), "state=active")
	lacks(t, b.get(a.Header.Get("Location")).body, "Not saved")
	require.Equal(t, http.StatusNotFound, w.as(w.viewer).post("/keyreeve/keys/views/"+id+"/save", url.Values{"back": {at}}).StatusCode, "another's")
	a = b.post("/keyreeve/keys/views/"+id+"/delete", url.Values{"back": {at}})
	require.Equal(t, "/keyreeve/keys?q=view&sort=-name&view=none", a.Header.Get("Location"))
	holds(t, b.post("/keyreeve/keys/views/new", url.Values{"name": {""}}).body, `href="#f-name"`)
}

func TestWithScriptAViewIsSavedAndDeletedInPlace(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	script := []string{"HX-Request", "true", "HX-Current-URL", w.url + "/keyreeve/keys?q=view"}
	a := b.post("/keyreeve/keys/views/new", url.Values{"back": {"/keyreeve/keys?q=view"}, "name": {"Viewers"}}, script...)
	require.Equal(t, http.StatusOK, a.StatusCode, a.says())
	at := a.Header.Get("HX-Push-Url")
	require.Contains(t, at, "q=view&view=view_")
	require.Equal(t, []string{"#keys", "outerHTML", "keyreeve:close"}, []string{a.Header.Get("HX-Retarget"), a.Header.Get("HX-Reswap"), a.Header.Get("HX-Trigger-After-Swap")})
	require.Regexp(t, `(?s)^\s*<div id="keys">.*id="view-delete".*<div id="notice" hx-swap-oob="true">.*View “Viewers” saved.`, a.body)

	changed := b.get(at+"&state=active", script...)
	holds(t, changed.body, "; view “Viewers” is not saved</p>")
	id := regexp.MustCompile(`view_\w+`).FindString(at)
	a = b.post("/keyreeve/keys/views/"+id+"/delete", url.Values{"back": {at}}, script...)
	require.Equal(t, "/keyreeve/keys?q=view&view=none", a.Header.Get("HX-Push-Url"))
	holds(t, a.body, "View “Viewers” deleted.")
	lacks(t, a.body, `id="view-delete"`)
}

func TestOnlyWhoCanDoSomethingWithManyKeysTicksThem(t *testing.T) {
	w := newWorld(t)
	body := w.as(w.viewer).get("/keyreeve/keys").body
	holds(t, body, `id="row-`+w.viewer.ID+`"`)
	lacks(t, body, "data-select")
	lacks(t, body, `id="bulk"`)
	holds(t, w.as(w.admin).get("/keyreeve/keys").body, "data-select-all")
}

func TestTheLastPageSaysHowFarItReaches(t *testing.T) {
	next := "cursor"
	span := func(number, shown, total int, cursor *string) []int {
		p := newPager(newQuery(nil), number, 20, shown, total, cursor, "#keys")
		return []int{p.From, p.To}
	}
	require.Equal(t, []int{1, 20}, span(1, 20, 42, &next))
	require.Equal(t, []int{24, 42}, span(2, 19, 42, nil), "three were made before it, since the first page was read")
	require.Equal(t, []int{41, 42}, span(3, 2, 42, nil))
	require.Equal(t, []int{0, 0}, span(9, 0, 42, nil))
}

func TestTheMenuCopiesTheMicrotenantOnlyInsideOne(t *testing.T) {
	w := newWorld(t)
	lacks(t, w.as(w.admin).get("/keyreeve/keys").body, "Copy Microtenant ID")
	body := w.as(w.tenant).get("/keyreeve/keys").body
	holds(t, body, `data-copy="emea"`)
	holds(t, body, `data-copy="acme"`)
	lacks(t, body, `id="microtenant_id"`)
}
