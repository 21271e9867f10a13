// Package browser drives the page of the real binary in a real browser, by clicks
// and keys.
package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that should have happened long before.
const patience = 30 * time.Second

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	scratch, err := os.MkdirTemp("", "kr-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if binary = os.Getenv("KEYREEVE_BIN"); binary == "" {
		binary = filepath.Join(scratch, "keyreeve")
		build := exec.Command("go", "build", "-o", binary, "github.com/keyreeve/keyreeve/cmd/keyreeve")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the program under test: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// demo is a running demo, as it prints itself.
type demo struct {
	AdminURL   string `json:"admin_url"`
	GateURL    string `json:"gate_url"`
	LoginURL   string `json:"login_url"`
	CustomerID string `json:"customer_id"`
	Keys       []struct {
		Name     string `json:"name"`
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
	} `json:"keys"`
}

// key is the seeded key of that name.
func (d *demo) key(t *testing.T, name string) (clientID, secret string) {
	t.Helper()
	for _, k := range d.Keys {
		if k.Name == name {
			return k.ClientID, k.Secret
		}
	}
	require.Fail(t, "no such key", name)
	return "", ""
}

// startDemo runs the demo until the test ends.
func startDemo(t *testing.T) *demo {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(binary, "demo", "--dir", filepath.Join(dir, "demo"), "-o", "json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_DATA_HOME="+filepath.Join(dir, "data"), "HOME="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		require.NoError(t, cmd.Wait(), stderr.String())
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err, stderr.String())
	d := new(demo)
	require.NoError(t, json.Unmarshal(line, d))
	return d
}

// tab is a page in a browser of its own.
type tab struct {
	*testing.T
	ctx context.Context

	mu sync.Mutex
	// complaints are what the browser has against the page: errors of scripts, and
	// breaches of the content security policy.
	complaints []string
}

// openTab starts a browser with nothing in it. It must have nothing to complain of.
func openTab(t *testing.T) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1280, 900))
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
	require.NoError(t, chromedp.Run(ctx, log.Enable())) // the first one's context is the browser's life
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(t, b.complaints)
	})
	return b
}

func (b *tab) listen(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text = e.ExceptionDetails.Error()
	case *log.EventEntryAdded:
		if e.Entry.Source == log.SourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
			text = e.Entry.Text
		}
	}
	if text != "" {
		b.mu.Lock()
		b.complaints = append(b.complaints, text)
		b.mu.Unlock()
	}
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
	b.do(chromedp.Click("main button.primary", chromedp.ByQuery), chromedp.WaitVisible("#key-list", chromedp.ByQuery))
	b.ready()
}

// open goes to a page, and waits until its script is there: what is clicked before
// works without script.
func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
	b.ready()
}

func (b *tab) ready() {
	b.Helper()
	b.until(`document.readyState === 'complete'`)
}

// press presses a key that the page takes for itself, so that no text comes of it.
func (b *tab) press(key string) {
	b.Helper()
	b.do(input.DispatchKeyEvent(input.KeyRawDown).WithKey(key), input.DispatchKeyEvent(input.KeyUp).WithKey(key))
}

// eval is the value of an expression in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	var out T
	b.do(chromedp.Evaluate(expression, &out))
	return out
}

// until waits for an expression in the page to be true.
func (b *tab) until(expression string) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; {
		var yes bool
		err := chromedp.Run(b.ctx, chromedp.Evaluate(expression, &yes)) // fails in the middle of a navigation
		if err == nil && yes {
			return
		}
		require.True(b, time.Now().Before(deadline), "never true: %s (%v)", expression, err)
		time.Sleep(50 * time.Millisecond)
	}
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

// look is how the page is looked at: a width in CSS pixels, and a theme.
func (b *tab) look(width int64, theme string) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}))
}
