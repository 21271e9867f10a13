package browser

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// axeSource is axe-core, which finds most breaches of WCAG that a program can find.
// It comes over the debugging protocol; the product has no part in it.
//
//go:embed testdata/axe.min.js
var axeSource string

// axeRun looks at the whole document.
const axeRun = `axe.run(document, {
	runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
	resultTypes: ['violations'], preload: false,
}).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ' (' + v.impact + ') at ' + n.target.join(' ') + ': ' + n.failureSummary)))`

// axe fails with every breach of WCAG 2.2 A and AA, or of good practice, that the
// page as it is now has.
func (b *tab) axe() {
	b.Helper()
	found := b.breaches()
	require.Empty(b, found, "axe at %s: %s", b.location(), strings.Join(found, "\n"))
}

// breaches are what axe finds.
func (b *tab) breaches() []string {
	b.Helper()
	b.ready()
	if b.scriptless { // axe waits with timers, which such a page does not have
		b.do(emulation.SetScriptExecutionDisabled(false))
		defer b.do(emulation.SetScriptExecutionDisabled(true))
	}
	if !eval[bool](b, `typeof axe === 'object'`) {
		b.do(chromedp.Evaluate(axeSource, nil))
	}
	var found []string
	b.do(chromedp.Evaluate(axeRun, &found, awaited))
	return found
}

// awaited waits for what a promise comes to.
func awaited(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// looks looks at what is shown now on a phone and on a desk, by day and by night:
// axe finds nothing, nothing but a table scrolls sideways, and a picture is taken
// of each: NAME-360-light, NAME-360-dark, NAME-1280-light and NAME-1280-dark. At 320 px,
// which is a desk enlarged four times, nothing scrolls sideways either.
func (b *tab) looks(name string) {
	b.Helper()
	b.look(320, "light")
	b.fits(320)
	for _, width := range []int64{360, 1280} {
		for _, theme := range []string{"light", "dark"} {
			b.look(width, theme)
			b.fits(width)
			b.picture(fmt.Sprintf("%s-%d-%s", name, width, theme))
			b.axe()
		}
	}
	b.look(1280, "light")
}

// fits is that the page is not wider than the screen.
func (b *tab) fits(width int64) {
	b.Helper()
	wide := eval[int64](b, `document.documentElement.scrollWidth`)
	require.LessOrEqual(b, wide, width, "at %d px %s scrolls sideways: %v", width, b.location(), eval[[]string](b, tooWide))
}

// tooWide are the elements that stick out, for who has to mend it.
const tooWide = `[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)
	.slice(0, 12).map(e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + (typeof e.className === 'string' && e.className ? '.' + e.className.trim().replace(/\s+/g, '.') : ''))`

// look is how the page is looked at: a width in CSS pixels, and a theme.
func (b *tab) look(width int64, theme string) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}))
	b.until(fmt.Sprintf(`innerWidth === %d && matchMedia('(prefers-color-scheme: %s)').matches`, width, theme))
	b.ready()
}

// picture writes a screenshot of what is in sight, where $KEYREEVE_SCREENSHOTS names
// a directory.
func (b *tab) picture(name string) {
	b.Helper()
	dir := os.Getenv("KEYREEVE_SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	b.do(chromedp.CaptureScreenshot(&png))
	require.NoError(b, os.MkdirAll(dir, 0o755))
	require.NoError(b, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}
