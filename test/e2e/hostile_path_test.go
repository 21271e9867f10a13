package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// aim is one target and what must become of it: the code of a refusal, or "" when
// it arrives at the upstream byte for byte.
type aim struct {
	target string
	code   string
}

// strike sends every target with a good credential of k and holds both ends
// against what is expected.
func (g *gate) strike(t *testing.T, up *upstream, k key, method string, aims []aim) {
	t.Helper()
	status := map[string]int{"": 200, "ambiguous_path": 400, "no_route": 403, "permission_denied": 403, "tenant_mismatch": 403, "ambiguous_query": 400,
		"invalid_request": 400, "microtenant_required": 403}
	for _, a := range aims {
		id := method + k.name + a.target
		if len(id) > 200 {
			id = id[:200]
		}
		id = fmt.Sprintf("%x", id)
		got := g.send(t, method, a.target, k.basic(), marked(id))
		require.Equal(t, []any{status[a.code], a.code}, []any{got.status, got.code()}, "%.300q: %s", a.target, got.body)
		seen := up.received(id)
		if a.code != "" {
			require.Empty(t, seen, "%.300q was refused and reached the upstream", a.target)
			continue
		}
		require.Len(t, seen, 1, "%.300q", a.target)
		path, query, _ := strings.Cut(a.target, "?")
		require.Equal(t, []string{path, query}, []string{seen[0].Path, seen[0].RawQuery}, "what the upstream received")
	}
}

func TestAPathThatTwoParsersReadDifferentlyIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	base := h.applications()
	const bad = "ambiguous_path"
	g.strike(t, up, h.full, "GET", []aim{
		{base, ""},
		{base + "?a=%2e%2e/%00&b=//;x\\", ""}, // the query is not the path
		{base + "%2f1", bad}, {base + "%2F1", bad}, {base + "%5c1", bad}, {base + "%5C1", bad},
		{base + "%00", bad}, {base + "/1%00.json", bad}, {base + "/%0d%0aX-Injected:%201", bad}, {base + "/%7f", bad}, {base + "/%1f", bad},
		{base + `\1`, bad}, {base + `/..\..`, bad},
		{"/" + base, bad}, {base + "//1", bad}, {base + "//", bad}, {strings.Replace(base, "/admin", "//admin", 1), bad},
		{base + "/.", bad}, {base + "/./1", bad}, {base + "/..", bad}, {base + "/../application", bad}, {"/.." + base, bad},
		{base + "/%2e%2e/1", bad}, {base + "/%2E/1", bad}, {base + "/.%2e/1", bad}, {base + "/..%2f1", bad}, {base + "/%2e%2e%2f1", bad},
		{base + "/%252e%252e/1", bad}, {base + "/1%252f2", bad}, {base + "/%25", bad}, {base + "/%2525", bad}, {base + "/%25%32%66", bad},
		{base + "/1;x=y", bad}, {base + ";x", bad}, {base + "/..;/1", bad}, {base + "/1%3bx", bad},
		{base + "#/1", bad}, {base + "/1#", bad},
		{base + "/\x80", bad}, {base + "/\xff", bad}, {base + "/é", bad}, {base + "/%ff", bad}, {base + "/%c0%af", bad}, {base + "/%c0%ae%c0%ae/", bad}, {base + "/%ed%a0%80", bad},
		{base + `/"1"`, bad}, {base + "/<1>", bad}, {base + "/[1]", bad}, {base + "/{id}", bad}, {base + "/1|2", bad}, {base + "/1^2", bad}, {base + "/`1`", bad},
		{base + "/" + strings.Repeat("a", 8<<10), bad},
		{base + "/" + strings.Repeat("%61", 3<<10), bad},
		{base + "/1%C3%A9-._~!$&'()*+,=:@", ""}, // all that RFC 3986 admits beside ; and %2F
		{base + "/%31", ""},
	})
	// What is no target at all never becomes a request.
	for _, target := range []string{base + "/\x00", base + "/\x7f", base + "/1 2", base + "/%zz", base + "/%", base + "/%2"} {
		a := g.get(t, target, h.full.basic(), marked("malformed"))
		require.Equal(t, 400, a.status, "%q", target)
		require.Empty(t, up.received("malformed"), "%q", target)
	}
	require.NotContains(t, up.bytes(), "X-Injected")
}

func TestATargetWithoutAPathOfItsOwnIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	for _, r := range []struct{ method, target string }{
		{"GET", "*"}, {"CONNECT", "upstream.test:443"}, {"CONNECT", h.applications()}, {"GET", "upstream.test:443"},
		{"GET", "http://user:pw@gate.test" + h.applications()}, {"GET", "http:" + h.applications()}, {"GET", "mailto:x@y"},
		{"GET", "//gate.test" + h.applications()}, {"GET", "http://gate.test"}, {"GET", "http://gate.test" + h.applications() + "#x"},
	} {
		a := g.send(t, r.method, r.target, h.full.basic())
		require.GreaterOrEqual(t, a.status, 400, "%s %s", r.method, r.target)
		require.Less(t, a.status, 500, "%s %s", r.method, r.target)
	}
	// net/http answers this one itself, before any handler.
	require.Empty(t, g.send(t, "OPTIONS", "*", h.full.basic()).body)
	require.Zero(t, up.total(), "requests at the upstream")
}

// neighbours is a policy of a broad rule with narrower ones beside and below it.
const neighbours = `
route * /files/{rest...} policy-rules
route GET /files/secret secrets
route GET /files/secret/{name} secrets
route GET /prod/{rest...} policy-rules
route GET /production/{rest...} secrets
route * /objects/{key...} policy-rules {
	encoded allow
}
route GET /objects/secret/{name} secrets
route GET /one/{name} policy-rules
`

func TestNoOddSpellingFallsThroughToABroaderRight(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.run(t, &site{gate: neighbours, upstream: up.url})
	const odd, denied = "no_route", "permission_denied"
	g.strike(t, up, h.policyOnly, "GET", []aim{
		{"/files/a", ""}, {"/files/a/b/", ""}, {"/files/SECRETS", ""}, {"/files/secretive", ""},
		{"/files/secret", denied}, {"/files/secret/x", denied},
		{"/files/Secret", odd}, {"/files/SECRET", odd}, {"/FILES/secret", odd}, {"/files/secret/", odd}, {"/files/SECRET/", odd},
		{"/files/%73ecret", odd}, {"/files/%53ECRET", odd}, {"/files/secre%74/x", odd}, {"/files/%E2%84%AAecret", ""}, {"/files/secret/x/", odd},
		{"/files/\u017fecret", "ambiguous_path"}, {"/files/%C5%BFecret", odd}, // ſ folds to s
		{"/files/secret/x/y", ""}, // deeper than the narrow rules reach
		{"/prod/x", ""}, {"/production/x", denied}, {"/PRODUCTION/x", odd}, {"/prod%75ction/x", odd}, {"/prodX/x", odd}, {"/pro", odd},
		{"/one/x", ""}, {"/one/x/y", odd}, {"/one/", odd}, {"/one", odd}, {"/one/x/", odd}, {"/ONE/x", odd},
	})
}

func TestEncodedAllowAdmitsOddBytesInParametersOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.run(t, &site{gate: neighbours, upstream: up.url})
	const bad, odd = "ambiguous_path", "no_route"
	g.strike(t, up, h.policyOnly, "GET", []aim{
		{"/objects/a%2Fb", ""}, {"/objects/a//b", ""}, {"/objects/a;v=1", ""}, {"/objects/a%25b", ""}, {"/objects/a%2fb%2Fc?x=%2F", ""},
		{"/objects%2Fa", bad}, {"//objects/a", bad}, {"/files/a%2Fb", bad}, {"/one/a%2Fb", bad}, {"/files/a//b", bad},
		{"/objects/%2e%2e%2ffiles", bad}, {"/objects/a%2F..%2F..%2Ffiles", bad}, {"/objects/a/..;/b", bad}, {"/objects/%252e%252e%252f", bad},
		{"/objects/a%5Cb", bad}, {"/objects/a%00", bad}, {"/objects/%255c", bad},
		{"/objects/secret/x", "permission_denied"},
		{"/objects/secret%2Fx", odd}, {"/objects/secret//x", odd}, {"/objects//secret/x", odd}, {"/objects/secret;a/x", odd}, {"/objects/SECRET%2fx", odd}, {"/objects/secret%252Fx", odd},
	})
}

func TestATenantParameterIsReadInOneWayOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	own, foreign := h.microtenant, "999"
	at := func(query string) string { return h.applications() + "?" + query }
	const bad = "ambiguous_query"
	aims := []aim{
		{at("microtenantId=" + own), ""},
		{at("a=microtenantId&microtenantId=" + own + "&b=%26microtenantId%3D" + foreign), ""},
		{at("microtenantIds=" + foreign + "&microtenantId=" + own), ""},
		{at("microtenantId=" + own + "&microtenantId=" + foreign), bad},
		{at("microtenantId=" + own + "&microtenantId=" + own), bad},
		{at("microtenantId=" + own + "&microtenantid=" + foreign), bad},
		{at("MICROTENANTID=" + own), bad},
		{at("microtenantId=" + own + "&%6dicrotenantId=" + foreign), bad},
		{at("microtenantId%00=" + own), bad}, {at("microtenant%49d=" + own), bad}, {at("microtenantId[]=" + own), bad},
		{at("microtenantId%5B%5D=" + own), bad}, {at("microtenantId[0]=" + own), bad}, {at("+microtenantId=" + own), bad}, {at("%20microtenantId=" + own), bad},
		{at("x=1;microtenantId=" + own), bad}, {at("microtenantId=" + own + ";x"), bad}, {at("microtenantId=%32" + own[1:]), bad},
		{at("microtenantId=" + own + "+"), bad},
		{at("microtenantId=" + own + "&%u006dicrotenantId=" + foreign), bad}, {at("microtenantId=" + own + "&%zz=" + foreign), bad},
		{at("microtenantId=" + own + "&?microtenantId=" + foreign), bad}, {at("?microtenantId=" + own), bad},
		{at("microtenantId=" + own + "&%C2%A0microtenantId=" + foreign), bad}, {at("microtenantId=" + own + "&%EF%BB%BFmicrotenantId=" + foreign), bad},
		{at("microtenantId=" + own + "&microtenantId%E2%80%8B=" + foreign), bad},
	}
	g.strike(t, up, h.tenant, "GET", aims)
	g.strike(t, up, h.full, "GET", aims)
	g.strike(t, up, h.tenant, "GET", []aim{
		{at("microtenantId="), "microtenant_required"}, {at("microtenantId"), "microtenant_required"}, {at("q=1"), "microtenant_required"},
		{at("microtenantId=" + own + "0"), "tenant_mismatch"}, {at("microtenantId=" + own[1:]), "tenant_mismatch"},
	})
	customer := func(as string) string { return strings.Replace(h.applications(), h.customer, as, 1) }
	g.strike(t, up, h.full, "GET", []aim{
		{customer(h.customer + "0"), "tenant_mismatch"}, {customer("0"), "tenant_mismatch"}, {customer("%32" + h.customer[1:]), "tenant_mismatch"},
		{customer(h.customer + "%20"), "tenant_mismatch"}, {customer(""), "ambiguous_path"},
	})
}

func TestAnAbsoluteTargetsHostDecidesAndNotTheHostHeader(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.run(t, &site{upstream: up.url, gate: "public GET /fallback", sites: fmt.Sprintf(`
http://strict.test:GATE_PORT {
	bind 127.0.0.1
	keyreeve {
		route GET /x secrets
	}
	reverse_proxy %[1]s
}
http://open.test:GATE_PORT {
	bind 127.0.0.1
	keyreeve {
		public GET /x
	}
	reverse_proxy %[1]s
}`, up.url)})
	ask := func(target, host, id string) int {
		return send(t, g.address, "GET "+target+" HTTP/1.1\r\nHost: "+host+"\r\nX-Case: "+id+"\r\n\r\n").status
	}
	require.Equal(t, 200, ask("/x", "open.test", "open"))
	require.Equal(t, 401, ask("/x", "strict.test", "strict"))
	require.Equal(t, 401, ask("http://strict.test/x", "open.test", "absolute strict"))
	require.Equal(t, 200, ask("http://open.test/x", "strict.test", "absolute open"))
	require.Empty(t, up.received("strict"))
	require.Empty(t, up.received("absolute strict"))
	for _, id := range []string{"open", "absolute open"} {
		seen := up.received(id)
		require.Len(t, seen, 1)
		require.Equal(t, []string{"/x", "open.test"}, []string{seen[0].Path, seen[0].Headers.Get("Host")})
	}
}

// overrides are headers by which some upstreams act on another request than the
// one that was decided on.
var overrides = []string{"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "x-original-method: DELETE",
	"X-Forwarded-Method: DELETE", "X-Original-URL: /admin", "X-Original-URI: /admin", "X-Rewrite-URL: /admin", "X-Forwarded-Uri: /admin", "X-Forwarded-Path: /admin"}

func TestOverrideHeadersNeverDecideAndNeverArrive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	policy := h.policyFile(t)
	g := h.run(t, &site{gate: "policy " + policy, upstream: up.url,
		sites: fmt.Sprintf("http://forward.test:GATE_PORT {\nbind 127.0.0.1\nkeyreeve {\npolicy %s\nforward_overrides\n}\nreverse_proxy %s\n}", policy, up.url)})
	headers := append([]string{h.readonly.basic()}, overrides...)
	arrived := func(e echoed) (names []string) {
		for _, line := range overrides {
			name, _, _ := strings.Cut(line, ":")
			names = append(names, e.Headers.Values(name)...)
		}
		return names
	}
	e := upstreamSaw(t, g.get(t, h.applications(), headers...))
	require.Equal(t, []string{"GET", h.applications()}, []string{e.Method, e.Path})
	require.Empty(t, arrived(e))
	e = upstreamSaw(t, send(t, g.address, strings.Replace(request("GET", h.applications(), headers...), "gate.test", "forward.test", 1)))
	require.Len(t, arrived(e), len(overrides), "forward_overrides")

	before := up.total()
	g.send(t, "DELETE", h.applications()+"/1", h.readonly.basic(), "X-Forwarded-Method: GET", "X-HTTP-Method-Override: GET", "X-Original-Method: GET").
		refused(t, http.StatusForbidden, "permission_denied")
	g.get(t, "/nowhere", h.readonly.basic(), "X-Forwarded-Uri: "+h.applications(), "X-Original-URL: "+h.applications(), "X-Forwarded-Host: open.test").
		refused(t, http.StatusForbidden, "no_route")
	require.Equal(t, before, up.total())
}
