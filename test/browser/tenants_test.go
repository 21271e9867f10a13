package browser

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMicrotenantsAreLookedAfterByClicksAndKeys(t *testing.T) {
	d := startDemo(t)
	for i := range 22 {
		d.api(t, http.MethodPost, "/v1/microtenants", map[string]any{"name": fmt.Sprintf("Branch %02d", i), "customer_id": d.CustomerID})
	}
	b := openTab(t)
	b.signIn(d)
	b.click(`nav.rooms a[href="/keyreeve/microtenants"]`)
	b.until(names + `.length === 20`)
	b.looks("microtenants")
	b.click("#page-next")
	b.until(names + `.join() === 'Branch 20,Branch 21,Demo microtenant'`)
	b.press("/")
	b.typeText("demo")
	b.until(names + `.join() === 'Demo microtenant' && location.search === '?q=demo'`)
	b.until(`document.activeElement.id === 'q' && document.getElementById('said').textContent.trim() === '1 microtenant'`)

	// Making one: the page stays where it is, and shows it.
	b.open(d.AdminURL + "/keyreeve/microtenants?q=asia")
	b.until(`document.querySelector('.empty h2')?.textContent === 'No microtenant matches'`)
	b.looks("microtenants-no-match")
	b.focus("#tenant-new")
	b.enter()
	b.until(`document.activeElement.id === 'f-name'`)
	b.typeText("Asia")
	b.fill("#f-id", "0")
	b.looks("microtenant-new")
	b.click("#tenant-save")
	b.until(`document.querySelector('#f-id-error')`)
	b.fill("#f-id", "216199618143191099")
	b.click("#tenant-save")
	b.until(dialogClosed + ` && ` + names + `.join() === 'Asia' && document.activeElement.id === 'tenant-new'`)

	// A key in it is refused as soon as it is disabled, and stays in the way of deleting it.
	clientID, secret := d.create(t, map[string]any{"name": "Asia gate", "microtenant_id": "216199618143191099", "role_id": "role_api_full_access"})
	require.Equal(t, http.StatusForbidden, d.call(t, clientID, secret), "let in, though not without its microtenant's id")
	b.click(".row-menu summary")
	b.looks("microtenant-menu")
	b.click(`.row-menu a[id^="status-"]`)
	b.until(`document.querySelector('#dialog[open] .points')?.textContent.includes('The 1 key in it is refused')`)
	b.looks("microtenant-disable")
	b.click("#dialog .danger")
	b.until(dialogClosed + ` && document.querySelector('tbody .status').textContent === 'Disabled'`)
	require.Equal(t, http.StatusUnauthorized, d.call(t, clientID, secret))
	b.click(".row-menu summary")
	b.click(".row-menu .risky")
	b.until(`document.querySelector('#dialog[open] .actions a')?.textContent === 'Show the 1 key'`)
	b.looks("microtenant-delete-keys")
	b.click("#dialog .actions a.primary")
	b.until(`location.pathname === '/keyreeve/keys' && ` + names + `.join() === 'Asia gate'`)
}

func TestCustomersAndNodesAreShownToAnOperator(t *testing.T) {
	d := startDemo(t)
	d.api(t, http.MethodPost, "/v1/customers", map[string]any{"name": "Umbrella", "id": "umbrella"})
	b := openTab(t)
	b.signIn(d)
	b.click(`nav.rooms a[href="/keyreeve/customers"]`)
	b.until(names + `.join() === 'Demo customer,Umbrella'`)
	b.looks("customers")
	b.click(`tr#row-umbrella .row-menu summary`)
	b.click(`#edit-umbrella`)
	b.until(`document.activeElement.id === 'f-name'`)
	b.fill("#f-name", "Umbrella Corporation")
	b.looks("customer-rename")
	b.enter()
	b.until(dialogClosed + ` && ` + names + `[1] === 'Umbrella Corporation'`)
	b.click(`tr#row-umbrella .row-menu summary`)
	b.click(`#status-umbrella`)
	b.until(inSight("#f-confirm"))
	b.looks("customer-disable")

	b.open(d.AdminURL + "/keyreeve/nodes")
	b.until(`document.querySelector('.notice strong')?.textContent === 'This is the only node.'`)
	b.looks("nodes")
	position := eval[string](b, `(document.querySelector('tbody tr').dataset.same = 'yes', document.querySelector('[id^="position-"]').textContent)`)
	d.api(t, http.MethodPost, "/v1/customers", map[string]any{"name": "Initech"})
	b.until(fmt.Sprintf(`document.querySelector('[id^="position-"]').textContent !== %q && document.querySelector('tbody tr').dataset.same === 'yes'`, position))
}

func TestTenantsAndSourcesNeedNoScript(t *testing.T) {
	d := startDemo(t)
	b := openTabNoScript(t)
	b.signInAs(d, "operator")
	b.open(d.AdminURL + "/keyreeve/microtenants")
	b.click("#tenant-new")
	b.until(inSight("main #f-name"))
	b.fill("#f-name", "Asia")
	b.looks("microtenant-new-no-script")
	b.click("#tenant-save")
	b.until(names + `.join() === 'Asia,Demo microtenant' && ` + noticeText + `?.startsWith('Microtenant “Asia” made.')`)
	b.fill("#q", "asia")
	b.click("#find button")
	b.until(`location.search.includes('q=asia') && ` + names + `.join() === 'Asia'`)
	b.click(".row-menu summary")
	b.looks("microtenant-menu-no-script")
	b.click(".row-menu .risky")
	b.until(inSight("main #f-confirm"))
	b.fill("#f-confirm", "Asia")
	b.click("main .danger")
	b.until(names + `.join() === 'Demo microtenant'`)

	b.open(d.AdminURL + "/keyreeve/sources/new")
	b.until(inSight("main #f-name"))
	b.fill("#f-name", "vault")
	b.choose("#f-max_role_id", "role_api_read_only")
	b.click("#source-save")
	b.until(`location.pathname === '/keyreeve/sources/vault'`)
	b.looks("source-no-script")
	b.click("#source-edit")
	b.until(inSight("main #f-owner"))
	b.open(d.AdminURL + "/keyreeve/nodes")
	b.until(`document.querySelector('h1')?.textContent === 'Nodes'`)
	b.looks("nodes-no-script")
}
