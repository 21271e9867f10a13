package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPolicyFileIsReadWithItsLines(t *testing.T) {
	t.Parallel()
	f := parse(t, "p.yaml", `# a comment
version: 1
resources:
  apps: {group: config, title: "App: segments"}
  "0": {}
routes:
  - {methods: [GET, POST], path: "/c/{customerId}/apps", resource: apps}
  - methods: ["*"]
    path: /c/{customerId}/apps/search
    resource: apps
    action: read
    tenant: off
    microtenant: off
    encoded: true
  - {methods: [GET], path: /health, public: true, forward_credentials: true}
tenancy: {customer_param: customerId}
`)
	require.Equal(t, "p.yaml", f.Name)
	require.Equal(t, 1, f.Version)
	require.Equal(t, map[string]Resource{
		"apps": {Name: "apps", Group: "config", Title: "App: segments", Origin: "p.yaml:4"},
		"0":    {Name: "0", Origin: "p.yaml:5"},
	}, f.Resources)
	require.Equal(t, []RouteSpec{
		{Methods: []string{"GET", "POST"}, Path: "/c/{customerId}/apps", Resource: "apps", Origin: "p.yaml:7"},
		{Methods: []string{"*"}, Path: "/c/{customerId}/apps/search", Resource: "apps", Action: "read", Tenant: "off", Microtenant: "off", Encoded: true, Origin: "p.yaml:8"},
		{Methods: []string{"GET"}, Path: "/health", Public: true, ForwardCredentials: true, Origin: "p.yaml:15"},
	}, f.Routes)
	require.Equal(t, Tenancy{CustomerParam: "customerId", MicrotenantQuery: "microtenantId", Origin: "p.yaml:16"}, f.Tenancy)
}

func TestJSONIsYAML(t *testing.T) {
	t.Parallel()
	f := parse(t, "p.json", "{\n\t\"version\": 1,\n\t\"resources\": {\"a\": {\"group\": \"g\"}},\n\t\"routes\": [\n\t\t{\"methods\": [\"GET\"], \"path\": \"/\", \"resource\": \"a\", \"encoded\": false}\n\t]\n}\n")
	require.Equal(t, []RouteSpec{{Methods: []string{"GET"}, Path: "/", Resource: "a", Origin: "p.json:5"}}, f.Routes)
}

func TestABrokenPolicyFileIsRefusedNamingTheLineAndWhatWasExpected(t *testing.T) {
	t.Parallel()
	const v = "version: 1\n"
	for _, c := range []struct{ text, want string }{
		{"", "p: the file is empty: expected at least `version: 1`"},
		{"# nothing\n", "p: the file is empty"},
		{"a: [", "p: not valid YAML"},
		{"\xff\xff", "p: not valid YAML"},
		{"- 1", "p:1: expected a policy file as a mapping, found a list"},
		{"hello", `p:1: expected a policy file as a mapping, found "hello"`},
		{"resources: {}", "p:1: no version, expected version: 1"},
		{"version: 2", "p:1: unknown version, expected version: 1"},
		{"version: '1'", "p:1: unknown version"},
		{"version: 1.0", "p:1: unknown version"},
		{v + "---\nversion: 1", "a second document begins with ---"},
		{v + "version: 1", `p:2: "version" is given twice, first in line 1`},
		{v + "Routes: []", `p:2: unknown field "Routes" in a policy file, expected one of resources, routes, tenancy, version`},
		{v + "routes: {}", "p:2: expected routes as a list, found a mapping"},
		{v + "routes:", "p:2: expected routes as a list, found nothing"},
		{v + "routes:\n- GET /a", "p:3: expected a route as a mapping"},
		{v + "routes:\n- {methods: [GET], path: /, resource: a, actions: read}", `p:3: unknown field "actions" in a route`},
		{v + "routes:\n- {methods: [GET], path: /, origin: x, resource: a}", `p:3: unknown field "origin"`},
		{v + "routes:\n- {methods: GET, path: /, resource: a}", `p:3: expected methods as a list, found "GET"`},
		{v + "routes:\n- {methods: [1], path: /, resource: a}", `p:3: expected a method as text, found "1": put it in quotes`},
		{v + "routes:\n- {methods: [GET], path: '', resource: a}", "p:3: path is empty"},
		{v + "routes:\n- methods: [GET]\n  path: /\n  resource: a\n  encoded: yes please", "p:6: expected encoded as true or false"},
		{v + "routes:\n- {methods: [GET], path: '/{path}', resource: a}", "p:3: path pattern"},
		{v + "routes:\n- {methods: [GET], path: /, resource: a, action: write}", "p:3: unknown action"},
		{v + "routes:\n- {methods: [GET], path: /}", "p:3: no resource"},
		{v + "routes:\n- {methods: [GET], path: /, path: /a, resource: a}", `p:3: "path" is given twice`},
		{v + "resources: [a]", "p:2: expected resources, from names to {group, title}, as a mapping"},
		{v + "resources:\n  a: {grp: x}", `p:3: unknown field "grp" in a resource, expected one of group, title`},
		{v + "resources:\n  a:", "p:3: expected a resource as a mapping, found nothing"},
		{v + "resources:\n  a: {}\n  a: {}", `p:4: "a" is given twice, first in line 3`},
		{v + "resources: {A: {}}", "p:2: resource \"A\" must be lower-case"},
		{v + "resources: {'*': {}}", "p:2: resource *"},
		{v + "resources: {keyreeve/keys: {}}", "Keyreeve's own"},
		{v + "resources: {a: {group: G}}", `p:2: group "G" must be lower-case`},
		{v + "resources: {? [a] : {}}", "p:2: expected a name, found a list"},
		{v + "tenancy: {customer: a}", `p:2: unknown field "customer" in tenancy, expected one of customer_param, microtenant_query`},
		{v + "tenancy: {customer_param: path}", "p:2: customer_param: {path} is shorthand"},
		{v + "tenancy: {customer_param: ''}", "customer_param is empty"},
		{v + "tenancy: {microtenant_query: 'a&b'}", "p:2: microtenant_query: the query parameter name"},
		{v + "x: &x [a]\nroutes: *x", "found an alias, which policy files do not have"},
		{v + "resources: {a: &r {title: t}, b: *r}", "p:2: expected a resource as a mapping, found an alias"},
		{v + "resources: {a: {<<: {title: t}}}", `unknown field "<<"`},
		{v + "routes: " + strings.Repeat("[", 20000), "not valid YAML"},
		{v + "tenancy: {customer_param: [" + strings.Repeat("x", 100) + "]}", "found a list"},
		{"version: " + strings.Repeat("9", 100), "unknown version"},
	} {
		_, err := ParseFile("p", []byte(c.text))
		shown := c.text
		if len(shown) > 80 {
			shown = shown[:80]
		}
		require.ErrorContains(t, err, c.want, shown)
	}
}

func TestAWrongValueIsQuotedOnlyInPart(t *testing.T) {
	t.Parallel()
	_, err := ParseFile("p", []byte("version: 1\nroutes: "+strings.Repeat("s", 5000)))
	require.ErrorContains(t, err, "sss")
	require.Less(t, len(err.Error()), 200)
}

func TestAnAliasBombIsNotExpanded(t *testing.T) {
	t.Parallel()
	bomb := "version: 1\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		p := string(c - 1)
		bomb += string(c) + ": &" + string(c) + " [*" + strings.Join([]string{p, p, p, p, p, p, p, p, p}, ",*") + "]\n"
	}
	_, err := ParseFile("p", []byte(bomb+"routes: *z\n"))
	require.ErrorContains(t, err, `unknown field "a"`)
}

func TestTooLargeAFileIsRefusedUnread(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "big.yaml")
	require.NoError(t, os.WriteFile(path, []byte("#"+strings.Repeat("x", maxFileSize)), 0o600))
	_, err := LoadFile(path)
	require.ErrorContains(t, err, "larger than 4 MiB")
	_, err = LoadFile(filepath.Join(t.TempDir(), "absent.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = LoadFile(t.TempDir())
	require.ErrorContains(t, err, "policy file: ")
}

func FuzzParseFile(f *testing.F) {
	example, err := os.ReadFile(zpaFile)
	require.NoError(f, err)
	f.Add(example[len(example)-2000:])
	for _, s := range []string{
		"version: 1", "version: 1\nroutes:\n- {methods: [GET], path: '/{a}/b', resource: r}\nresources: {r: {group: g}}",
		"a: &a [*a]", "? {a: b}\n: c", "version: 1\ntenancy: {customer_param: x}", "{\"version\":1}", "--- \n...\n", "!!binary x", "%YAML 1.1\n---\nversion: 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile("fuzz", data)
		if err != nil {
			require.Nil(t, file)
			require.Contains(t, err.Error(), "fuzz:")
			return
		}
		require.Equal(t, 1, file.Version)
		for _, r := range file.Routes {
			require.NoError(t, r.Check())
		}
		if set, err := Compile([]*File{file}, nil); err == nil {
			require.Len(t, set.Routes(), len(file.Routes))
		}
	})
}
