package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// route is a route as a policy writes it.
func route(methods []string, path, resource string, opts ...func(*RouteSpec)) RouteSpec {
	s := RouteSpec{Methods: methods, Path: path, Resource: resource}
	for _, o := range opts {
		o(&s)
	}
	return s
}

func get(path, resource string, opts ...func(*RouteSpec)) RouteSpec {
	return route([]string{"GET"}, path, resource, opts...)
}

func encoded(s *RouteSpec) { s.Encoded = true }

func action(word string) func(*RouteSpec) { return func(s *RouteSpec) { s.Action = word } }

func mustCompile(t testing.TB, specs ...RouteSpec) *Set {
	t.Helper()
	s, err := Compile(nil, specs)
	require.NoError(t, err)
	return s
}

type matchCase struct {
	method, path string
	odd          bool
	resource     string // "" for none
	action       Mask
	reason       Reason
}

func (c matchCase) run(t *testing.T, s *Set) {
	t.Helper()
	m, reason := s.Match(c.method, c.path, c.odd)
	require.Equal(t, c.reason, reason, "%s %s", c.method, c.path)
	if c.resource == "" {
		require.Nil(t, m.Route, "%s %s", c.method, c.path)
		return
	}
	require.NotNil(t, m.Route, "%s %s", c.method, c.path)
	require.Equal(t, c.resource, m.Route.Resource, "%s %s", c.method, c.path)
	require.Equal(t, c.action, m.Action, "%s %s", c.method, c.path)
}

func hit(method, path, resource string, action Mask) matchCase {
	return matchCase{method: method, path: path, resource: resource, action: action, reason: Allowed}
}

func miss(method, path string) matchCase {
	return matchCase{method: method, path: path, reason: NoRoute}
}

func oddHit(path, resource string) matchCase {
	return matchCase{method: "GET", path: path, odd: true, resource: resource, action: Read, reason: Allowed}
}

func oddMiss(path string, reason Reason) matchCase {
	return matchCase{method: "GET", path: path, odd: true, reason: reason}
}

func TestTheMostSpecificPathWinsAmongRoutesThatAdmitTheMethod(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		route([]string{"*"}, "/{all...}", "everything"),
		get("/app", "list"),
		get("/app/{id}", "one"),
		get("/app/search", "search"),
		route([]string{"POST"}, "/app/search", "post-search", action("read")),
		get("/app/{id}/{more...}", "more"),
		route([]string{"DELETE", "PUT"}, "/app/{id}", "write"),
	)
	for _, c := range []matchCase{
		hit("GET", "/app", "list", Read),
		hit("GET", "/app/1", "one", Read),
		hit("GET", "/app/search", "search", Read),
		hit("POST", "/app/search", "post-search", Read),
		miss("GET", "/app/1/"), // slash-trimmed it is the more specific /app/{id}
		hit("GET", "/app/1/x/y", "more", Read),
		hit("PUT", "/app/1", "write", Update),
		hit("PUT", "/app/search", "write", Update), // no more specific route admits PUT
		hit("DELETE", "/app/1", "write", Delete),
		hit("POST", "/app/1", "everything", Create),
		hit("GET", "/other", "everything", Read),
		hit("GET", "/", "everything", Read),
		miss("PROPFIND", "/app"), // what * does is not known without an action
		miss("GET", "app"),
		miss("GET", ""),
		miss("OPTIONS", "*"),
	} {
		c.run(t, s)
	}
}

func TestPathsAreMatchedByteForByte(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, get("/a/b", "x"), get("/c/", "y"), get("/d/{id}", "z"), get("/e/{r...}", "r"))
	for _, c := range []matchCase{
		hit("GET", "/a/b", "x", Read), miss("GET", "/a/b/"), miss("GET", "/A/b"), miss("GET", "/a/%62"),
		miss("GET", "/a"), miss("GET", "/a/b/c"), miss("GET", "/a/bc"),
		hit("GET", "/c/", "y", Read), miss("GET", "/c"),
		hit("GET", "/d/1", "z", Read), hit("GET", "/d/%41", "z", Read), miss("GET", "/d/"), miss("GET", "/d"), miss("GET", "/d/1/2"),
		hit("GET", "/e/", "r", Read), hit("GET", "/e/1/2/", "r", Read), miss("GET", "/e"), miss("GET", "/ef"),
	} {
		c.run(t, s)
	}
}

func TestHeadIsAllowedWhereGetIsAndAnExplicitHeadComesFirst(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		get("/a", "get"), route([]string{"*"}, "/a", "any"),
		get("/b", "get"), route([]string{"HEAD"}, "/b", "head"),
		route([]string{"POST"}, "/c", "post"), route([]string{"*"}, "/c", "any", action("delete")),
		get("/d", "d", action("update")),
	)
	for _, c := range []matchCase{
		hit("HEAD", "/a", "get", Read), hit("POST", "/a", "any", Create),
		hit("HEAD", "/b", "head", Read), hit("GET", "/b", "get", Read), miss("POST", "/b"),
		hit("POST", "/c", "post", Create), hit("HEAD", "/c", "any", Delete), hit("PROPFIND", "/c", "any", Delete),
		hit("HEAD", "/d", "d", Update),
	} {
		c.run(t, s)
	}
}

func TestActionsFollowTheMethodUnlessTheRouteNamesOne(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		route([]string{"GET", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}, "/a", "x"),
		route([]string{"PROPFIND", "POST"}, "/b", "x", action("read")),
	)
	for method, want := range map[string]Mask{
		"GET": Read, "HEAD": Read, "OPTIONS": Read, "POST": Create, "PUT": Update, "PATCH": Update, "DELETE": Delete,
	} {
		hit(method, "/a", "x", want).run(t, s)
	}
	hit("PROPFIND", "/b", "x", Read).run(t, s)
	hit("POST", "/b", "x", Read).run(t, s)
	miss("GET", "/b").run(t, s)
	miss("TRACE", "/a").run(t, s)
	miss("get", "/a").run(t, s)
}

func TestAnOddSpellingNeverFallsThroughToABroaderRoute(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		get("/{all...}", "broad"),
		get("/admin/keys", "keys"),
		get("/admin/keys/{id}", "key"),
		get("/files/{name...}", "files"),
		get("/Mixed/Case", "mixed"),
		get("/slash/", "slash"),
		route([]string{"POST"}, "/post/only", "post"),
	)
	for _, c := range []matchCase{
		hit("GET", "/admin/keys", "keys", Read),
		hit("GET", "/admin/keys/Abc", "key", Read),
		hit("GET", "/admin/keys/%41", "key", Read),
		hit("GET", "/admin", "broad", Read),
		hit("GET", "/Mixed/Case", "mixed", Read),
		hit("GET", "/files/Admin", "files", Read),
		hit("GET", "/post/only", "broad", Read), // the more specific route does not admit GET
		hit("GET", "/%41dmin/other", "broad", Read),
		miss("GET", "/Admin/keys"), miss("GET", "/admin/keys/"), miss("GET", "/admin/KEYS/1"),
		miss("GET", "/admin/%6beys"), miss("GET", "/admin/%E2%84%AAeys"), miss("GET", "/admin/keys/1/"),
		miss("GET", "/mixed/case"), miss("GET", "/mixed/Case"),
		miss("GET", "/slash"), miss("GET", "/SLASH/"), miss("GET", "/FILES/x"), miss("GET", "/files"),
	} {
		c.run(t, s)
	}
}

func TestRoutesThatDifferOnlyInSpellingEachMatchTheirOwn(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, get("/users", "lower"), get("/Users", "upper"), get("/users/", "slash"), get("/{any}", "broad"))
	for _, c := range []matchCase{
		hit("GET", "/users", "lower", Read), hit("GET", "/Users", "upper", Read), hit("GET", "/users/", "slash", Read),
		miss("GET", "/USERS"), miss("GET", "/Users/"), hit("GET", "/user", "broad", Read),
	} {
		c.run(t, s)
	}
}

func TestOddPathsAreTakenOnlyByRoutesThatAllowThemInValues(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		get("/bucket/{key...}", "objects", encoded),
		get("/bucket/policy/{id}", "policy"),
		get("/projects/{id}", "projects", encoded),
		get("/projects/{id}/{part}", "parts"),
		get("/projects/{id}/issues", "issues"),
		get("/plain/{id}", "plain"),
	)
	for _, c := range []matchCase{
		oddHit("/bucket/a%2Fb", "objects"),
		oddHit("/bucket/a//b;c", "objects"),
		oddHit("/bucket//a", "objects"),
		oddHit("/bucket/%252541", "objects"),
		oddHit("/projects/group%2Fname", "projects"),
		oddMiss("/plain/a%2Fb", AmbiguousPath),
		oddMiss("/nowhere/a%2Fb", AmbiguousPath),
		oddMiss("/bucket%2Fa", AmbiguousPath),
		oddMiss("/projects//x", AmbiguousPath),
		oddMiss("//bucket/a", AmbiguousPath),
		oddMiss("/bucket/a%2F..%2Fb", AmbiguousPath),
		oddMiss("/bucket/%252e%252e/b", AmbiguousPath),
		oddMiss("/projects/a%2Fb/issues", AmbiguousPath),    // that route does not allow it
		oddMiss("/bucket/policy%2F1", NoRoute),              // decoded it is the policy route
		oddMiss("/bucket//policy;x/1", NoRoute),             //
		oddMiss("/bucket/POLICY%252F1", NoRoute),            //
		oddMiss("/projects/group%2Fissues", NoRoute),        // decoded it names a literal of another route
		oddMiss("/projects/group%252FIssues%2F", NoRoute),   //
		oddHit("/projects/group%2Fmembers%2Fx", "projects"), // no rule has that shape
	} {
		c.run(t, s)
	}
}

func TestALeadingDoubleSlashIsAnAuthorityToSomeParsers(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, get("/{all...}", "all", encoded))
	oddMiss("//evil.example/a", AmbiguousPath).run(t, s)
	oddHit("/a//b", "all").run(t, s)
}

func TestPublicRoutesMatchLikeAnyOther(t *testing.T) {
	t.Parallel()
	s := mustCompile(t,
		RouteSpec{Methods: []string{"*"}, Path: "/health", Public: true, ForwardCredentials: true},
		get("/{all...}", "all"),
	)
	m, reason := s.Match("PROPFIND", "/health", false)
	require.Equal(t, Allowed, reason)
	require.True(t, m.Route.Public)
	require.True(t, m.Route.ForwardCredentials)
	require.Zero(t, m.Action)
	miss("GET", "/Health").run(t, s)
}

func TestMatchingDoesNotAllocate(t *testing.T) {
	s := mustCompile(t, get("/{all...}", "all"), get("/Admin/{id}", "admin"), route([]string{"LOCK"}, "/x", "x", action("update")))
	for _, c := range []struct{ method, path string }{
		{"GET", "/admin/1"}, {"GET", "/Admin/1"}, {"GET", "/ADMIN/1/"}, {"GET", "/other/thing/"}, {"HEAD", "/x"}, {"LOCK", "/x"}, {"BREW", "/x"},
	} {
		require.Zero(t, testing.AllocsPerRun(50, func() { s.Match(c.method, c.path, false) }), "%s %s", c.method, c.path)
	}
}

func TestWideNodesFoldLongSegmentsToo(t *testing.T) {
	t.Parallel()
	long := make([]byte, foldBuffer+10)
	for i := range long {
		long[i] = 'a'
	}
	specs := []RouteSpec{get("/x/{id}", "broad"), get("/x/"+string(long), "long")}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		specs = append(specs, get("/x/"+name, name))
	}
	s := mustCompile(t, specs...)
	hit("GET", "/x/"+string(long), "long", Read).run(t, s)
	hit("GET", "/x/c", "c", Read).run(t, s)
	miss("GET", "/x/C").run(t, s)
	long[3] = 'A'
	miss("GET", "/x/"+string(long)).run(t, s)
}
