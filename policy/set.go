package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxErrors is how many mistakes one error lists.
const maxErrors = 10

// Set is a compiled policy: every rule of one gate. It never changes, so any
// number of requests may use it at once.
type Set struct {
	routes    []*Route
	resources map[string]Resource
	groups    map[string]bool
	tenancy   Tenancy
	written   node // patterns as written: decides
	normal    node // their normal forms: only refuses
}

// Resource is what permissions are granted on.
type Resource struct {
	// Name is the slug that routes and roles use.
	Name string
	// Group of resources it belongs to, "" if none. Roles may name the group.
	Group string
	// Title for people, "" if none.
	Title string
	// Origin is where it was declared, `file:line`; "" if only a route names it.
	Origin string
}

// Tenancy names where a request says which tenant it is for.
type Tenancy struct {
	// CustomerParam is the path parameter that holds the customer, or `off`.
	CustomerParam string
	// MicrotenantQuery is the query parameter that holds the microtenant, or `off`.
	MicrotenantQuery string
	// Origin is where it was written, `file:line`; "" for the default.
	Origin string
}

// DefaultTenancy is in force where no policy file says otherwise.
func DefaultTenancy() Tenancy {
	return Tenancy{CustomerParam: "customerId", MicrotenantQuery: "microtenantId"}
}

// Compile merges policy files and single routes into one Set. The error lists
// what is wrong, each with its origin.
func Compile(files []*File, specs []RouteSpec) (*Set, error) {
	s := &Set{resources: map[string]Resource{}, groups: map[string]bool{}, tenancy: DefaultTenancy()}
	var errs []error
	for _, f := range files {
		errs = append(errs, s.declare(f)...)
	}
	for _, f := range files {
		for i, spec := range f.Routes {
			if _, declared := s.resources[spec.Resource]; !declared && !spec.Public && spec.Resource != "" {
				errs = append(errs, fmt.Errorf("%s: resource %q is not declared in any policy file: add it under resources, or correct the name",
					originOf(spec, i), spec.Resource))
				continue
			}
			errs = append(errs, s.add(spec, i))
		}
	}
	for i, spec := range specs {
		errs = append(errs, s.add(spec, i))
	}
	errs = append(errs, s.checkNames()...)
	errs = append(errs, s.link()...)
	if err := joinErrors(errs); err != nil {
		return nil, err
	}
	s.written.finish()
	s.normal.finish()
	return s, nil
}

// joinErrors joins the first few errors that are not nil.
func joinErrors(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if more := len(errs) - maxErrors; more > 0 {
		errs = append(errs[:maxErrors:maxErrors], fmt.Errorf("and %d more mistakes", more))
	}
	return errors.Join(errs...)
}

func originOf(s RouteSpec, index int) string {
	if s.Origin != "" {
		return s.Origin
	}
	return fmt.Sprintf("route %d", index+1)
}

// declare takes over a file's resources and tenancy.
func (s *Set) declare(f *File) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(f.Resources)) {
		r := f.Resources[name]
		r.Name = name
		if err := checkResource(r); err != nil {
			errs = append(errs, err)
			continue
		}
		if known, twice := s.resources[name]; twice && (known.Group != r.Group || known.Title != r.Title) {
			errs = append(errs, fmt.Errorf("%s: resource %q is declared differently at %s: give it the same group and title, or another name",
				r.Origin, name, known.Origin))
			continue
		}
		s.resources[name] = r
		if r.Group != "" {
			s.groups[r.Group] = true
		}
	}
	if f.Tenancy == (Tenancy{}) {
		return errs
	}
	t, was := f.Tenancy, s.tenancy
	if was.Origin != "" && (was.CustomerParam != t.CustomerParam || was.MicrotenantQuery != t.MicrotenantQuery) {
		return append(errs, fmt.Errorf("%s: tenancy differs from that at %s: policy files of one gate must agree", t.Origin, was.Origin))
	}
	s.tenancy = t
	return errs
}

func checkResource(r Resource) error {
	err := checkSlug("resource", r.Name)
	if err == nil && r.Group != "" {
		err = checkSlug("group", r.Group)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.Origin, err)
	}
	return nil
}

// add compiles one route.
func (s *Set) add(spec RouteSpec, index int) error {
	origin := originOf(spec, index)
	if err := spec.Check(); err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	r, err := newRoute(spec, s.tenancy)
	if err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	r.Origin = origin
	if !r.Public {
		known, ok := s.resources[r.Resource]
		if !ok {
			known = Resource{Name: r.Resource}
			s.resources[r.Resource] = known
		}
		r.Group, r.Title = known.Group, known.Title
	}
	s.routes = append(s.routes, r)
	return nil
}

// checkNames keeps a role's entry unambiguous: a resource or a group, not both.
func (s *Set) checkNames() (errs []error) {
	for _, group := range s.Groups() {
		if _, both := s.resources[group]; both {
			errs = append(errs, fmt.Errorf("%s: %q is the name of a resource and of a group: rename one, roles could not tell them apart",
				s.originOf(group), group))
		}
	}
	return errs
}

// link builds both trees, refuses conflicts and notes which routes have a more
// specific neighbour in normal form.
func (s *Set) link() (errs []error) {
	for _, r := range s.routes {
		s.written.overlapping(r.segments, false, func(l *leaf) {
			for _, other := range l.routes {
				errs = append(errs, conflict(other, r))
			}
		})
		s.written.insert(r.segments, r)
		r.folded = s.normal.insert(r.segments.normal(), r)
	}
	for _, r := range s.routes {
		s.normal.overlapping(r.folded.shape, true, r.guardAgainst)
	}
	return errs
}

// conflict refuses two routes over a common path and method of which neither
// comes first.
func conflict(a, b *Route) error {
	switch a.segments.compare(b.segments, false) {
	case equal:
		if a.rivals(b) {
			return fmt.Errorf("%s: %s is already routed at %s (%s): keep one of the two", b.Origin, b, a.Origin, a)
		}
	case crossing:
		if a.sharesMethod(b) {
			return fmt.Errorf("%s: %s conflicts with %s (%s): both match %s and neither is more specific: change a path, or let them share no method",
				b.Origin, b, a.Origin, a, a.segments.common(b.segments))
		}
	}
	return nil
}

// guardAgainst notes a leaf of normal forms that overlaps r's.
func (r *Route) guardAgainst(l *leaf) {
	if l == r.folded || l.shape.compare(r.folded.shape, true) != within {
		return
	}
	for _, other := range l.routes {
		if r.sharesMethod(other) {
			r.guarded = true
			r.guardedPlain = r.guardedPlain || !other.segments.plain()
		}
	}
}

// Routes lists the rules, in the order in which they were given.
func (s *Set) Routes() []*Route { return slices.Clone(s.routes) }

// Tenancy is what the policy's files agree on.
func (s *Set) Tenancy() Tenancy { return s.tenancy }

// Resources lists what permissions can be granted on, by name.
func (s *Set) Resources() []Resource {
	return slices.SortedFunc(maps.Values(s.resources), func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
}

// Groups lists the groups that resources belong to, by name.
func (s *Set) Groups() []string { return slices.Sorted(maps.Keys(s.groups)) }

// GroupOf is the group a resource belongs to, "" if none or unknown.
func (s *Set) GroupOf(resource string) string { return s.resources[resource].Group }

// HasResource reports whether a role may name resource.
func (s *Set) HasResource(resource string) bool {
	_, ok := s.resources[resource]
	return ok
}

// HasGroup reports whether a role may name group.
func (s *Set) HasGroup(group string) bool { return s.groups[group] }
