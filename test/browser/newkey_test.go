package browser

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

const (
	dialogOpen  = `document.getElementById('dialog').open`
	shownSecret = `document.getElementById('shown-secret').textContent`
)

// nowhere is that a secret is in nothing that the page keeps.
func (b *tab) nowhere(secret string) {
	b.Helper()
	b.until(fmt.Sprintf(`!document.documentElement.outerHTML.includes(%q)`, secret))
	kept := eval[string](b, `JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state, location.href])`)
	require.NotContains(b, kept, secret)
}

// refusesToClose is that no way closes a dialog whose secret was not said to be stored.
func (b *tab) refusesToClose() {
	b.Helper()
	const toldWhy = inSightOfWhy + ` && document.activeElement.id === 'stored' && ` + dialogOpen
	again := func() {
		b.until(toldWhy)
		b.until(`(document.getElementById('hold-why').hidden = true, document.activeElement.blur(), true)`)
	}
	for range 3 { // browsers close at the second, whatever the page says to the first
		b.do(chromedp.KeyEvent(kb.Escape))
		again()
	}
	b.click("dialog .dialog-close")
	again()
	b.do(chromedp.MouseClickXY(5, 5))
	again()
	b.click("#secret-done")
	again()
	// Nor does leaving the page go without a question.
	b.until(`(() => { const e = new Event('beforeunload', { cancelable: true }); dispatchEvent(e); return e.defaultPrevented; })()`)
}

const inSightOfWhy = `!document.getElementById('hold-why').hidden && document.getElementById('hold-why').textContent.includes('stored')`

func TestAKeyIsMadeAndItsSecretHandedOverOnce(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.press("n")
	b.until(dialogOpen + ` && document.activeElement.id === 'f-name'`)
	b.looks("newkey")

	// A click beside the dialog does not lose what was typed.
	b.fill("#f-name", "Nightly")
	b.do(chromedp.MouseClickXY(5, 5))
	b.until(dialogOpen)

	// What a role may do shows with the choice, and a fault keeps all that was typed.
	b.fill("#f-name", "Nightly export")
	b.click("#role-role_operator")
	b.until(inSight("#role-role_operator-may"))
	b.click("#role-role_api_read_only")
	b.until(inSight("#role-role_api_read_only-may") + ` && !(` + inSight("#role-role_operator-may") + `)`)
	b.click("#expires-at")
	b.until(inSight("#expires-date"))
	b.click("#expires-90")
	b.fill("#f-labels", "env: prod")
	b.fill("#f-allowed_cidrs", "10.0.0.1/8")
	b.click("#create-key")
	b.until(`document.querySelector('dialog .faults') === document.activeElement`)
	b.looks("newkey-faults")
	b.until(`(document.getElementById('create-key').scrollIntoView(), true)`)
	b.picture("newkey-below")
	require.Equal(t, "Nightly export", eval[string](b, `document.getElementById('f-name').value`))
	require.True(t, eval[bool](b, `document.getElementById('expires-90').checked && document.getElementById('role-role_api_read_only').checked`))
	b.fill("#f-allowed_cidrs", "127.0.0.0/8")
	b.click("#as-commands")
	b.until(inSight("dialog details.commands"))
	b.until(`document.activeElement.id === 'as-commands'`)
	require.Contains(t, eval[string](b, `document.querySelector('dialog .commands').textContent`), "keyreeve key create 'Nightly export' --role role_api_read_only")

	b.click("#create-key")
	b.until(`document.getElementById('shown-secret')`)
	secret, clientID := eval[string](b, shownSecret), eval[string](b, `document.getElementById('shown-id').textContent`)
	b.until(`document.activeElement.id === 'dialog-title'`)
	b.until(`[...document.querySelectorAll('.key-name')].some(e => e.textContent === 'Nightly export')`) // behind the dialog
	b.looks("secret")
	b.refusesToClose()
	for as, holds := range map[string]string{"env": "KEYREEVE_CLIENT_SECRET=" + secret, "curl": d.GateURL + "/oauth2/v1/token", "manifest": "kind: Secret"} {
		b.click("#as-" + as)
		b.until(inSight("#shown-" + as))
		b.until(fmt.Sprintf(`document.getElementById('shown-%s').textContent.includes(%q)`, as, holds))
		b.picture("secret-" + as)
	}

	// The light turns green with the first use, by itself.
	b.until(`document.getElementById('first-use').textContent.includes('Waiting for its first use')`)
	require.Less(t, d.call(t, clientID, secret), 500)
	b.until(`document.querySelector('#first-use.on')?.textContent.includes('127.0.0.1')`)
	b.until(`!document.querySelector('#first-use[hx-get]')`)
	b.looks("secret-used")

	b.click("#stored")
	b.click("#secret-done")
	b.until(dialogClosed)
	b.nowhere(secret)
	b.open(d.AdminURL + "/keyreeve/keys?q=nightly")
	b.back()
	b.until(`location.search === ''`)
	b.nowhere(secret)
	b.do(chromedp.NavigateForward())
	b.until(`location.search !== ''`)
	b.nowhere(secret)
}

func TestASecretIsRotatedAndTheOldOneRetired(t *testing.T) {
	d := startDemo(t)
	made := d.createKey(t, map[string]any{"name": "Rotated"})
	id, clientID, first := made["id"].(string), made["client_id"].(string), made["client_secret"].(string)
	b := openTab(t)
	b.signIn(d)
	open := func(path string) {
		b.open(d.AdminURL + "/keyreeve/keys")
		b.until(fmt.Sprintf(`(htmx.ajax('GET', '/keyreeve/keys/%s/%s', '#dialog'), true)`, id, path))
		b.until(dialogOpen)
	}
	open("secrets/new")
	b.looks("rotate")
	b.click(`dialog [name=previous_expires_in][value=null]`)
	b.click("#rotate")
	b.until(`document.getElementById('shown-secret')`)
	second := eval[string](b, shownSecret)
	require.Equal(t, clientID, eval[string](b, `document.getElementById('shown-id').textContent`))
	require.Less(t, d.call(t, clientID, first), 500) // not the new one: the light stays as it is
	require.Less(t, d.call(t, clientID, second), 500)
	b.until(`document.querySelector('#first-use.on')`)
	b.click("#stored") // and going away without closing it
	b.open(d.AdminURL + "/keyreeve/keys/" + id)
	b.nowhere(second)
	b.until(inSight("#secrets"))
	b.looks("secrets")
	b.until(`(document.getElementById('secrets').scrollIntoView(), true)`)
	b.picture("secrets-list")
	b.back()
	b.until(`location.pathname === '/keyreeve/keys' && ` + dialogClosed)
	b.nowhere(second)

	// A third is refused with the way out, which leads on in the dialog.
	open("secrets/new")
	b.until(inSight("dialog .secrets-now a"))
	b.looks("rotate-full")
	require.Equal(t, "End both and make a new one", eval[string](b, `document.getElementById('rotate').textContent`))
	old := `dialog .secrets-now li:last-child a`
	b.click(old)
	b.until(inSight("#f-force"))
	b.looks("retire")
	b.click("#f-force")
	b.click("#retire")
	b.until(dialogClosed)
	b.until(`document.querySelector('#notice .notice')?.textContent.includes('is retired')`)
	require.Equal(t, http.StatusUnauthorized, d.call(t, clientID, first))
}

func TestAKeyIsMadeWithoutScript(t *testing.T) {
	d := startDemo(t)
	b := openTabNoScript(t)
	b.signInAs(d, "operator")
	b.click("#new-key")
	b.until(inSight("main #f-name"))
	b.looks("newkey-noscript")
	b.fill("#f-name", "By hand")
	b.click("#role-role_api_read_only")
	b.until(inSight("#role-role_api_read_only-may"))
	b.click("#create-key")
	b.until(`document.getElementById('shown-secret')`)
	secret := eval[string](b, shownSecret)
	b.looks("secret-noscript")
	b.click("#as-manifest")
	b.until(inSight("#shown-manifest"))
	b.click("#secret-done") // the browser asks for the tick
	b.until(`document.getElementById('stored').matches(':invalid')`)
	b.click("#stored")
	b.click("#secret-done")
	b.until(`!document.getElementById('shown-secret') && document.querySelector('#notice .notice')`)
	b.until(`location.pathname.startsWith('/keyreeve/keys/key_')`)
	b.nowhere(secret)
	// Going back, the browser has nothing to show but its own question to send it again.
	err := chromedp.Run(b.ctx, chromedp.NavigateBack())
	require.ErrorContains(t, err, "ERR_CACHE_MISS")
	b.until(fmt.Sprintf(`!document.documentElement.outerHTML.includes(%q)`, secret))
}
