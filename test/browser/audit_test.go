package browser

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cdp "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const events = `[...document.querySelectorAll('.event-what')].map(e => e.textContent.trim().replace(/\s+/g, ' '))`

// download clicks a link and returns the file that comes of it.
func (b *tab) download(selector string) (name, text string) {
	b.Helper()
	dir := b.TempDir()
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.SetDownloadBehavior(cdp.SetDownloadBehaviorBehaviorAllow).WithDownloadPath(dir).Do(ctx)
	}))
	b.click(selector)
	b.wait(func(context.Context) (bool, error) {
		found, err := os.ReadDir(dir)
		if err != nil || len(found) != 1 || strings.HasSuffix(found[0].Name(), ".crdownload") {
			return false, err
		}
		data, err := os.ReadFile(filepath.Join(dir, found[0].Name()))
		name, text = found[0].Name(), string(data)
		return len(data) > 0, err
	}, "nothing was downloaded by %s", selector)
	return name, text
}

func TestTheAuditTrailIsSearchedExportedAndVerified(t *testing.T) {
	d := startDemo(t)
	made := d.createKey(t, map[string]any{"name": "=Nightly \"backup\"", "labels": map[string]string{"env": "prod", "team": "core"}, "allowed_cidrs": []string{"10.0.0.0/8"}})
	id := made["id"].(string)
	d.api(t, http.MethodPatch, "/v1/keys/"+id, map[string]any{"description": "Runs each night", "role_id": "role_api_full_access", "session_validity_seconds": 900,
		"labels": map[string]any{"env": "dev", "team": nil, "tier": "1"}, "allowed_cidrs": []string{"10.0.0.0/8", "192.0.2.0/24"}})
	d.api(t, http.MethodPatch, "/v1/keys/"+id, map[string]any{"enabled": false})
	d.api(t, http.MethodPatch, "/v1/keys/"+id, map[string]any{"enabled": true})
	locked, _ := d.create(t, map[string]any{"name": "Edge probe"})
	d.lock(t, locked)
	b := openTab(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/audit?target_kind=key")
	require.Equal(t, []string{"Keyreeve locked the key Edge probe", "operator created the key Edge probe", "operator enabled the key =Nightly \"backup\"",
		"operator disabled the key =Nightly \"backup\"", "operator changed the key =Nightly \"backup\""}, eval[[]string](b, events)[:5])
	b.looks("audit")

	// What was changed is read member by member, told by words.
	b.click(`.event:nth-child(5) details summary`)
	b.until(`document.querySelector('.event:nth-child(5) .diff').checkVisibility()`)
	diff := eval[string](b, `document.querySelector('.event:nth-child(5) .diff').textContent.replace(/\s+/g, ' ')`)
	for _, part := range []string{"Allowed networks + added 192.0.2.0/24", "Labels › env − was prod + now dev", "Labels › team − removed core", "Labels › tier + added 1",
		"Role − was API Read Only + now API Full Access", "Session validity + added 15 minutes"} {
		require.Contains(t, diff, part)
	}
	b.looks("audit-changes")
	b.do(chromedp.Evaluate(`document.querySelector('.event:nth-child(5)').scrollIntoView()`, nil))
	b.picture("audit-diff")

	// Filters: by the keyboard, by name, by kind; chips take them away.
	b.click("#clear")
	b.until(`location.search === '' && document.querySelector('.event-what').textContent.includes('signing key')`)
	b.choose("#f-action", "key.lock")
	b.until(`location.search === '?action=key.lock' && ` + events + `.length === 1`)
	b.click(".chip")
	b.until(`location.search === '' && ` + events + `.length > 5`)
	b.press("/")
	b.until(`document.activeElement.id === 'f-actor_id'`)
	b.typeText("operator")
	b.enter()
	b.until(`/actor_id=key_/.test(location.search) && document.querySelector('.chip bdi')?.textContent === 'operator'`)
	b.until(events + `.every(e => e.startsWith('operator '))`)
	b.choose("#f-sort", "at")
	b.until(`location.search.includes('sort=at') && ` + events + `[0] === 'operator created the key =Nightly "backup"'`)
	b.click("#last-hour")
	b.until(`location.search.includes('since=') && document.querySelectorAll('.chip').length === 2`)
	b.looks("audit-filtered")

	// An export has what is filtered, and nothing that a spreadsheet runs.
	b.click("#audit-export")
	b.until(`document.querySelector('#dialog[open] h1')?.textContent === 'Export the audit trail'`)
	b.looks("audit-export")
	name, text := b.download("#export-csv")
	require.Regexp(t, `^keyreeve-audit-\d{8}T\d{6}Z\.csv$`, name)
	require.Contains(t, text, `,"'=Nightly ""backup""",`)
	require.NotContains(t, text, "key.lock", "not by this actor")
	name, text = b.download("#export-ndjson")
	require.Regexp(t, `\.ndjson$`, name)
	require.Contains(t, text, `"end":true`)
	b.click("#dialog .actions a[data-close]")

	b.click("#audit-verify")
	b.until(`document.querySelector('#dialog[open] #verify')`)
	b.looks("audit-verify")
	b.click("#verify")
	b.until(`document.querySelector('#dialog .proof.good strong')?.textContent.startsWith('Proved: ')`)
	b.looks("audit-verified")
	heads := eval[string](b, `document.querySelector('#dialog .command code').textContent`)
	require.Regexp(t, `:\d+:[0-9a-f]{64}`, heads)

	// A head that the chain does not have shows.
	other := "0"
	if strings.HasSuffix(heads, other) {
		other = "1"
	}
	b.fill("#f-head", heads[:len(heads)-1]+other)
	b.click("#verify")
	b.until(`document.querySelector('#dialog .proof.bad')`)
	b.looks("audit-broken")
}

func TestTheAuditTrailNeedsNoScript(t *testing.T) {
	d := startDemo(t)
	b := openTabNoScript(t)
	b.signInAs(d, "operator")
	b.open(d.AdminURL + "/keyreeve/audit")
	b.choose("#f-action", "key.create")
	b.click("#filters button.primary")
	b.until(`location.search === '?action=key.create' && ` + events + `.every(e => e.includes('created the key'))`)
	b.click(".event details summary")
	b.until(`document.querySelector('.event .diff').checkVisibility()`)
	b.axe()
	b.click("#audit-verify")
	b.until(`location.pathname === '/keyreeve/audit/verify'`)
	b.click("#verify")
	b.until(`document.querySelector('.proof.good')`)
	b.axe()
	b.open(d.AdminURL + "/keyreeve/audit")
	b.click("#audit-export")
	b.until(`location.pathname === '/keyreeve/audit/export'`)
	b.axe()
	name, _ := b.download("#export-csv")
	require.Regexp(t, `\.csv$`, name)
}
