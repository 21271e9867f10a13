package page

import (
	"html"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommandsAreShownOfAFormThatIsNotFilledIn(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	for _, c := range []struct {
		path string
		form url.Values
		want []string
	}{
		{"/keyreeve/keys/new", nil, []string{`"name":"NAME","role_id":"ROLE_ID"`, "keyreeve key create NAME --role ROLE_ID"}},
		{"/keyreeve/keys/new", url.Values{"session_validity_seconds": {"soon"}, "expires": {"some day"}, "labels": {"=x\nenv=prod"}, "role_id": {w.adminRole}},
			[]string{`"labels":{"env":"prod"},"name":"NAME"`}},
		{"/keyreeve/sources/new", url.Values{"rule": {"read_only"}}, []string{"keyreeve source create NAME --rule read_only --max-role ROLE_ID"}},
		{"/keyreeve/customers/new", nil, []string{"keyreeve customer create NAME"}},
		{"/keyreeve/roles/new", nil, []string{"keyreeve role create NAME"}},
		{"/keyreeve/keys/" + w.viewer.ID + "/edit", url.Values{"name": {" "}, "session_validity_seconds": {"soon"}}, []string{"keyreeve key edit"}},
	} {
		form := url.Values{"as": {"commands"}}
		for name, values := range c.form {
			form[name] = values
		}
		a := b.post(c.path, form)
		require.Equal(t, http.StatusOK, a.StatusCode, "%s: %s", c.path, a.says())
		for _, want := range c.want {
			holds(t, html.UnescapeString(a.body), want, c.path)
		}
		lacks(t, a.body, `class="faults"`, c.path)
	}
}

func TestANameThatLooksLikeAFlagIsGivenAsAName(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.operator)
	for path, want := range map[string]string{
		"/keyreeve/keys/new":      "keyreeve key create --role ROLE_ID --disabled --url " + w.url + " -- --help",
		"/keyreeve/customers/new": "keyreeve customer create --disabled --url " + w.url + " -- --help",
	} {
		holds(t, html.UnescapeString(b.post(path, url.Values{"as": {"commands"}, "name": {"--help"}}).body), want)
	}
}

func TestColumnsAndViewsAreShownAsCurlAlone(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	a := b.post("/keyreeve/keys/columns", url.Values{"as": {"commands"}, "order": {"name", "labels", "state"}, "shown": {"labels"}})
	holds(t, html.UnescapeString(a.body), `-X PATCH -H 'Content-Type: application/merge-patch+json' --data '{"keys":{"columns":["name","labels"]}}' `+w.url+`/v1/me/preferences`)
	lacks(t, a.body, "<h2>CLI</h2>")
	a = b.post("/keyreeve/keys/views/new", url.Values{"as": {"commands"}, "back": {"/keyreeve/keys?q=view"}, "default": {"true"}})
	require.Equal(t, http.StatusOK, a.StatusCode)
	holds(t, html.UnescapeString(a.body), `"default":true,"list":"keys","name":"NAME","query":"q=view","shared":false}' `+w.url+`/v1/me/views`)
	lacks(t, b.get("/keyreeve/keys").body, "opens first", "nothing is written")
}
