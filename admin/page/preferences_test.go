package page

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPreferencesAreKeptAndSeenAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	a := b.get("/keyreeve/preferences")
	holds(t, a.body, "You are signed in as admin")
	holds(t, a.body, "Full access to API keys and locks in Keyreeve")
	holds(t, a.body, `data-theme="system"`)
	a = b.post("/keyreeve/preferences", url.Values{"theme": {"dark"}, "page_size": {"50"}})
	require.Equal(t, "/keyreeve/preferences", a.Header.Get("Location"))
	a = b.get("/keyreeve/preferences")
	holds(t, a.body, `data-theme="dark"`)
	holds(t, a.body, "Preferences kept.")
	holds(t, w.as(w.admin).get("/keyreeve/keys").body, `<option selected>50</option>`, "in another browser too")
	holds(t, w.as(w.viewer).get("/keyreeve/keys").body, `<option selected>20</option>`, "but not for others")
	for _, bad := range []url.Values{{"theme": {"pink"}}, {"page_size": {"0"}}, {"page_size": {"100000"}}, {"page_size": {"x"}}} {
		require.Equal(t, http.StatusBadRequest, b.post("/keyreeve/preferences", bad).StatusCode, bad)
	}
	part := b.post("/keyreeve/preferences", url.Values{"theme": {"light"}}, "HX-Request", "true", "HX-Current-URL", w.url+"/keyreeve/preferences")
	holds(t, part.body, "Preferences kept.")
	lacks(t, part.body, "<html")
}

func TestTheTableOpensWithTheViewThatIsChosen(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	made := b.post("/keyreeve/keys/views/new", url.Values{"back": {"/keyreeve/keys?q=view"}, "name": {"Viewers"}}).Header.Get("Location")
	id := regexp.MustCompile(`view_\w+`).FindString(made)
	holds(t, b.get("/keyreeve/preferences").body, `<option value="`+id+`">Viewers</option>`)
	b.post("/keyreeve/preferences/view", url.Values{"view": {id}})
	require.Equal(t, made, b.get("/keyreeve/keys").Header.Get("Location"))
	holds(t, b.get("/keyreeve/preferences").body, `<option value="`+id+`" selected>Viewers</option>`)
	b.post("/keyreeve/preferences/view", url.Values{"view": {""}})
	require.Equal(t, http.StatusOK, b.get("/keyreeve/keys").StatusCode)
	require.Equal(t, http.StatusNotFound, w.as(w.viewer).post("/keyreeve/preferences/view", url.Values{"view": {id}}).StatusCode, "another's")

	b.post("/keyreeve/keys/columns", url.Values{"order": {"name", "state"}, "shown": {"state"}})
	holds(t, b.get("/keyreeve/preferences").body, "You chose 2 of")
	require.Equal(t, "/keyreeve/preferences", b.post("/keyreeve/preferences/columns", nil).Header.Get("Location"))
	holds(t, b.get("/keyreeve/preferences").body, "as it comes")
}
