package policy

import (
	"fmt"
	"maps"
	"slices"
)

// Agree refuses Sets that read a role's entry in different ways: the same
// resource in different groups, or a name that is a resource in one and a group
// in another. Roles are held against one another once for all gates, so one that
// lies within another at each gate alone could reach beyond it over several.
func Agree(sets ...*Set) error {
	var errs []error
	for i, s := range sets {
		for _, earlier := range sets[:i] {
			errs = append(errs, earlier.disagreements(s)...)
		}
	}
	return joinErrors(errs)
}

// disagreements lists where two Sets differ.
func (s *Set) disagreements(other *Set) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(s.resources)) {
		if other.groups[name] {
			errs = append(errs, mixedNames(name, s, other))
		}
		there, both := other.resources[name]
		if here := s.resources[name]; both && here.Group != there.Group {
			errs = append(errs, fmt.Errorf("%s: resource %q is %s, at %s %s: every gate must put it into the same group, "+
				"declare it once in a policy file of the app",
				other.originOf(name), name, groupWords(there.Group), s.originOf(name), groupWords(here.Group)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other.resources)) {
		if s.groups[name] {
			errs = append(errs, mixedNames(name, other, s))
		}
	}
	return errs
}

func groupWords(group string) string {
	if group == "" {
		return "in no group"
	}
	return fmt.Sprintf("in group %q", group)
}

func mixedNames(name string, resources, groups *Set) error {
	return fmt.Errorf("%s: %q is the name of a resource, at %s that of a group: rename one, roles could not tell them apart",
		resources.originOf(name), name, groups.originOfGroup(name))
}

// originOf is where a resource was declared, or the first route that names it.
func (s *Set) originOf(resource string) string {
	if origin := s.resources[resource].Origin; origin != "" {
		return origin
	}
	for _, route := range s.routes {
		if !route.Public && route.Resource == resource {
			return route.Origin
		}
	}
	return ""
}

// originOfGroup is where the first resource of a group was declared.
func (s *Set) originOfGroup(group string) string {
	for _, r := range s.Resources() {
		if r.Group == group {
			return s.originOf(r.Name)
		}
	}
	return ""
}
