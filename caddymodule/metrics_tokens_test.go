package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// withAuth has a gate's Caddyfile serve the auth endpoints too, and take their tokens.
func withAuth(s string) string {
	return strings.Replace(s, "\tkeyreeve {\n\t\tcredentials basic", "\tkeyreeve_auth\n\tkeyreeve {\n\t\tcredentials bearer basic", 1)
}

// signIn asks for a token; "" where it is refused.
func (g *gateTest) signIn(path string, form url.Values) (token string) {
	g.t.Helper()
	resp, err := client.PostForm(g.gateURL+path, form)
	require.NoError(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(g.t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer.AccessToken
}

func TestSignInsAndTokensAreCounted(t *testing.T) {
	admin := freeAddress(t)
	g := startEdited(t, "", func(s string) string {
		return withAdmin(admin)(subscribed(eventLocked)(withAuth(s)))
	})
	k, guessed := g.newKey("a", keystore.RoleFullAccess), g.newKey("b", keystore.RoleFullAccess)
	takeHeard()
	before := scrape(t, admin)
	good := url.Values{"client_id": {k.clientID}, "client_secret": {k.secret}}
	token := g.signIn("/signin", good)
	require.NotEmpty(t, token)
	good.Set("grant_type", "client_credentials")
	require.NotEmpty(t, g.signIn("/oauth2/v1/token", good))
	good.Set("audience", "https://elsewhere.example.com")
	require.Empty(t, g.signIn("/oauth2/v1/token", good))
	for range 3 {
		require.Empty(t, g.signIn("/signin", url.Values{"client_id": {guessed.clientID}, "client_secret": {"wrong"}}))
	}
	events := takeHeard()
	require.Len(t, events, 1, "a lock that a sign-in began is an event")
	require.Equal(t, guessed.id, events[0].Data["key_id"])
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	for range 40 {
		require.Equal(t, 200, g.send(bearer))
	}
	signOut, err := http.NewRequest(http.MethodPost, g.gateURL+"/signout", http.NoBody)
	require.NoError(t, err)
	bearer(signOut)
	resp, err := client.Do(signOut)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 204, resp.StatusCode)
	require.Equal(t, 401, g.send(bearer))

	after := scrape(t, admin)
	delta := func(series string) float64 {
		require.Contains(t, after, series)
		return after[series].value - before[series].value
	}
	require.InDelta(t, 2, delta("keyreeve_signins_total{outcome=issued}"), 0)
	require.InDelta(t, 4, delta("keyreeve_signins_total{outcome=refused}"), 0)
	require.InDelta(t, 0, delta("keyreeve_signins_total{outcome=error}"), 0)
	require.InDelta(t, 3, delta("keyreeve_failures_total{counted=true}"), 0)
	require.InDelta(t, 1, delta("keyreeve_lockouts_total{scope=client}"), 0)
	require.InDelta(t, 1, delta("keyreeve_ended_sessions{}"), 0)
	require.InDelta(t, 1, delta("keyreeve_decisions_total{outcome=deny,reason=invalid_token}"), 0)
	// The cache takes a token in behind the request that brought it.
	hits, misses := delta("keyreeve_cache_hits_total{cache=tokens}"), delta("keyreeve_cache_misses_total{cache=tokens}")
	require.InDelta(t, 42, hits+misses, 0, "40 calls, the sign-out and the call after it")
	require.Positive(t, hits)
	require.Positive(t, misses)
	require.InDelta(t, 1, after["keyreeve_cache_entries{cache=tokens}"].value, 0)
	perToken := after["keyreeve_cache_bytes{cache=tokens}"].value
	require.Greater(t, perToken, 300.0, "its claims and what the cache keeps around it")
	require.Less(t, perToken, 2000.0)
}
