package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func parse(t testing.TB, name, text string) *File {
	t.Helper()
	f, err := ParseFile(name, []byte(text))
	require.NoError(t, err)
	return f
}

func TestConflictingRoutesAreRefusedNamingBoth(t *testing.T) {
	t.Parallel()
	at := func(s RouteSpec, origin string) RouteSpec { s.Origin = origin; return s }
	for name, c := range map[string]struct {
		a, b RouteSpec
		want string // "" for no conflict
	}{
		"neither path is more specific": {get("/a/{x}/c", "r"), get("/a/b/{y}", "r"), "both match /a/b/c"},
		"crossing at a trailing slash":  {get("/{x}/", "r"), get("/a/{y...}", "r"), "both match /a/"},
		"equal shapes":                  {get("/a/{x}", "r"), get("/a/{y}", "s"), "already routed"},
		"the very same route twice":     {get("/a", "r"), get("/a", "r"), "already routed"},
		"one method of several":         {route([]string{"GET", "PUT"}, "/a", "r"), route([]string{"PUT", "POST"}, "/a", "r"), "already routed"},
		"two catch-alls":                {route([]string{"*"}, "/a", "r"), route([]string{"*"}, "/a", "r"), "already routed"},
		"a public route beside":         {get("/a", "r"), RouteSpec{Methods: []string{"GET"}, Path: "/a", Public: true}, "already routed"},
		"HEAD by way of GET crossing":   {route([]string{"HEAD"}, "/a/{x}/c", "r"), get("/a/b/{y}", "r"), "neither is more specific"},
		"* crossing a named method":     {route([]string{"*"}, "/a/{x}/c", "r"), get("/a/b/{y}", "r"), "neither is more specific"},
		"an unusual method":             {route([]string{"LOCK"}, "/a/{x}/c", "r", action("read")), route([]string{"*"}, "/a/b/{y}", "r", action("read")), "neither"},

		"* and a named method":         {route([]string{"*"}, "/a", "r"), get("/a", "r"), ""},
		"GET and an explicit HEAD":     {get("/a", "r"), route([]string{"HEAD"}, "/a", "r"), ""},
		"crossing without a method":    {get("/a/{x}/c", "r"), route([]string{"POST"}, "/a/b/{y}", "r"), ""},
		"* without an action and LOCK": {route([]string{"LOCK"}, "/a/{x}/c", "r", action("read")), route([]string{"*"}, "/a/b/{y}", "r"), ""},
		"nested":                       {get("/a/{x...}", "r"), get("/a/{x}/b", "r"), ""},
		"different case":               {get("/a", "r"), get("/A", "r"), ""},
		"different trailing slash":     {get("/a", "r"), get("/a/", "r"), ""},
	} {
		_, err := Compile(nil, []RouteSpec{at(c.a, "policy.yaml:7"), at(c.b, "Caddyfile:3")})
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		require.ErrorContains(t, err, "policy.yaml:7", name)
		require.ErrorContains(t, err, "Caddyfile:3", name)
	}
}

func TestRoutesThatSayTooLittleOrTooMuchAreRefusedWithTheFix(t *testing.T) {
	t.Parallel()
	public := func(change func(*RouteSpec)) RouteSpec {
		s := RouteSpec{Methods: []string{"GET"}, Path: "/a/{x}", Public: true}
		change(&s)
		return s
	}
	with := func(change func(*RouteSpec)) RouteSpec { return get("/a/{x}/{y...}", "r", change) }
	for want, spec := range map[string]RouteSpec{
		"no methods":                      {Path: "/a", Resource: "r"},
		"write it alone":                  route([]string{"GET", "*"}, "/a", "r"),
		"must be in capitals: GET":        route([]string{"get"}, "/a", "r"),
		"is no method":                    route([]string{"GET,POST"}, "/a", "r"),
		"listed twice":                    route([]string{"GET", "GET"}, "/a", "r"),
		"must begin with a slash":         {Methods: []string{"GET"}, Resource: "r"},
		"no resource":                     {Methods: []string{"GET"}, Path: "/a"},
		"that is every resource":          get("/a", "*"),
		"Keyreeve's own":                  get("/a", "keyreeve/keys"),
		"lower-case letters":              get("/a", "App_Segments"),
		"and hyphens":                     get("/a", "-a"),
		"the limit is 64":                 get("/a", "a23456789012345678901234567890123456789012345678901234567890123456789"),
		"what PROPFIND does is not known": route([]string{"GET", "PROPFIND"}, "/a", "r"),
		`unknown action "write"`:          get("/a", "r", action("write")),
		"has no parameter {z}":            with(func(s *RouteSpec) { s.Tenant = "z" }),
		"a customer is one segment":       with(func(s *RouteSpec) { s.Tenant = "y" }),
		"write {customerId}":              get("/a/{customerId...}", "r"),
		"letters, digits and -._~":        with(func(s *RouteSpec) { s.Microtenant = "a b" }),
		"is for public routes":            with(func(s *RouteSpec) { s.ForwardCredentials = true }),
		"leave resource out":              public(func(s *RouteSpec) { s.Resource = "r" }),
		"leave action out":                public(func(s *RouteSpec) { s.Action = "read" }),
		"leave tenant out":                public(func(s *RouteSpec) { s.Tenant = "x" }),
		"leave microtenant out":           public(func(s *RouteSpec) { s.Microtenant = "off" }),
	} {
		spec.Origin = "Caddyfile:9"
		_, err := Compile(nil, []RouteSpec{spec})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "Caddyfile:9: ")
	}
}

func TestResourcesOfSeveralFilesMerge(t *testing.T) {
	t.Parallel()
	a := parse(t, "a.yaml", `
version: 1
resources: {apps: {group: config, title: Apps}, bare: {}}
routes: [{methods: [GET], path: /apps, resource: apps}]`)
	b := parse(t, "b.yaml", `
version: 1
resources: {apps: {group: config, title: Apps}, servers: {group: config}}
routes: [{methods: [POST], path: /apps, resource: apps}]`)
	s, err := Compile([]*File{a, b}, []RouteSpec{get("/extra", "extra"), get("/servers", "servers")})
	require.NoError(t, err)
	require.Len(t, s.Routes(), 4)
	require.Equal(t, "config", s.GroupOf("apps"))
	require.Empty(t, s.GroupOf("extra"), "a resource that only a route line names has no group")
	require.Empty(t, s.GroupOf("unknown"))
	require.Equal(t, []string{"config"}, s.Groups())
	require.True(t, s.HasResource("extra"))
	require.True(t, s.HasResource("bare"))
	require.False(t, s.HasResource("config"))
	require.True(t, s.HasGroup("config"))
	require.False(t, s.HasGroup("apps"))
	names := []string{}
	for _, r := range s.Resources() {
		names = append(names, r.Name)
	}
	require.Equal(t, []string{"apps", "bare", "extra", "servers"}, names)
	m, _ := s.Match("GET", "/servers", false)
	require.Equal(t, "config", m.Route.Group)
	m, _ = s.Match("GET", "/apps", false)
	require.Equal(t, "Apps", m.Route.Title)
	require.Equal(t, "a.yaml:4", m.Route.Origin)
}

func TestFilesThatContradictEachOtherAreRefused(t *testing.T) {
	t.Parallel()
	const head = "version: 1\n"
	for want, c := range map[string]struct {
		files []string
		spec  string
	}{
		`1.yaml:2: resource "a" is declared differently at 0.yaml:2`: {files: []string{"resources: {a: {group: g}}", "resources: {a: {group: h}}"}},
		`"a" is declared differently`:                                {files: []string{"resources: {a: {title: A}}", "resources: {a: {}}"}},
		`"g" is the name of a resource and of a group`:               {files: []string{"resources: {a: {group: g}}", "resources: {g: {}}"}},
		"Caddyfile:1: \"g\" is the name of a resource and of":        {files: []string{"resources: {a: {group: g}}"}, spec: "g"},
		`0.yaml:3: resource "b" is not declared`:                     {files: []string{"routes:\n- {methods: [GET], path: /, resource: b}"}},
		"1.yaml:2: tenancy differs from that at 0.yaml:2":            {files: []string{"tenancy: {customer_param: a}", "tenancy: {customer_param: b}"}},
	} {
		var files []*File
		for i, text := range c.files {
			files = append(files, parse(t, string(rune('0'+i))+".yaml", head+text))
		}
		var specs []RouteSpec
		if c.spec != "" {
			specs = []RouteSpec{{Methods: []string{"GET"}, Path: "/", Resource: c.spec, Origin: "Caddyfile:1"}}
		}
		_, err := Compile(files, specs)
		require.ErrorContains(t, err, want)
	}
}

func TestAFileMayUseWhatAnotherDeclares(t *testing.T) {
	t.Parallel()
	routes := parse(t, "routes.yaml", "version: 1\nroutes: [{methods: ['*'], path: '/{r...}', resource: a}]")
	resources := parse(t, "resources.yaml", "version: 1\nresources: {a: {}}")
	_, err := Compile([]*File{routes, resources}, nil)
	require.NoError(t, err)
}

func TestTenancyDefaultsApplyToEveryRoute(t *testing.T) {
	t.Parallel()
	tenancy := parse(t, "t.yaml", "version: 1\ntenancy: {customer_param: org, microtenant_query: off}")
	same := parse(t, "u.yaml", "version: 1\ntenancy: {microtenant_query: off, customer_param: org}")
	specs := []RouteSpec{
		get("/o/{org}", "r"), get("/c/{customerId}", "r"), get("/x/{org}", "r", func(s *RouteSpec) { s.Tenant = "off" }),
		get("/y/{other}", "r", func(s *RouteSpec) { s.Tenant, s.Microtenant = "other", "mt" }),
	}
	for _, c := range []struct {
		files       []*File
		customer    []string
		microtenant []string
	}{
		{nil, []string{"", "customerId", "", "other"}, []string{"microtenantId", "microtenantId", "microtenantId", "mt"}},
		{[]*File{tenancy, same}, []string{"org", "", "", "other"}, []string{"", "", "", "mt"}},
	} {
		s, err := Compile(c.files, specs)
		require.NoError(t, err)
		for i, r := range s.Routes() {
			require.Equal(t, c.customer[i], r.CustomerParam, r.Pattern)
			require.Equal(t, c.microtenant[i], r.MicrotenantQuery, r.Pattern)
		}
	}
}

func TestManyMistakesAreReportedTogetherButNotWithoutEnd(t *testing.T) {
	t.Parallel()
	var specs []RouteSpec
	for range maxErrors + 5 {
		specs = append(specs, get("bad", "r"))
	}
	_, err := Compile(nil, specs)
	require.ErrorContains(t, err, "route 1: ")
	require.ErrorContains(t, err, "route 10: ")
	require.NotContains(t, err.Error(), "route 11: ")
	require.ErrorContains(t, err, "and 5 more mistakes")
}
