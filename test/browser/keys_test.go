package browser

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

const names = `[...document.querySelectorAll('.key-name')].map(e => e.textContent)`

func TestAnAdministratorFindsKeysByClicksAndKeys(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.open(d.AdminURL)
	b.until(inSight("#f-client_secret"))
	b.looks("signin")
	b.signIn(d)
	b.until(`location.pathname === '/keyreeve/keys'`)
	b.looks("keys")

	// By a click the other way round, and the focus stays where it was.
	b.click("#sort-name")
	b.until(`document.querySelector('[aria-sort]')?.getAttribute('aria-sort') === 'descending' && ` + names + `[0] === 'tenant'`)
	b.until(`location.search === '?sort=-name' && document.activeElement.id === 'sort-name'`)

	// By the keyboard alone: / leads to the search, which finds while one types.
	b.press("/")
	b.until(`document.activeElement.id === 'q'`)
	b.typeText("terra")
	b.until(`location.search.includes('q=terra') && ` + names + `.join() === 'Terraform (prod),Terraform (dev)'`)
	b.until(`document.getElementById('refresh').search === '?q=terra&sort=-name'`) // what goes on from the list goes on from this one
	b.until(`document.activeElement.id === 'q'`)                                   // typing goes on
	b.until(`document.getElementById('said').textContent.trim() === '2 keys found'`)

	// A chip takes its filter away; going back brings it back.
	b.click(".chip")
	b.until(`!location.search.includes('q=') && ` + names + `.length === 20`)
	b.back()
	b.until(`location.search.includes('q=terra') && ` + names + `.length === 2`)

	b.open(d.AdminURL + "/keyreeve/keys?state=active")
	b.focus("#q")
	b.typeText("nothing has this name")
	b.until(`document.querySelector('.empty h2')?.textContent === 'No key matches'`)
	b.looks("keys-no-match")
}

func TestTheTableIsSortedByAClickOnEveryColumn(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.signIn(d)
	sorted := func(head, direction string) {
		b.click("#" + head)
		b.until(fmt.Sprintf(`document.activeElement.id === %q && document.activeElement.closest('th').getAttribute('aria-sort') === %q
			&& document.querySelectorAll('[aria-sort]').length === 1`, head, direction))
	}
	b.open(d.AdminURL + "/keyreeve/keys?columns=name,client_id,enabled,state,session_validity_seconds,role_id,created_at,last_used_at,expires_at,secrets,source,microtenant_id,customer_id,labels")
	heads := eval[[]string](b, `[...document.querySelectorAll('thead th[scope=col] a')].map(e => e.id)`)
	require.Len(t, heads, eval[int](b, `document.querySelectorAll('thead th:not(.narrow-cell)').length`), "each column sorts")
	for _, head := range heads[1:] { // it is by the first one now
		sorted(head, "ascending")
	}
	b.looks("keys-sorted")
	sorted("sort-state", "ascending")
	b.until(`document.querySelector('tbody .badge').textContent === 'Active'`)
	sorted("sort-state", "descending")
	b.until(`document.querySelector('tbody .badge').textContent === 'Disabled'`)
}

func TestStatesChangeInTheTableWithoutLosingTheSelection(t *testing.T) {
	d := startDemo(t)
	clientID, _ := d.create(t, map[string]any{"name": "Aaa first"})
	b := openTab(t)
	b.signIn(d)
	b.click("tbody tr:first-child input[data-select]")
	b.until(inSight("#bulk"))
	b.until(`(document.querySelector('tbody tr').dataset.same = 'yes')`)
	d.lock(t, clientID)
	b.until(`document.querySelector('tbody tr .badge').textContent === 'Locked' && /in \d\d:\d\d/.test(document.querySelector('tbody tr .why').textContent)`)
	b.until(`document.querySelector('tbody tr').dataset.same === 'yes' && document.querySelector('tbody tr input').checked`)
	b.looks("keys-locked")
}

func TestColumnsAreChosenByTheKeyboardAndKept(t *testing.T) {
	d := startDemo(t)
	b := openTab(t)
	b.signIn(d)
	b.focus("#columns")
	b.enter()
	b.until(inSight("#dialog[open] .columns"))
	b.focus("#up-state")
	b.enter()
	b.until(`document.querySelectorAll('.columns [name=order]')[1].value === 'state' && document.activeElement.id === 'down-state'`)
	b.looks("columns")
	b.focus(".columns [name=shown][value=labels]")
	b.typeText(" ")
	b.until(`document.querySelector('.columns [name=shown][value=labels]').checked`)
	b.focus("#columns-keep")
	b.enter()
	b.until(`!document.getElementById('dialog').open`)
	b.until(`document.querySelector('#notice .notice span')?.textContent === 'Columns kept.'`)
	chosen := `(titles => titles[2] === 'State' && titles.includes('Labels'))([...document.querySelectorAll('thead th')].map(e => e.textContent.trim()))`
	b.until(chosen)
	b.reload()
	b.until(chosen)

	// What changes is shown where it has a place, and nothing is missed where it has none.
	clientID, _ := d.key(t, "readonly")
	d.lock(t, clientID)
	b.until(`[...document.querySelectorAll('tbody .badge')].some(e => e.textContent === 'Locked')`)
	d.create(t, map[string]any{"name": "Aaa new since"})
	clientID, _ = d.key(t, "full")
	d.lock(t, clientID)
	b.until(`[...document.querySelectorAll('tbody .badge')].filter(e => e.textContent === 'Locked').length === 2`)
}

func TestTheTableIsFitForScreensBetweenSmallAndWide(t *testing.T) {
	d := startDemo(t)
	d.fill(t)
	b := openTab(t)
	b.signIn(d)
	for _, width := range []int64{641, 768, 1024, 1920} {
		b.look(width, "light")
		b.fits(width)
		b.picture(fmt.Sprintf("keys-%d", width))
	}
}
