package policy

import "strings"

// Match is the rule that a request falls under and the action it asks for
// there, 0 on a public route.
type Match struct {
	Route  *Route
	Action Mask
}

// Match finds the rule for a request: among the routes that admit the method,
// the one with the most specific path; of those with equal paths one that names
// the method before `*`, and an explicit HEAD before GET's. path is the escaped
// path as it is on the wire; odd says that it holds %2F, %25, `;` or `//`.
//
// The reason is Allowed with a match, else NoRoute or, for an odd path that no
// route with Encoded takes, AmbiguousPath.
//
// An odd spelling must not slip past a rule to a broader one: where the path in
// normal form (decoded, case-folded, without trailing slash) falls under a more
// specific route than the path itself does, there is no route for it. It does
// not allocate unless the path is percent-encoded or odd.
func (s *Set) Match(method, path string, odd bool) (Match, Reason) {
	index := methodIndex(method)
	var found *Match
	if strings.HasPrefix(path, "/") {
		found = s.written.find(path[1:], index, method)
	}
	switch {
	case odd:
		return s.matchOdd(found, path, index, method)
	case found == nil:
		return Match{}, NoRoute
	case found.Route.guarded && s.evades(found.Route, path, index, method):
		return Match{}, NoRoute
	}
	return *found, Allowed
}

// matchOdd admits what Encoded admits. Literals are plain text, so every odd
// byte of a path that matched lies in a parameter's value.
func (s *Set) matchOdd(found *Match, path string, index int, method string) (Match, Reason) {
	// A leading // starts an authority for other parsers (RFC 3986 section 4.2).
	if found == nil || !found.Route.Encoded || strings.HasPrefix(path, "//") {
		return Match{}, AmbiguousPath
	}
	normal, dots := normalPath(path)
	if dots {
		return Match{}, AmbiguousPath
	}
	e := evasion{route: found.Route, index: index, method: method}
	if e.in(&s.normal, normal, normal == "") {
		return Match{}, NoRoute
	}
	return *found, Allowed
}

// evades reports whether path, which matched r as written, belongs to a more
// specific route in normal form.
func (s *Set) evades(r *Route, path string, index int, method string) bool {
	e := evasion{route: r, index: index, method: method}
	switch spellingOf(path) {
	case normalSpelling:
		if !r.guardedPlain {
			return false
		}
		path = path[1:]
	case foldedSpelling:
		path = strings.TrimSuffix(path[1:], "/")
	default:
		path, _ = normalPath(path)
	}
	return e.in(&s.normal, path, path == "")
}

// evasion is the search for a route that a request evades by its spelling.
type evasion struct {
	route  *Route
	index  int
	method string
}

// in searches a tree of normal forms; ended says that nothing of path is left.
func (e *evasion) in(n *node, path string, ended bool) bool {
	if n.rest != nil && e.evades(n.rest) {
		return true
	}
	if ended {
		return n.leaf != nil && e.evades(n.leaf)
	}
	end := strings.IndexByte(path, '/')
	text, tail := path, ""
	if end >= 0 {
		text, tail = path[:end], path[end+1:]
	}
	if next := n.literalFolded(text); next != nil && e.in(next, tail, end < 0) {
		return true
	}
	return n.param != nil && e.in(n.param, tail, end < 0)
}

// evades reports whether one of the leaf's routes admits the method and is more
// specific than the route that matched: it lies within it or, where decoding
// turned the path into another shape, names more of it.
func (e *evasion) evades(l *leaf) bool {
	mine := e.route.folded
	if l == mine || l.match(e.index, e.method) == nil {
		return false
	}
	switch l.shape.compare(mine.shape, true) {
	case within:
		return true
	case disjoint:
		return l.shape.literals() > mine.shape.literals()
	}
	return false
}
