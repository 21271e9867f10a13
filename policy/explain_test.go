package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// decide is a decision as the gate makes it.
func decide(s *Set, method, path string, odd bool, rawQuery string, who Subject) Decision {
	m, reason := s.Match(method, path, odd)
	if reason != Allowed {
		return Deny(reason)
	}
	return s.Decide(m, path, rawQuery, who)
}

func outcomes(e Explanation) map[string]string {
	found := map[string]string{}
	for _, t := range e.Tried {
		found[t.Route.String()] = t.Outcome.Code()
	}
	return found
}

func drawSubject(t *rapid.T) Subject {
	who := Subject{
		CustomerID:    rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "customer"),
		MicrotenantID: rapid.SampledFrom([]string{"", "", "m1"}).Draw(t, "microtenant"),
		Permissions: Permissions(rapid.MapOfN(rapid.SampledFrom([]string{"r", "*", "other"}), rapid.SampledFrom([]Mask{View, Update, Create | Delete, Full}), 0, 3).
			Draw(t, "permissions")),
	}
	if rapid.Bool().Draw(t, "knows microtenants") {
		who.Microtenant = func(_, id string) (enabled, known bool) { return id == "m2", id == "m2" || id == "m3" }
	}
	return who
}

func TestAnExplanationDecidesAsTheGateDoesAndAccountsForIt(t *testing.T) {
	t.Parallel()
	reached := map[Reason]int{}
	rapid.Check(t, func(t *rapid.T) {
		specs := rapid.SliceOfN(rapid.Custom(drawSpec), 1, 6).Draw(t, "routes")
		for i := range specs {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				specs[i] = RouteSpec{Methods: specs[i].Methods, Path: specs[i].Path, Encoded: specs[i].Encoded, Public: true}
			case 1:
				if strings.Contains(specs[i].Path, "{p0}") {
					specs[i].Tenant = "p0"
				}
			}
		}
		set, err := Compile(nil, specs)
		if err != nil {
			return
		}
		for range 20 {
			method := rapid.SampledFrom(testMethods).Draw(t, "method")
			path := drawPath(t, drawPlain(t))
			odd := oddBytes.MatchString(path)
			query := rapid.SampledFrom([]string{"", "microtenantId=m1", "microtenantId=m2", "microtenantId=m3", "microtenantId=null", "microtenantID=m1", "a=b"}).Draw(t, "query")
			who := drawSubject(t)
			want := decide(set, method, path, odd, query, who)
			got := set.Explain(method, path, odd, query, who)
			// A microtenant function cannot be compared, and is in neither.
			require.Equal(t, want, got.Decision, "%s %s?%s", method, path, query)
			reached[want.Reason]++
			accounts(t, set, got, method, path, odd)
			if want.Route != nil && !want.Route.Public {
				require.Equal(t, got.Held.Has(want.Action), who.Permissions.Allow(want.Route.Resource, want.Route.Group, want.Action))
			}
		}
	})
	if testing.Short() { // few sets of routes are drawn
		return
	}
	for _, r := range []Reason{Allowed, Public, NoRoute, AmbiguousPath, AmbiguousQuery, MicrotenantRequired, TenantMismatch, PermissionDenied} {
		require.Positive(t, reached[r], "never reached: %s", r)
	}
}

// accounts holds the list of rules tried against the decision.
func accounts(t *rapid.T, set *Set, e Explanation, method, path string, odd bool) {
	count := map[TrialOutcome]int{}
	for _, tried := range e.Tried {
		count[tried.Outcome]++
		require.NotEmpty(t, tried.Why)
		_, admits := tried.Route.admits(method)
		matches := matchesSegments(split(tried.Route.Pattern), split(path), false)
		switch tried.Outcome {
		case TrialTaken:
			require.Same(t, e.Route, tried.Route)
		case TrialMethod:
			require.True(t, matches && !admits, "%s for %s %s", tried.Route, method, path)
		case TrialShadowed, TrialRefused:
			require.True(t, matches && admits, "%s for %s %s", tried.Route, method, path)
		case TrialSpelling:
			require.True(t, !matches && admits, "%s for %s %s", tried.Route, method, path)
		}
	}
	matching := 0
	for _, r := range set.Routes() {
		if matchesSegments(split(r.Pattern), split(path), false) {
			matching++
			require.True(t, slices.ContainsFunc(e.Tried, func(tried Trial) bool { return tried.Route == r }), "%s is not listed for %s", r, path)
		}
	}
	switch {
	case e.Route != nil:
		require.Equal(t, 1, count[TrialTaken])
		require.Zero(t, count[TrialRefused]+count[TrialBlocks])
	case count[TrialRefused] > 0:
		require.Equal(t, 1, count[TrialRefused])
		require.Equal(t, e.Reason == NoRoute, count[TrialBlocks] > 0, "%s %s: %v", method, path, outcomes(e))
	default:
		require.Zero(t, count[TrialTaken]+count[TrialShadowed]+count[TrialBlocks], "%s %s: %v", method, path, outcomes(e))
		require.Equal(t, odd, e.Reason == AmbiguousPath)
	}
}

func TestAnExplanationSaysWhyEachRuleDidNotMatch(t *testing.T) {
	t.Parallel()
	set := mustCompile(t,
		get("/{all...}", "all"), get("/things/{id}", "one"), route([]string{"POST"}, "/things/{id}", "make"),
		get("/things/Special", "special"), get("/files/{name...}", "files", encoded), get("/list/", "list"))
	who := Subject{Permissions: Permissions{"*": Full}}
	for _, c := range []struct {
		method, path string
		reason       Reason
		outcomes     map[string]string
		why          string // of the rule that decided
	}{
		{"GET", "/things/1", Allowed, map[string]string{
			"GET /things/{id}": "taken", "GET /{all...}": "shadowed", "POST /things/{id}": "method"}, "no rule that matches is more specific"},
		{"DELETE", "/things/1", NoRoute, map[string]string{
			"GET /things/{id}": "method", "GET /{all...}": "method", "POST /things/{id}": "method"}, "the rule is for GET, not DELETE"},
		{"GET", "/things/special", NoRoute, map[string]string{
			"GET /things/{id}": "refused", "GET /{all...}": "shadowed", "GET /things/Special": "blocks", "POST /things/{id}": "method"},
			"upper and lower case differ"},
		{"GET", "/things/%53pecial", NoRoute, map[string]string{
			"GET /things/{id}": "refused", "GET /{all...}": "shadowed", "GET /things/Special": "blocks", "POST /things/{id}": "method"},
			"percent-encoded"},
		{"POST", "/things/1/", NoRoute, map[string]string{"POST /things/{id}": "spelling", "GET /{all...}": "method"}, "ends in a slash"},
		{"GET", "/list", NoRoute, map[string]string{"GET /{all...}": "refused", "GET /list/": "blocks"}, "lacks the slash"},
		{"GET", "/things/a%2Fb", AmbiguousPath, map[string]string{
			"GET /things/{id}": "refused", "GET /{all...}": "shadowed", "POST /things/{id}": "method"}, "only a rule with `encoded`"},
		{"GET", "/files/a%2Fb", Allowed, map[string]string{"GET /files/{name...}": "taken", "GET /{all...}": "shadowed"}, "no rule"},
		{"BREW", "/elsewhere", NoRoute, map[string]string{"GET /{all...}": "method"}, "not BREW"},
	} {
		e := set.Explain(c.method, c.path, oddBytes.MatchString(c.path), "", who)
		require.Equal(t, c.reason, e.Reason, c.path)
		require.Equal(t, c.outcomes, outcomes(e), "%s %s", c.method, c.path)
		all := ""
		for _, tried := range e.Tried {
			all += tried.Why + "\n"
		}
		require.Contains(t, all, c.why, c.path)
	}
}

func TestAnExplanationNamesTheEntriesThatGrant(t *testing.T) {
	t.Parallel()
	f, err := ParseFile("p.yaml", []byte("version: 1\nresources:\n  orders: {group: sales}\nroutes:\n  - {methods: [GET, POST], path: \"/c/{customerId}/orders\", resource: orders}\n"))
	require.NoError(t, err)
	set, err := Compile([]*File{f}, nil)
	require.NoError(t, err)
	who := Subject{CustomerID: "acme", Permissions: Permissions{"orders": Update, "sales": View, "*": Delete, "invoices": Full}}
	e := set.Explain("POST", "/c/acme/orders", false, "microtenantId=0", who)
	require.Equal(t, PermissionDenied, e.Reason)
	require.Equal(t, []Grant{{"orders", Update}, {"sales", View}, {"*", Delete}}, e.Grants)
	require.Equal(t, Read|Update|Delete, e.Held)
	require.Equal(t, TenantNamed{CustomerID: "acme", MicrotenantID: "0"}, e.Tenant)
	require.True(t, set.Explain("POST", "/c/acme/orders", false, "microtenantid=0", who).Tenant.Ambiguous)
}
