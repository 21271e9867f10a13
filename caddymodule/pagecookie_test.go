package caddymodule

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThePagesSessionOpensTheAdminAPIForThePageAlone(t *testing.T) {
	g, clock, k := startPage(t)
	v := g.atPage()
	status, _, _ := v.ask("/v1/me", nil)
	require.Equal(t, 401, status)
	require.Equal(t, 303, v.enter(k, k.secret))

	status, _, body := v.ask("/v1/me", nil)
	require.Equal(t, 200, status)
	require.Contains(t, body, `"kind":"session"`)

	// What changes something must come from the page itself.
	rotate := "/v1/keys/" + k.id + "/secrets"
	for _, from := range []string{"cross-site", "same-site"} {
		status, _, body = v.ask(rotate, url.Values{}, func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", from)
			r.Header.Set("Content-Type", "application/json")
		})
		require.Equal(t, 403, status)
		require.Contains(t, body, "cross_origin")
	}
	status, _, _ = v.ask("/v1/keys/"+k.id+"/sessions", nil, func(r *http.Request) {
		r.Method = http.MethodDelete
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	})
	require.Equal(t, 204, status)
	status, _, _ = v.ask("/v1/me", nil)
	require.Equal(t, 401, status, "all its sessions are over, this one too")

	require.Equal(t, 303, v.enter(k, k.secret))
	clock.Advance(31 * time.Minute)
	status, _, _ = v.ask("/v1/me", nil)
	require.Equal(t, 401, status, "nobody did anything for half an hour")
}

func TestASecondSignInEndsTheSessionBeforeIt(t *testing.T) {
	g, _, k := startPage(t)
	v := g.atPage()
	require.Equal(t, 303, v.enter(k, k.secret))
	at, err := url.Parse(g.adminURL)
	require.NoError(t, err)
	before := v.client.Jar.Cookies(at)
	require.Equal(t, 303, v.enter(k, k.secret))
	require.True(t, v.in())
	old := g.atPage()
	old.client.Jar.SetCookies(at, before)
	require.False(t, old.in())
}
