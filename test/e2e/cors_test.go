package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// preflight are the lines of a browser's question about a later request.
func preflight(origin, method string) []string {
	return []string{"Origin: " + origin, "Access-Control-Request-Method: " + method, "Access-Control-Request-Headers: authorization,x-kept"}
}

func TestOnlyATruePreflightPassesAndAsksNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	const app, stranger = "https://app.example.com", "https://evil.example.com"
	g := h.run(t, &site{gate: "policy " + h.policyFile(t) + "\ncors " + app, upstream: up.url})
	target := h.applications()

	a := g.send(t, "OPTIONS", target, preflight(app, "POST")...)
	require.Equal(t, 204, a.status, a.body)
	require.Equal(t, app, a.header.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "POST", a.header.Get("Access-Control-Allow-Methods"))
	require.Equal(t, "authorization,x-kept", a.header.Get("Access-Control-Allow-Headers"))
	require.Empty(t, a.header.Get("Access-Control-Allow-Credentials"))
	require.Contains(t, strings.Join(a.header.Values("Vary"), ","), "Origin")

	for range 4 { // a credential in a preflight is not looked at
		require.Equal(t, 204, g.send(t, "OPTIONS", target, append(preflight(app, "GET"), h.full.wrong())...).status)
	}
	require.Zero(t, g.lock(t, h.full).FailedAttempts)

	a = g.send(t, "OPTIONS", target, preflight(stranger, "POST")...)
	a.refused(t, 401, "credentials_required")
	require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
	g.send(t, "OPTIONS", target, "Origin: "+app).refused(t, 401, "credentials_required")
	g.send(t, "OPTIONS", target, "Access-Control-Request-Method: GET").refused(t, 401, "credentials_required")
	g.send(t, "GET", target, preflight(app, "GET")...).refused(t, 401, "credentials_required")
	g.send(t, "OPTIONS", target, append(preflight(app, "GET"), "Origin: "+stranger)...).refused(t, 401, "credentials_required")
	g.send(t, "OPTIONS", "/nowhere", preflight(app, "GET")...).refused(t, 403, "no_route")
	g.send(t, "OPTIONS", target, preflight(app, "TRACE")...).refused(t, 403, "no_route")
	g.send(t, "OPTIONS", target+"//", preflight(app, "GET")...).refused(t, 400, "ambiguous_path")
	require.Zero(t, up.total(), "no preflight reaches the upstream")

	a = g.get(t, target, "Origin: "+app)
	a.refused(t, 401, "credentials_required")
	require.Equal(t, app, a.header.Get("Access-Control-Allow-Origin"), "a page may read why it was denied")
	a = g.get(t, target, "Origin: "+app, h.full.basic(), "Answer-Access-Control-Allow-Origin: *", "Answer-Access-Control-Allow-Credentials: true")
	upstreamSaw(t, a).onlyOwn(t, h.full)
	require.Equal(t, []string{app}, a.header.Values("Access-Control-Allow-Origin"), "not the upstream's own")
	require.Empty(t, a.header.Get("Access-Control-Allow-Credentials"))
	require.Empty(t, g.get(t, target, "Origin: "+stranger, h.full.basic()).header.Get("Access-Control-Allow-Origin"))
}
