package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// servePage serves one document under the content security policy of a demo's page.
func servePage(t *testing.T, d *demo, body string) string {
	t.Helper()
	res, err := http.Get(d.AdminURL + "/keyreeve/login")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	policy := res.Header.Get("Content-Security-Policy")
	require.NotEmpty(t, policy)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/assets/") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>A page</title></head><body>%s</body></html>`, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// hears waits for a complaint, and forgets all there are.
func (b *tab) hears(about string) {
	b.Helper()
	require.Eventually(b, func() bool { return strings.Contains(strings.Join(b.heard(), "\n"), about) }, patience, 30*time.Millisecond, "not a word about %s", about)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = nil
}

func TestATabHearsWhatTheBrowserHasAgainstAPage(t *testing.T) {
	d, b := startDemo(t), openTab(t)
	for _, bad := range []struct{ body, heard string }{
		{`<script>document.title = 'ran'</script>`, "content security policy: script-src"},
		{`<script src="http://127.0.0.1:1/foreign.js"></script>`, "content security policy: script-src"},
		{`<p style="color: red">Red</p>`, "content security policy: style-src"},
		{`<img alt="" src="http://127.0.0.1:1/pixel.png">`, "content security policy: img-src"},
		{`<img alt="" src="/assets/gone.svg">`, "network: "},
	} {
		b.open(servePage(t, d, "<main>"+bad.body+"</main>"))
		b.hears(bad.heard)
		require.Equal(t, "A page", eval[string](b, "document.title"))
	}

	b.open(servePage(t, d, `<button onclick="document.title = 'ran'">Go</button>`))
	b.click("button")
	b.hears("content security policy: script-src")
	b.until(`(setTimeout(() => console.error('Oh no', 7)), true)`)
	b.hears(`console: "Oh no" 7`)
	b.until(`(setTimeout(() => { undefined.thing }), true)`)
	b.hears("exception: ")
	b.until(`(setTimeout('document.title = "ran"'), true)`)
	b.hears("content security policy: script-src")
}

func TestAxeFindsWhatItShould(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.open(servePage(t, d, `<main><h1>A page</h1><input><h3>Too deep</h3></main>`))
	found := strings.Join(b.breaches(), "\n")
	require.Contains(t, found, "label (critical) at input: ")
	require.Contains(t, found, "heading-order (moderate) at h3: ")
}

func TestATabWithoutScriptRunsNone(t *testing.T) {
	d := startDemo(t)
	b := openTabNoScript(t)
	b.open(d.AdminURL)
	require.False(t, eval[bool](b, `'htmx' in window`))
	b.signIn(d)
	require.False(t, eval[bool](b, `'htmx' in window`))
	b.axe()
	b.reload()
	require.False(t, eval[bool](b, `'htmx' in window`))
}
