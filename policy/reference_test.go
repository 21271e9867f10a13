package policy

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// reference decides the same as Set, from the definitions and with no care for
// speed: what a pattern matches is a set of paths, enumerated over a small
// alphabet, and "more specific" is the subset relation of those sets.
type reference struct {
	routes []*referenceRoute
}

type referenceRoute struct {
	spec    RouteSpec
	written []bool // over writtenPaths
	normal  []bool // over normalPaths
}

// Patterns have at most four segments over a, b, A; one more of each tells
// {name} from a literal and {name...} from {name}.
var (
	writtenPaths = enumerate([]string{"a", "b", "A", "z"}, 5, true)
	normalPaths  = enumerate([]string{"a", "b", "z"}, 5, false)
)

func enumerate(alphabet []string, depth int, slashes bool) []string {
	level := []string{""}
	all := []string{"/"}
	for range depth {
		var next []string
		for _, p := range level {
			for _, a := range alphabet {
				next = append(next, p+"/"+a)
				if slashes {
					all = append(all, p+"/"+a+"/")
				}
			}
		}
		all = append(all, next...)
		level = next
	}
	return all
}

func newReference(specs []RouteSpec) *reference {
	ref := &reference{}
	for _, s := range specs {
		r := &referenceRoute{spec: s}
		for _, p := range writtenPaths {
			r.written = append(r.written, matchesSegments(split(s.Path), split(p), false))
		}
		for _, p := range normalPaths {
			r.normal = append(r.normal, r.matchesNormal(strings.Trim(p, "/")))
		}
		ref.routes = append(ref.routes, r)
	}
	return ref
}

func split(path string) []string { return strings.Split(path, "/")[1:] }

func matchesSegments(pattern, path []string, bare bool) bool {
	switch {
	case len(pattern) == 0:
		return len(path) == 0
	case strings.HasSuffix(pattern[0], "...}"):
		return bare || len(path) > 0
	case len(path) == 0:
		return false
	case strings.HasPrefix(pattern[0], "{") && path[0] == "",
		!strings.HasPrefix(pattern[0], "{") && path[0] != pattern[0]:
		return false
	}
	return matchesSegments(pattern[1:], path[1:], bare)
}

// matchesNormal takes a path in normal form, without slashes around it.
func (r *referenceRoute) matchesNormal(path string) bool {
	pattern := strings.ToLower(strings.Trim(r.spec.Path, "/"))
	fields := func(s string) []string { return strings.FieldsFunc(s, func(c rune) bool { return c == '/' }) }
	return matchesSegments(fields(pattern), fields(path), true)
}

func (r *referenceRoute) admits(method string) bool {
	m := r.spec.Methods
	usual := slices.Contains([]string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}, method)
	return slices.Contains(m, method) || method == "HEAD" && slices.Contains(m, "GET") ||
		m[0] == "*" && (usual || r.spec.Action != "")
}

// rank orders routes with equal paths: the lower comes first.
func (r *referenceRoute) rank(method string) int {
	switch {
	case slices.Contains(r.spec.Methods, method):
		return 0
	case r.spec.Methods[0] != "*":
		return 1
	}
	return 2
}

func subset(a, b []bool) bool {
	for i := range a {
		if a[i] && !b[i] {
			return false
		}
	}
	return true
}

func strictSubset(a, b []bool) bool { return subset(a, b) && !subset(b, a) }

func meet(a, b []bool) bool {
	for i := range a {
		if a[i] && b[i] {
			return true
		}
	}
	return false
}

func (r *referenceRoute) namedSegments() int {
	n := 0
	for _, s := range split(r.spec.Path) {
		if s != "" && s[0] != '{' {
			n++
		}
	}
	return n
}

var (
	oddBytes = regexp.MustCompile(`(?i)%2f|%25|;|//`)
	params   = regexp.MustCompile(`;[^/]*`)
	slashes  = regexp.MustCompile(`/+`)
)

// normalise expects only well-formed escapes.
func normalise(path string) string {
	for {
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path {
			break
		}
		path = decoded
	}
	path = params.ReplaceAllString(path, "")
	return strings.ToLower(strings.Trim(slashes.ReplaceAllString(path, "/"), "/"))
}

func (ref *reference) match(method, path string, odd bool) (*referenceRoute, Reason) {
	var best *referenceRoute
	for _, r := range ref.routes {
		if !r.admits(method) || !matchesSegments(split(r.spec.Path), split(path), false) {
			continue
		}
		if best == nil || strictSubset(r.written, best.written) ||
			subset(r.written, best.written) && r.rank(method) < best.rank(method) {
			best = r
		}
	}
	normal := normalise(path)
	dots := slices.ContainsFunc(strings.Split(normal, "/"), func(s string) bool { return s == "." || s == ".." })
	switch {
	case odd && (best == nil || !best.spec.Encoded || strings.HasPrefix(path, "//") || dots):
		return nil, AmbiguousPath
	case best == nil:
		return nil, NoRoute
	}
	for _, r := range ref.routes {
		if !r.admits(method) || !r.matchesNormal(normal) {
			continue
		}
		if strictSubset(r.normal, best.normal) ||
			!meet(r.normal, best.normal) && r.namedSegments() > best.namedSegments() {
			return nil, NoRoute
		}
	}
	return best, Allowed
}

// conflicts reports whether some two routes may not stand in one policy.
func (ref *reference) conflicts() bool {
	for i, a := range ref.routes {
		for _, b := range ref.routes[:i] {
			ab, ba := subset(a.written, b.written), subset(b.written, a.written)
			switch {
			case ab && ba:
				if slices.ContainsFunc(a.spec.Methods, func(m string) bool { return slices.Contains(b.spec.Methods, m) }) {
					return true
				}
			case !ab && !ba && meet(a.written, b.written):
				if slices.ContainsFunc(testMethods, func(m string) bool { return a.admits(m) && b.admits(m) }) {
					return true
				}
			}
		}
	}
	return false
}

var testMethods = []string{"GET", "HEAD", "POST", "DELETE", "LOCK", "BREW"}

func drawSpec(t *rapid.T) RouteSpec {
	s := RouteSpec{Resource: "r", Path: ""}
	switch rapid.IntRange(0, 6).Draw(t, "methods") {
	case 0, 1:
		s.Methods = []string{"GET"}
	case 2:
		s.Methods = []string{"POST", "GET"}
	case 3:
		s.Methods = []string{"HEAD"}
	case 4:
		s.Methods = []string{"*"}
	case 5:
		s.Methods, s.Action = []string{"*"}, "delete"
	case 6:
		s.Methods, s.Action = []string{"LOCK", "DELETE"}, "update"
	}
	s.Encoded = rapid.Bool().Draw(t, "encoded")
	depth := rapid.IntRange(0, 3).Draw(t, "depth")
	for i := range depth {
		s.Path += "/" + rapid.SampledFrom([]string{"a", "b", "A", "{p" + string(rune('0'+i)) + "}"}).Draw(t, "segment")
	}
	s.Path += rapid.SampledFrom([]string{"", "", "/", "/{rest...}"}).Draw(t, "tail")
	if s.Path == "" {
		s.Path = "/"
	}
	return s
}

// spellings of a segment, by what it is in normal form.
var spellings = map[string][]string{
	"a": {"a", "a", "A", "%61", "%41", "%2561", "a;v=1"},
	"b": {"b", "b", "B", "%62", "b;"},
	"z": {"z", "Z", "%7A"},
}

func drawPath(t *rapid.T, plain []string) string {
	path := ""
	for i, s := range plain {
		slash := "/"
		if i > 0 {
			slash = rapid.SampledFrom([]string{"/", "/", "/", "/", "/", "//", "%2F", "%252f", "/;x/"}).Draw(t, "slash")
		}
		path += slash + rapid.SampledFrom(spellings[s]).Draw(t, "spelling")
	}
	path += rapid.SampledFrom([]string{"", "", "", "/", "//", "%2f", "/%252e%252e", ";/", "/x%2F..%2Fy"}).Draw(t, "end")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

func drawPlain(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "b", "z"}), 0, 4).Draw(t, "plain")
}

func TestMatchAgreesWithTheReferenceMatcher(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		specs := rapid.SliceOfN(rapid.Custom(drawSpec), 1, 6).Draw(t, "routes")
		ref := newReference(specs)
		set, err := Compile(nil, specs)
		if ref.conflicts() {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		for range 20 {
			method := rapid.SampledFrom(testMethods).Draw(t, "method")
			path := drawPath(t, drawPlain(t))
			odd := oddBytes.MatchString(path)
			want, wantReason := ref.match(method, path, odd)
			got, reason := set.Match(method, path, odd)
			require.Equal(t, wantReason, reason, "%s %s", method, path)
			if want == nil {
				require.Nil(t, got.Route, "%s %s", method, path)
				continue
			}
			require.Equal(t, want.spec.Path, got.Route.Pattern, "%s %s", method, path)
			require.Equal(t, want.spec.Methods[0] == "*", got.Route.Methods == nil, "%s %s", method, path)
		}
	})
}

func TestNoSpellingOfAPathReachesABroaderRouteThanItsPlainSpelling(t *testing.T) {
	t.Parallel()
	reached := 0
	rapid.Check(t, func(t *rapid.T) {
		specs := rapid.SliceOfN(rapid.Custom(drawSpec), 1, 6).Draw(t, "routes")
		for i := range specs {
			specs[i].Resource = "r" + string(rune('0'+i))
		}
		set, err := Compile(nil, specs)
		if err != nil {
			return
		}
		ref := newReference(specs)
		byResource := map[string]*referenceRoute{}
		for _, r := range ref.routes {
			byResource[r.spec.Resource] = r
		}
		for range 10 {
			method := rapid.SampledFrom(testMethods).Draw(t, "method")
			plain := drawPlain(t)
			path := "/" + strings.Join(plain, "/")
			narrow, _ := set.Match(method, path, false)
			odd := drawPath(t, plain)
			other, _ := set.Match(method, odd, oddBytes.MatchString(odd))
			if narrow.Route == nil || other.Route == nil {
				continue
			}
			if odd != path {
				reached++
			}
			require.False(t, strictSubset(byResource[narrow.Route.Resource].normal, byResource[other.Route.Resource].normal),
				"%s %s is %s, but %s is %s", method, path, narrow.Route, odd, other.Route)
		}
	})
	if testing.Short() { // few sets of routes are drawn
		return
	}
	require.Positive(t, reached, "no odd spelling ever matched, so nothing was tested")
}

func FuzzMatch(f *testing.F) {
	specs := []RouteSpec{
		get("/{all...}", "all", encoded), get("/a/{id}", "one"), get("/a/B", "mixed"), get("/a/{id}/b/c", "under"),
		route([]string{"*"}, "/a/c/", "slash"), get("/a/c/x/{name...}", "rest", encoded),
	}
	set := mustCompile(f, specs...)
	for _, path := range []string{"/a/B", "/a/b", "/a//c/", "/a/%42", "/a%2fb", "/%252525", "/a/c/x/;x/..", "", "*", "//", "/%", "/\xff%e2%84%aa"} {
		f.Add("GET", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		m, reason := set.Match(method, path, oddBytes.MatchString(path))
		require.Equal(t, reason == Allowed, m.Route != nil)
		if m.Route == nil {
			return
		}
		require.NotZero(t, m.Action)
		require.True(t, matchesSegments(split(m.Route.Pattern), split(path), false), "%s does not match %q", m.Route, path)
		normal, _ := normalPath(path)
		again, _ := normalPath("/" + normal)
		if !strings.ContainsAny(normal, "%\\;") {
			require.Equal(t, normal, again, "the normal form of %q is not stable", path)
		}
		if normal == "a/b" {
			require.Equal(t, "/a/B", path, "reached %s", m.Route)
		}
	})
}
