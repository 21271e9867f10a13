package policy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const zpaFile = "../examples/zpa/policy.yaml"

func zpaSet(t testing.TB) (*File, *Set) {
	t.Helper()
	f, err := LoadFile(zpaFile)
	require.NoError(t, err)
	s, err := Compile([]*File{f}, nil)
	require.NoError(t, err)
	return f, s
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// zpaRequests is one concrete request for each method and path of the example.
func zpaRequests(s *Set) (requests []struct{ method, path, pattern string }) {
	for _, r := range s.Routes() {
		path := parameter.ReplaceAllString(r.Pattern, "216199618143441990")
		for _, m := range r.Methods {
			requests = append(requests, struct{ method, path, pattern string }{m, path, r.Pattern})
		}
	}
	return requests
}

func TestTheZPAExampleHoldsEveryProxiedRoute(t *testing.T) {
	t.Parallel()
	f, s := zpaSet(t)
	requests := zpaRequests(s)
	require.Len(t, requests, 239)
	seen := map[string]bool{}
	for _, r := range requests {
		require.False(t, seen[r.method+" "+r.pattern], "%s %s twice", r.method, r.pattern)
		seen[r.method+" "+r.pattern] = true
		m, reason := s.Match(r.method, r.path, false)
		require.Equal(t, Allowed, reason, "%s %s", r.method, r.path)
		require.Equal(t, r.pattern, m.Route.Pattern)
		if strings.Contains(r.pattern, "{customerId}") {
			require.Equal(t, "customerId", m.Route.CustomerParam, r.pattern)
		}
		require.Contains(t, []string{"", "microtenantId"}, m.Route.MicrotenantQuery)
	}
	require.NotContains(t, seen, "POST /signin")

	require.Len(t, f.Resources, 45)
	used := map[string]bool{}
	for _, r := range s.Routes() {
		used[r.Resource] = true
	}
	for name, r := range f.Resources {
		require.NotEmpty(t, r.Group, name)
		require.NotEmpty(t, r.Title, name)
		require.True(t, used[name], "no route is about %s", name)
	}
}

func TestTheZPAExampleMapsRowsToResourcesAndActions(t *testing.T) {
	t.Parallel()
	_, s := zpaSet(t)
	const customer = "/mgmtconfig/v1/admin/customers/1"
	for _, c := range []struct {
		method, path, resource string
		action                 Mask
		microtenant            bool
	}{
		{"GET", customer + "/application", "application-segments", Read, true},
		{"HEAD", customer + "/application", "application-segments", Read, true},
		{"POST", customer + "/application", "application-segments", Create, true},
		{"PUT", customer + "/application/5", "application-segments", Update, true},
		{"DELETE", customer + "/application/5", "application-segments", Delete, true},
		{"GET", customer + "/application/getAppsByType", "application-segments", Read, true},
		{"POST", customer + "/application/multimatchUnsupportedReferences", "application-segments", Read, true},
		{"POST", customer + "/microtenants/search", "microtenants", Read, false},
		{"POST", customer + "/microtenants", "microtenants", Create, false},
		{"POST", customer + "/v2/ipRanges/search", "virtual-ip-address-ranges", Read, false},
		{"PATCH", customer + "/inspectionProfile/5/patch", "app-protection-profiles", Update, false},
		{"POST", customer + "/connector/bulkDelete", "app-connectors", Create, true},
		{"DELETE", customer + "/approval/expired", "privileged-approvals", Delete, true},
		{"PUT", customer + "/policySet/5/rule/6/reorder/7", "policy-rules", Update, true},
		{"GET", "/mgmtconfig/v2/admin/customers/1/policySet/5/rule/6", "policy-rules", Read, true},
		{"GET", "/mgmtconfig/v1/admin/me", "microtenants", Read, false},
		{"GET", customer + "/administrators/5", "administrators", Read, true},
		{"POST", "/cbiconfig/cbi/api/customers/1/profiles", "isolation-profiles", Create, false},
		{"GET", customer + "/apiKeys", "api-keys", Read, true},
		{"GET", customer + "/vpnConnectedUsers", "vpn-connected-users", Read, false},
	} {
		m, reason := s.Match(c.method, c.path, false)
		require.Equal(t, Allowed, reason, "%s %s", c.method, c.path)
		require.Equal(t, c.resource, m.Route.Resource, "%s %s", c.method, c.path)
		require.Equal(t, c.action, m.Action, "%s %s", c.method, c.path)
		require.Equal(t, c.microtenant, m.Route.MicrotenantQuery != "", "%s %s", c.method, c.path)
	}
	require.Equal(t, "configuration", s.GroupOf("application-segments"))
	require.Equal(t, "policies", s.GroupOf("policy-rules"))
	for _, path := range []string{
		"/signin", customer + "/APPLICATION", customer + "/application/", customer + "/application/getappsbytype",
		customer + "/application/getAppsByTyp%65", customer + "/approval/5/", "/mgmtconfig/v1/admin/customers//application",
	} {
		_, reason := s.Match("GET", path, false)
		require.Equal(t, NoRoute, reason, path)
	}
}

// BenchmarkMatch drives all 239 routes of the example in turn, beside the
// standard library's multiplexer over the same patterns.
func BenchmarkMatch(b *testing.B) {
	_, s := zpaSet(b)
	requests := zpaRequests(s)
	b.Run("keyreeve", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r := &requests[i%len(requests)]
			if m, _ := s.Match(r.method, r.path, false); m.Route == nil {
				b.Fatal(r)
			}
		}
	})
	b.Run("servemux", func(b *testing.B) {
		b.ReportAllocs()
		mux := http.NewServeMux()
		nop := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		var prepared []*http.Request
		for _, r := range requests {
			mux.Handle(r.method+" "+r.pattern, nop)
			prepared = append(prepared, httptest.NewRequest(r.method, "http://example.com"+(&url.URL{Path: r.path}).String(), nil))
		}
		for i := 0; b.Loop(); i++ {
			if _, p := mux.Handler(prepared[i%len(prepared)]); p == "" {
				b.Fatal(i)
			}
		}
	})
}
