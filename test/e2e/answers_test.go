package e2e

import (
	"encoding/base64"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Challenges as the contract has them.
const (
	bearerChallenge = `Bearer realm="keyreeve"`
	basicChallenge  = `Basic realm="keyreeve", charset="UTF-8"`
	tokenChallenge  = `Bearer realm="keyreeve", error="invalid_token"`
)

var both = []string{bearerChallenge, basicChallenge}

// row is one line of the contract's table of answers.
type row struct {
	name      string
	method    string // GET when empty
	target    string // an application path when empty
	headers   []string
	status    int
	code      string
	challenge []string
}

// withCode requires all that a refusal has in common.
func (a answer) withCode(t *testing.T, r row) {
	t.Helper()
	a.refused(t, r.status, r.code)
	require.Equal(t, r.challenge, a.header.Values("WWW-Authenticate"), "challenge")
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.Empty(t, a.header.Values("Retry-After"), "waiting is no help here")
	require.Empty(t, a.header.Values("Set-Cookie"))
	p := a.problem(t)
	require.Equal(t, r.status, p.Status)
	require.Equal(t, http.StatusText(r.status), p.Title)
	require.NotEmpty(t, p.Type)
	require.NotEmpty(t, p.Detail)
	require.Regexp(t, `^[0-9a-f-]{36}$`, p.RequestID)
}

func TestEveryRefusalIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	readable := h.applications()
	withQuery := func(q string) string { return readable + "?" + q }
	foreign := strings.Replace(readable, h.customer, "1", 1)
	encode := func(text string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(text))
	}
	good, jwt := h.full.basic(), "Authorization: Bearer eyJhbGciOiJFZERTQSJ9.e30.c2ln"
	scope := func(s string) []string {
		return []string{bearerChallenge + `, error="insufficient_scope", scope="` + s + `"`}
	}

	rows := []row{
		{name: "TLS early data told by a proxy", headers: []string{good, "Early-Data: 1"}, status: 425, code: "too_early"},
		{name: "ambiguous path", target: readable + "%2f1", headers: []string{good}, status: 400, code: "ambiguous_path"},
		{name: "no credential", status: 401, code: "credentials_required", challenge: both},
		{name: "empty Authorization", headers: []string{"Authorization:"}, status: 401, code: "credentials_required", challenge: both},
		{name: "unknown scheme", headers: []string{"Authorization: Digest username=x"}, status: 401, code: "credentials_required", challenge: both},
		{name: "headers that are not enabled", headers: []string{"X-Client-Id: " + h.full.clientID, "X-Client-Secret: " + h.full.secret}, status: 401, code: "credentials_required", challenge: both},
		{name: "an apikey that is not enabled", headers: []string{"X-API-Key: " + h.full.clientID + "." + h.full.secret}, status: 401, code: "credentials_required", challenge: both},

		{name: "repeated Authorization", headers: []string{good, good}, status: 400, code: "invalid_request"},
		{name: "Basic and Bearer", headers: []string{good, jwt}, status: 400, code: "invalid_request"},
		{name: "both joined in one line", headers: []string{good + ", Bearer x"}, status: 400, code: "invalid_request"},
		{name: "access_token in the query", target: withQuery("access_token=x"), headers: []string{good}, status: 400, code: "invalid_request"},
		{name: "access_token alone in the query", target: withQuery("access_token=x"), status: 400, code: "invalid_request"},
		{name: "client_secret in the query", target: withQuery("a=1&client_secret=x"), headers: []string{good}, status: 400, code: "invalid_request"},
		{name: "client_secret encoded in the query", target: withQuery("client%5Fsecret=x"), headers: []string{good}, status: 400, code: "invalid_request"},

		{name: "Basic that is no base64", headers: []string{"Authorization: Basic !!!!"}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic that is empty", headers: []string{"Authorization: Basic"}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic without a colon", headers: []string{encode(h.full.clientID)}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic with an empty secret", headers: []string{encode(h.full.clientID + ":")}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic with an empty ID", headers: []string{encode(":" + h.full.secret)}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic with NUL", headers: []string{encode(h.full.clientID + ":" + h.full.secret + "\x00")}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic that is over-long", headers: []string{encode(h.full.clientID + ":" + strings.Repeat("x", 4<<10))}, status: 401, code: "invalid_client", challenge: both},
		{name: "Basic with URL-safe base64", headers: []string{"Authorization: Basic " + base64.URLEncoding.EncodeToString([]byte("a:\xc3\xbf\xc3\xbf\xc3\xbf"))}, status: 401, code: "invalid_client", challenge: both},

		{name: "a token nobody issued", headers: []string{jwt}, status: 401, code: "invalid_token", challenge: []string{tokenChallenge}},
		{name: "an empty token", headers: []string{"Authorization: Bearer"}, status: 401, code: "invalid_token", challenge: []string{tokenChallenge}},
		{name: "a token that is over-long", headers: []string{"Authorization: Bearer " + strings.Repeat("x", 17<<10)}, status: 401, code: "invalid_token", challenge: []string{tokenChallenge}},
		{name: "a token of 10,000 dots", headers: []string{"Authorization: Bearer " + strings.Repeat(".", 10_000)}, status: 401, code: "invalid_token", challenge: []string{tokenChallenge}},
		{name: "a client secret as a token", headers: []string{"Authorization: Bearer " + h.full.secret}, status: 401, code: "invalid_token", challenge: []string{tokenChallenge}},

		{name: "no route", target: "/nowhere", headers: []string{good}, status: 403, code: "no_route"},
		{name: "no route for the method", method: "TRACE", headers: []string{good}, status: 403, code: "no_route"},
		{name: "another customer", target: foreign, headers: []string{good}, status: 403, code: "tenant_mismatch"},
		{name: "an unknown microtenant", target: withQuery("microtenantId=999"), headers: []string{good}, status: 403, code: "tenant_mismatch"},
		{name: "a microtenant key that names none", headers: []string{h.tenant.basic()}, status: 403, code: "microtenant_required"},
		{name: "a microtenant key that names all", target: withQuery("microtenantId=null"), headers: []string{h.tenant.basic()}, status: 403, code: "tenant_mismatch"},
		{name: "the microtenant twice", target: withQuery("microtenantId=" + h.microtenant + "&microtenantId=" + h.microtenant), headers: []string{h.tenant.basic()}, status: 400, code: "ambiguous_query"},
		{name: "the role lacks the permission", method: "POST", headers: []string{h.readonly.basic(), "Content-Length: 0"}, status: 403, code: "permission_denied", challenge: scope("application-segments:create")},
		{name: "the role does not know the resource", headers: []string{h.policyOnly.basic()}, status: 403, code: "permission_denied", challenge: scope("application-segments:read")},

		{name: "early data before the path", target: readable + "//", headers: []string{"Early-Data: 1"}, status: 425, code: "too_early"},
		{name: "the path before the credential", target: readable + "//", headers: []string{good, good}, status: 400, code: "ambiguous_path"},
		{name: "the credential's form before its proof", headers: []string{h.full.wrong(), jwt}, status: 400, code: "invalid_request"},
		{name: "the proof before the route", target: "/nowhere", headers: []string{basic("kr_unknown", "x")}, status: 401, code: "invalid_client", challenge: both},
		{name: "no credential before the route", target: "/nowhere", status: 401, code: "credentials_required", challenge: both},
		{name: "the route before the tenant", target: foreign + "/a/b/c", headers: []string{good}, status: 403, code: "no_route"},
		{name: "the tenant before the role", method: "POST", target: foreign, headers: []string{h.readonly.basic(), "Content-Length: 0"}, status: 403, code: "tenant_mismatch"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			method, target := r.method, r.target
			if method == "" {
				method = "GET"
			}
			if target == "" {
				target = readable
			}
			g.send(t, method, target, r.headers...).withCode(t, r)
		})
	}
	require.Zero(t, up.total(), "requests at the upstream")
	require.False(t, g.lock(t, h.full).Locked, "what is no wrong secret never counts")
	require.Zero(t, g.lock(t, h.full).FailedAttempts)
	require.Equal(t, http.StatusOK, g.get(t, readable, good).status)
}

func TestHeadersOf64KiBAreRefusedBeforeAnyLookup(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	for _, scheme := range []string{"Basic ", "Bearer "} {
		a := g.get(t, h.applications(), "Authorization: "+scheme+strings.Repeat("x", 64<<10))
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, a.status, "the server's own parser refuses")
	}
	require.Zero(t, up.total(), "requests at the upstream")
}

func TestARefusalOfHeadHasItsHeadersAndNoBody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	a := g.send(t, "HEAD", h.applications())
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, both, a.header.Values("WWW-Authenticate"))
	require.Empty(t, a.body)
}

func TestAPublicRouteNeitherAsksForACredentialNorPassesItOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	for _, headers := range [][]string{nil, {h.full.basic()}, {h.full.wrong()}, {"Authorization: Basic !!"}, {h.full.basic(), h.full.basic()}} {
		e := upstreamSaw(t, g.get(t, "/healthz", append(headers, "Keyreeve-Client-Id: spoofed", "keyreeve_session: x")...))
		require.Empty(t, e.Headers["Authorization"])
		require.Empty(t, e.identity())
	}
	require.Zero(t, g.lock(t, h.full).FailedAttempts, "a credential on a public route is not looked at")
}

// volatile is what may differ between two answers.
var volatile = regexp.MustCompile(`"request_id":"[^"]*"`)

// stable is an answer without its date and request id.
func (a answer) stable() string {
	header := a.header.Clone()
	header.Del("Date")
	var b strings.Builder
	b.WriteString(http.StatusText(a.status) + "\n")
	_ = header.Write(&b) // into memory
	return b.String() + volatile.ReplaceAllString(a.body, "")
}

func TestInvalidClientIsTheSameAnswerWhateverTheCause(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	disabled := g.create(t, "disabled", "role_api_full_access", "--disabled")
	elsewhere := g.create(t, "elsewhere", "role_api_full_access", "--cidr", "192.0.2.0/24", "--cidr", "2001:db8::/32")
	expired := g.create(t, "expired", "role_api_full_access", "--expires", "2s")
	deleted := g.create(t, "deleted", "role_api_full_access")
	g.cli(t, "key", "delete", "deleted", "--yes")
	locked := g.create(t, "locked", "role_api_full_access")
	for range 3 {
		g.get(t, h.applications(), locked.wrong()).refused(t, 401, "invalid_client")
	}
	require.Eventually(t, func() bool {
		return strings.Contains(g.cli(t, "key", "get", "expired", "-o", "json"), `"state":"expired"`)
	}, patience, 100*time.Millisecond)

	causes := []struct {
		name       string
		credential string
	}{
		{"wrong secret", h.application.wrong()},
		{"unknown", basic("kr_2RtFI6LnHaDkDyZDlnOW7z", h.full.secret)},
		{"another client's secret", basic(h.policyOnly.clientID, h.full.secret)},
		{"malformed", "Authorization: Basic !!"},
		{"disabled", disabled.basic()},
		{"expired", expired.basic()},
		{"outside the allowed networks", elsewhere.basic()},
		{"deleted", deleted.basic()},
		{"locked, right secret", locked.basic()},
		{"locked, wrong secret", locked.wrong()},
	}
	first := ""
	for _, c := range causes {
		a := g.get(t, h.applications(), c.credential)
		a.withCode(t, row{status: 401, code: "invalid_client", challenge: both})
		require.GreaterOrEqual(t, a.took, 20*time.Millisecond, "%s: the floor", c.name)
		if first == "" {
			first = a.stable()
		}
		require.Equal(t, first, a.stable(), c.name)
	}
	require.Zero(t, up.total(), "requests at the upstream")
	for _, k := range []key{disabled, elsewhere, expired} {
		require.Zero(t, g.lock(t, k).FailedAttempts, "%s: not compared, not counted", k.name)
	}
}

func TestErrorFormatZPAIsWhatItsClientsRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.run(t, &site{gate: "policy " + h.policyFile(t) + "\nerror_format zpa", upstream: newUpstream(t).url})
	for _, c := range []struct {
		headers []string
		status  int
		id      string
	}{
		{nil, 401, `"id":"access.denied"`},
		{[]string{basic("x", "y")}, 401, `"id":"access.denied"`},
		{[]string{"Authorization: Bearer x"}, 401, "SESSION_NOT_VALID"},
		{[]string{h.policyOnly.basic()}, 403, `"id":"permission.denied"`},
	} {
		a := g.get(t, h.applications(), c.headers...)
		require.Equal(t, c.status, a.status)
		require.Contains(t, a.header.Get("Content-Type"), "application/json")
		require.Contains(t, a.body, c.id)
		require.Contains(t, a.body, `"reason":"`)
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		require.Empty(t, a.header.Get("Retry-After"))
	}
}

func TestErrorFormatCaddyLeavesTheBodyToHandleErrors(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.run(t, &site{gate: "policy " + h.policyFile(t) + "\nerror_format caddy", upstream: newUpstream(t).url, handlers: `handle_errors {
		respond "{err.status_code} {http.keyreeve.outcome} {http.keyreeve.reason}"
	}`})
	a := g.get(t, h.applications())
	require.Equal(t, "401 deny credentials_required", a.body)
	require.Equal(t, 401, a.status)
	require.Equal(t, both, a.header.Values("WWW-Authenticate"))
	require.Equal(t, "403 deny no_route", g.get(t, "/nowhere", h.full.basic()).body)
}

func TestGRPCCallersGetAStatusInTheHeaders(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := newH2(t, h, newUpstream(t)) // gRPC is spoken over HTTP/2
	for _, r := range []struct {
		headers []string
		status  string
	}{
		{nil, "16"}, {[]string{h.full.wrong()}, "16"}, {[]string{h.policyOnly.basic()}, "7"}, {[]string{"Early-Data: 1"}, "14"},
	} {
		a := c.ask(t, "POST", h.applications(), fields(append(r.headers, "Content-Type: application/grpc+proto")...), nil, nil)
		require.Equal(t, []any{200, r.status, "", "application/grpc"},
			[]any{a.status, a.header.Get("Grpc-Status"), a.body, a.header.Get("Content-Type")})
	}
	for _, contentType := range []string{"application/grpc-web", "application/grpc-web+proto", "application/grpcx"} {
		c.ask(t, "POST", h.applications(), fields("Content-Type: "+contentType), nil, nil).refused(t, 401, "credentials_required")
	}
	c.gate.send(t, "POST", h.applications(), "Content-Type: application/grpc", "Content-Length: 0").refused(t, 401, "credentials_required")
}

// TestAStoreOutOfReachIsNotTakenForAnUnknownClient damages the store under a
// running gate: whom it knows it serves, whom it does not it cannot judge.
func TestAStoreOutOfReachIsNotTakenForAnUnknownClient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	require.Equal(t, 200, g.get(t, h.applications(), h.full.basic()).status) // known from here on
	for _, suffix := range []string{"", "-wal"} {
		require.NoError(t, os.Truncate(h.db+suffix, 0))
	}
	a := g.get(t, h.applications(), h.readonly.basic())
	a.refused(t, 503, "store_unavailable")
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.Empty(t, a.header.Get("WWW-Authenticate"))
	g.get(t, h.applications(), basic("kr_nobody", "x")).refused(t, 503, "store_unavailable")
	require.Equal(t, 200, g.get(t, h.applications(), h.full.basic()).status)
	for range 3 { // counted on this node alone
		g.get(t, h.applications(), h.full.wrong()).refused(t, 401, "invalid_client")
	}
	g.get(t, h.applications(), h.full.basic()).refused(t, 401, "invalid_client")
	require.Equal(t, 2, up.total())
}

// policyFile is the example policy in the house's directory.
func (h *house) policyFile(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../examples/zpa/policy.yaml")
	require.NoError(t, err)
	return h.write(t, "policy.yaml", string(data))
}
