package browser

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// scrollTo brings an element to the top of what is in sight.
func (b *tab) scrollTo(selector string) {
	b.Helper()
	b.until(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e?.scrollIntoView({ block: 'start', behavior: 'instant' }); return !!e; })()`, selector))
}

// top scrolls to the top.
func (b *tab) top() {
	b.Helper()
	b.until(`(scrollTo({ top: 0, behavior: 'instant' }), scrollY === 0)`)
}

// looksAt is looks from the top of the page, below whose bar nothing is half hidden,
// and two more pictures that begin with an element.
func (b *tab) looksAt(name, selector string) {
	b.Helper()
	b.top()
	b.looks(name)
	for _, width := range []int64{360, 1280} {
		b.look(width, "light")
		b.scrollTo(selector)
		b.picture(fmt.Sprintf("%s-part-%d", name, width))
	}
}

// askOrders asks on the page of a key whether it may do method on the demo's applications.
func (b *tab) askOrders(d *demo, method string) {
	b.Helper()
	b.choose("#f-method", method)
	b.fill("#f-path", "/mgmtconfig/v1/admin/customers/"+d.CustomerID+"/application")
	b.click("#check-go")
}

func TestAKeysPageIsKeptUpToDateAndSaysWhatTheKeyMayCall(t *testing.T) {
	d := startDemo(t)
	made := d.createKey(t, map[string]any{"name": "Billing export", "description": "Runs at the end of each month", "labels": map[string]string{"env": "prod", "team": "billing"},
		"allowed_cidrs": []string{"127.0.0.0/8", "192.0.2.0/24"}, "session_validity_seconds": 900})
	clientID, secret, at := made["client_id"].(string), made["client_secret"].(string), d.AdminURL+"/keyreeve/keys/"+made["id"].(string)
	d.token(t, clientID, secret)
	b := openTab(t)
	b.signIn(d)
	b.click("#key-" + made["id"].(string))
	b.until(`document.querySelector('h1')?.textContent === 'Billing export'`)
	b.until(fmt.Sprintf(`location.href === %q`, at))
	b.until(`document.getElementById('key-state').textContent.includes('Active')`)
	b.looks("key")

	// What changes by itself does, under a focus that stays and text half typed.
	b.fill("#f-path", "/half")
	b.until(`document.getElementById('key-page').dataset.same = 'yes'`)
	require.Equal(t, http.StatusOK, d.call(t, clientID, secret))
	b.until(`document.querySelector('#key-used').textContent.includes('/application')`)
	d.lock(t, clientID)
	b.until(`/Locked.*in \d\d:\d\d/s.test(document.getElementById('key-state').textContent)`)
	b.until(`!document.querySelector('[id^=unlock-]').hidden`)
	b.until(`document.activeElement.id === 'f-path' && document.activeElement.value === '/half' && document.getElementById('key-page').dataset.same === 'yes'`)
	b.picture("key-locked")
	d.api(t, http.MethodDelete, "/v1/keys/"+made["id"].(string)+"/lock", nil)
	b.until(`document.getElementById('key-state').textContent.includes('Active')`)

	// Asking the policy, first with a fault, then a right that the role has, and one that it has not.
	b.fill("#f-path", "application")
	b.click("#check-go")
	b.until(`document.querySelector('#f-path-error') && document.activeElement.matches('.faults')`)
	b.looksAt("key-check-fault", "#key-check")
	b.askOrders(d, "GET")
	b.until(`document.querySelector('.verdict.allowed')`)
	b.until(`document.activeElement.id === 'check-go' && document.getElementById('said').textContent.includes('Allowed')`)
	b.askOrders(d, "POST")
	b.until(`document.querySelector('.verdict.refused')`)
	b.until(`location.search.startsWith('?method=POST&path=')`) // the address is the state
	b.until(`document.getElementById('check-answer').innerText.includes('application-segments:create')`)
	b.looksAt("key-check-refused", "#key-check")
	b.reload()
	b.until(`document.querySelector('.verdict.refused')`)
	b.scrollTo("#sessions-title")
	b.picture("key-sessions")

	// Something is done to it: the page loads itself anew, and so does the answer.
	b.askOrders(d, "GET")
	b.until(`document.querySelector('.verdict.allowed')`)
	b.click(`summary[id^=actions-]`)
	b.click(`[id^=status-]`)
	b.click(`#dialog button[type=submit]`)
	b.until(`!document.getElementById('dialog').open && document.getElementById('key-state').textContent.includes('Disabled')`)
	b.until(`document.querySelector('.verdict.refused') && document.getElementById('f-path').value.endsWith('/application')`)
	b.until(`document.querySelector('.trace .failed')?.textContent.includes('disabled')`)

	// And when it is gone, that is said, and nothing is asked for again.
	d.api(t, http.MethodDelete, "/v1/keys/"+made["id"].(string), nil)
	b.until(`document.querySelector('#notice .bad')?.textContent.includes('not there any more')`)
}

func TestAKeysPageAnswersWithoutScript(t *testing.T) {
	d := startDemo(t)
	made := d.createKey(t, map[string]any{"name": "Billing export"})
	b := openTabNoScript(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/keys/" + made["id"].(string))
	b.looks("key-noscript")
	b.askOrders(d, "POST")
	b.until(`document.querySelector('.verdict.refused')`)
	b.until(fmt.Sprintf(`location.pathname === '/keyreeve/keys/%s' && location.search && location.hash === '#key-check'`, made["id"])) // it begins where the answer is
	b.looksAt("key-noscript-answer", "#key-check")
}
