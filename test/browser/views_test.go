package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// told is what was said last to people who do not see the page.
const told = `document.getElementById('said').textContent.trim()`

func TestViewsAreSavedAndDeletedWithoutLeavingThePage(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.signIn(d)
	b.until(`(window.same = true)`)
	b.press("/")
	b.typeText("terra")
	b.until(names + `.length === 2 && location.search.includes('q=terra')`)
	b.click("#views")
	b.click("#view-new")
	b.until(inSight("#dialog[open] #f-name") + ` && document.activeElement.id === 'f-name'`)
	b.typeText("Terraform")
	b.click("#as-commands")
	b.until(`document.querySelector('#dialog #commands')?.textContent.includes('/v1/me/views') && document.querySelectorAll('#dialog #commands h2').length === 1`)
	b.looks("view-new")
	b.click("#dialog button.primary")
	b.until(`!document.getElementById('dialog').open && ` + told + ` === 'View “Terraform” saved.' && location.search.includes('view=view_')`)
	b.until(`document.activeElement.id === 'views'`)

	// What is not saved is said, and so is what becomes of it.
	b.click("#quick-off")
	b.until(inSight("#view-save") + ` && ` + told + `.endsWith('view “Terraform” is not saved')`)
	b.looks("view-not-saved")
	b.click("#view-discard")
	b.until(`!document.getElementById('view-save') && ` + names + `.length === 2`)
	b.click("#view-default")
	b.until(told + ` === 'The table opens with “Terraform” from now on.'`)
	b.until(`document.activeElement.id === 'view-default'`)
	b.click("#view-delete")
	b.until(told + ` === 'View “Terraform” deleted.' && document.activeElement.id === 'views' && !location.search.includes('view=view_')`)
	b.until(`window.same === true`)
}

func TestAKeyThatIsPressedTwiceStaysInTheDialog(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.until(`(window.same = true)`)
	b.focus("#columns")
	b.enter()
	b.until(inSight("#dialog[open] .columns"))
	b.until(`document.activeElement.closest('.columns')`) // it begins where something is to be done, not at the cross
	// Pressed again in the moment in which the answer is there: what is sent is no page of its own.
	b.until(`(document.addEventListener('htmx:afterSwap', () => queueMicrotask(() => document.getElementById('down-client_id')?.click()), { once: true }), true)`)
	b.focus("#down-client_id")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`document.querySelectorAll('.columns [name=order]')[3].value === 'client_id'`)
	b.until(`window.same === true && document.getElementById('dialog').open && location.pathname === '/keyreeve/keys'`)
}
