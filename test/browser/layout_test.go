package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// longName is as long as names of keys may well be, without a space to break it at.
const longName = "Wholesale-partner-integration-of-the-western-area"

func TestNoPageScrollsSideways(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	rooms := func(name string) {
		for _, path := range eval[[]string](b, `[...document.querySelectorAll('nav.rooms a')].map(a => a.getAttribute('href'))`) {
			b.look(320, "light")
			b.open(d.AdminURL + path)
			b.until(`(r => r.left >= 0 && r.right <= innerWidth)(document.querySelector('nav.rooms [aria-current]').getBoundingClientRect())`)
			for _, width := range []int64{320, 360, 768} {
				b.look(width, "light")
				b.fits(width)
			}
			b.picture("fits-" + name + strings.ReplaceAll(strings.TrimPrefix(path, "/keyreeve"), "/", "-"))
		}
	}
	d.api(t, "POST", "/v1/sources", map[string]any{"name": "second-product", "owner": "Identity team <id@example.com>", "customer_id": d.CustomerID, "max_role_id": "role_api_read_only", "rule": "read_only"})
	d.push(t, "second-product", "ci-deploy", "a-client-with-a-name-as-long-as-names-can-be-xxxx")
	clientID, secret := d.create(t, map[string]any{"name": longName, "role_id": "role_operator"})
	b.look(320, "light")
	b.signInWith(d, clientID, secret)
	rooms("long")
	b.open(d.AdminURL + "/keyreeve/login")
	b.signIn(d)
	rooms("operator")
}

// shifted adds up, from when it is asked for first, how far the browser found things
// to have moved.
const shifted = `(window.shifts ??= (() => { const all = [];
	new PerformanceObserver(list => all.push(...list.getEntries())).observe({ type: 'layout-shift' });
	return all; })())`

func TestNothingMovesWhenStatesChangeOrAKeyIsTicked(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	made := d.createKey(t, map[string]any{"name": "Aaa first"})
	clientID, _ := d.create(t, map[string]any{"name": "Aab second"})
	b := openTab(t)
	b.signIn(d)
	for _, width := range []int64{1280, 360} {
		b.look(width, "light")
		b.open(d.AdminURL + "/keyreeve/keys")
		b.until(shifted)
		before := eval[string](b, places)
		b.click("tbody tr:nth-child(3) input[data-select]")
		b.until(inSight("#bulk"))
		d.api(t, "PATCH", "/v1/keys/"+made["id"].(string), map[string]any{"enabled": width != 1280})
		if width == 1280 {
			d.lock(t, clientID)
			b.until(`/opens in \d\d:\d\d/.test(document.querySelector('tbody tr:nth-child(2) .why')?.textContent)`)
			b.until(`document.querySelector('tbody tr .badge').textContent === 'Disabled'`)
		} else {
			b.until(`document.querySelector('tbody tr .badge').textContent === 'Active'`)
		}
		b.do(chromedp.Evaluate(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))`, nil, awaited))
		b.picture(fmt.Sprintf("steady-%d", width))
		require.Equal(t, before, eval[string](b, places), "at %d px", width)
		require.Empty(t, eval[[]string](b, shifted+`.map(s => s.value + ' ' + s.sources.map(one => one.node?.nodeName + '.' + one.node?.className))`), "at %d px", width)
		b.click("tbody tr:nth-child(3) input[data-select]")
	}
}

// places are where the rows and columns of the table begin.
const places = `JSON.stringify([...document.querySelectorAll('thead th, tbody tr')].map(e => (r => [e.tagName, Math.round(r.left), Math.round(r.top + scrollY)])(e.getBoundingClientRect())))`

func TestTheTableIsPrintedWholeAndWithoutWhatOnlyClicks(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	d.create(t, map[string]any{"name": longName})
	b := openTab(t)
	b.signIn(d)
	b.do(chromedp.EmulateViewport(720, 900), emulation.SetEmulatedMedia().WithMedia("print"))
	b.until(`matchMedia('print').matches && innerWidth === 720`)
	for _, columns := range []string{"", "?columns=name,client_id,enabled,state,session_validity_seconds,role_id,created_at,last_used_at,expires_at,secrets,source,labels"} {
		b.open(d.AdminURL + "/keyreeve/keys" + columns)
		require.False(t, eval[bool](b, inSight(".row-actions")))
		require.False(t, eval[bool](b, inSight("#bulk")))
		b.fits(720)
		require.Empty(t, eval[[]string](b, tooWide))
		b.picture(fmt.Sprintf("print-%d", len(columns)))
	}
}

func TestFiltersAreFoldedUntilTheyAreOpenedOrOneIsOn(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.signIn(d)
	folded := `document.getElementById('fold').textContent.trim() === 'Show filters' && !document.getElementById('filters').checkVisibility()`
	open := `document.getElementById('fold').textContent.trim() === 'Hide filters' && document.getElementById('filters').checkVisibility()`
	b.until(folded)
	b.click("#quick-off")
	b.until(`location.search === '?state=disabled' && ` + folded)
	b.open(d.AdminURL + "/keyreeve/keys?label=env:dev")
	b.until(open)
	b.fill("#label", "") // and they stay while they are used
	b.enter()
	b.until(`location.search === '' && document.querySelectorAll('.key-name').length === 20 && ` + open)
	b.open(d.AdminURL + "/keyreeve/keys")
	b.until(folded)
	b.click("#fold")
	b.until(open + ` && document.activeElement.id === 'fold'`)
	b.reload()
	b.until(open)
	b.click("#fold")
	b.until(folded)
	b.open(d.AdminURL + "/keyreeve/keys?label=env:dev")
	b.until(folded)
}
