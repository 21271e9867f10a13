package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPoliciesOfOneAppMustAgreeOnWhatANameMeans(t *testing.T) {
	t.Parallel()
	file := func(name, resources string) *Set {
		s, err := Compile([]*File{parse(t, name, "version: 1\nresources:\n  "+resources+"\n")}, nil)
		require.NoError(t, err)
		return s
	}
	line := func(resource, origin string) *Set {
		return mustCompile(t, get("/x", resource, func(s *RouteSpec) { s.Origin = origin }))
	}
	grouped := file("a.yaml", "things: {group: stock}")
	for name, c := range map[string]struct {
		sets []*Set
		want []string // of the error; none where they agree
	}{
		"nothing to compare":              {nil, nil},
		"one alone":                       {[]*Set{grouped}, nil},
		"the same":                        {[]*Set{grouped, file("b.yaml", "things: {group: stock}")}, nil},
		"nothing in common":               {[]*Set{grouped, line("others", "Caddyfile:3")}, nil},
		"another title":                   {[]*Set{grouped, file("b.yaml", "things: {group: stock, title: Things}")}, nil},
		"another group":                   {[]*Set{grouped, file("b.yaml", "things: {group: goods}")}, []string{"a.yaml:3", "b.yaml:3", `"things"`, `"stock"`, `"goods"`}},
		"a group and none":                {[]*Set{grouped, line("things", "Caddyfile:3")}, []string{"a.yaml:3", "Caddyfile:3", `"things"`, `"stock"`}},
		"none and a group":                {[]*Set{line("things", "Caddyfile:3"), grouped}, []string{"a.yaml:3", "Caddyfile:3", `"things"`, `"stock"`}},
		"a group here, a resource there":  {[]*Set{grouped, line("stock", "Caddyfile:3")}, []string{"a.yaml:3", "Caddyfile:3", `"stock"`}},
		"a resource here, a group there":  {[]*Set{line("stock", "Caddyfile:3"), grouped}, []string{"a.yaml:3", "Caddyfile:3", `"stock"`}},
		"not the first that differs":      {[]*Set{line("others", "Caddyfile:1"), grouped, line("things", "Caddyfile:3")}, []string{"a.yaml:3", "Caddyfile:3"}},
		"neither with the one in between": {[]*Set{grouped, line("others", "Caddyfile:1"), line("stock", "Caddyfile:3")}, []string{"a.yaml:3", "Caddyfile:3"}},
	} {
		err := Agree(c.sets...)
		if c.want == nil {
			require.NoError(t, err, name)
			continue
		}
		for _, part := range c.want {
			require.ErrorContains(t, err, part, name)
		}
	}
}
