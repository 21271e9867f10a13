package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// authSite is a site with a gate and the auth endpoints. extra goes into the
// sessions block.
func (h *house) authSite(t *testing.T, upstream, extra string) *site {
	t.Helper()
	s := &site{upstream: upstream, handlers: "keyreeve_auth", gateAddress: proctest.FreeAddress(), adminAddress: proctest.FreeAddress(),
		gate: "policy " + h.policyFile(t) + "\nidentity assertion"}
	s.app = "sessions {\nissuer http://" + s.gateAddress + "\n" + extra + "\n}"
	return s
}

// auth runs such a site.
func (h *house) auth(t *testing.T, upstream, extra string, edit ...func(*site)) *gate {
	t.Helper()
	s := h.authSite(t, upstream, extra)
	for _, e := range edit {
		e(s)
	}
	return h.run(t, s)
}

// form posts a form to the gate's site.
func (g *gate) form(t *testing.T, path string, form url.Values, headers ...string) answer {
	t.Helper()
	return g.post(t, path, form.Encode(), headers...)
}

func (g *gate) post(t *testing.T, path, body string, headers ...string) answer {
	t.Helper()
	lines := append([]string{"Content-Type: application/x-www-form-urlencoded", "Content-Length: " + itoa(len(body))}, headers...)
	return send(t, g.address, request("POST", path, lines...)+body)
}

func (k key) form(more ...string) url.Values {
	form := url.Values{"client_id": {k.clientID}, "client_secret": {k.secret}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// token gets an access token for a key.
func (g *gate) token(t *testing.T, k key) string {
	t.Helper()
	a := g.form(t, "/oauth2/v1/token", url.Values{"grant_type": {"client_credentials"}}, k.basic())
	require.Equal(t, 200, a.status, a.body)
	var body struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &body))
	g.house.secrets = append(g.house.secrets, body.Token) // no log may hold it
	return body.Token
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// reloads puts a changed site into force and waits until nothing of the old one
// answers: Caddy takes connections on both for a moment, and hangs up on those
// that wait at the old listener when it closes.
func (g *gate) reloads(t *testing.T, s *site) {
	t.Helper()
	before, _, _ := strings.Cut(s.handlers, "\nheader X-Generation")
	generation := itoa(int(time.Now().UnixNano()))
	s.handlers = before + "\nheader X-Generation " + generation
	defer func() { s.handlers = before }()
	r := g.house.command(t, "reload", "--config", g.house.write(t, "Caddyfile", g.house.caddyfile(s)), "--address", "unix/"+g.house.socket())
	require.Zero(t, r.code, r.stderr)
	const inARow = 20 // of two listeners, each gets about every other connection
	for deadline, news := time.Now().Add(patience), 0; news < inARow; {
		require.True(t, time.Now().Before(deadline), "the old configuration still answers")
		a, err := trySend(g.address, request("GET", "/.well-known/jwks.json"))
		if news++; err != nil || a.header.Get("X-Generation") != generation {
			news = 0
		}
	}
}

// segment decodes a part of a token: 0 is its header, 1 its claims.
func segment(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3, token)
	data, err := base64.RawURLEncoding.DecodeString(parts[i])
	require.NoError(t, err)
	var o map[string]any
	require.NoError(t, json.Unmarshal(data, &o))
	return o
}

func TestATokenIsDecidedOnAnewOnEachRoute(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	customer := "/mgmtconfig/v1/admin/customers/" + h.customer
	for _, k := range []key{h.policyOnly, h.application, h.readonly, h.full} {
		token := g.token(t, k)
		for _, path := range []string{"/application", "/policySet/rules/policyType/ACCESS_POLICY"} {
			want := g.get(t, customer+path, k.basic())
			for range 2 { // the second time it is found in the cache of verified tokens
				got := g.get(t, customer+path, bearer(token))
				require.Equal(t, []any{want.status, want.code()}, []any{got.status, got.code()}, "%s on %s", k.name, path)
			}
		}
		a := g.get(t, customer+"x/application", bearer(token))
		a.refused(t, 403, "tenant_mismatch")
	}
	require.NotContains(t, up.bytes(), "Bearer", "the upstream never gets a token")
}

func TestEverythingThatHappensToAKeyGovernsItsRunningSessions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	for _, c := range []struct {
		name string
		do   func(k key)
		code string
		undo func(k key) // after which the session must still be over, nil where it goes on by right
	}{
		{"disable", func(k key) { g.patch(t, k, `{"enabled":false}`) }, "client_inactive", func(k key) { g.patch(t, k, `{"enabled":true}`) }},
		{"expiry", func(k key) {
			end := time.Now().Add(time.Second)
			g.patch(t, k, `{"expires_at":"`+end.UTC().Format(time.RFC3339Nano)+`"}`)
			time.Sleep(time.Until(end) + time.Millisecond)
		}, "client_inactive", nil},
		{"networks", func(k key) { g.patch(t, k, `{"allowed_cidrs":["192.0.2.0/24"]}`) }, "source_not_allowed", nil},
		{"role", func(k key) { g.patch(t, k, `{"role_id":"`+h.roleID(t, g, "Policy Only")+`"}`) }, "permission_denied", nil},
		{"delete", func(k key) {
			require.Equal(t, 204, g.api(t, "DELETE", "/v1/keys/"+k.id, "").status)
		}, "client_inactive", nil},
		{"lock", func(k key) {
			for range 3 {
				g.get(t, h.applications(), k.wrong()).refused(t, 401, "invalid_client")
			}
		}, "client_locked", nil},
		{"sign-out", nil, "invalid_token", nil},
		{"revocation", nil, "invalid_token", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := g.create(t, "session-"+c.name, "API Full Access")
			token := g.token(t, k)
			require.Equal(t, 200, g.get(t, h.applications(), bearer(token)).status)
			switch c.name {
			case "sign-out":
				require.Equal(t, 204, g.post(t, "/signout", "", bearer(token)).status)
			case "revocation":
				require.Equal(t, 200, g.form(t, "/oauth2/v1/revoke", url.Values{"token": {token}}, k.basic()).status)
			default:
				c.do(k)
			}
			a := g.get(t, h.applications(), bearer(token))
			require.Equal(t, c.code, a.code(), a.body)
			if a.status == 401 {
				require.Equal(t, []string{tokenChallenge}, a.header.Values("WWW-Authenticate"))
			}
			if c.undo != nil {
				c.undo(k)
				require.Equal(t, 401, g.get(t, h.applications(), bearer(token)).status)
				require.Equal(t, 200, g.get(t, h.applications(), bearer(g.token(t, k))).status)
			}
		})
	}
}

// patch edits a key as the operator.
func (g *gate) patch(t *testing.T, k key, body string) {
	t.Helper()
	a := send(t, g.admin, request("PATCH", "/v1/keys/"+g.keyID(t, k), g.house.operator.basic(),
		"Content-Type: application/merge-patch+json", "Content-Length: "+itoa(len(body)))+body)
	require.Equal(t, 200, a.status, a.body)
}

// roleID is the id of a role by its name.
func (h *house) roleID(t *testing.T, g *gate, name string) string {
	t.Helper()
	a := g.api(t, "GET", "/v1/roles?page_size=100", "")
	require.Equal(t, 200, a.status, a.body)
	var page struct {
		Items []struct{ ID, Name string }
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &page))
	for _, r := range page.Items {
		if r.Name == name {
			return r.ID
		}
	}
	t.Fatalf("no role %s in %s", name, a.body)
	return ""
}

func TestTheLockoutCountsOverEveryEntrance(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	wrong := url.Values{"client_id": {h.full.clientID}, "client_secret": {"not-it"}}
	require.Equal(t, 401, g.form(t, "/signin", wrong).status)
	g.get(t, h.applications(), h.full.wrong()).refused(t, 401, "invalid_client")
	require.Equal(t, 2, g.lock(t, h.full).FailedAttempts)
	wrong.Set("token", "x")
	require.Equal(t, 401, g.form(t, "/oauth2/v1/introspect", wrong).status)
	require.True(t, g.lock(t, h.full).Locked)
	for path, form := range map[string]url.Values{
		"/signin":          h.full.form(),
		"/oauth2/v1/token": h.full.form("grant_type", "client_credentials"),
	} {
		a := g.form(t, path, form)
		require.Equal(t, 401, a.status)
		require.Empty(t, a.header.Values("Retry-After"), "waiting is what an attacker would do")
	}
	g = g.restart(t, "")
	require.Equal(t, 401, g.form(t, "/signin", h.full.form()).status, "locked over a restart")
	g.get(t, h.applications(), h.full.basic()).refused(t, 401, "invalid_client")
}

func TestALockSparesRunningSessionsWhereThatIsConfigured(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.auth(t, newUpstream(t).url, "", func(s *site) { s.app += "\nlockout {\nexisting_tokens allow\n}" })
	token := g.token(t, h.full)
	for range 3 {
		require.Equal(t, 401, g.form(t, "/signin", url.Values{"client_id": {h.full.clientID}, "client_secret": {"not-it"}}).status)
	}
	require.Equal(t, 401, g.form(t, "/signin", h.full.form()).status)
	require.Equal(t, 200, g.get(t, h.applications(), bearer(token)).status)
}

func TestTokensOutliveReloadAndRestart(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	s := h.authSite(t, up.url, "algorithm ES256")
	g := h.run(t, s)
	kept, over := g.token(t, h.full), g.token(t, h.full)
	require.Equal(t, 204, g.post(t, "/signout", "", bearer(over)).status)
	check := func() {
		require.Equal(t, 200, g.get(t, h.applications(), bearer(kept)).status)
		g.get(t, h.applications(), bearer(over)).refused(t, 401, "invalid_token")
	}
	check()
	s.app = strings.Replace(s.app, "ES256", "RS256", 1) // keys of the old algorithm still verify
	g.reloads(t, s)
	check()
	require.Equal(t, 200, g.get(t, h.applications(), bearer(g.token(t, h.full))).status)
	require.Contains(t, g.get(t, "/.well-known/jwks.json").body, `"RS256"`, "published before it signs")
	require.NoError(t, g.Stop())
	g = h.run(t, s)
	check()
}

func TestRefusedTokensAreAnsweredInEachForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.auth(t, newUpstream(t).url, "", func(s *site) { s.gate += "\nerror_format zpa"; s.servers = "protocols h1 h2c" })
	token := g.token(t, h.full)
	require.Equal(t, 204, g.post(t, "/signout", "", bearer(token)).status)

	a := g.get(t, h.applications(), bearer(token))
	require.Equal(t, 401, a.status)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Equal(t, []string{tokenChallenge}, a.header.Values("WWW-Authenticate"))
	require.Equal(t, "SESSION_NOT_VALID", zpaID(t, a), "the word that makes those clients sign in again")
	require.NotEqual(t, "SESSION_NOT_VALID", zpaID(t, g.get(t, h.applications())))
	require.NotEqual(t, "SESSION_NOT_VALID", zpaID(t, g.get(t, h.applications(), basic("kr_nobody", "x"))), "signing in again would be no help")

	grpc := overH2(t, g)
	for name, c := range map[string]struct{ header, status, message string }{
		"ended":         {bearer(token), "16", "invalid_token"},
		"none":          {"X-None: 1", "16", "credentials_required"},
		"no permission": {bearer(g.token(t, h.policyOnly)), "7", "permission_denied"},
	} {
		a := grpc.ask(t, "POST", h.applications(), fields("Content-Type: application/grpc+proto", c.header), nil, nil)
		require.Equal(t, 200, a.status, name)
		require.Equal(t, "application/grpc", a.header.Get("Content-Type"), name)
		require.Equal(t, []string{c.status, c.message}, []string{a.header.Get("Grpc-Status"), a.header.Get("Grpc-Message")}, name)
		require.Empty(t, a.body, name)
	}
}

func zpaID(t *testing.T, a answer) string {
	t.Helper()
	var body struct{ ID, Reason string }
	require.NoError(t, json.Unmarshal([]byte(a.body), &body), a.body)
	require.NotEmpty(t, body.Reason)
	return body.ID
}

func TestTheEndpointsAnswerOnlyTheirOwnPaths(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.auth(t, up.url, "")
	for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
		a := g.send(t, method, "/signin", h.full.basic())
		require.Equal(t, 405, a.status)
		require.Equal(t, "POST", a.header.Get("Allow"))
	}
	for _, path := range []string{"/signin/", "/Signin", "/oauth2/v1/tokens", "/oauth2/v1", "/.well-known/openid-configuration"} {
		g.send(t, "POST", path, h.full.basic(), "Content-Length: 0").refused(t, 403, "no_route")
	}
	for _, path := range []string{"//signin", "/x/../signin", "/oauth2/v1%2ftoken", "/./signin"} {
		g.send(t, "POST", path, h.full.basic(), "Content-Length: 0").refused(t, 400, "ambiguous_path")
	}
	require.Equal(t, 425, g.post(t, "/signin", h.full.form().Encode(), "Early-Data: 1").status)
	require.Equal(t, 413, g.post(t, "/signin", strings.Repeat("x", 65<<10)).status)
	require.Zero(t, up.total(), "nothing of this reached the upstream")
}

func TestTheAssertionIsBoundToTheRequestAndNobodyElseCanSendOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.auth(t, up.url, "audience https://upstream.example https://other.example", func(s *site) { s.gate += "\npublic GET /open" })
	forged := []string{"Keyreeve-Assertion: forged", "keyreeve_assertion: forged", "Connection: Keyreeve-Assertion"}
	seen := upstreamSaw(t, g.get(t, h.applications()+"?microtenantId="+h.microtenant, append(forged, h.tenant.basic())...))
	values := seen.Headers["Keyreeve-Assertion"]
	require.Len(t, values, 1)
	require.Equal(t, "keyreeve-assertion+jwt", segment(t, values[0], 0)["typ"])
	claims := segment(t, values[0], 1)
	require.EqualValues(t, 60, claims["exp"].(float64)-claims["iat"].(float64))
	for _, name := range []string{"exp", "iat", "jti"} {
		require.NotEmpty(t, claims[name])
		delete(claims, name)
	}
	require.Equal(t, map[string]any{
		"iss": "http://" + g.address, "aud": "https://upstream.example", "sub": h.tenant.clientID, "client_id": h.tenant.clientID,
		"htm": "GET", "htp": h.applications(), "key_id": seen.Headers.Get("Keyreeve-Key-Id"), "role": seen.Headers.Get("Keyreeve-Role"),
		"customer": h.customer, "microtenant": h.microtenant,
	}, claims)
	require.Equal(t, h.tenant.clientID, seen.Headers.Get("Keyreeve-Client-Id"), "the plain headers are there too")

	g.get(t, h.applications(), bearer(values[0])).refused(t, 401, "invalid_token")
	open := upstreamSaw(t, g.get(t, "/open", append(forged, h.full.basic())...))
	require.Empty(t, open.identity(), "a public route has no identity, least of all the client's own")
	for _, method := range []string{"GET", "HEAD"} {
		require.Equal(t, 200, g.send(t, method, h.applications(), h.full.basic()).status)
	}
}

func TestMetadataIsServedOnlyForAConfiguredIssuer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.auth(t, newUpstream(t).url, "", func(s *site) { s.app = "" })
	require.Equal(t, http.StatusUnauthorized, g.get(t, "/.well-known/oauth-authorization-server").status, "the gate's answer")
	claims := segment(t, g.token(t, h.full), 1)
	require.Regexp(t, `^urn:keyreeve:`, claims["iss"])
	require.Equal(t, claims["iss"], claims["aud"])
	require.Equal(t, 200, g.get(t, "/.well-known/jwks.json").status)
}
