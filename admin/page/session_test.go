package page

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheSessionsCookieIsForThisSiteAloneAndNoScript(t *testing.T) {
	w := newWorld(t)
	form := url.Values{"client_id": {w.admin.ClientID}, "client_secret": {w.admin.ClientSecret}}
	for tls, name := range map[string]string{"": "keyreeve_session", "yes": "__Host-keyreeve_session"} {
		a := w.browser().post("/keyreeve/login", form, "X-Test-TLS", tls)
		require.Equal(t, http.StatusSeeOther, a.StatusCode)
		require.Len(t, a.Cookies(), 1)
		c := a.Cookies()[0]
		require.Equal(t, name, c.Name)
		require.Equal(t, "/", c.Path)
		require.Empty(t, c.Domain)
		require.True(t, c.HttpOnly)
		require.Equal(t, tls != "", c.Secure)
		require.Equal(t, http.SameSiteStrictMode, c.SameSite)
		require.Zero(t, c.MaxAge, "it ends with the browser")
		require.NotContains(t, c.Value, w.admin.ClientID)
	}
}

func TestASessionEndsWhenNobodyDoesAnythingForHalfAnHour(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	for range 3 { // each click prolongs it
		w.clock.Advance(20 * time.Minute)
		require.Equal(t, http.StatusOK, b.get("/keyreeve/keys").StatusCode)
	}
	// What the page asks by itself does not.
	for range 3 {
		w.clock.Advance(9 * time.Minute)
		require.Less(t, b.get("/keyreeve/keys/live", "HX-Request", "true").StatusCode, 300)
	}
	w.clock.Advance(9 * time.Minute)
	a := b.get("/keyreeve/keys?q=x")
	require.Equal(t, http.StatusSeeOther, a.StatusCode)
	require.Equal(t, "/keyreeve/login?next=%2Fkeyreeve%2Fkeys%3Fq%3Dx&why=idle", a.Header.Get("Location"))
	require.Empty(t, w.door.sessions, "it is over on the server too")
}

func TestTheCookieIsRenewedAtMostOnceAMinute(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	w.clock.Advance(59 * time.Second)
	require.Empty(t, b.get("/keyreeve/keys").Cookies())
	w.clock.Advance(2 * time.Second)
	require.Len(t, b.get("/keyreeve/keys").Cookies(), 1)
	require.Empty(t, b.get("/keyreeve/keys").Cookies())
}

func TestEveryClickIsHeldAgainstTheKeyAsItIs(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	delete(w.door.sessions, w.onlyToken())
	a := b.get("/keyreeve/keys")
	require.Equal(t, "/keyreeve/login?next=%2Fkeyreeve%2Fkeys&why=over", a.Header.Get("Location"))
	require.Equal(t, -1, a.Cookies()[0].MaxAge)

	// A part of a page cannot be redirected: the browser is told to go.
	b = w.as(w.admin)
	delete(w.door.sessions, w.onlyToken())
	a = b.get("/keyreeve/keys", "HX-Request", "true", "HX-Current-URL", w.url+"/keyreeve/keys?sort=-name")
	require.Equal(t, http.StatusNoContent, a.StatusCode)
	require.Equal(t, "/keyreeve/login?next=%2Fkeyreeve%2Fkeys%3Fsort%3D-name&why=over", a.Header.Get("HX-Redirect"))
}

func (w *world) onlyToken() string {
	require.Len(w, w.door.sessions, 1)
	for token := range w.door.sessions {
		return token
	}
	return ""
}

func TestSignOutEndsTheSessionOnTheServer(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	a := b.post("/keyreeve/logout", nil)
	require.Equal(t, "/keyreeve/login?why=out", a.Header.Get("Location"))
	require.Empty(t, w.door.sessions)
	require.Equal(t, http.StatusSeeOther, b.get("/keyreeve/keys").StatusCode)
	holds(t, b.get("/keyreeve/login?why=out").body, "You are signed out.")
}

func TestACookieOfAnotherKeyringOrNameIsNone(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	value := func(w *world, name string) string {
		return w.page.cookies.seal(name, ticket{Token: "t", Seen: w.clock.Now().Wall.Unix()})
	}
	for _, v := range []string{"", "x", value(other, plainCookie), value(w, secureCookie), value(w, noticeCookie)} {
		require.Equal(t, http.StatusSeeOther, w.browser().get("/keyreeve/keys", "Cookie", plainCookie+"="+v).StatusCode)
	}
	require.Zero(t, w.door.asked)
}

func TestAOneTimeLinkIsUsedUpByItsButtonAlone(t *testing.T) {
	w := newWorld(t)
	path := LinkPath(w.door.links.Make(w.operator.ClientID))
	for range 3 {
		a := w.browser().get(path)
		require.Equal(t, http.StatusOK, a.StatusCode)
		holds(t, a.body, "<button")
	}
	b := w.browser()
	require.Equal(t, "/keyreeve/", b.post(path, nil).Header.Get("Location"))
	holds(t, b.get("/keyreeve/keys").body, "operator")
	a := w.browser().post(path, nil)
	require.Equal(t, http.StatusUnauthorized, a.StatusCode)
	holds(t, a.body, "used already")

	old := LinkPath(w.door.links.Make(w.operator.ClientID))
	w.clock.Advance(LinkLifetime)
	require.Equal(t, http.StatusUnauthorized, w.browser().post(old, nil).StatusCode)
}
