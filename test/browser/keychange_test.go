package browser

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// focused is a test on what has the focus.
func focused(id string) string { return fmt.Sprintf(`document.activeElement.id === %q`, id) }

// act opens the menu of a key's row and clicks an entry of it.
func (b *tab) act(action, keyID string) {
	b.Helper()
	b.click("#actions-" + keyID)
	b.click("#" + action + "-" + keyID)
}

// cell is what a row shows in an element of its own.
func cell(name, keyID string) string {
	return fmt.Sprintf(`document.getElementById('%s-%s')?.textContent`, name, keyID)
}

func TestAKeyIsChangedFromItsRow(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	id := d.createKey(t, map[string]any{"name": "Aaa collector", "description": "Collects", "labels": map[string]string{"env": "prod"}})["id"].(string)
	b := openTab(t)
	b.signIn(d)

	// The menu by the keyboard alone; a dialog hands the focus back to its button.
	b.focus("#actions-" + id)
	b.enter()
	b.until(inSight("#edit-" + id))
	b.looks("keychange-menu")
	b.do(chromedp.KeyEvent(kb.ArrowDown))
	b.until(focused("edit-" + id))
	b.enter()
	b.until(dialogTitle + ` === 'Edit Aaa collector'`)
	b.looks("keychange-edit")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(dialogClosed)
	b.until(focused("actions-" + id))
	b.act("edit", id)
	b.click("#dialog .actions a[data-close]")
	b.until(dialogClosed + ` && location.pathname === '/keyreeve/keys'`)
	b.until(focused("actions-" + id))

	// Somebody else is faster; nothing is lost.
	b.act("edit", id)
	b.until(dialogTitle + ` === 'Edit Aaa collector'`)
	b.fill("#f-name", "Aaa mine")
	b.fill("#f-description", "Collects at night")
	b.click("#as-commands")
	b.until(`document.querySelector('#dialog #commands')?.textContent.includes("--name 'Aaa mine'")`)
	d.api(t, http.MethodPatch, "/v1/keys/"+id, map[string]any{"name": "Aaa theirs", "session_validity_seconds": 600})
	b.click("#dialog button.primary")
	b.until(dialogTitle + ` === 'Somebody else changed Aaa theirs'`)
	b.looks("keychange-conflict")
	b.click(`[name=pick_name][value=theirs]`)
	b.click("#resolve-chosen")
	b.until(dialogClosed)
	b.until(noticeText + ` === 'Aaa theirs is saved.'`)
	b.until(cell("key", id) + ` === 'Aaa theirs'`)
	b.until(focused("actions-" + id))
	now := d.api(t, http.MethodGet, "/v1/keys/"+id, nil)
	require.Equal(t, "Collects at night", now["description"])
	require.EqualValues(t, 600, now["session_validity_seconds"])

	b.act("status", id)
	b.until(dialogTitle + ` === 'Disable Aaa theirs'`)
	b.looks("keychange-disable")
	b.click("#dialog button.danger")
	b.until(cell("enabled", id) + ` === 'Disabled'`)
	b.until(cell("status", id) + ` === 'Enable'`)

	b.act("delete", id)
	b.until(dialogTitle + ` === 'Delete Aaa theirs'`)
	b.fill("#f-confirm", "aaa")
	b.click("#dialog button.danger")
	b.until(`document.getElementById('f-confirm-error')`)
	b.looks("keychange-delete")
	b.fill("#f-confirm", "Aaa theirs")
	b.enter()
	b.until(dialogClosed)
	b.until(`!document.getElementById('row-` + id + `')`)
	b.until(noticeText + ` === 'Aaa theirs is deleted.'`)
	b.until(`document.activeElement !== document.body`)
}

func TestAnUnlockTellsGuessingFromAForgottenDeployment(t *testing.T) {
	d := startDemo(t)
	forgotten := d.createKey(t, map[string]any{"name": "Aaa forgotten"})
	guessed := d.createKey(t, map[string]any{"name": "Aab guessed"})
	b := openTab(t)
	b.signIn(d)
	clientID, _ := forgotten["client_id"].(string)
	id := forgotten["id"].(string)
	for range 3 {
		d.call(t, clientID, "the-old-secret")
	}
	b.until(cell("unlock", id) + ` && !document.getElementById('unlock-` + id + `').hidden`)
	b.act("unlock", id)
	b.until(dialogTitle + ` === 'Unlock Aaa forgotten'`)
	b.until(`document.querySelector('#dialog .finding h2').textContent === 'One wrong secret, again and again'`)
	b.looks("keychange-unlock")
	b.fill("#f-reason", "the old pipeline is mended")
	b.click("#dialog button.primary")
	b.until(noticeText + ` === 'Aaa forgotten is unlocked.'`)
	b.until(cell("state", id) + `?.startsWith('Active')`)
	b.until(`document.getElementById('unlock-` + id + `').hidden`)

	d.lock(t, guessed["client_id"].(string))
	b.open(d.AdminURL + "/keyreeve/keys/" + guessed["id"].(string) + "/unlock")
	b.until(`document.querySelector('.finding h2').textContent === 'Several different wrong secrets'`)
	b.looks("keychange-unlock-guessed")
	b.open(d.AdminURL + "/keyreeve/keys/" + id + "/unlock")
	b.until(`document.querySelector('.calm')`)
	b.looks("keychange-unlock-calm")
}

func TestManyKeysAreChangedAtOnceAfterADryRun(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	d.api(t, http.MethodPost, "/v1/sources", map[string]any{"name": "idp", "owner": "Identity team", "rule": "read_only", "max_role_id": "role_api_read_only", "customer_id": d.CustomerID})
	d.push(t, "idp", "idp-prod")
	b := openTab(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/keys?q=prod&page_size=50")
	b.click("#select-all")
	b.until(inSight("#bulk"))
	b.looks("keychange-selection")
	b.look(360, "dark")
	b.until(`(document.querySelectorAll('tbody tr')[1].scrollIntoView({ block: 'center' }), true)`)
	b.picture("keychange-selection-cards")
	b.look(1280, "light")
	b.click("#bulk-disable")
	b.until(dialogTitle + `?.startsWith('Disable ')`)
	b.until(`document.querySelector('#dialog .tally .bad')`)
	b.looks("keychange-dryrun")
	b.click("#bulk-go")
	b.until(dialogTitle + `?.endsWith('are disabled')`)
	b.looks("keychange-results")
	b.click("#bulk-close")
	b.until(dialogClosed)
	b.until(focused("bulk-disable"))
	b.until(`document.querySelector('[data-selected]').textContent === '13 selected'`)
	b.until(`[...document.querySelectorAll('tbody tr')].every(r => r.querySelector('.badge.plain') || /Disabled/.test(r.textContent))`)

	// Who owns it is said where it cannot be done.
	b.open(d.AdminURL + "/keyreeve/keys?source=idp")
	id := eval[string](b, `document.querySelector('tbody tr').id.slice(4)`)
	b.act("edit", id)
	b.until(dialogTitle + ` === 'idp-prod cannot be edited here'`)
	b.until(`document.querySelector('#dialog').textContent.includes('Identity team')`)
	b.looks("keychange-managed")
	b.click("#here-status-" + id)
	b.until(dialogTitle + ` === 'Disable idp-prod here'`)
	b.looks("keychange-disable-here")
	b.click("#dialog button.danger")
	b.until(cell("enabled", id) + ` === 'Disabled here'`)
	b.until(focused("actions-" + id))
}

func TestKeysAreChangedWithoutScript(t *testing.T) {
	d := startDemo(t)
	id := d.createKey(t, map[string]any{"name": "Aaa plain"})["id"].(string)
	other := d.createKey(t, map[string]any{"name": "Aab plain"})["id"].(string)
	b := openTabNoScript(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/keys?q=plain")
	b.click("#actions-" + id)
	b.looks("keychange-noscript-menu")
	b.click("#edit-" + id)
	b.until(`document.querySelector('h1')?.textContent === 'Edit Aaa plain'`)
	b.fill("#f-name", "Aaa plainer")
	b.click("main form button.primary")
	b.until(noticeText + ` === 'Aaa plainer is saved.'`)

	b.open(d.AdminURL + "/keyreeve/keys?q=plain")
	b.looks("keychange-noscript-selection")
	b.click("#pick-" + id)
	b.click("#pick-" + other)
	b.click("#bulk-delete")
	b.until(`document.querySelector('h1')?.textContent === 'Delete 2 keys?'`)
	b.looks("keychange-noscript-dryrun")
	b.fill("#f-confirm", "2")
	b.click("#bulk-go")
	b.until(`document.querySelector('h1')?.textContent === '2 keys are deleted'`)
	b.click("#bulk-close")
	b.until(`document.querySelector('.empty h2')?.textContent === 'No key matches'`)
}
