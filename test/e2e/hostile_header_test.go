package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// onlyOwn requires the identity of k and nothing that looks like more of it.
func (e echoed) onlyOwn(t *testing.T, k key) {
	t.Helper()
	identity := e.identity()
	require.Equal(t, k.clientID, identity["Keyreeve-Client-Id"], "identity arrives")
	require.Equal(t, k.name, identity["Keyreeve-Key-Name"])
	for name, value := range identity {
		require.Contains(t, []string{"Keyreeve-Client-Id", "Keyreeve-Key-Id", "Keyreeve-Key-Name", "Keyreeve-Customer-Id", "Keyreeve-Role"}, name)
		require.NotContains(t, value, "spoofed", name)
	}
	require.Empty(t, e.Headers["Authorization"])
}

func TestConnectionCannotTakeTheIdentityAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, newUpstream(t).url)
	for _, lines := range [][]string{
		{"Connection: Keyreeve-Client-Id"},
		{"Connection: keyreeve-client-id,KEYREEVE-ROLE, X-Hop", "X-Hop: 1"},
		{"Connection: close", "Connection: Keyreeve-Client-Id", "Connection: ,, Keyreeve-Key-Name"},
		{"Connection: \t Keyreeve-Client-Id \t"},
		{"connection: keep-alive, Keyreeve-Customer-Id", "Keep-Alive: timeout=5"},
	} {
		e := upstreamSaw(t, g.get(t, h.applications(), append(lines, h.full.basic())...))
		e.onlyOwn(t, h.full)
		require.Empty(t, e.Headers["X-Hop"], "what is not ours is still hop by hop")
	}
}

func TestNoSpellingOfAnIdentityHeaderArrives(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	dropping := h.demo(t, up.url)
	other := newHouse(t)
	keeping := other.run(t, &site{gate: "policy " + other.policyFile(t) + "\npublic GET /healthz", upstream: up.url, servers: `
		expected_underscore_headers keyreeve_* Keyreeve_Client_Id keyreeve_role x_http_method_override
		expected_dot_headers keyreeve.* keyreeve.client.id`})
	spoofed := []string{"Keyreeve-Client-Id: spoofed", "keyreeve-client-id: spoofed", "KEYREEVE-ROLE: spoofed", "kEyReEvE-Microtenant-Id: spoofed", "Keyreeve-Assertion: spoofed",
		"Keyreeve-: spoofed", "Keyreeve-Future: spoofed", "Keyreeve_Client_Id: spoofed", "keyreeve_role: spoofed", "KEYREEVE_X: spoofed", "Keyreeve_Client-Id: spoofed",
		"Keyreeve-Client_Id: spoofed", "keyreeve.client.id: spoofed", "Keyreeve.role: spoofed", "x_http_method_override: DELETE",
		"Keyreeve!Client!Id: spoofed", "Keyreeve+Client+Id: spoofed", "keyreeve~role: spoofed", "KEYREEVE|KEY'ID: spoofed", "X!HTTP!Method!Override: spoofed",
		"Http-Method-Override: spoofed", "X-Override-Url: spoofed", "X-Original-Host: spoofed", "X-Envoy-Original-Path: spoofed", "X-Http-Destinationurl: spoofed"}
	for name, g := range map[string]*gate{"underscores dropped": dropping, "underscores kept": keeping} {
		e := upstreamSaw(t, g.get(t, g.house.applications(), append(spoofed, g.house.full.basic())...))
		e.onlyOwn(t, g.house.full)
		require.NotContains(t, fmt.Sprint(e.Headers), "spoofed", name)
		require.NotContains(t, fmt.Sprint(e.Headers), "DELETE", name)
		for _, line := range spoofed { // one at a time too: Caddy drops what is repeated
			e := upstreamSaw(t, g.get(t, g.house.applications(), line, g.house.full.basic()))
			require.NotContains(t, fmt.Sprint(e.Headers), "spoofed", "%s: %s", name, line)
			e = upstreamSaw(t, g.get(t, "/healthz", line))
			require.Empty(t, e.identity(), "a public route: %s: %s", name, line)
		}
	}
	for _, line := range []string{"Keyreeve-Client-Id : spoofed", "Keyreeve-Client-Id\t: spoofed", "Keyreeve-Client-Id\x00: spoofed", "Keyreeve\u2010Client\u2010Id: spoofed"} {
		require.Equal(t, 400, dropping.get(t, h.applications(), line, h.full.basic()).status, "%q", line)
	}
	require.NotContains(t, up.bytes(), "spoofed")
}

func TestTrailersAreFilteredAtTheEndOfTheBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	body := "4\r\nbody\r\n0\r\n"
	for _, c := range []struct{ declared, sent string }{
		{"X-Sum", "X-Sum: 1"},
		{"X-Sum, Keyreeve-Client-Id", "X-Sum: 1\r\nKeyreeve-Client-Id: spoofed"},
		{"X-Sum", "X-Sum: 1\r\nKeyreeve-Client-Id: spoofed\r\nkeyreeve_role: spoofed"},
		{"X-Sum", "X-Sum: 1\r\nAuthorization: spoofed\r\nX-Http-Method-Override: spoofed\r\nCookie: spoofed\r\nHost: spoofed"},
		{"X-Sum, Authorization", "X-Sum: 1\r\nAuthorization: spoofed"},
		{"X-Sum", "keyreeve-customer-id: spoofed\r\nX-Sum: 1\r\nKEYREEVE-ASSERTION: spoofed"},
	} {
		raw := request("POST", h.applications(), h.full.basic(), "Transfer-Encoding: chunked", "Te: trailers", "Trailer: "+c.declared) + body + c.sent + "\r\n\r\n"
		e := upstreamSaw(t, send(t, g.address, raw))
		e.onlyOwn(t, h.full)
		require.Equal(t, sha("body"), e.BodySHA256)
		require.NotContains(t, fmt.Sprint(e.Headers, e.Trailers), "spoofed", "%q", c.sent)
	}
	require.NotContains(t, up.bytes(), "spoofed")
}

func TestTheSessionCookieAndTheCredentialStayAtTheGate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, newUpstream(t).url)
	for sent, want := range map[string]string{
		"a=1; keyreeve_session=secret; b=2":                 "a=1; b=2",
		"keyreeve_session=secret":                           "",
		"__Host-keyreeve_session=secret;a=1":                "a=1",
		"a=1;keyreeve_session = secret; keyreeve_session=s": "a=1",
		"not_keyreeve_session=1; a=keyreeve_session":        "not_keyreeve_session=1; a=keyreeve_session",
		"a=1": "a=1",
	} {
		e := upstreamSaw(t, g.get(t, h.applications(), h.full.basic(), "Cookie: "+sent))
		require.Equal(t, want, strings.Join(e.Headers["Cookie"], "; "), sent)
	}
	e := upstreamSaw(t, g.get(t, h.applications(), h.full.basic(), "Cookie: a=1", "Cookie: keyreeve_session=secret"))
	require.Equal(t, "a=1", strings.Join(e.Headers["Cookie"], "; "))
	require.Empty(t, e.Headers["Authorization"])
}

func TestOnlyATrustedProxyMaySayWhereAClientIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	policy := "policy " + h.policyFile(t)
	g := h.run(t, &site{gate: policy, upstream: up.url})
	k := g.create(t, "networked", "role_api_full_access", "--cidr", "192.0.2.0/24")
	for _, line := range []string{"X-Forwarded-For: 192.0.2.1", "X-Real-Ip: 192.0.2.1", "Forwarded: for=192.0.2.1", "Client-Ip: 192.0.2.1", "True-Client-Ip: 192.0.2.1", "Cf-Connecting-Ip: 192.0.2.1"} {
		g.get(t, h.applications(), k.basic(), line).refused(t, 401, "invalid_client")
	}
	require.Zero(t, up.total())
	require.NoError(t, g.Stop())

	g = h.run(t, &site{gate: policy, upstream: up.url, servers: "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict"})
	upstreamSaw(t, g.get(t, h.applications(), k.basic(), "X-Forwarded-For: 192.0.2.1")).onlyOwn(t, k)
	g.get(t, h.applications(), k.basic(), "X-Forwarded-For: 192.0.2.1, 198.51.100.1").refused(t, 401, "invalid_client")
	g.get(t, h.applications(), k.basic()).refused(t, 401, "invalid_client")
}

func TestOnlyWebSocketIsUpgradedAndOnlyAfterTheDecision(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	for _, lines := range [][]string{
		{"Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"},
		{"Upgrade: websocket, h2c", "Connection: Upgrade"},
		{"Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade"},
		{"Upgrade: TLS/1.2", "Connection: upgrade"},
	} {
		e := upstreamSaw(t, g.get(t, h.applications(), append(lines, h.full.basic())...))
		require.Empty(t, e.Headers["Upgrade"], lines)
		require.Empty(t, e.Headers["Http2-Settings"], lines)
		require.Empty(t, e.Headers["Connection"], lines)
		e.onlyOwn(t, h.full)
	}
	websocket := []string{"Upgrade: WebSocket", "Connection: Upgrade, Keyreeve-Client-Id", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	g.get(t, h.applications(), append(websocket, marked("denied"))...).refused(t, 401, "credentials_required")
	g.get(t, h.applications(), append(websocket, marked("denied"), h.policyOnly.basic())...).refused(t, 403, "permission_denied")
	require.Empty(t, up.received("denied"))
	a := g.get(t, h.applications(), append(websocket, marked("allowed"), h.full.basic())...)
	require.Equal(t, http.StatusSwitchingProtocols, a.status)
	require.Len(t, up.received("allowed"), 1)
	up.received("allowed")[0].onlyOwn(t, h.full)
}

func TestShadowLetsThroughCountsNothingAndSaysNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.run(t, &site{gate: "policy " + h.policyFile(t) + "\nshadow", upstream: up.url, proxy: `header_up X-Who "{http.auth.user.id}|{http.auth.user.role}"`})
	for _, headers := range [][]string{nil, {h.full.basic()}, {h.full.wrong()}, {h.full.wrong()}, {h.full.wrong()}, {h.full.wrong()}, {h.policyOnly.basic()}, {h.full.basic(), h.full.basic()}, {"Authorization: Bearer x"}} {
		e := upstreamSaw(t, g.get(t, h.applications(), append(headers, "Keyreeve-Client-Id: spoofed")...))
		require.Empty(t, e.identity())
		require.Empty(t, e.Headers["Authorization"])
	}
	e := upstreamSaw(t, g.get(t, h.applications(), h.full.basic()))
	require.Equal(t, "|", e.Headers.Get("X-Who"), "a placeholder says nothing either")
	require.Equal(t, lock{}, g.lock(t, h.full))
	require.Contains(t, g.Said(), "permission_denied", "what would have been denied is logged")
}

func TestWhatTheGateForwardsIsAnOption(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	block := func(host, lines string) string {
		return fmt.Sprintf("http://%s:GATE_PORT {\nbind 127.0.0.1\nkeyreeve {\nroute GET /x policy-rules\n%s\n}\nreverse_proxy %s\n}\n", host, lines, up.url)
	}
	g := h.run(t, &site{gate: "route GET /x policy-rules", upstream: up.url, sites: block("off.test", "identity off") +
		block("forward.test", "forward_credentials\ncredentials basic header apikey unsafe_logs_filtered") +
		block("strip.test", "credentials basic header apikey unsafe_logs_filtered") +
		block("public.test", "public GET /open {\nforward_credentials\n}")})
	k := h.full
	ask := func(host, path string, headers ...string) answer {
		return send(t, g.address, strings.Replace(request("GET", path, headers...), "gate.test", host, 1))
	}
	pair := []string{"X-Client-Id: " + k.clientID, "X-Client-Secret: " + k.secret}
	apiKey := "X-API-Key: " + k.clientID + "." + k.secret

	e := upstreamSaw(t, ask("off.test", "/x", k.basic(), "Keyreeve-Client-Id: spoofed"))
	require.Empty(t, e.identity(), "identity off")
	e = upstreamSaw(t, ask("forward.test", "/x", k.basic()))
	require.Equal(t, k.basic(), "Authorization: "+e.Headers.Get("Authorization"))
	e = upstreamSaw(t, ask("forward.test", "/x", pair...))
	require.Equal(t, []string{k.clientID, k.secret}, []string{e.Headers.Get("X-Client-Id"), e.Headers.Get("X-Client-Secret")})
	e = upstreamSaw(t, ask("public.test", "/open", k.basic(), "Keyreeve-Role: spoofed"))
	require.Equal(t, k.basic(), "Authorization: "+e.Headers.Get("Authorization"))
	require.Empty(t, e.identity())
	e = upstreamSaw(t, ask("public.test", "/x", k.basic()))
	require.Empty(t, e.Headers["Authorization"], "forward_credentials of a public route is that route's only")

	for _, headers := range [][]string{{k.basic()}, pair, {apiKey}} {
		e = upstreamSaw(t, ask("strip.test", "/x", headers...))
		e.onlyOwn(t, k)
		require.NotContains(t, fmt.Sprint(e.Headers), k.secret)
	}
	for name, headers := range map[string][]string{
		"Basic and header": append([]string{k.basic()}, pair...), "Basic and apikey": {k.basic(), apiKey}, "header and apikey": append([]string{apiKey}, pair...),
		"apikey twice": {apiKey, apiKey}, "header ID twice": append([]string{pair[0]}, pair...), "Bearer and apikey": {"Authorization: Bearer x", apiKey},
	} {
		require.Equal(t, "invalid_request", ask("strip.test", "/x", headers...).code(), name)
	}
	for name, headers := range map[string][]string{
		"ID without secret": {pair[0]}, "secret without ID": {pair[1]}, "apikey without a dot": {"X-API-Key: " + k.clientID}, "empty apikey": {"X-API-Key:"},
	} {
		require.Equal(t, "invalid_client", ask("strip.test", "/x", headers...).code(), name)
	}
	require.Equal(t, both, ask("strip.test", "/x").header.Values("WWW-Authenticate"), "Bearer always, Basic where enabled")
}

func TestPlaceholdersAndLogsNameTheCallerAndNoTextIsExpanded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.run(t, &site{gate: "policy " + h.policyFile(t) + "\npublic GET /healthz", upstream: up.url, handlers: "log", proxy: `
		header_up X-Who "{http.auth.user.id}|{http.auth.user.key_id}|{http.auth.user.key_name}|{http.auth.user.customer_id}|{http.auth.user.microtenant_id}|{http.auth.user.role}|{http.keyreeve.outcome}|{http.keyreeve.reason}"`})
	literal := g.create(t, "{env.HOME}", "role_api_full_access")
	e := upstreamSaw(t, g.get(t, h.applications(), literal.basic(), "X-Literal: {env.HOME}{file./etc/hostname}{http.auth.user.id}"))
	require.Equal(t, strings.Join([]string{literal.clientID, literal.id, "{env.HOME}", h.customer, "", "role_api_full_access", "allow", "allowed"}, "|"), e.Headers.Get("X-Who"))
	require.Equal(t, "%7Benv.HOME%7D", e.identity()["Keyreeve-Key-Name"])
	require.Equal(t, "{env.HOME}{file./etc/hostname}{http.auth.user.id}", e.Headers.Get("X-Literal"))

	e = upstreamSaw(t, g.get(t, "/healthz", literal.basic()))
	require.Equal(t, "||||||allow|public", e.Headers.Get("X-Who"), "nobody was asked, and no text with braces is left")

	unicode := g.create(t, "Zoë | 100%", "role_api_full_access")
	e = upstreamSaw(t, g.get(t, h.applications(), unicode.basic()))
	require.Equal(t, "Zo%C3%AB%20%7C%20100%25", e.identity()["Keyreeve-Key-Name"])

	require.Eventually(t, func() bool {
		return strings.Contains(g.Said(), `"user_id": "`+literal.clientID+`"`) || strings.Contains(g.Said(), `"user_id":"`+literal.clientID+`"`)
	},
		patience, 10*time.Millisecond, "the access log names the caller")
}
