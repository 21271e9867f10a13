package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileParser walks the nodes of a policy file and gathers what is wrong with
// them. It takes YAML nodes rather than decoded values because those have
// forgotten their lines and their duplicate keys.
type fileParser struct {
	name string
	errs []error
}

// at is `file:line` of n.
func (p *fileParser) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", p.name, n.Line) }

func (p *fileParser) errorf(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s: "+format, append([]any{p.at(n)}, args...)...))
}

// entries visits the pairs of a mapping; what names it in messages.
func (p *fileParser) entries(n *yaml.Node, what string, visit func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.errorf(n, "expected %s as a mapping, found %s", what, describe(n))
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			p.errorf(key, "expected a name, found %s", describe(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			p.errorf(key, "%q is given twice, first in line %d", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		visit(key, value)
	}
}

// fields visits the pairs of a mapping whose keys are known.
func (p *fileParser) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node)) {
	p.entries(n, what, func(key, value *yaml.Node) {
		visit := known[key.Value]
		if visit == nil {
			p.errorf(key, "unknown field %q in %s, expected one of %s", key.Value, what,
				strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			return
		}
		visit(value)
	})
}

func (p *fileParser) list(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		p.errorf(n, "expected %s as a list, found %s", what, describe(n))
		return nil
	}
	return n.Content
}

// text reads a string. Words that YAML 1.1 takes for booleans (off) are text.
func (p *fileParser) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		p.errorf(n, "expected %s as text, found %s: put it in quotes", what, describe(n))
		return ""
	}
	if n.Value == "" {
		p.errorf(n, "%s is empty: give it a value or leave it out", what)
	}
	return n.Value
}

func (p *fileParser) truth(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		p.errorf(n, "expected %s as true or false, found %s", what, describe(n))
		return false
	}
	return strings.EqualFold(n.Value, "true")
}

// maxQuoted bounds how much of a wrong value a message repeats, in bytes.
const maxQuoted = 40

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias, which policy files do not have"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	if len(n.Value) > maxQuoted {
		return fmt.Sprintf("%.*q…", maxQuoted, n.Value)
	}
	return fmt.Sprintf("%q", n.Value)
}
