package browser

import (
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	dialogClosed = `!document.getElementById('dialog').open && !document.getElementById('dialog').innerHTML`
	noticeText   = `document.querySelector('#notice .notice span')?.textContent.trim()`
	dialogTitle  = `document.querySelector('#dialog[open] h1')?.textContent.trim()`
)

// push makes the keys of a source what these client IDs say.
func (d *demo) push(t *testing.T, source string, clientIDs ...string) {
	t.Helper()
	keys := []map[string]any{}
	for _, id := range clientIDs {
		keys = append(keys, map[string]any{"client_id": id, "name": id, "role_id": "role_api_read_only", "secret_sha256": strings.Repeat("ab", 32)})
	}
	d.api(t, http.MethodPut, "/v1/sources/"+source+"/keys?customer_id="+url.QueryEscape(d.CustomerID), map[string]any{"keys": keys})
}

func TestASourceIsLookedAfterByClicksAndKeys(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.click(`nav.rooms a[href="/keyreeve/sources"]`)
	b.until(`document.querySelector('.empty h2')?.textContent === 'No sources yet'`)
	b.looks("sources-empty")

	// By the keyboard: n makes one; what is wrong is read first, and nothing is lost.
	b.press("n")
	b.until(dialogTitle + ` === 'New source' && document.activeElement.id === 'f-name'`)
	b.typeText("idp")
	b.fill("#f-owner", "Identity team")
	b.choose("#f-max_role_id", "role_api_read_only")
	b.looks("source-new")
	b.click("#as-commands")
	b.until(`document.querySelector('#commands code')?.textContent.includes('/v1/sources')`)
	b.click("#commands summary")
	b.looks("source-new-commands")
	b.fill("#f-name", "Not a name")
	b.click("#source-save")
	b.until(`document.activeElement.matches('.faults') && document.querySelector('#f-owner').value === 'Identity team'`)
	b.looks("source-new-faults")
	b.fill("#f-name", "idp")
	b.click("#source-save")
	b.until(`location.pathname === '/keyreeve/sources/idp' && ` + noticeText + `?.includes('owns no keys until')`)
	b.looks("source-new-made")

	d.push(t, "idp", "ci-deploy", "ci-test", "nightly")
	d.push(t, "idp", "ci-deploy", "nightly", "grafana")
	b.reload()
	b.until(`document.querySelector('.table-frame tbody tr td:last-child')?.textContent === '1 new, 1 removed, 2 as before'`)
	b.looks("source")
	b.until(`document.getElementById('push').scrollIntoView() ?? true`)
	b.looks("source-push")
	try := eval[string](b, `[...document.querySelectorAll('#source .command code')].map(e => e.textContent).find(t => t.includes('--dry-run'))`)
	b.tries(d, try, eval[string](b, `document.querySelector('#source .command code').textContent`))

	b.click("#source-edit")
	b.until(dialogTitle + ` === 'Edit source idp'`)
	d.api(t, http.MethodPatch, "/v1/sources/idp?customer_id="+url.QueryEscape(d.CustomerID), map[string]any{"owner": "Platform team"})
	b.fill("#f-owner", "Security team")
	b.click(`#f-rule [value=locked]`)
	b.click("#source-save")
	b.until(`document.querySelector('.differences td')?.textContent === 'Platform team'`)
	b.looks("source-conflict")
	b.click("#source-save")
	b.until(dialogClosed + ` && ` + noticeText + ` === 'Source “idp” saved.' && document.querySelector('#source').textContent.includes('Security team')`)
	b.until(`document.activeElement.id === 'source-edit'`)

	b.click("#source-delete")
	b.until(`document.querySelector('#dialog[open]')?.textContent.includes('It owns 3 keys')`)
	b.looks("source-delete-keys")
	d.push(t, "idp")
	b.click("#dialog .actions [data-close]")
	b.until(dialogClosed)
	b.open(d.AdminURL + "/keyreeve/sources")
	b.looks("sources")
	b.click(".row-menu summary")
	b.click(".row-menu .risky")
	b.until(inSight("#f-confirm"))
	b.looks("source-delete")
	b.fill("#f-confirm", "idp")
	b.click("#dialog .danger")
	b.until(dialogClosed + ` && document.querySelector('.empty h2')?.textContent === 'No sources yet'`)
}

// tries runs a command of the page as it stands, with the list in its file.
func (b *tab) tries(d *demo, command, list string) {
	b.Helper()
	dir := b.TempDir()
	clientID, secret := d.key(b.T, "operator")
	script := "cat > keys.yaml <<'END'\n" + list + "END\n" + strings.Replace(command, "keyreeve ", binary+" ", 1)
	cmd := exec.CommandContext(b.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "KEYREEVE_CLIENT_ID="+clientID, "KEYREEVE_CLIENT_SECRET="+secret)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, string(out))
	require.Contains(b, string(out), "ci-deploy")
}
