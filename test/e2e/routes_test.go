package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/policy"
)

// pair is one method and path of the example policy.
type pair struct {
	method, pattern string
	resource        string
	action          string
	microtenantOff  bool
}

// examplePairs reads the example policy; only its text counts, not how the
// program compiles it.
func examplePairs(t *testing.T) []pair {
	t.Helper()
	const name = "../../examples/zpa/policy.yaml"
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	file, err := policy.ParseFile(name, data)
	require.NoError(t, err)
	var pairs []pair
	for _, route := range file.Routes {
		for _, method := range route.Methods {
			p := pair{method: method, pattern: route.Path, resource: route.Resource, action: route.Action, microtenantOff: route.Microtenant == "off"}
			if p.action == "" {
				p.action = map[string]string{"GET": "read", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}[method]
			}
			require.NotEmpty(t, p.action, p)
			pairs = append(pairs, p)
		}
	}
	require.Len(t, pairs, 239, "routes of the example policy")
	return pairs
}

// permits is what each seeded role says, from its description.
func (h *house) permits(k key, p pair) bool {
	switch k.role {
	case "Operator", "API Full Access":
		return true
	case "API Read Only":
		return p.action == "read"
	case "Policy Only":
		return p.resource == "policy-rules"
	case "Application Only":
		return p.resource == "application-segments"
	}
	panic("unknown role " + k.role)
}

const unknownMicrotenant = "999"

// expect is the code the contract gives for a request, "" where it is let through:
// the tenancy table first, then the role.
func (h *house) expect(k key, p pair, customer, microtenant string) string {
	confined := k.name == "tenant"
	switch {
	case strings.Contains(p.pattern, "{customerId}") && customer != h.customer:
		return "tenant_mismatch"
	case p.microtenantOff:
		if confined && p.action != "read" {
			return "tenant_mismatch"
		}
	case confined:
		switch microtenant {
		case "":
			return "microtenant_required"
		case h.microtenant:
		default:
			return "tenant_mismatch"
		}
	case microtenant == "null" && p.action != "read", microtenant == unknownMicrotenant:
		return "tenant_mismatch"
	}
	if !h.permits(k, p) {
		return "permission_denied"
	}
	return ""
}

var param = regexp.MustCompile(`\{[A-Za-z]+\}`)

// fill puts values into a pattern. Those beside the customer's are legal but odd,
// so that it shows whether the bytes arrive as they were sent.
func (p pair) fill(customer string) string {
	path := strings.ReplaceAll(p.pattern, "{customerId}", customer)
	return param.ReplaceAllString(path, "2161%C3%a9~%20'$$1,x=@:y")
}

// TestEachRoleGetsWhatItsPermissionsSayOnEveryRoute drives every route with every
// seeded key and every way to name a microtenant.
func TestEachRoleGetsWhatItsPermissionsSayOnEveryRoute(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	// Not the demo, whose gate answers the paths of API keys itself.
	g := h.run(t, &site{gate: "policy " + h.policyFile(t), upstream: up.url})
	ids := g.keyIDs(t)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true}}
	defer client.CloseIdleConnections()

	var workers errgroup.Group
	workers.SetLimit(8)
	allowed, n := 0, 0
	drive := func(k key, p pair, method, customer, microtenant string) {
		n++
		v := visit{id: itoa(n), gate: g, client: client, key: k, keyID: ids[k.clientID], method: method,
			path: p.fill(customer), microtenant: microtenant, want: h.expect(k, p, customer, microtenant)}
		if v.want == "" {
			allowed++
		}
		workers.Go(func() error {
			if err := v.check(up); err != nil {
				return fmt.Errorf("%s %s %s?microtenantId=%s: %w", k.name, method, p.pattern, microtenant, err)
			}
			return nil
		})
	}
	for _, p := range examplePairs(t) {
		for _, k := range h.keys() {
			for _, microtenant := range []string{"", h.microtenant, "0", "null", unknownMicrotenant} {
				drive(k, p, p.method, h.customer, microtenant)
			}
			drive(k, p, p.method, "216199618143191041", h.microtenant)
		}
		if p.method == http.MethodGet {
			drive(h.readonly, p, http.MethodHead, h.customer, "")
		}
	}
	require.NoError(t, workers.Wait())
	require.Equal(t, allowed, up.total(), "requests at the upstream")
}

// keyIDs are the ids of the keys by client ID.
func (g *gate) keyIDs(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for _, k := range g.house.keys() {
		ids[k.clientID] = g.keyID(t, k)
	}
	return ids
}

// visit is one request and what must become of it.
type visit struct {
	id           string
	gate         *gate
	client       *http.Client
	key          key
	keyID        string
	method, path string
	microtenant  string
	want         string
}

func (v visit) query() string {
	query := "q=a%20b+c&&page=1&%C3%A9=;x"
	if v.microtenant != "" {
		query += "&microtenantId=" + v.microtenant
	}
	return query
}

func (v visit) check(up *upstream) error {
	body := ""
	if v.method == "POST" || v.method == "PUT" || v.method == "PATCH" {
		body = strings.Repeat(`{"case":"`+v.id+`"}`, 3)
	}
	req, err := http.NewRequest(v.method, "http://"+v.gate.address, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.URL.Opaque = v.path // sent as it is
	req.URL.RawQuery = v.query()
	req.SetBasicAuth(v.key.clientID, v.key.secret)
	req.Header.Set("X-Case", v.id)
	req.Header.Set("X-Kept", "as sent")
	for _, spoofed := range []string{"Keyreeve-Client-Id", "keyreeve-role", "KEYREEVE-Microtenant-Id", "Keyreeve-Assertion", "Keyreeve-Admin"} {
		req.Header[spoofed] = []string{"spoofed"}
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	got := answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	seen := up.received(v.id)
	if v.want != "" {
		if got.status != http.StatusForbidden || (v.method != "HEAD" && got.code() != v.want) {
			return fmt.Errorf("answered %d %s, expected 403 %s", got.status, got.body, v.want)
		}
		if len(seen) != 0 {
			return fmt.Errorf("denied, and yet it reached the upstream")
		}
		return nil
	}
	if got.status != http.StatusOK || len(seen) != 1 {
		return fmt.Errorf("answered %d %s and reached the upstream %d times, expected 200 and once", got.status, got.body, len(seen))
	}
	return v.arrived(seen[0], body)
}

// arrived compares what the upstream received with what was sent.
func (v visit) arrived(e echoed, body string) error {
	h := v.gate.house
	roles := map[string]string{"Operator": "role_operator", "API Full Access": "role_api_full_access", "API Read Only": "role_api_read_only"}
	identity := e.identity()
	want := map[string]string{"Keyreeve-Client-Id": v.key.clientID, "Keyreeve-Key-Id": v.keyID, "Keyreeve-Key-Name": v.key.name,
		"Keyreeve-Customer-Id": h.customer, "Keyreeve-Role": roles[v.key.role]}
	if v.key.name == "tenant" {
		want["Keyreeve-Microtenant-Id"] = h.microtenant
	}
	if want["Keyreeve-Role"] == "" { // a custom role's id is made up by the store
		want["Keyreeve-Role"] = identity["Keyreeve-Role"]
		if !strings.HasPrefix(want["Keyreeve-Role"], "role_") {
			return fmt.Errorf("role %q is no id", want["Keyreeve-Role"])
		}
	}
	compare := func(what string, got, want any) error {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("upstream received %s %v, expected %v", what, got, want)
		}
		return nil
	}
	for _, err := range []error{
		compare("method", e.Method, v.method),
		compare("path", e.Path, v.path),
		compare("query", e.RawQuery, v.query()),
		compare("body", e.BodySHA256, sha(body)),
		compare("identity", identity, want),
		compare("authorization", e.Headers["Authorization"], []string(nil)),
		compare("header", e.Headers.Get("X-Kept"), "as sent"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestAPathOutsideThePolicyReachesNobody is deny by default over the whole policy.
func TestAPathOutsideThePolicyReachesNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	customer := "/mgmtconfig/v1/admin/customers/" + url.PathEscape(h.customer)
	for _, target := range []string{"/", "/healthz/", "/HEALTHZ", "/mgmtconfig", customer, customer + "/", customer + "/application/", customer + "/Application",
		customer + "/application/1/2", customer + "/applications", customer + "/applicatio", "/v1/keys", "/signin/", "/oauth2/v1", "/metrics"} {
		g.get(t, target, h.operator.basic()).refused(t, http.StatusForbidden, "no_route")
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "PURGE"} {
		target := customer + "/serverGroup/1/none"
		g.send(t, method, target, h.operator.basic(), "Content-Length: 0").refused(t, http.StatusForbidden, "no_route")
	}
	for _, method := range []string{"DELETE", "PATCH", "OPTIONS", "TRACE", "get"} {
		g.send(t, method, customer+"/application", h.operator.basic(), "Content-Length: 0").refused(t, http.StatusForbidden, "no_route")
	}
	require.Zero(t, up.total(), "requests at the upstream")
}
