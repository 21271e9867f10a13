package browser

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// refused asks the gate for something that a key may not do, and returns the id of
// the request that was refused.
func (d *demo) refused(t *testing.T, name string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.GateURL+"/mgmtconfig/v1/admin/customers/"+d.CustomerID+"/application", nil)
	require.NoError(t, err)
	req.SetBasicAuth(d.key(t, name))
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	var problem struct {
		RequestID string `json:"request_id"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&problem))
	return problem.RequestID
}

func TestThePolicyIsAskedByNameAndRefusalsAreExplained(t *testing.T) {
	d := startDemo(t)
	id := d.refused(t, "readonly")
	b := openTab(t)
	b.signIn(d)
	b.click(`nav.rooms a[href="/keyreeve/policy"]`)
	b.until(`document.getElementById('policy-check')`)
	b.looks("policy")

	// Keys are suggested while one types.
	b.focus("#f-key_id")
	b.typeText("reado")
	b.until(`[...document.querySelectorAll('#check-keys option')].map(o => o.value).join() === 'readonly'`)
	b.until(focused("f-key_id"))
	b.fill("#f-key_id", "readonly")
	b.askOrders(d, "GET")
	b.until(`document.querySelector('.verdict.allowed')`)
	b.until(`(location.pathname + location.search).startsWith('/keyreeve/policy?key_id=readonly&method=GET')`)
	b.fill("#f-key_id", "nobody")
	b.click("#check-go")
	b.until(`document.getElementById('f-key_id-error')?.textContent.includes('No key that you may see')`)
	b.top()
	b.axe()
	b.fill("#f-key_id", "")
	b.fill("#f-role_id", "API Read Only")
	b.askOrders(d, "DELETE")
	b.until(`document.querySelector('.verdict.refused')`)
	b.looksAt("policy-refused", ".answer")
	b.click("#check-commands")
	b.until(`document.body.innerText.includes('keyreeve policy check --role role_api_read_only DELETE')`)
	b.back()
	b.until(`document.querySelector('.verdict.allowed') && location.search.includes('key_id=readonly')`)

	b.click("#tab-explain")
	b.until(`document.getElementById('f-request_id')`)
	b.fill("#f-request_id", "another")
	b.enter()
	b.until(`document.getElementById('f-request_id-error')?.textContent.includes('no recent denial')`)
	b.fill("#f-request_id", id)
	b.enter()
	b.until(`[...document.querySelectorAll('.verdict.refused h3')].map(e => e.textContent).join() === 'Then: Refused,Now: Refused'`)
	b.until(`document.body.innerText.includes('The same request would be decided alike now.')`)
	b.looksAt("policy-explain", ".answer")

	b.click("#tab-routes")
	b.until(`document.querySelectorAll('#policy-routes tbody tr').length === 20`)
	b.looks("policy-routes")
	b.press("/")
	b.until(`document.activeElement.id === 'route-q'`)
	b.typeText("segment group")
	b.until(`location.search.includes('q=segment') && document.querySelector('#policy-routes tbody')?.textContent.includes('/segmentGroup')`)
	b.until(`/^\d+ rules found$/.test(document.getElementById('said').textContent.trim())`)
	b.until(focused("route-q"))
}

func TestThePolicyIsAskedWithoutScript(t *testing.T) {
	d := startDemo(t)
	b := openTabNoScript(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/policy")
	b.fill("#f-key_id", "readonly")
	b.askOrders(d, "POST")
	b.until(`document.querySelector('.verdict.refused')`)
	b.looksAt("policy-noscript", ".answer")
	b.open(d.AdminURL + "/keyreeve/policy/routes")
	b.fill("#route-q", "segment group")
	b.click("#routes-form button")
	b.until(`document.querySelector('#policy-routes tbody')?.textContent.includes('/segmentGroup')`)
}
