package policy

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQueryParametersAreFoundOnlyInTheirOneSpelling(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                   "",
		"microtenantId":                      "",
		"microtenantId=":                     "",
		"microtenantId=5":                    "5",
		"a=1&microtenantId=5":                "5",
		"microtenantId=5&b":                  "5",
		"&&microtenantId=5&&":                "5",
		"microtenantId=a=b":                  "a=b",
		"microtenantIds=5":                   "",
		"xmicrotenantId=5":                   "",
		"id=microtenantId":                   "",
		"a=%6dicrotenantId":                  "",
		"search=name+EQ+value%3D1&a[]=b;c=d": "",
		"a[microtenantId]=5":                 "",
		"a=%zz&microtenantId=5":              "5",
		"a?microtenantId=5":                  "",
		"a\u00a0microtenantId=5":             "",
		"%E2%82%AC=1&microtenantId=5":        "5",
	} {
		value, ambiguous := QueryValue(raw, "microtenantId")
		require.False(t, ambiguous, raw)
		require.Equal(t, want, value, raw)
	}
	for _, raw := range []string{
		"microtenantId=5&microtenantId=5", "microtenantId=5&microtenantId=6", "microtenantId&microtenantId=6", "microtenantId=&microtenantId=",
		"MicrotenantId=5", "microtenantid=5", "MICROTENANTID", "microtenantId=5&microtenantID=6",
		"%6dicrotenantId=5", "microtenant%49d=5", "%256dicrotenantId=5", "microtenantI%2564=5",
		"microtenantId[]=5", "microtenantId[0]=5", "microtenantId%5B%5D=5", "microtenantId%255b0]=5", "microtenantId[",
		"+microtenantId=5", "%20microtenantId=5", "microtenantId+=5", "microtenantId%09=5", "microtenantId%00=5", "microtenantId%00x=5", "%0amicrotenantId", "microtenantId%2b=5",
		"microtenantId%3D5", "micr%6Ftenant%49%44", "microtenantId\x7f=5",
		"microtenantId=%35", "microtenantId=5+", "microtenantId=a%2Fb", "microtenantId=%", "microtenantId=+",
		"a=1;microtenantId=5", "a;microtenantId=5", "microtenantId=5;a=1", "microtenantId=5;", ";microtenantId=5", "a=1;b=2;%6dicrotenantId[]=5", "a=1;;microtenantId",
		"microtenantId;x=1",
		"microtenantId=5&%u006dicrotenantId=6", "%u006dicrotenantId=6", "%25u006dicrotenantId=6", "%zz=1&microtenantId=5", "microtenantId%=5", "microtenantId%4=5", "a=1;%u006dicrotenantId=6",
		"%\x00microtenantId=5", "microtenantId%ff=5", "\xffmicrotenantId=5", "%C1%ADicrotenantId=5",
		"?microtenantId=5", "??microtenantId=5", "%3fmicrotenantId=5", "+?+microtenantId=5", "a=1&?microtenantId=5",
		"\u00a0microtenantId=5", "%C2%A0microtenantId=5", "microtenantId%C2%A0=5", "%EF%BB%BFmicrotenantId=5", "microtenantId%EF%BB%BF[]=5", "%E2%80%8BmicrotenantId=5",
		"microtenantId\u200d=5", "%E3%80%80microtenantId=5", "%E2%80%A8microtenantId=5", "%C2%85microtenantId=5", "microtenantId%C2%AD=5",
	} {
		_, ambiguous := QueryValue(raw, "microtenantId")
		require.True(t, ambiguous, raw)
	}
	_, ambiguous := QueryValue("%C5%BFite=1", "site")
	require.True(t, ambiguous, "U+017F folds to s")
}

func TestAQueryIsScannedWithoutAllocating(t *testing.T) {
	raw := "page=1&pagesize=500&search=name+EQ+a%20b&microtenantId=216199618143441990&sort=x;y"
	require.Zero(t, testing.AllocsPerRun(50, func() { QueryValue(raw, "microtenantId") }))
}

func TestAParameterHiddenAmongOthersIsFoundOrAmbiguous(t *testing.T) {
	t.Parallel()
	spellings := []string{"mt", "MT", "%6dt", "mt[]", "m%54", " mt", "mt%20"}
	rapid.Check(t, func(t *rapid.T) {
		noise := rapid.SliceOfN(rapid.SampledFrom([]string{"a=1", "", "b", "c=%6d", "d;e", "mtx=1", "x[mt]=1"}), 0, 4).Draw(t, "noise")
		given := rapid.SliceOfN(rapid.SampledFrom(spellings), 0, 2).Draw(t, "given")
		parts := noise
		for _, name := range given {
			parts = append(parts, name+"=7")
		}
		raw := strings.Join(rapid.Permutation(parts).Draw(t, "order"), "&")
		value, ambiguous := QueryValue(raw, "mt")
		switch {
		case len(given) == 0:
			require.False(t, ambiguous, raw)
			require.Empty(t, value, raw)
		case len(given) == 1 && given[0] == "mt":
			require.False(t, ambiguous, raw)
			require.Equal(t, "7", value, raw)
		default:
			require.True(t, ambiguous, raw)
		}
	})
}

const (
	customer = "c1"
	own      = "m1"
)

// subject holds everything, so that only its tenant decides.
func subject(microtenant string) Subject {
	return Subject{
		CustomerID: customer, MicrotenantID: microtenant, Permissions: Permissions{"*": Full},
		Microtenant: func(c, id string) (enabled, known bool) {
			table := map[string]bool{"m1": true, "m2": true, "closed": false}
			enabled, known = table[id]
			return enabled && c == customer, known && c == customer
		},
	}
}

func TestTheTenancyTable(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		route([]string{"GET", "POST"}, "/c/{customerId}/apps", "apps"),
		route([]string{"GET", "POST"}, "/c/{customerId}/off", "apps", func(s *RouteSpec) { s.Microtenant = "off" }),
		route([]string{"POST"}, "/c/{customerId}/off/search", "apps", action("read"), func(s *RouteSpec) { s.Microtenant = "off" }),
	)
	for _, c := range []struct {
		method, path, query, microtenant string
		want                             Reason
	}{
		{"GET", "/c/c1/apps", "", own, MicrotenantRequired},
		{"GET", "/c/c1/apps", "microtenantId=", own, MicrotenantRequired},
		{"GET", "/c/c1/apps", "microtenantId=m1", own, Allowed},
		{"POST", "/c/c1/apps", "microtenantId=m1", own, Allowed},
		{"GET", "/c/c1/apps", "microtenantId=0", own, TenantMismatch},
		{"POST", "/c/c1/apps", "microtenantId=0", "0", Allowed},
		{"GET", "/c/c1/apps", "microtenantId=null", own, TenantMismatch},
		{"GET", "/c/c1/apps", "microtenantId=m2", own, TenantMismatch},
		{"GET", "/c/c1/apps", "microtenantId=unknown", own, TenantMismatch},
		{"GET", "/c/c1/apps", "microtenantId=M1", own, TenantMismatch},
		{"GET", "/c/c1/apps", "microtenantId=m1&microtenantId=m1", own, AmbiguousQuery},

		{"POST", "/c/c1/apps", "", "", Allowed},
		{"POST", "/c/c1/apps", "microtenantId=", "", Allowed},
		{"POST", "/c/c1/apps", "microtenantId=0", "", Allowed},
		{"GET", "/c/c1/apps", "microtenantId=null", "", Allowed},
		{"POST", "/c/c1/apps", "microtenantId=null", "", TenantMismatch},
		{"POST", "/c/c1/apps", "microtenantId=m2", "", Allowed},
		{"GET", "/c/c1/apps", "microtenantId=closed", "", TenantMismatch},
		{"GET", "/c/c1/apps", "microtenantId=unknown", "", TenantMismatch},
		{"GET", "/c/c1/apps", "microtenantid=m2", "", AmbiguousQuery},

		{"GET", "/c/c2/apps", "", "", TenantMismatch},
		{"GET", "/c/C1/apps", "", "", TenantMismatch},
		{"GET", "/c/%631/apps", "", "", TenantMismatch},
		{"GET", "/c/c1x/apps", "", "", TenantMismatch},

		{"GET", "/c/c1/off", "", own, Allowed},
		{"POST", "/c/c1/off/search", "", own, Allowed},
		{"POST", "/c/c1/off", "microtenantId=m1", own, TenantMismatch},
		{"GET", "/c/c1/off", "microtenantId=m2&microtenantId=m3", own, Allowed}, // not looked at
		{"POST", "/c/c1/off", "microtenantId=unknown", "", Allowed},
		{"GET", "/c/c2/off", "", own, TenantMismatch},
	} {
		m, reason := s.Match(c.method, c.path, false)
		require.Equal(t, Allowed, reason)
		d := s.Decide(m, c.path, c.query, subject(c.microtenant))
		require.Equal(t, c.want, d.Reason, "%s %s?%s of %q", c.method, c.path, c.query, c.microtenant)
		require.Equal(t, c.want == Allowed, d.Allow)
		require.Same(t, m.Route, d.Route)
		require.Equal(t, m.Action, d.Action)
	}
}

func TestTheTenantIsExaminedBeforeTheRole(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, get("/c/{customerId}/apps", "apps"))
	m, _ := s.Match("GET", "/c/c2/apps", false)
	require.Equal(t, TenantMismatch, s.Decide(m, "/c/c2/apps", "", Subject{CustomerID: customer}).Reason)
	require.Equal(t, PermissionDenied, s.Decide(m, "/c/c1/apps", "", Subject{CustomerID: customer}).Reason)
	require.Equal(t, TenantMismatch, s.Decide(m, "/c/c1/apps", "", Subject{}).Reason, "a caller of no customer")
	require.Equal(t, TenantMismatch, s.Decide(m, "/c", "", Subject{}).Reason, "nor does a path without one make it so")
	require.Equal(t, TenantMismatch, s.Decide(m, "/c/c1/apps", "microtenantId=m1", Subject{CustomerID: customer}).Reason, "no microtenants known")
}

func TestTheRoleDecidesByResourceGroupAndAction(t *testing.T) {
	t.Parallel()
	f := parse(t, "p.yaml", "version: 1\nresources: {apps: {group: config}}\nroutes: [{methods: [GET, POST], path: /apps, resource: apps}]")
	s, err := Compile([]*File{f}, nil)
	require.NoError(t, err)
	for _, c := range []struct {
		method string
		role   Permissions
		want   Reason
	}{
		{"GET", Permissions{"apps": Read}, Allowed},
		{"HEAD", Permissions{"apps": Read}, Allowed},
		{"POST", Permissions{"apps": Read | Update | Delete}, PermissionDenied},
		{"POST", Permissions{"config": Full}, Allowed},
		{"POST", Permissions{"apps": Read, "config": Create}, Allowed},
		{"GET", Permissions{"*": View}, Allowed},
		{"GET", Permissions{"keyreeve/*": Full, "other": Full}, PermissionDenied},
		{"GET", nil, PermissionDenied},
	} {
		m, _ := s.Match(c.method, "/apps", false)
		d := s.Decide(m, "/apps", "", Subject{CustomerID: customer, Permissions: c.role})
		require.Equal(t, c.want, d.Reason, "%s with %v", c.method, c.role)
		if c.method == "POST" {
			require.Equal(t, "apps:create", d.Scope())
		}
	}
	m, _ := s.Match("GET", "/apps", false)
	require.Equal(t, PermissionDenied, s.Decide(Match{Route: m.Route}, "/apps", "", subject("")).Reason, "a match without an action")
}

func TestPublicAndUnmatchedRequestsNeedNoCaller(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, RouteSpec{Methods: []string{"GET"}, Path: "/c/{customerId}/health", Public: true})
	m, _ := s.Match("GET", "/c/any/health", false)
	d := s.Decide(m, "/c/any/health", "microtenantId=1&microtenantId=2", Subject{})
	require.True(t, d.Allow)
	require.Equal(t, Public, d.Reason)
	d = s.Decide(Match{}, "/", "", subject(""))
	require.False(t, d.Allow)
	require.Equal(t, NoRoute, d.Reason)
}

func TestDecidingDoesNotAllocate(t *testing.T) {
	s := mustCompile(t, get("/c/{customerId}/apps", "apps"))
	m, _ := s.Match("GET", "/c/c1/apps", false)
	who := subject("")
	require.Zero(t, testing.AllocsPerRun(50, func() { s.Decide(m, "/c/c1/apps", "page=1&microtenantId=m2", who) }))
}

func TestPathSegmentsAreCountedFromTheFirstSlash(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a", pathSegment("/a/b/c", 0))
	require.Equal(t, "c", pathSegment("/a/b/c", 2))
	require.Equal(t, "", pathSegment("/a/b/", 2))
	require.Equal(t, "", pathSegment("/a", 3))
}
