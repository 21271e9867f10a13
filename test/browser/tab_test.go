package browser

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// How a browser test is written, so that it also holds where two busy processors
// do everything ten times slower:
//
//   - Nothing is asserted at once that comes by a request, a timer or an event:
//     `b.until("an expression")`. require.Equal(eval(…)) is for what the expression
//     just waited for has already settled. Never sleep.
//   - Wait for what only the new state shows: after a click `b.until("a heading is
//     there")` is already true when the old page has it too.
//   - Pages are opened with b.open, or with what a click leads to and then an until;
//     both know that keys pressed before the page's script runs go nowhere.
//   - Clicks go through b.click and b.choose: they wait until the element is in
//     sight, lies still, is enabled and on top, and until htmx is done with the last
//     thing. Typing goes through b.fill and b.typeText. Retry nothing.
//   - Each look at a page ends with b.looks("name"): axe, no sideways scrolling and a
//     picture, small and wide, light and dark. b.axe() alone is for states between.
//   - What the browser has against a page (errors of scripts, console errors, breaches
//     of the content security policy, missing assets) fails the test at its end.
//   - openTabNoScript is a browser whose pages run no script. The helpers work there
//     too: what they ask is evaluated over the debugging protocol.

// tab is a page in a browser of its own.
type tab struct {
	*testing.T
	ctx context.Context
	// scriptless pages run no script of their own.
	scriptless bool

	mu sync.Mutex
	// complaints are what the browser has against the page.
	complaints []string
}

// openTab starts a browser with nothing in it. It must have nothing to complain of.
func openTab(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(1280, 900), chromedp.WSURLReadTimeout(patience), chromedp.Flag("lang", "en-US"), chromedp.Flag("force-color-profile", "srgb"))
	if path, err := exec.LookPath("chromium"); err == nil {
		options = append(options, chromedp.ExecPath(path))
	}
	quiet := chromedp.WithErrorf(func(string, ...any) {}) // of events that its protocol does not know yet
	alloc, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(alloc, quiet)
	t.Cleanup(end)
	b := &tab{T: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	require.NoError(t, chromedp.Run(ctx, log.Enable(), audits.Enable())) // the first one's context is the browser's life
	b.look(1280, "light")
	t.Cleanup(func() { require.Empty(t, b.heard()) })
	return b
}

// openTabNoScript is openTab for somebody who has switched scripts off.
func openTabNoScript(t *testing.T) *tab {
	t.Helper()
	b := openTab(t)
	b.scriptless = true
	b.do(emulation.SetScriptExecutionDisabled(true))
	return b
}

func (b *tab) listen(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Error()
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeAssert {
			text = "console: " + arguments(e.Args)
		}
	case *log.EventEntryAdded:
		if e.Entry.Source == log.SourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") ||
			e.Entry.Source == log.SourceNetwork && strings.Contains(e.Entry.URL, "/assets/") {
			text = string(e.Entry.Source) + ": " + e.Entry.Text + " " + e.Entry.URL
		}
	case *audits.EventIssueAdded:
		if csp := e.Issue.Details.ContentSecurityPolicyIssueDetails; csp != nil {
			text = fmt.Sprintf("content security policy: %s refuses %s %s", csp.ViolatedDirective, csp.ContentSecurityPolicyViolationType, csp.BlockedURL)
		}
	}
	if text != "" {
		b.mu.Lock()
		b.complaints = append(b.complaints, text)
		b.mu.Unlock()
	}
}

func arguments(args []*runtime.RemoteObject) string {
	var all []string
	for _, a := range args {
		if a.Description != "" {
			all = append(all, a.Description)
		} else {
			all = append(all, string(a.Value))
		}
	}
	return strings.Join(all, " ")
}

// heard are the complaints so far.
func (b *tab) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.complaints...)
}

func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b, chromedp.Run(ctx, actions...))
}

// signIn uses the demo's link up.
func (b *tab) signIn(d *demo) {
	b.Helper()
	b.open(d.LoginURL)
	b.click("main button.primary")
	b.until(`document.getElementById('key-list')`)
	b.ready()
}

// signInAs signs in with a seeded key's secret.
func (b *tab) signInAs(d *demo, name string) {
	b.Helper()
	clientID, secret := d.key(b.T, name)
	b.signInWith(d, clientID, secret)
}

// signInWith signs in with any key's secret.
func (b *tab) signInWith(d *demo, clientID, secret string) {
	b.Helper()
	b.open(d.AdminURL + "/keyreeve/login")
	b.fill("#f-client_id", clientID)
	b.fill("#f-client_secret", secret)
	b.click("main button.primary")
	b.until(`document.querySelector('nav.rooms')`)
	b.ready()
}

// open goes to a page, and waits until its script is there: what is clicked before
// works without script.
func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
	b.ready()
}

// reload asks for the page anew.
func (b *tab) reload() {
	b.Helper()
	b.do(chromedp.Reload())
	b.ready()
}

// back goes one step back in the history of the tab.
func (b *tab) back() {
	b.Helper()
	b.do(chromedp.Evaluate(`history.back()`, nil))
}

// ready waits until the page's script is there, and is done with what it does.
func (b *tab) ready() {
	b.Helper()
	b.until(settled)
}

// settled is the page with all its script, no request of htmx's under way, and
// nothing moving but what moves for ever.
const settled = `(document.readyState === 'complete' && !document.querySelector('.htmx-request,.htmx-swapping,.htmx-settling,.htmx-added')
	&& !document.getAnimations().some(a => a.playState === 'running' && a.effect?.getComputedTiming().endTime !== Infinity))`

// click clicks the one element in sight that a selector of CSS finds.
func (b *tab) click(selector string) {
	b.Helper()
	b.pointAt(selector, func(x, y float64) chromedp.Action { return chromedp.MouseClickXY(x, y) })
}

// pointAt waits until an element can be hit, and acts at its middle.
func (b *tab) pointAt(selector string, act func(x, y float64) chromedp.Action) {
	b.Helper()
	var at []float64
	find := fmt.Sprintf(hittable, selector)
	b.wait(func(ctx context.Context) (bool, error) {
		var first, second []float64
		if err := chromedp.Run(ctx, chromedp.Evaluate(find, &first), chromedp.Evaluate(find, &second)); err != nil {
			return false, err
		}
		at = second
		return len(first) == 2 && len(second) == 2 && first[0] == second[0] && first[1] == second[1], nil
	}, "never to be hit: %s", selector)
	b.do(act(at[0], at[1]))
}

// hittable is the middle of an element that a click would reach, and otherwise null:
// it is out of sight, or covered, perhaps by a column that stays, and is brought to the
// middle for the next look.
const hittable = `(() => {
	if (!` + settled + `) return null;
	const e = [...document.querySelectorAll(%[1]q)].find(e => e.checkVisibility({ visibilityProperty: true }));
	const r = e?.getClientRects()[0];
	if (!r?.width || !r.height || e.matches(':disabled')) return null;
	const x = r.left + r.width / 2, y = r.top + r.height / 2, hit = document.elementFromPoint(x, y);
	if (hit && (e.contains(hit) || hit.closest('label')?.control === e)) return [x, y];
	e.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
	return null;
})()`

// fill puts text into a field in place of what is there, as typing would; fields of
// dates and times, which type differently everywhere, are given their value.
func (b *tab) fill(selector, text string) {
	b.Helper()
	b.focus(selector)
	b.until(fmt.Sprintf(`(() => { const e = document.querySelector(%q);
		if (!/date|time|month|week|color|range/.test(e.type)) { e.select(); return true; }
		e.value = %q; e.dispatchEvent(new Event('input', { bubbles: true })); e.dispatchEvent(new Event('change', { bubbles: true }));
		return true; })()`, selector, text))
	switch typed := fmt.Sprintf(`document.querySelector(%q).value !== %q`, selector, text); {
	case !eval[bool](b, typed):
	case text == "":
		b.do(chromedp.KeyEvent(kb.Backspace))
	default:
		b.do(input.InsertText(text))
	}
	b.until(fmt.Sprintf(`document.querySelector(%q)?.value === %q`, selector, text))
}

// typeText types where the focus is, key by key.
func (b *tab) typeText(text string) {
	b.Helper()
	b.do(chromedp.KeyEvent(text))
}

// choose selects an option by its value in a select, as the keyboard would.
func (b *tab) choose(selector, value string) {
	b.Helper()
	b.focus(selector)
	b.until(fmt.Sprintf(`(() => { const s = document.querySelector(%q);
		if (![...s.options].some(o => o.value === %q)) return false;
		s.value = %[2]q; s.dispatchEvent(new Event('input', { bubbles: true })); s.dispatchEvent(new Event('change', { bubbles: true }));
		return true; })()`, selector, value))
}

// focus leads the focus to an element, as Tab would.
func (b *tab) focus(selector string) {
	b.Helper()
	b.until(fmt.Sprintf(`(() => { if (!%s) return false;
		const e = document.querySelector(%q); e?.focus(); return !!e && document.activeElement === e; })()`, settled, selector))
}

// enter presses Enter where the focus is: it follows a link, pushes a button and
// sends a form.
func (b *tab) enter() {
	b.Helper()
	b.do(chromedp.KeyEvent(kb.Enter))
}

// press presses a key that the page takes for itself, so that no text comes of it.
func (b *tab) press(key string) {
	b.Helper()
	b.ready()
	b.do(input.DispatchKeyEvent(input.KeyRawDown).WithKey(key), input.DispatchKeyEvent(input.KeyUp).WithKey(key))
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	var out T
	b.do(chromedp.Evaluate(expression, &out))
	return out
}

// until waits for an expression in the page to be true, or to be anything else that
// JavaScript holds for true.
func (b *tab) until(expression string) {
	b.Helper()
	b.wait(func(ctx context.Context) (bool, error) {
		var yes bool
		err := chromedp.Run(ctx, chromedp.Evaluate("!!("+expression+")", &yes))
		return yes, err
	}, "never true: %s", expression)
}

// wait tries until it is so; in the middle of a navigation there is an error.
func (b *tab) wait(so func(context.Context) (bool, error), format string, args ...any) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second) // an evaluation that a navigation overtakes may get no answer
		yes, err := so(ctx)
		cancel()
		if err == nil && yes {
			return
		}
		if time.Now().After(deadline) {
			b.picture("failed-" + strings.ReplaceAll(b.Name(), "/", "-"))
			require.Fail(b, fmt.Sprintf(format, args...), "%v at %s; the page says: %.2000s", err, b.location(), b.text())
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// location and text are for what a test that failed says.
func (b *tab) location() (url string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Location(&url))
	return url
}

func (b *tab) text() (text string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`(document.querySelector('dialog[open]') ?? document.body).innerText`, &text))
	return text
}

// inSight is a test on the first element that a selector finds, to wait for.
func inSight(selector string) string {
	return fmt.Sprintf(`document.querySelector(%q)?.checkVisibility({ visibilityProperty: true })`, selector)
}
