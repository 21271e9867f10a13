package browser

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// token opens a session of a key at the gate.
func (d *demo) token(t *testing.T, clientID, secret string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.GateURL+"/oauth2/v1/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	require.NoError(t, err)
	req.SetBasicAuth(clientID, secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, http.StatusOK, res.StatusCode)
	var answer struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	return answer.Token
}

// bearer calls through the gate with a token and returns the status.
func (d *demo) bearer(t *testing.T, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.GateURL+"/mgmtconfig/v1/admin/customers/"+d.CustomerID+"/application", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_ = res.Body.Close()
	return res.StatusCode
}

func TestLocksComeAndGoWhileOneLooks(t *testing.T) {
	d := startDemo(t)
	first, secret := d.create(t, map[string]any{"name": "Aaa first"})
	second, _ := d.create(t, map[string]any{"name": "Billing export"})
	b := openTab(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/locks")
	b.until(`document.querySelector('.empty h2')?.textContent === 'No key is locked'`)
	b.looks("locks-none")

	// A lock shows by itself, with the time left, and takes no focus.
	d.lock(t, first)
	b.until(`/^in \d\d:\d\d$/.test(document.querySelector('#lock-list tbody time[data-countdown]')?.textContent ?? '')`)
	b.until(`document.getElementById('said').textContent.trim() === '1 lock in force'`)
	b.until(`document.activeElement === document.body`)
	b.focus(`#lock-list tbody .row-actions a`)
	d.lock(t, second)
	b.until(`document.querySelectorAll('#lock-list tbody tr').length === 2`)
	b.until(`document.activeElement.matches('#lock-list tbody tr:first-child .row-actions a')`)
	b.until(names + `.join() === 'Aaa first,Billing export'`)
	b.looks("locks")

	// Unlocked by the keyboard, it is gone from the list and gets in again.
	require.Equal(t, http.StatusUnauthorized, d.call(t, first, secret))
	b.focus(`#lock-list tbody tr:first-child .row-actions a`)
	b.enter()
	b.until(`document.querySelector('#dialog[open] h1')`)
	b.click(`#dialog form .actions button[type=submit]:not(.text)`)
	b.until(`document.querySelectorAll('#lock-list tbody tr').length === 1 && !document.getElementById('dialog').open`)
	require.Equal(t, http.StatusOK, d.call(t, first, secret))
	b.click(`#lock-list .key-name`)
	b.until(`location.pathname.startsWith('/keyreeve/keys/key_')`)
}

func TestSessionsAreEndedByClicksAndKeys(t *testing.T) {
	d := startDemo(t)
	clientID, secret := d.create(t, map[string]any{"name": "Nightly backup"})
	tokens := []string{d.token(t, clientID, secret), d.token(t, clientID, secret), d.token(t, clientID, secret)}
	b := openTab(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/sessions")
	require.Equal(t, 4, eval[int](b, `document.querySelectorAll('#session-list tbody tr').length`))
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll('#session-list tbody tr th .badge').length`), "one's own is marked")
	b.looks("sessions")

	// One, from its menu.
	b.click(`#session-list tbody tr:last-child .row-actions summary`)
	b.picture("sessions-menu")
	b.click(`#session-list tbody tr:last-child a.risky`)
	b.until(`document.querySelector('#dialog[open] h1')?.textContent === 'End this session'`)
	b.looks("session-end")
	b.click(`#dialog button.danger`)
	b.until(`document.querySelector('#session-list tbody tr:last-child .badge').textContent === 'Ended early'`)
	b.until(`document.querySelector('#notice .notice span')?.textContent.startsWith('Session of Nightly backup ended.')`)
	statuses := func() []int { return []int{d.bearer(t, tokens[0]), d.bearer(t, tokens[1]), d.bearer(t, tokens[2])} }
	require.ElementsMatch(t, []int{http.StatusUnauthorized, http.StatusOK, http.StatusOK}, statuses(), "they were opened in the same second")

	// All of a key that is looked for by its name; the address keeps its id.
	b.fill("#f-key_id", "Nightly backup")
	b.enter()
	b.until(`/key_id=key_/.test(location.search) && document.querySelectorAll('#session-list tbody tr').length === 3`)
	b.choose("#f-state", "active")
	b.until(`location.search.includes('state=active') && document.querySelectorAll('#session-list tbody tr').length === 2`)
	b.click("#end-all")
	b.until(`document.querySelector('#dialog[open] form p')?.textContent.startsWith('2 open sessions of “Nightly backup”')`)
	b.click("#dialog button.danger")
	b.until(`document.querySelector('#session-list .empty h2')?.textContent === 'No session matches'`)
	require.Equal(t, []int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusUnauthorized}, statuses())
	b.looks("sessions-no-match")

	// One's own asks in other words, and signs out.
	b.click("#clear")
	b.until(`document.querySelectorAll('#session-list tbody tr').length === 4`)
	b.click(`#session-list tbody tr:has(th .badge) .row-actions summary`)
	b.click(`#session-list tbody tr:has(th .badge) a.risky`)
	b.until(`document.querySelector('#dialog[open] h1')?.textContent === 'Sign yourself out'`)
	b.looks("session-end-own")
	b.click("#dialog button.danger")
	b.until(`location.pathname === '/keyreeve/login'`)
}

func TestSessionsNeedNoScript(t *testing.T) {
	d := startDemo(t)
	clientID, secret := d.create(t, map[string]any{"name": "Nightly backup"})
	token := d.token(t, clientID, secret)
	b := openTabNoScript(t)
	b.signInAs(d, "operator")
	b.open(d.AdminURL + "/keyreeve/locks")
	b.axe()
	b.open(d.AdminURL + "/keyreeve/sessions")
	b.fill("#f-key_id", clientID)
	b.click("#filters button.primary")
	b.until(`/\?key_id=key_\w+$/.test(location.href)`)
	b.click("#session-list tbody .row-actions summary")
	b.click("#session-list tbody a.risky")
	b.until(`/\/sessions\/.*\/end$/.test(location.pathname)`)
	b.axe()
	b.click("main button.danger")
	b.until(`location.pathname === '/keyreeve/sessions' && document.querySelector('#notice .notice')`)
	require.Equal(t, http.StatusUnauthorized, d.bearer(t, token))
}
