package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// create makes a key over the admin API.
func (d *demo) create(t *testing.T, body map[string]any) (clientID, secret string) {
	t.Helper()
	body["customer_id"] = d.CustomerID
	if body["role_id"] == nil {
		body["role_id"] = "role_api_read_only"
	}
	text, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.AdminURL+"/v1/keys", bytes.NewReader(text))
	require.NoError(t, err)
	req.SetBasicAuth(d.key(t, "operator"))
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	require.Equal(t, http.StatusCreated, res.StatusCode)
	var made struct {
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&made))
	return made.ClientID, made.Secret
}

// fill makes keys such as people have.
func (d *demo) fill(t *testing.T) {
	t.Helper()
	soon := time.Now().AddDate(0, 0, 12).UTC().Format(time.RFC3339)
	for i, name := range []string{"Billing export", "Grafana reader", "Terraform", "Nightly backup", "SIEM forwarder", "Jenkins", "Data lake",
		"Mobile gateway", "Partner: Acme", "Incident bot", "Edge probe", "Reporting"} {
		for j, env := range []string{"prod", "dev"} {
			body := map[string]any{"name": name + " (" + env + ")", "labels": map[string]string{"env": env}}
			switch (2*i + j) % 6 {
			case 0:
				body["description"] = "Runs at the end of each month"
			case 2:
				body["expires_at"] = soon
			case 3:
				body["session_validity_seconds"] = 900
			case 4:
				body["enabled"] = false
			}
			d.create(t, body)
		}
	}
}

// lock shows a wrong secret until the client is locked.
func (d *demo) lock(t *testing.T, clientID string) {
	t.Helper()
	for i := range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.GateURL+"/mgmtconfig/v1/admin/customers/"+d.CustomerID+"/application", nil)
		require.NoError(t, err)
		req.SetBasicAuth(clientID, fmt.Sprintf("wrong-%d", i))
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	}
}

const names = `[...document.querySelectorAll('.key-name')].map(e => e.textContent)`

func TestAnAdministratorFindsKeysByClicksAndKeys(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.look(1440, "light")
	b.open(d.AdminURL)
	b.do(chromedp.WaitVisible("#f-client_secret", chromedp.ByQuery))
	b.picture("signin")
	b.signIn(d)
	b.picture("keys")
	require.Equal(t, "/keyreeve/keys", eval[string](b, "location.pathname"))

	// By a click the other way round, and the focus stays where it was.
	b.do(chromedp.Click("#sort-name", chromedp.ByQuery))
	b.until(`document.querySelector('[aria-sort]')?.getAttribute('aria-sort') === 'descending'`)
	require.Equal(t, "tenant", eval[[]string](b, names)[0])
	require.Equal(t, "?sort=-name", eval[string](b, "location.search"))
	b.until(`document.activeElement.id === 'sort-name'`)

	// By the keyboard alone: / leads to the search, which finds while one types.
	b.press("/")
	b.until(`document.activeElement.id === 'q'`)
	b.do(chromedp.KeyEvent("terra"))
	b.until(`location.search.includes('q=terra') && document.querySelectorAll('.key-name').length === 2`)
	require.Equal(t, []string{"Terraform (prod)", "Terraform (dev)"}, eval[[]string](b, names))
	require.Equal(t, "q", eval[string](b, "document.activeElement.id"), "typing goes on")
	b.until(`document.getElementById('said').textContent.trim() === '2 keys found'`)

	// A chip takes its filter away; going back brings it back.
	b.do(chromedp.Click(".chip", chromedp.ByQuery))
	b.until(`!location.search.includes('q=') && document.querySelectorAll('.key-name').length === 20`)
	b.do(chromedp.NavigateBack())
	b.until(`document.querySelectorAll('.key-name').length === 2`)

	b.open(d.AdminURL + "/keyreeve/keys?state=active")
	b.do(chromedp.SendKeys("#q", "nothing has this name", chromedp.ByQuery))
	b.until(`document.querySelector('.empty h2')?.textContent === 'No key matches'`)
	b.picture("keys-no-match")
}

func TestStatesChangeInTheTableWithoutLosingTheSelection(t *testing.T) {
	d := startDemo(t)
	clientID, _ := d.create(t, map[string]any{"name": "Aaa first"})
	b := openTab(t)
	b.signIn(d)
	b.do(chromedp.Click("tbody tr:first-child input[data-select]", chromedp.ByQuery), chromedp.WaitVisible("#bulk", chromedp.ByQuery))
	b.do(chromedp.Evaluate(`document.querySelector('tbody tr').dataset.same = 'yes'`, nil))
	d.lock(t, clientID)
	b.until(`document.querySelector('tbody tr .badge').textContent === 'Locked' && /in \d\d:\d\d/.test(document.querySelector('tbody tr .why').textContent)`)
	require.True(t, eval[bool](b, `document.querySelector('tbody tr').dataset.same === 'yes' && document.querySelector('tbody tr input').checked`))
	b.picture("keys-locked")
}

func TestColumnsAreChosenByTheKeyboardAndKept(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.do(chromedp.Focus("#columns", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#dialog[open] .columns", chromedp.ByQuery))
	b.do(chromedp.Focus("#up-enabled", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.until(`document.querySelectorAll('.columns [name=order]')[1].value === 'enabled'`)
	b.until(`document.activeElement.id === 'down-enabled'`)
	b.picture("columns")
	b.do(chromedp.Focus(`.columns [name=shown][value=labels]`, chromedp.ByQuery), chromedp.KeyEvent(" "))
	b.do(chromedp.Focus("#columns-keep", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.until(`!document.getElementById('dialog').open`)
	b.until(`document.querySelector('#notice .notice span')?.textContent === 'Columns kept.'`)
	titles := `[...document.querySelectorAll('thead th')].map(e => e.textContent.trim())`
	b.until(titles + `[2] === 'Status'`)
	require.NotContains(t, eval[[]string](b, titles), "Labels")
	b.do(chromedp.Reload(), chromedp.WaitVisible("#key-list", chromedp.ByQuery))
	b.ready()
	require.Equal(t, "Status", eval[[]string](b, titles)[2])
}

func TestTheTableIsFitForSmallAndDarkScreens(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.signIn(d)
	for _, width := range []int64{360, 768, 1280} {
		for _, theme := range []string{"light", "dark"} {
			b.look(width, theme)
			require.LessOrEqual(t, eval[int64](b, `document.documentElement.scrollWidth`), width, "nothing but the table scrolls sideways")
			b.picture(fmt.Sprintf("keys-%d-%s", width, theme))
		}
	}
}
