package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// The forms of values. Nothing of them could be taken for another word or a flag
// on xcaddy's command line.
var (
	versionForm = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	moduleForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]*(/[A-Za-z0-9._~-]+)+$`)
	localForm   = regexp.MustCompile(`^(\.|\.\.|/|\./|\.\./)`)
)

// readBuild reads the declared build, strictly. All that is wrong is told at once.
func readBuild(name string) (*build, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s; run this from the root of the checkout, or name it by -C or -file", name)
	}
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s:%d: %s", name, at.Position.Line, at.Message)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &reader{name: name, lines: linesOf(string(text))}
	b := r.build(tree)
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return b, nil
}

// reader takes a parsed file apart and collects what is wrong with it.
type reader struct {
	name  string
	lines map[string]int // where each name stands, such as plugins[0].module
	errs  []error
}

// bad notes what is wrong at a name; the table it belongs to stands in for one
// that is not there, the file's beginning for no table at all.
func (r *reader) bad(at, format string, args ...any) {
	line := r.lines[at]
	for where := at; line == 0 && where != ""; line = r.lines[where] {
		where = where[:max(0, strings.LastIndexAny(where, ".["))]
	}
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s: %s", r.name, max(1, line), at, fmt.Sprintf(format, args...)))
}

func (r *reader) build(tree map[string]any) *build {
	r.known("", tree, "caddy_version", "output", "build_flags", "plugins", "replacements")
	b := &build{
		caddyVersion: r.text(tree, "caddy_version", "caddy_version", true),
		output:       r.text(tree, "output", "output", true),
		buildFlags:   r.flags(tree),
		plugins:      r.dependencies(tree, "plugins"),
		replacements: r.dependencies(tree, "replacements"),
	}
	if b.caddyVersion != "" && !versionForm.MatchString(b.caddyVersion) {
		r.bad("caddy_version", "%q is no released version, expected one such as v2.11.9", b.caddyVersion)
	}
	if strings.HasPrefix(b.output, "-") {
		r.bad("output", "%q would be taken for a flag", b.output)
	}
	if tree["plugins"] == nil {
		r.bad("plugins", "is missing; declare at least one [[plugins]]")
	}
	return b
}

// known refuses names that mean nothing here. They are compared as they are
// written: a name in another case is another.
func (r *reader) known(table string, tree map[string]any, names ...string) {
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if !slices.Contains(names, name) {
			r.bad(strings.TrimPrefix(table+"."+name, "."), "is unknown, expected %s", strings.Join(names, ", "))
		}
	}
}

// text is the string of a name in tree, at is where it stands.
func (r *reader) text(tree map[string]any, name, at string, required bool) string {
	value, given := tree[name]
	text, ok := value.(string)
	switch {
	case !given && required:
		r.bad(at, "is missing")
	case given && !ok:
		r.bad(at, "is %s, expected a string", kind(value))
	case given && text == "":
		r.bad(at, "is empty")
	case strings.ContainsAny(text, "\n\r\x00"):
		r.bad(at, "has more than one line")
	}
	return text
}

func (r *reader) flags(tree map[string]any) []string {
	value, given := tree["build_flags"]
	if !given {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		r.bad("build_flags", "is %s, expected a list of strings", kind(value))
		return nil
	}
	var flags []string
	for _, one := range list {
		flag, ok := one.(string)
		switch {
		case !ok:
			r.bad("build_flags", "holds %s, expected strings", kind(one))
		case !strings.HasPrefix(flag, "-") || strings.ContainsAny(flag, "\n\r\x00"):
			r.bad("build_flags", "holds %q, expected flags such as -trimpath; a flag's value follows it after =", flag)
		case flag == "-o" || strings.HasPrefix(flag, "-o="):
			r.bad("build_flags", "holds %q; where the program goes is said by output", flag)
		}
		flags = append(flags, flag)
	}
	return flags
}

// dependencies reads [[plugins]] or [[replacements]].
func (r *reader) dependencies(tree map[string]any, table string) (all []dependency) {
	value, given := tree[table]
	if !given {
		return nil
	}
	list, ok := value.([]map[string]any)
	if !ok {
		r.bad(table, "is %s, expected tables, each begun by [[%s]]", kind(value), table)
		return nil
	}
	seen := map[string]bool{}
	for i, one := range list {
		at := fmt.Sprintf("%s[%d]", table, i)
		r.known(at, one, "module", "version", "replacement")
		d := dependency{
			module:      r.text(one, "module", at+".module", true),
			version:     r.text(one, "version", at+".version", false),
			replacement: r.text(one, "replacement", at+".replacement", table == "replacements"),
		}
		r.check(at, d)
		if seen[d.module] && d.module != "" {
			r.bad(at+".module", "%s is declared twice", d.module)
		}
		seen[d.module] = true
		all = append(all, d)
	}
	return all
}

func (r *reader) check(at string, d dependency) {
	if d.module != "" && !moduleForm.MatchString(d.module) {
		r.bad(at+".module", "%q is no module path, expected one such as github.com/keyreeve/keyreeve", d.module)
	}
	if d.version != "" && !versionForm.MatchString(d.version) {
		r.bad(at+".version", "%q is no released version, expected one such as v1.2.3", d.version)
	}
	if d.replacement == "" {
		return
	}
	if !localForm.MatchString(d.replacement) {
		module, version, found := strings.Cut(d.replacement, "@")
		if !found || !moduleForm.MatchString(module) || !versionForm.MatchString(version) {
			r.bad(at+".replacement", "%q is neither a directory such as . or ../fork nor module@version", d.replacement)
		}
		return
	}
	if strings.ContainsAny(d.replacement, " =") {
		r.bad(at+".replacement", "%q holds a space or =, which xcaddy cannot take; build from another directory", d.replacement)
		return
	}
	dir := d.replacement
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(r.name), dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		r.bad(at+".replacement", "%s holds no Go module: %v", d.replacement, err)
	}
}

// kind names a value's type in TOML's words.
func kind(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "one table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a date or time"
}

var (
	tableLine = regexp.MustCompile(`^\s*\[\[?\s*"?([A-Za-z0-9_-]+)"?\s*\]`)
	nameLine  = regexp.MustCompile(`^\s*["']?([A-Za-z0-9_-]+)["']?\s*=`)
)

// linesOf tells where each name stands. The parser does not: of several tables
// of one name it only keeps the last one's lines.
func linesOf(text string) map[string]int {
	lines, count, table := map[string]int{}, map[string]int{}, ""
	note := func(at string, line int) {
		if lines[at] == 0 {
			lines[at] = line
		}
	}
	for i, l := range strings.Split(text, "\n") {
		if m := tableLine.FindStringSubmatch(l); m != nil {
			note(m[1], i+1)
			table = fmt.Sprintf("%s[%d]", m[1], count[m[1]])
			count[m[1]]++
			note(table, i+1)
			table += "."
		} else if m := nameLine.FindStringSubmatch(l); m != nil {
			note(table+m[1], i+1)
		}
	}
	return lines
}
