package caddymodule

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// pageVisitor is somebody at the page, with a browser's cookies.
type pageVisitor struct {
	*gateTest
	client *http.Client
}

func (g *gateTest) atPage() *pageVisitor {
	g.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(g.t, err)
	return &pageVisitor{g, &http.Client{Jar: jar, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// ask is a request to the page: a form where there is one. with may change it.
func (v *pageVisitor) ask(path string, form url.Values, with ...func(*http.Request)) (status int, location, body string) {
	v.t.Helper()
	method, sent := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, sent = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, v.adminURL+path, sent)
	require.NoError(v.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, change := range with {
		change(r)
	}
	resp, err := v.client.Do(r)
	require.NoError(v.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	return resp.StatusCode, resp.Header.Get("Location"), string(text)
}

// enter signs in; 303 is in.
func (v *pageVisitor) enter(k testKey, secret string, with ...func(*http.Request)) int {
	v.t.Helper()
	status, _, _ := v.ask("/keyreeve/login", url.Values{"client_id": {k.clientID}, "client_secret": {secret}}, with...)
	return status
}

// in reports whether a click finds somebody signed in.
func (v *pageVisitor) in(with ...func(*http.Request)) bool {
	v.t.Helper()
	status, location, _ := v.ask("/keyreeve/keys", nil, with...)
	if status == http.StatusSeeOther {
		require.Contains(v.t, location, "/keyreeve/login")
		return false
	}
	require.Equal(v.t, http.StatusOK, status)
	return true
}

func early(r *http.Request) { r.Header.Set("Early-Data", "1") }

// startPage is a gate with a page, and an Operator's key.
func startPage(t *testing.T) (*gateTest, *storetest.Clock, testKey) {
	clock := withClock(t)
	g := startGate(t, "max_stale 24h")
	return g, clock, g.newKey("admin", keystore.RoleOperator)
}

func TestWrongSecretsAtThePageCountTowardsTheSameLock(t *testing.T) {
	g, clock, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 401, v.enter(k, "wrong-1"))
	require.Equal(t, 401, g.call(k, "wrong-2"), "at the gate")
	require.Equal(t, 401, v.enter(k, "wrong-3"))
	require.Equal(t, 401, g.call(k, k.secret), "locked there too")
	clock.Advance(time.Minute) // and with it the limit per address
	require.Equal(t, 401, v.enter(k, k.secret), "locked here")
	require.False(t, v.in())
	clock.Advance(30 * time.Minute)
	require.Equal(t, 303, v.enter(k, k.secret))
	require.True(t, v.in())
}

func TestALockEndsWhoIsAtThePage(t *testing.T) {
	g, _, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	for _, wrong := range []string{"1", "2", "3"} {
		g.call(k, wrong)
	}
	require.False(t, v.in())
}

func TestAKeyThatAdministersNothingIsNotLetIn(t *testing.T) {
	g, _, _ := startPage(t)
	k := g.newKey("reader", keystore.RoleReadOnly)
	v := g.atPage()
	require.Equal(t, 403, v.enter(k, k.secret))
	require.False(t, v.in())
}

func TestALinkSignsInOnceAndForTenMinutes(t *testing.T) {
	g, clock, k := startPage(t)
	use := func(path string) (*pageVisitor, int) {
		v := g.atPage()
		status, _, _ := v.ask(path, nil)
		require.Equal(t, 200, status, "opening it uses nothing up")
		require.False(t, v.in())
		status, _, _ = v.ask(path, url.Values{})
		return v, status
	}
	path, err := LoginLink(t.Context(), k.clientID)
	require.NoError(t, err)
	v, status := use(path)
	require.Equal(t, 303, status)
	require.True(t, v.in())
	other, status := use(path)
	require.Equal(t, 401, status, "a second time")
	require.False(t, other.in())

	path, err = LoginLink(t.Context(), k.clientID)
	require.NoError(t, err)
	clock.Advance(page.LinkLifetime)
	_, status = use(path)
	require.Equal(t, 401, status, "too late")

	path, err = LoginLink(t.Context(), k.clientID)
	require.NoError(t, err)
	g.setEnabled(k, false)
	_, status = use(path)
	require.Equal(t, 401, status, "the key is disabled by now")
	_, err = LoginLink(t.Context(), "kr_nobody")
	require.Error(t, err)
}

// setEnabled switches a key on or off.
func (g *gateTest) setEnabled(k testKey, on bool) {
	g.t.Helper()
	_, _, err := Service().UpdateKey(context.Background(), lifecycle.Local("test", false), k.id, lifecycle.KeyPatch{Enabled: lifecycle.Some(on)}, nil)
	require.NoError(g.t, err)
}

func TestTheClickAfterAKeyIsDisabledIsRefused(t *testing.T) {
	g, _, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	require.True(t, v.in())
	g.setEnabled(k, false)
	require.False(t, v.in())
	g.setEnabled(k, true)
	require.False(t, v.in(), "what it was let in with is over for good")
}

func TestTheClickAfterASecretIsReplacedIsRefused(t *testing.T) {
	g, _, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	k = g.rotate(k)
	require.False(t, v.in())
	require.Equal(t, 303, v.enter(k, k.secret))
	require.True(t, v.in())
}

func TestSigningOutEndsTheSessionOnTheServer(t *testing.T) {
	g, _, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	at, err := url.Parse(g.adminURL)
	require.NoError(t, err)
	kept := v.client.Jar.Cookies(at)
	require.NotEmpty(t, kept)
	status, _, _ := v.ask("/keyreeve/logout", url.Values{})
	require.Equal(t, 303, status)
	require.False(t, v.in())
	thief := g.atPage()
	thief.client.Jar.SetCookies(at, kept)
	require.False(t, thief.in(), "a copy of the cookie is worth nothing")
	events := trail(t, "session.end")
	require.Len(t, events, 1)
}

func TestWhatAnAttackerCouldReplayIsTooEarlyForThePage(t *testing.T) {
	g, _, k := startPage(t)
	v := g.atPage()
	require.Equal(t, http.StatusTooEarly, v.enter(k, k.secret, early))
	require.Equal(t, 303, v.enter(k, k.secret))
	status, _, _ := v.ask("/keyreeve/keys", nil, early)
	require.Equal(t, http.StatusTooEarly, status)
	require.True(t, v.in(), "the session is as good as before")
	path, err := LoginLink(t.Context(), k.clientID)
	require.NoError(t, err)
	status, _, _ = v.ask(path, url.Values{}, early)
	require.Equal(t, http.StatusTooEarly, status)
	status, _, _ = v.ask(path, url.Values{})
	require.Equal(t, 303, status, "and the link was not used up")
}

func TestWhatThePageAsksByItselfIsNoUseAndProlongsNothing(t *testing.T) {
	g, clock, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	require.True(t, v.in())
	first, _, _ := g.lastUse(k)
	require.NotNil(t, first)
	poll := func() int {
		status, _, _ := v.ask("/keyreeve/keys/live", nil, func(r *http.Request) { r.Header.Set("HX-Request", "true") })
		return status
	}
	for range 29 {
		clock.Advance(time.Minute)
		require.Less(t, poll(), 300)
	}
	last, _, _ := g.lastUse(k)
	require.Equal(t, first, last, "29 minutes of polls")
	clock.Advance(time.Minute)
	require.False(t, v.in(), "idle for half an hour")

	require.Equal(t, 303, v.enter(k, k.secret))
	clock.Advance(5 * time.Minute)
	require.True(t, v.in())
	later, _, _ := g.lastUse(k)
	require.True(t, later.After(*first), "a click is a use")
}
