package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

// example is a fenced block of a page.
type example struct {
	page, language, text string
	// before is the paragraph that introduces it.
	before string
	line   int
}

// examples reads the fenced blocks of every page, from the repository's root.
func examples(t *testing.T) (found []example) {
	t.Helper()
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	pages = append(pages, "README.md")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		var open *example
		before := ""
		for i, line := range strings.Split(string(text), "\n") {
			switch {
			case open != nil && line == "```":
				found = append(found, *open)
				open, before = nil, ""
			case open != nil:
				open.text += line + "\n"
			case strings.HasPrefix(line, "```"):
				open = &example{page: page, language: line[3:], before: before, line: i + 1}
			case strings.TrimSpace(line) != "":
				before = line
			}
		}
		require.Nil(t, open, "%s: a fence is not closed", page)
	}
	return found
}

// isConfig tells a configuration from an API's answer.
func (e example) isConfig() bool {
	var top map[string]json.RawMessage
	return e.language == "json" && json.Unmarshal([]byte(e.text), &top) == nil && top["apps"] != nil
}

func TestEveryExampleInTheDocsIsValid(t *testing.T) {
	t.Setenv("KEYREEVE_DSN", "postgres://gate@db.example.com/keyreeve")
	t.Chdir("..") // example policies are named from the root
	count := map[string]int{}
	for _, e := range examples(t) {
		config := []byte(e.text)
		switch {
		case e.language == "caddyfile":
			var err error
			config, err = adapt("Caddyfile", e.text)
			require.NoError(t, err, "%s:%d", e.page, e.line)
		case e.language == "json":
			require.True(t, json.Valid(config), "%s:%d", e.page, e.line)
			if !e.isConfig() {
				continue
			}
		default:
			continue
		}
		count[e.page+" "+e.language]++
		require.NoError(t, provision(config), "%s:%d", e.page, e.line)
	}
	for _, page := range []string{"README.md caddyfile", "README.md json", "docs/caddyfile.md caddyfile", "docs/json.md json"} {
		require.NotZero(t, count[page], "no example found: %s", page)
	}
}

func TestWhatADocShowsInBothFormsIsTheSame(t *testing.T) {
	t.Chdir("..")
	pages := map[string]bool{}
	var last example
	for _, e := range examples(t) {
		if e.isConfig() && strings.HasPrefix(e.before, "The same in JSON") {
			require.Equal(t, "caddyfile", last.language, "%s:%d", e.page, e.line)
			config, err := adapt("Caddyfile", last.text)
			require.NoError(t, err)
			require.Equal(t, plainConfig(t, config), plainConfig(t, []byte(e.text)), "%s:%d", e.page, e.line)
			pages[e.page] = true
		}
		last = e
	}
	require.True(t, pages["README.md"] && pages["docs/caddyfile.md"], "the pairs have gone: %v", pages)
}

// plainConfig takes out of a configuration what tells its two forms apart but
// means the same: how durations are written, where routes come from, the
// subroute that the adapter puts around the handlers of a site, and the order of
// sites.
func plainConfig(t *testing.T, config []byte) any {
	t.Helper()
	var tree map[string]any
	require.NoError(t, json.Unmarshal(config, &tree))
	apps := tree["apps"].(map[string]any)
	if raw, ok := apps["keyreeve"]; ok {
		text, err := json.Marshal(raw)
		require.NoError(t, err)
		app := new(App)
		require.NoError(t, caddy.StrictUnmarshalJSON(text, app))
		text, err = json.Marshal(app)
		require.NoError(t, err)
		var again any
		require.NoError(t, json.Unmarshal(text, &again))
		apps["keyreeve"] = again
	}
	return flatten(tree)
}

func flatten(v any) any {
	switch v := v.(type) {
	case []any:
		var list []any
		for _, e := range v {
			list = append(list, flatten(e))
		}
		return list
	case map[string]any:
		delete(v, "origin")
		for k, e := range v {
			v[k] = flatten(e)
		}
		if handle, ok := v["handle"].([]any); ok {
			v["handle"] = unwrap(handle)
		}
		if routes, ok := v["routes"].([]any); ok && v["listen"] != nil && allTerminal(routes) {
			slices.SortFunc(routes, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	}
	return v
}

// allTerminal reports routes that are sites, of different hosts.
func allTerminal(routes []any) bool {
	return !slices.ContainsFunc(routes, func(r any) bool { return r.(map[string]any)["terminal"] != true })
}

// unwrap takes away a subroute that is all of a list of handlers, if nothing in
// it depends on a match.
func unwrap(handle []any) []any {
	if len(handle) != 1 {
		return handle
	}
	only, _ := handle[0].(map[string]any)
	routes, _ := only["routes"].([]any)
	if only["handler"] != "subroute" || len(only) != 2 {
		return handle
	}
	var inner []any
	for _, r := range routes {
		route := r.(map[string]any)
		if len(route) != 1 || route["handle"] == nil {
			return handle
		}
		inner = append(inner, route["handle"].([]any)...)
	}
	return inner
}
