package policy

import (
	"slices"
	"strings"
)

// fewChildren is up to how many literal children are compared one by one;
// beyond, a map is quicker.
const fewChildren = 4

// foldBuffer is the longest segment, in bytes, that is folded on the stack to
// be looked up in a map of children.
const foldBuffer = 96

// node is one place in a tree of patterns. Two trees are kept: one of the
// patterns as written, which decides, and one of their normal forms, which only
// ever refuses.
type node struct {
	literals map[string]*node
	few      []child // the same as literals, when they are few
	param    *node
	leaf     *leaf // patterns that end here
	rest     *leaf // patterns whose {name...} begins here
}

type child struct {
	text string
	node *node
}

// leaf holds the routes of one path shape, whatever their parameters are called.
type leaf struct {
	shape  pattern
	routes []*Route
	// common answers the usual methods by position, named the other ones that
	// some route lists, other all the rest. nil is no route.
	common [methodCount]*Match
	named  map[string]*Match
	other  *Match
}

// insert adds a route under shape and returns its leaf.
func (n *node) insert(shape pattern, r *Route) *leaf {
	at := &n.leaf
	for _, s := range shape {
		if s.kind == rest {
			at = &n.rest
			break
		}
		n = n.make(s)
		at = &n.leaf
	}
	if *at == nil {
		*at = &leaf{shape: shape}
	}
	(*at).routes = append((*at).routes, r)
	return *at
}

func (n *node) make(s segment) *node {
	if s.kind == param {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	next := n.literals[s.text]
	if next == nil {
		if n.literals == nil {
			n.literals = map[string]*node{}
		}
		next = &node{}
		n.literals[s.text] = next
	}
	return next
}

// finish prepares the tree for matching, after the last insert.
func (n *node) finish() {
	if len(n.literals) <= fewChildren {
		for text, next := range n.literals {
			n.few = append(n.few, child{text, next})
		}
		slices.SortFunc(n.few, func(a, b child) int { return strings.Compare(a.text, b.text) })
	}
	for _, l := range []*leaf{n.leaf, n.rest} {
		if l != nil {
			l.finish()
		}
	}
	for _, next := range n.literals {
		next.finish()
	}
	if n.param != nil {
		n.param.finish()
	}
}

// finish fills the answers: a method that is named comes before HEAD's by way
// of GET, and that before `*`.
func (l *leaf) finish() {
	var catchAll *Route
	for _, r := range l.routes {
		if r.Methods == nil {
			catchAll = r
		}
		for _, method := range r.Methods {
			action, _ := r.admits(method)
			m := &Match{Route: r, Action: action}
			if i := methodIndex(method); i != methodOther {
				l.common[i] = m
				continue
			}
			if l.named == nil {
				l.named = map[string]*Match{}
			}
			l.named[method] = m
		}
	}
	if get := l.common[methodGet]; get != nil && l.common[methodHead] == nil {
		l.common[methodHead] = get
	}
	if catchAll == nil {
		return
	}
	for i, m := range methods {
		if l.common[i] == nil {
			action, _ := catchAll.admits(m.name)
			l.common[i] = &Match{Route: catchAll, Action: action}
		}
	}
	if catchAll.Public || catchAll.Action != 0 {
		l.other = &Match{Route: catchAll, Action: catchAll.Action}
	}
}

// match is the answer of one shape for a method, nil if none of its routes admits it.
func (l *leaf) match(index int, method string) *Match {
	if index != methodOther {
		return l.common[index]
	}
	if m := l.named[method]; m != nil {
		return m
	}
	return l.other
}

// find is the most specific match of path, which is without its leading slash.
// Every two routes that share a method and a path lie one within the other, so
// to prefer a literal to {name} and that to {name...} at each step is enough.
// A node is visited at most once, so the cost is bounded by the policy, not the path.
func (n *node) find(path string, index int, method string) *Match {
	end := strings.IndexByte(path, '/')
	text := path
	if end >= 0 {
		text = path[:end]
	}
	if next := n.literal(text); next != nil {
		if m := next.behind(path, end, index, method); m != nil {
			return m
		}
	}
	if n.param != nil && text != "" {
		if m := n.param.behind(path, end, index, method); m != nil {
			return m
		}
	}
	if n.rest != nil {
		return n.rest.match(index, method)
	}
	return nil
}

// behind continues find after the segment that ends at end, -1 if it was the last.
func (n *node) behind(path string, end, index int, method string) *Match {
	if end >= 0 {
		return n.find(path[end+1:], index, method)
	}
	if n.leaf == nil {
		return nil
	}
	return n.leaf.match(index, method)
}

func (n *node) literal(text string) *node {
	for i := range n.few {
		if n.few[i].text == text {
			return n.few[i].node
		}
	}
	if n.few == nil && n.literals != nil {
		return n.literals[text]
	}
	return nil
}

// literalFolded is literal in a tree of normal forms for a segment in any case.
// text is ASCII or already in normal form.
func (n *node) literalFolded(text string) *node {
	for i := range n.few {
		if equalFold(text, n.few[i].text) {
			return n.few[i].node
		}
	}
	if n.few != nil || n.literals == nil {
		return nil
	}
	if len(text) > foldBuffer {
		return n.literals[strings.ToLower(text)]
	}
	var buffer [foldBuffer]byte
	for i := range len(text) {
		buffer[i] = lower(text[i])
	}
	return n.literals[string(buffer[:len(text)])]
}

// equalFold compares text, in any case, with folded, in lower case.
func equalFold(text, folded string) bool {
	if len(text) != len(folded) {
		return false
	}
	for i := range len(text) {
		if lower(text[i]) != folded[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// overlapping visits the leaves whose shapes share a path with shape. bare is
// that of compare.
func (n *node) overlapping(shape pattern, bare bool, visit func(*leaf)) {
	if len(shape) == 0 {
		n.visit(n.leaf, visit)
		if bare {
			n.visit(n.rest, visit)
		}
		return
	}
	n.visit(n.rest, visit)
	switch s := shape[0]; s.kind {
	case rest:
		if bare {
			n.visit(n.leaf, visit)
		}
		n.below(visit)
	case literal:
		if next := n.literals[s.text]; next != nil {
			next.overlapping(shape[1:], bare, visit)
		}
		if n.param != nil && s.text != "" {
			n.param.overlapping(shape[1:], bare, visit)
		}
	case param:
		for text, next := range n.literals {
			if text != "" {
				next.overlapping(shape[1:], bare, visit)
			}
		}
		if n.param != nil {
			n.param.overlapping(shape[1:], bare, visit)
		}
	}
}

func (n *node) visit(l *leaf, visit func(*leaf)) {
	if l != nil {
		visit(l)
	}
}

// below visits every leaf under n's children.
func (n *node) below(visit func(*leaf)) {
	each := func(next *node) {
		next.visit(next.leaf, visit)
		next.visit(next.rest, visit)
		next.below(visit)
	}
	for _, next := range n.literals {
		each(next)
	}
	if n.param != nil {
		each(n.param)
	}
}
