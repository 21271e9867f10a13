package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func TestSignInSaysWhatIsWrongAndNeverRepeatsTheSecret(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		id, secret string
		status     int
		want       string
	}{
		"no id":            {"", "s3cret-canary", 400, "Enter the client ID."},
		"no secret":        {w.admin.ClientID, "", 400, "Enter the client secret."},
		"wrong":            {w.admin.ClientID, "s3cret-canary", 401, "were not accepted"},
		"unknown":          {"kr_nobody", "s3cret-canary", 401, "were not accepted"},
		"no administrator": {w.bystander.ClientID, w.bystander.ClientSecret, 403, "administers nothing here"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.browser().post("/keyreeve/login", url.Values{"client_id": {c.id}, "client_secret": {c.secret}})
			require.Equal(t, c.status, a.StatusCode)
			holds(t, a.body, c.want)
			lacks(t, a.body, "s3cret-canary")
			lacks(t, a.body, w.bystander.ClientSecret)
			require.Empty(t, a.Cookies())
		})
	}
}

func TestOneAddressCannotTryForEver(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := url.Values{"client_id": {"kr_nobody"}, "client_secret": {"x"}}
	for range tryBurst {
		require.Equal(t, http.StatusUnauthorized, b.post("/keyreeve/login", form).StatusCode)
	}
	a := b.post("/keyreeve/login", form)
	require.Equal(t, http.StatusTooManyRequests, a.StatusCode)
	require.Equal(t, "2", a.Header.Get("Retry-After"))
	w.clock.Advance(tryEvery)
	require.Equal(t, http.StatusUnauthorized, b.post("/keyreeve/login", form).StatusCode)
}

func TestNobodyIsSentElsewhereAfterSigningIn(t *testing.T) {
	w := newWorld(t)
	for next, want := range map[string]string{
		"/keyreeve/keys?q=a%2Fb":         "/keyreeve/keys?q=a%2Fb",
		"":                               "/keyreeve/",
		"/":                              "/keyreeve/",
		"https://evil.example/keyreeve/": "/keyreeve/",
		"//evil.example/keyreeve/":       "/keyreeve/",
		"/\\evil.example":                "/keyreeve/",
		"/keyreeve/../../evil":           "/keyreeve/",
		"/keyreeve//evil.example":        "/keyreeve/",
		"/keyreeve/\\evil.example":       "/keyreeve/",
		"/keyreeve/login":                "/keyreeve/",
		"/keyreeve/logout":               "/keyreeve/",
		"/keyreeve/keys\r\nSet-Cookie:x": "/keyreeve/",
		"javascript:alert(1)":            "/keyreeve/",
		"/upstream":                      "/keyreeve/",
	} {
		a := w.browser().post("/keyreeve/login", url.Values{"client_id": {w.admin.ClientID}, "client_secret": {w.admin.ClientSecret}, "next": {next}})
		require.Equal(t, http.StatusSeeOther, a.StatusCode, next)
		require.Equal(t, want, a.Header.Get("Location"), next)
	}
}

func TestWhatComesFromAnotherSiteIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		for _, path := range []string{"/keyreeve/login", "/keyreeve/logout", "/keyreeve/keys/columns", "/keyreeve/keys/views/new", "/keyreeve/login/code"} {
			a := b.post(path, url.Values{"name": {"x"}}, headers...)
			require.Equal(t, http.StatusForbidden, a.StatusCode, "%s %v", path, headers)
			holds(t, a.body, "cross_origin")
		}
	}
	require.Len(t, w.door.sessions, 1, "nobody was signed out")
}

func TestEveryAnswerIsShutIn(t *testing.T) {
	w := newWorld(t)
	b := w.as(w.admin)
	for path, status := range map[string]int{"/": 303, "/keyreeve/": 303, "/keyreeve/login": 200, "/keyreeve/keys": 200, "/keyreeve/keys/live": 303,
		"/keyreeve/nothing": 404, "/keyreeve/logout": 405, "/keyreeve/login/code": 200} {
		a := b.get(path)
		require.Equal(t, status, a.StatusCode, path)
		csp := a.Header.Get("Content-Security-Policy")
		require.Contains(t, csp, "default-src 'none'", path)
		require.Contains(t, csp, "frame-ancestors 'none'", path)
		require.NotContains(t, csp, "unsafe", path)
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"), path)
		require.Equal(t, "no-referrer", a.Header.Get("Referrer-Policy"), path)
		require.Equal(t, "same-origin", a.Header.Get("Cross-Origin-Opener-Policy"), path)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"), path)
		require.NotRegexp(t, `(?i)<[^>]+\s(on[a-z]+|style)=`, a.body, "%s: neither script nor style in it", path)
	}
	require.Equal(t, "POST", b.get("/keyreeve/logout").Header.Get("Allow"))
}

func TestAssetsAreKeptForEverByTheirHashAndAreSmall(t *testing.T) {
	w := newWorld(t)
	all, _ := library()
	packed := 0
	for name, file := range all {
		a := w.browser().get(assetURL(name), "Accept-Encoding", "identity")
		require.Equal(t, http.StatusOK, a.StatusCode)
		require.Equal(t, string(file.plain), a.body)
		require.NotEmpty(t, a.Header.Get("Content-Type"), name)
		require.Contains(t, a.Header.Get("Cache-Control"), "immutable")
		packed += len(file.packed)
	}
	require.Less(t, packed, 80<<10)
	require.Equal(t, "no-store", w.browser().get(assetsPrefix+"another/app.css").Header.Get("Cache-Control"))
	require.Equal(t, http.StatusNotFound, w.browser().get(assetsPrefix+"another/nothing").StatusCode)
}

func TestTheNavigationHasWhatThePageServesAndTheActorMayEnter(t *testing.T) {
	w := newWorld(t)
	for _, at := range allRooms { // as if the page had them all
		w.page.served["GET "+at.Path] = true
	}
	for _, c := range []struct {
		who        lifecycle.CreatedKey
		has, lacks []string
	}{
		{w.operator, []string{"Keys", "Roles", "Locks", "Audit", "Customers", "Nodes"}, nil},
		{w.admin, []string{"Keys", "Locks", "Policy check", "Preferences"}, []string{"Roles", "Audit", "Customers", "Nodes", "Microtenants"}},
		{w.viewer, []string{"Keys"}, []string{"Locks"}},
	} {
		body := w.as(c.who).get("/keyreeve/keys").body
		for _, title := range c.has {
			require.True(t, strings.Contains(body, "<span>"+title+"</span>"), "%s: %s", c.who.Name, title)
		}
		for _, title := range c.lacks {
			require.False(t, strings.Contains(body, ">"+title+"<"), "%s: %s", c.who.Name, title)
		}
	}
	delete(w.page.served, "GET "+root+"roles")
	require.False(t, strings.Contains(w.as(w.operator).get("/keyreeve/keys").body, "<span>Roles</span>"))
}

func TestHalfACredentialIsTakenAsItStands(t *testing.T) {
	w := newWorld(t)
	good := url.Values{"client_id": {w.admin.ClientID}, "client_secret": {w.admin.ClientSecret}}
	for name, change := range map[string]func(url.Values){
		"white space before":      func(v url.Values) { v.Set("client_id", " "+w.admin.ClientID) },
		"a wide space behind":     func(v url.Values) { v.Set("client_secret", w.admin.ClientSecret+"\u3000") },
		"twice":                   func(v url.Values) { v.Add("client_id", w.admin.ClientID) },
		"longer than any":         func(v url.Values) { v.Set("client_secret", strings.Repeat("x", 2000)) },
		"nothing but white space": func(v url.Values) { v.Set("client_id", "  ") },
	} {
		t.Run(name, func(t *testing.T) {
			form := url.Values{"client_id": good["client_id"], "client_secret": good["client_secret"]}
			change(form)
			require.Equal(t, http.StatusBadRequest, w.browser().post("/keyreeve/login", form).StatusCode)
		})
	}
	require.Equal(t, http.StatusSeeOther, w.browser().post("/keyreeve/login", good).StatusCode)
}
