package page

import (
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// maxNames is how many names a sentence lists before it counts the rest.
const maxNames = 6

// ownNames are Keyreeve's own resources as people call them, in the order of the
// navigation.
var ownNames = []struct{ resource, name string }{
	{lifecycle.ResourceKeys, "API keys"},
	{lifecycle.ResourceRoles, "roles"},
	{lifecycle.ResourceLocks, "locks"},
	{lifecycle.ResourceSessions, "sessions"},
	{lifecycle.ResourceAudit, "the audit trail"},
	{lifecycle.ResourceSources, "external sources"},
	{lifecycle.ResourceTenants, "customers and microtenants"},
	{lifecycle.ResourceNodes, "nodes"},
}

// roleWords tells in plain words what keys of a role may do, a phrase each, that of
// the upstreams first: `Read everything of the upstreams`. What another entry covers
// is left out. It is never empty.
func (t titles) roleWords(p policy.Permissions) []string { return t.wordsOf(p, maxNames) }

// roleWordsAll is roleWords with every name, where there is room for them.
func (t titles) roleWordsAll(p policy.Permissions) []string { return t.wordsOf(p, len(p)) }

// roleBrief is roleWords for a row of a table.
func (t titles) roleBrief(p policy.Permissions) string {
	words := t.wordsOf(p, 2)
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToLower(words[i][:1]) + words[i][1:]
	}
	return strings.Join(words, "; ")
}

func (t titles) wordsOf(p policy.Permissions, most int) []string {
	var words []string
	all := p["*"]
	if all != 0 {
		words = append(words, rightsOf(all)+" everything of the upstreams")
	}
	named := map[policy.Mask][]string{}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if name != "*" && !strings.HasPrefix(name, policy.OwnPrefix) && !all.Has(p[name]) {
			named[p[name]] = append(named[p[name]], t.of(name))
		}
	}
	words = append(words, phrases(named, most, "")...)

	own := p[policy.OwnPrefix+"*"]
	if own != 0 {
		words = append(words, rightsOf(own)+" everything in Keyreeve itself")
	}
	named = map[policy.Mask][]string{}
	for _, one := range ownNames {
		if m := p[one.resource]; m != 0 && !own.Has(m) {
			named[m] = append(named[m], one.name)
		}
	}
	words = append(words, phrases(named, most, " in Keyreeve")...)
	if len(words) == 0 {
		return []string{"Nothing: every call is refused"}
	}
	return words
}

// phrases says what may be done with which names, what is most first.
func phrases(named map[policy.Mask][]string, most int, where string) []string {
	masks := slices.SortedFunc(maps.Keys(named), func(a, b policy.Mask) int {
		if d := len(b.Names()) - len(a.Names()); d != 0 {
			return d
		}
		return int(a) - int(b)
	})
	var words []string
	for _, m := range masks {
		words = append(words, rightsOf(m)+" "+enumerate(named[m], most)+where)
	}
	return words
}

// rightsOf is the actions of a mask as a phrase begins with them.
func rightsOf(m policy.Mask) string {
	if m == policy.Full {
		return "Full access to"
	}
	names := m.Names()
	text := enumerate(names, len(names))
	return strings.ToUpper(text[:1]) + text[1:]
}

// enumerate is `a, b and c`; of more than most, the rest is counted.
func enumerate(names []string, most int) string {
	if rest := len(names) - most; rest > 1 { // one more name is as short as counting it
		names = append(slices.Clone(names[:most]), number(rest)+" more")
	}
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
