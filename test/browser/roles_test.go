package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// level is the radio of a level in the matrix of a role's form.
func level(name, value string) string {
	return fmt.Sprintf(`input[type=radio][name="permissions.%s"][value=%s]`, name, value)
}

func checked(name, value string) string {
	return fmt.Sprintf(`document.querySelector('%s')?.checked`, level(name, value))
}

const heading = `document.querySelector('h1')?.textContent.trim()`

func TestARoleIsMadeChangedAndDeletedByClicksAndKeys(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/roles")
	b.until(names + `.includes('Policy Only')`)
	b.looks("roles")
	b.press("/")
	b.typeText("only")
	b.until(names + `.length === 3 && location.search === '?q=only' && document.activeElement.id === 'q'`)
	b.open(d.AdminURL + "/keyreeve/roles/role_operator")
	b.looks("role-predefined")
	b.click("#role-edit")
	b.until(inSight("#dialog[open]"))
	b.looks("role-predefined-dialog")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(`!document.getElementById('dialog').open`)

	// n makes one. Arrows move between the levels, and a filter leads to a row.
	b.open(d.AdminURL + "/keyreeve/roles")
	b.press("n")
	b.until(heading + ` === 'New role' && document.activeElement.id === 'f-name'`)
	b.looks("role-new")
	b.fill("#f-name", "Deployers")
	b.focus(level("policies", "none"))
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	b.until(checked("policies", "view"))
	b.fill("#grant-filter", "segment")
	b.until(`[...document.querySelectorAll('[data-group]')].filter(e => e.checkVisibility()).length < 8 && document.querySelector('[data-grant^="application-segments"]').checkVisibility()`)
	b.looks("role-new-filtered")
	b.click(level("application-segments", "custom"))
	b.click(`input[name="actions.application-segments"][value=read]`)
	b.click(`input[name="actions.application-segments"][value=create]`)
	b.fill("#grant-filter", "")
	b.until(`[...document.querySelectorAll('[data-group]')].every(e => e.checkVisibility())`)
	b.click("#as-commands")
	b.until(inSight("#commands"))
	b.until(`document.getElementById('commands').textContent.includes('--grant application-segments=read,create --grant policies=view') && document.activeElement.id === 'as-commands'`)
	b.click("#role-create")
	b.until(heading + ` === 'Deployers'`)
	b.until(`document.querySelector('#notice .notice span')?.textContent === 'Role “Deployers” made.'`)
	b.until(`[...document.querySelectorAll('.points li')].map(e => e.textContent).join() === 'Read and create Application Segment Management,Read Policies'`)
	b.looks("role")

	// A whole column at once; what changes is said first.
	b.click("#role-edit")
	b.until(heading + ` === 'Edit Deployers'`)
	b.click("#all-own-view")
	b.until(checked("keyreeve/audit", "view") + ` && !` + checked("keyreeve/*", "view"))
	b.until(`document.getElementById('said').textContent.trim() === '8 rows set to view'`)
	b.click(level("policies", "full"))
	b.looks("role-edit")
	b.click("#role-review")
	b.until(heading + ` === 'Save changes to Deployers?'`)
	b.until(`[...document.querySelectorAll('.changes li')].some(e => e.textContent === 'Added: Create, update and delete Policies')`)
	b.looks("role-review")
	b.click("#role-back")
	b.until(checked("policies", "full"))
	b.click("#role-review")
	b.click("#role-save")
	b.until(heading + ` === 'Deployers' && document.querySelector('#notice .notice span')?.textContent === 'Role “Deployers” changed.'`)

	// In use it stays.
	b.open(d.AdminURL + "/keyreeve/roles?q=Policy+Only")
	b.click("[id^=menu-role_]")
	b.click("[id^=delete-role_]")
	b.until(`document.querySelector('#dialog-title')?.textContent === '“Policy Only” is in use'`)
	b.looks("role-in-use")
	b.click("#dialog .primary")
	b.until(`location.pathname === '/keyreeve/keys' && ` + names + `.join() === 'policy-only'`)
	b.open(d.AdminURL + "/keyreeve/roles?q=Deployers")
	b.click(".key-name")
	b.click("#role-delete")
	b.until(inSight("#dialog[open] .danger"))
	b.looks("role-delete")
	b.click("#dialog .danger")
	b.until(`location.pathname === '/keyreeve/roles' && document.querySelector('#notice .notice span')?.textContent === 'Role “Deployers” deleted.'`)
}

func TestRolesArePlainFormsWithoutScript(t *testing.T) {
	d := startDemo(t)
	b := openTabNoScript(t)
	b.signInAs(d, "operator")
	b.open(d.AdminURL + "/keyreeve/roles/new")
	b.fill("#f-name", "Plain")
	b.click(level("*", "view"))
	b.looks("role-new-no-script")
	b.click("#role-create")
	b.until(heading + ` === 'Plain'`)
	b.click("#role-edit")
	b.until(heading + ` === 'Edit Plain'`)
	b.click(level("*", "full"))
	b.click("#role-review")
	b.until(heading + ` === 'Save changes to Plain?'`)
	b.click("#role-save")
	b.until(heading + ` === 'Plain' && document.querySelector('.points li').textContent === 'Full access to everything of the upstreams'`)
	b.open(d.AdminURL + "/keyreeve/help")
	b.until(heading + ` === 'Help'`)
	b.open(d.AdminURL + "/keyreeve/preferences")
	b.click(`input[name=theme][value=dark]`)
	b.click(`form[data-themes] button`)
	b.until(`document.documentElement.dataset.theme === 'dark' && document.querySelector('#notice .notice')`)
}
