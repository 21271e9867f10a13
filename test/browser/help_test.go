package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const helpTitle = `document.querySelector('#help:not([hidden]) #drawer-title')?.textContent`

func TestHelpIsAKeyAwayAndGivesTheFocusBack(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.focus("#columns")
	b.press("?")
	b.until(helpTitle + ` === 'Keys' && document.activeElement.id === 'drawer-title'`)
	b.looks("help-drawer")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(`document.getElementById('help').hidden && document.activeElement.id === 'columns'`)

	b.open(d.AdminURL + "/keyreeve/roles")
	b.click("#help-open")
	b.until(helpTitle + ` === 'Roles' && document.getElementById('help-open').getAttribute('aria-expanded') === 'true'`)
	b.press("?")
	b.until(`document.getElementById('help').hidden && document.activeElement.id === 'help-open'`)
	b.click("#help-open")
	b.until(helpTitle + ` === 'Roles'`)
	b.click("#help a[href='/keyreeve/help/policy#doc-roles']")
	b.until(`location.pathname === '/keyreeve/help/policy' && location.hash === '#doc-roles' && ` + heading + ` === 'Policy'`)
	for _, topic := range []string{"page", "policy", "cli", "caddyfile"} {
		b.open(d.AdminURL + "/keyreeve/help/" + topic)
		b.looks("help-" + topic)
	}
	b.open(d.AdminURL + "/keyreeve/help")
	b.looks("help")
}

func TestPreferencesAreSeenAsSoonAsTheyAreChosen(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.click("details.who summary")
	b.click("#who-preferences")
	b.until(heading + ` === 'Preferences'`)
	b.looks("preferences")
	b.click(`input[name=theme][value=dark]`)
	b.until(`document.documentElement.dataset.theme === 'dark' && document.querySelector('#notice .notice span')?.textContent === 'Preferences kept.'`)
	b.until(`document.activeElement.value === 'dark'`)
	b.click("#notice [data-dismiss]")
	b.until(`!document.querySelector('#notice .notice')`)
	b.choose("#f-page_size", "50")
	b.until(`document.querySelector('#notice .notice span')?.textContent === 'Preferences kept.'`)
	b.open(d.AdminURL + "/keyreeve/keys")
	b.until(`document.documentElement.dataset.theme === 'dark' && document.getElementById('page_size').value === '50'`)
	b.open(d.AdminURL + "/keyreeve/preferences")
	b.click("#sign-out")
	b.until(`location.pathname === '/keyreeve/login'`)
}
