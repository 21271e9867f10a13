package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore/postgres"
	"github.com/keyreeve/keyreeve/policy"
)

// row is a line of a table of options, by the table's own column titles.
type row map[string]string

// cell is the text of a table's cell; `\|` is a bar within one.
var cell = regexp.MustCompile(`\|((?:[^|\\]|\\.)*)`)

// tables reads the tables of a page by the heading they stand under.
func tables(t *testing.T, page string) map[string][]row {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	found := map[string][]row{}
	var heading string
	var titles []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			heading, titles = strings.TrimSpace(strings.TrimLeft(line, "#")), nil
		case !strings.HasPrefix(line, "|"):
			titles = nil
		case strings.HasPrefix(line, "|---"):
		default:
			var cells []string
			for _, c := range cell.FindAllStringSubmatch(strings.TrimSuffix(line, "|"), -1) {
				cells = append(cells, strings.TrimSpace(c[1]))
			}
			if titles == nil {
				titles = cells
				continue
			}
			require.Len(t, cells, len(titles), "%s: %s", page, line)
			r := row{}
			for i, title := range titles {
				r[title] = cells[i]
			}
			found[heading] = append(found[heading], r)
		}
	}
	return found
}

// code is the cell's text if it is all code, "" if it is prose.
func (r row) code(column string) string {
	if c := r[column]; len(c) > 2 && c[0] == '`' && strings.IndexByte(c[1:], '`') == len(c)-2 {
		return c[1 : len(c)-1]
	}
	return ""
}

func namesOf(rows []row, column string) (names []string) {
	for _, r := range rows {
		names = append(names, r.code(column))
	}
	return names
}

// The headings of docs/caddyfile.md and the blocks that they describe.
var caddyfileSections = map[string]string{
	"Global options: `keyreeve`":      "keyreeve (app)",
	"`lockout`":                       "lockout",
	"`sessions`":                      "sessions",
	"`cache`":                         "cache",
	"`store postgres`":                "store postgres",
	"The gate: `keyreeve`":            "keyreeve",
	"`route`":                         "route",
	"`public`":                        "public",
	"The admin API: `keyreeve_admin`": "keyreeve_admin",
}

func TestCaddyfileReferenceHasExactlyTheWordsThatTheParserKnows(t *testing.T) {
	found := tables(t, "../docs/caddyfile.md")
	require.Len(t, found, len(caddyfileSections), "a table under a heading that the test does not know, or one less")
	require.Len(t, caddyfileSections, len(blocks))
	for heading, block := range caddyfileSections {
		require.ElementsMatch(t, wordsOf(t, block), namesOf(found[heading], "option"), heading)
	}
}

func TestCaddyfileReferenceExamplesParseAndItsDefaultsAreTheDefaults(t *testing.T) {
	t.Chdir("..")
	found := tables(t, "docs/caddyfile.md")
	for heading, block := range caddyfileSections {
		var defaults strings.Builder
		for _, r := range found[heading] {
			name := r.code("option")
			if r["example"] != "see there" {
				example := r.code("example")
				require.Equal(t, name, strings.Fields(example)[0], "the example must be of the option")
				config, err := adapt("Caddyfile", fmt.Sprintf(blocks[block], example))
				require.NoError(t, err, example)
				require.NoError(t, provision(config), example)
			}
			if value := r.code("default"); value != "" {
				defaults.WriteString(name + " " + value + "\n")
			}
		}
		if defaults.Len() == 0 {
			continue
		}
		stated, err := adapt("Caddyfile", fmt.Sprintf(blocks[block], defaults.String()))
		require.NoError(t, err)
		bare, err := adapt("Caddyfile", fmt.Sprintf(blocks[block], ""))
		require.NoError(t, err)
		require.NotEqual(t, string(bare), string(stated))
		require.Equal(t, effective(t, bare), effective(t, stated), heading)
	}
}

// effective is what becomes of a configuration once its defaults are in.
func effective(t *testing.T, config []byte) map[string]any {
	t.Helper()
	var c caddy.Config
	require.NoError(t, json.Unmarshal(config, &c))
	ctx, err := caddy.ProvisionContext(&c)
	require.NoError(t, err)
	loaded, err := ctx.App("keyreeve")
	require.NoError(t, err)
	app := loaded.(*App)
	identity, err := app.opener.Identity()
	require.NoError(t, err)
	if p, ok := app.opener.(*PostgresStore); ok {
		options, err := p.options()
		require.NoError(t, err)
		identity += fmt.Sprint(" max_conns ", cmp.Or(options.MaxConns, postgres.DefaultMaxConns))
	}
	found := map[string]any{
		"settings": app.settings, "sizes": app.sizes, "sessions": app.sessions,
		"local_admin": app.LocalAdmin, "audit_retention": app.AuditRetention, "store": identity,
	}
	for _, h := range handlers(t, config) {
		switch h["handler"] {
		case "keyreeve":
			g := new(Gate)
			decode(t, h, g)
			require.NoError(t, g.Provision(ctx))
			found["gate"] = []any{g.forms, g.Identity, g.ErrorFormat, g.cors, g.UnsafeLogsFiltered, g.ForwardCredentials, g.ForwardOverrides, g.Shadow, g.set.Routes()}
		case "keyreeve_admin":
			a := new(Admin)
			decode(t, h, a)
			require.NoError(t, a.Provision(ctx))
			found["admin"] = []string{a.Page, a.API, a.ZPAAPI}
		}
	}
	return found
}

func decode(t *testing.T, handler map[string]any, into any) {
	t.Helper()
	fields := map[string]any{}
	for k, v := range handler {
		if k != "handler" {
			fields[k] = v
		}
	}
	text, err := json.Marshal(fields)
	require.NoError(t, err)
	require.NoError(t, caddy.StrictUnmarshalJSON(text, into))
}

// handlers lists every handler in a configuration.
func handlers(t *testing.T, config []byte) (found []map[string]any) {
	t.Helper()
	var tree any
	require.NoError(t, json.Unmarshal(config, &tree))
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if _, ok := v["handler"].(string); ok {
				found = append(found, v)
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(tree)
	return found
}

// jsonSections are the headings of docs/json.md, with the type that each
// describes and how a configuration holds it.
var jsonSections = map[string]struct {
	of     any
	config string
}{
	"`apps.keyreeve`":            {App{}, `{"apps":{"keyreeve":%s}}`},
	"`store`, module `sqlite`":   {SQLiteStore{}, `{"apps":{"keyreeve":{"store":%s}}}`},
	"`store`, module `postgres`": {PostgresStore{}, `{"apps":{"keyreeve":{"master_key":["{env.A}"],"store":%s}}}`},
	"`lockout`":                  {LockoutConfig{}, `{"apps":{"keyreeve":{"lockout":%s}}}`},
	"`sessions`":                 {SessionsConfig{}, `{"apps":{"keyreeve":{"sessions":%s}}}`},
	"`cache`":                    {CacheConfig{}, `{"apps":{"keyreeve":{"cache":%s}}}`},
	"Handler `keyreeve`":         {Gate{}, site("%s")},
	"`routes`":                   {policy.RouteSpec{}, site(`{"handler":"keyreeve","routes":[%s]}`)},
	"Handler `keyreeve_admin`":   {Admin{}, site("%s")},
}

// jsonFields lists the JSON fields of a struct with the word for their type.
func jsonFields(t *testing.T, of any) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for f := range reflectFields(reflect.TypeOf(of)) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		require.Equal(t, "omitempty", options, "%s: every field may be left out", f.Name)
		fields[tag] = typeWord(f.Type)
	}
	return fields
}

// reflectFields visits the fields that JSON sees.
func reflectFields(of reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range of.NumField() {
			if f := of.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func typeWord(of reflect.Type) string {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch {
	case of == reflect.TypeFor[caddy.Duration]():
		return "duration"
	case of == reflect.TypeFor[json.RawMessage](), of.Kind() == reflect.Struct:
		return "object"
	case of.Kind() == reflect.Slice:
		return "list of " + typeWord(of.Elem()) + "s"
	case of.Kind() == reflect.Bool:
		return "true or false"
	case of.Kind() == reflect.Int:
		return "number"
	}
	return of.Kind().String()
}

func TestJSONReferenceHasExactlyTheFieldsThatTheCodeHas(t *testing.T) {
	found := tables(t, "../docs/json.md")
	require.Len(t, found, len(jsonSections), "a table under a heading that the test does not know, or one less")
	for heading, section := range jsonSections {
		documented := map[string]string{}
		for _, r := range found[heading] {
			documented[r.code("field")] = r["type"]
		}
		require.Equal(t, jsonFields(t, section.of), documented, heading)
	}
}

func TestJSONReferenceExamplesDecodeAndItsDefaultsAreTheDefaults(t *testing.T) {
	t.Chdir("..")
	found := tables(t, "docs/json.md")
	for heading, section := range jsonSections {
		defaults := map[string]json.RawMessage{}
		// What the object must have besides, for Caddy to find the module.
		if name, ok := strings.CutPrefix(heading, "Handler "); ok {
			defaults["handler"] = json.RawMessage(`"` + strings.Trim(name, "`") + `"`)
		}
		if name, ok := strings.CutPrefix(heading, "`store`, module "); ok {
			defaults["module"] = json.RawMessage(`"` + strings.Trim(name, "`") + `"`)
		}
		if _, ok := section.of.(PostgresStore); ok {
			defaults["dsn"] = json.RawMessage(`"postgres://db.example.com/keyreeve"`)
		}
		least, err := json.Marshal(defaults)
		require.NoError(t, err)
		bare := len(defaults)
		for _, r := range found[heading] {
			field := r.code("field")
			into := reflect.New(reflect.TypeOf(section.of))
			example := fmt.Sprintf(`{%q: %s}`, field, r.code("example"))
			require.NoError(t, caddy.StrictUnmarshalJSON([]byte(example), into.Interface()), "%s: %s", heading, example)
			require.False(t, into.Elem().IsZero(), "%s: %s", heading, example)
			if value := r.code("default"); value != "" {
				defaults[field] = json.RawMessage(value)
			}
		}
		if len(defaults) == bare || heading == "`routes`" { // a route has no good zero value
			continue
		}
		text, err := json.Marshal(defaults)
		require.NoError(t, err)
		require.Equal(t, effective(t, fmt.Appendf(nil, section.config, least)),
			effective(t, fmt.Appendf(nil, section.config, text)), heading)
	}
}
