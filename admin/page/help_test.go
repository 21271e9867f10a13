package page

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryRoomHasASectionInTheGuide(t *testing.T) {
	for _, at := range allRooms {
		require.NotNil(t, topicNamed(guide).section(sectionOf(at.Path)), at.Title)
		require.NotNil(t, topicNamed(guide).section(sectionOf(at.Path+"/x?y=z")), at.Title)
	}
	require.Empty(t, sectionOf("/keyreeve/keysofanother"))
	require.Empty(t, sectionOf("/keyreeve/"))
}

func TestLinksBetweenTopicsLeadSomewhere(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.viewer)
	pages := map[string]string{}
	for _, one := range manual() {
		a := b.get(one.Path())
		require.Equal(t, http.StatusOK, a.StatusCode, one.Name)
		lacks(t, a.body, " style=", "the security policy forbids it")
		lacks(t, a.body, "raw HTML omitted", "%s has HTML in it", one.Name)
		holds(t, a.body, "<h1>"+one.Title, one.Name)
		pages[one.Path()] = a.body
	}
	require.Greater(t, len(pages), 8)
	found := 0
	for at, body := range pages {
		_, article, _ := strings.Cut(body, "<article>")
		for _, m := range regexp.MustCompile(`<a href="([^"]*)"([^>]*)>`).FindAllStringSubmatch(article, -1) {
			u, err := url.Parse(m[1])
			require.NoError(t, err)
			if u.Scheme != "" {
				require.Equal(t, "https", u.Scheme, "%s: %s", at, m[1])
				require.Equal(t, ` rel="noreferrer"`, m[2], m[1])
				continue
			}
			there := pages[u.Path]
			if u.Path == "" {
				there = body
			}
			require.NotEmpty(t, there, "%s leads to %s", at, m[1])
			if u.Fragment != "" {
				require.Contains(t, there, `id="`+u.Fragment+`"`, "%s leads to %s", at, m[1])
				found++
			}
		}
	}
	require.Greater(t, found, 20)
}

func TestTheDrawerIsAboutTheRoomThatItIsOpenedIn(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.viewer)
	in := func(path string) string {
		return b.get("/keyreeve/help", "HX-Request", "true", "HX-Target", "help", "HX-Current-URL", w.url+path).body
	}
	require.Regexp(t, `id="drawer-title"[^>]*>Roles<`, in("/keyreeve/roles/role_1/edit?x=1"))
	require.Regexp(t, `id="drawer-title"[^>]*>Policy check<`, in("/keyreeve/policy"))
	require.Regexp(t, `id="drawer-title"[^>]*>Help<`, in("/keyreeve/help/cli"))
	require.Contains(t, in("/keyreeve/keys"), "<kbd>?</kbd>")
	require.NotContains(t, in("/keyreeve/keys"), ` id="doc-`, "it never meets a topic's own headings")
	page := b.get("/keyreeve/help")
	holds(t, page.body, "<h1>Help</h1>")
	holds(t, page.body, `href="/keyreeve/help/policy"`)
	require.Equal(t, http.StatusNotFound, b.get("/keyreeve/help/nothing").StatusCode)
	require.Equal(t, http.StatusSeeOther, w.browser().get("/keyreeve/help").StatusCode, "for who is signed in")
}

func TestHTMLAndScriptsInADocumentAreNotShown(t *testing.T) {
	one, err := newTopic("x", []byte("# T\n\nx <script>a</script> [a](javascript:alert(1)) [b](../LICENSE) [c](x.md#s) ![d](https://example.com/d.png)\n\n## S\n\n<b onclick=x>y</b>\n"), []string{"x.md"})
	require.NoError(t, err)
	all := string(one.Lead) + string(one.Sections[0].Body)
	lacks(t, all, "<script")
	lacks(t, all, "javascript:")
	lacks(t, all, "onclick")
	holds(t, all, `<a href="/keyreeve/help/x#doc-s">c</a>`)
	lacks(t, all, "LICENSE")
}
