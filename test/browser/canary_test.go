package browser

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// keptByPage is all that the page itself can read of what it keeps.
const keptByPage = `(async () => JSON.stringify([
	document.documentElement.outerHTML, [...document.querySelectorAll('input, textarea')].map(e => e.value), location.href, document.cookie, history.state, window.name,
	{...localStorage}, {...sessionStorage}, await indexedDB.databases(), await caches.keys().catch(() => []),
	performance.getEntries().map(e => e.name), await navigator.clipboard?.readText().catch(() => ''),
]))()`

// browserHolds is what a browser holds that can be looked at from outside: the page,
// its storage, the history of the tab and the cookies.
func (b *tab) browserHolds() string {
	b.Helper()
	b.ready()
	var kept string
	b.do(chromedp.Evaluate(keptByPage, &kept, awaited))
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		_, history, err := page.GetNavigationHistory().Do(ctx)
		if err != nil {
			return err
		}
		for _, e := range history {
			kept += fmt.Sprintf("\n%s %s %s", e.URL, e.UserTypedURL, e.Title)
		}
		cookies, err := storage.GetCookies().Do(ctx)
		for _, c := range cookies {
			kept += fmt.Sprintf("\n%s=%s", c.Name, c.Value)
		}
		return err
	}))
	return kept
}

// serverHolds is what a demo has written down: its log, the audit trail as it is
// exported, and every file of its store.
func (d *demo) serverHolds(t *testing.T) []byte {
	t.Helper()
	held := []byte(d.logged())
	for _, format := range []string{"ndjson", "csv"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.AdminURL+"/v1/audit-events?format="+format, nil)
		require.NoError(t, err)
		req.SetBasicAuth(d.key(t, "operator"))
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
		require.Contains(t, string(text), "key.create", format)
		held = append(held, text...)
	}
	require.NoError(t, filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		held = append(held, text...)
		return err
	}))
	return held
}

// A canary: a secret that people were shown, looked for in all that is left of it.
func TestASecretIsNowhereOnceItsDialogIsClosed(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	var secrets []string
	shown := func() {
		b.until(`document.getElementById('shown-secret')`)
		secret := eval[string](b, shownSecret)
		require.Greater(t, len(secret), 20)
		require.Contains(t, b.browserHolds(), secret, "the search finds what is there")
		secrets = append(secrets, secret)
		b.click("#stored")
		b.click("#secret-done")
		b.until(dialogClosed)
	}
	b.press("n")
	b.until(dialogOpen + ` && document.activeElement.id === 'f-name'`)
	b.fill("#f-name", "Aaa canary")
	b.click("#role-role_api_read_only")
	b.click("#create-key")
	shown()
	b.until(names + `[0] === 'Aaa canary'`)
	require.Contains(t, b.browserHolds(), "Aaa canary")

	// Its successor, too.
	b.click("tbody tr:first-child .row-menu summary")
	b.click("tbody tr:first-child .row-menu a[id^=rotate-]")
	b.until(dialogOpen)
	b.click("dialog form button.primary")
	shown()
	require.NotEqual(t, secrets[0], secrets[1])

	nowhere := func(where string) {
		t.Helper()
		held := b.browserHolds()
		for _, secret := range secrets {
			require.NotContains(t, held, secret, where)
		}
	}
	nowhere("after the dialog")
	b.click(".key-name")
	b.until(`location.pathname.startsWith('/keyreeve/keys/key_')`)
	nowhere("on the key's page")
	b.back()
	b.until(`location.pathname === '/keyreeve/keys'`)
	nowhere("back")
	b.do(chromedp.Evaluate(`history.forward()`, nil))
	b.until(`location.pathname.startsWith('/keyreeve/keys/key_')`)
	nowhere("forward")
	b.reload()
	nowhere("after a reload")
	b.open(d.AdminURL + "/keyreeve/audit")
	nowhere("in the audit trail")

	held := d.serverHolds(t)
	require.True(t, bytes.Contains(held, []byte("Aaa canary")), "the search finds what is there")
	for _, secret := range secrets {
		require.False(t, bytes.Contains(held, []byte(secret)), "on the server")
	}
}
