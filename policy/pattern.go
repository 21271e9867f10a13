package policy

import (
	"fmt"
	"slices"
	"strings"
)

// maxPatternLength bounds a pattern, in bytes: the longest path the gate admits.
const maxPatternLength = 8 << 10

// kind tells the three sorts of pattern segment apart. The order is the order
// of preference: the lower kind is the more specific.
type kind uint8

const (
	literal kind = iota // matches itself, byte for byte; "" is what follows a trailing slash
	param               // {name}: one segment that is not empty
	rest                // {name...}: everything behind the slash, possibly nothing
)

// segment is one part of a pattern between slashes.
type segment struct {
	kind kind
	// text is a literal's text or a parameter's name.
	text string
}

// pattern is a parsed path pattern. `/a/` has the segments "a" and "".
type pattern []segment

// parsePattern reads `/literal/{name}/{name...}`. Literals are plain text: a
// percent-encoded or otherwise ambiguous literal could be spelt in two ways.
func parsePattern(text string) (pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("path pattern %q must begin with a slash", text)
	}
	if len(text) > maxPatternLength {
		return nil, fmt.Errorf("path pattern is %d bytes long, the limit is %d", len(text), maxPatternLength)
	}
	parts := strings.Split(text[1:], "/")
	p := make(pattern, 0, len(parts))
	for i, part := range parts {
		last := i == len(parts)-1
		s, err := parseSegment(part, last)
		if err != nil {
			return nil, fmt.Errorf("path pattern %q: %w", text, err)
		}
		if s.kind != literal && p.index(s.text) >= 0 {
			return nil, fmt.Errorf("path pattern %q: the name {%s} is used twice, give each parameter its own", text, s.text)
		}
		p = append(p, s)
	}
	return p, nil
}

// literalPrefix is the byte at which segment n begins in every path that
// matches, -1 where what stands before it is not all literal.
func (p pattern) literalPrefix(n int) int {
	at := len("/")
	for _, s := range p[:n] {
		if s.kind != literal {
			return -1
		}
		at += len(s.text) + len("/")
	}
	return at
}

func parseSegment(part string, last bool) (segment, error) {
	switch {
	case part == "" && !last:
		return segment{}, fmt.Errorf("it contains //, write a single slash")
	case part == "." || part == "..":
		return segment{}, fmt.Errorf("it contains the dot segment %q, write the path it resolves to", part)
	case strings.ContainsAny(part, "{}"):
		return parseParameter(part, last)
	}
	return segment{kind: literal, text: part}, checkLiteral(part)
}

func parseParameter(part string, last bool) (segment, error) {
	name, ok := strings.CutPrefix(part, "{")
	if ok {
		name, ok = strings.CutSuffix(name, "}")
	}
	if !ok || strings.ContainsAny(name, "{}") {
		return segment{}, fmt.Errorf("a parameter must be a whole segment, as in /{name}/, not %q", part)
	}
	if name == "$" {
		return segment{}, fmt.Errorf("{$} is not needed: a trailing slash already matches only itself")
	}
	s := segment{kind: param}
	if name, ok = strings.CutSuffix(name, "..."); ok {
		s.kind = rest
		if !last {
			return segment{}, fmt.Errorf("{%s...} takes the rest of the path, so it must be the last segment", name)
		}
	}
	s.text = name
	return s, checkName(name)
}

// checkName requires an identifier that Caddy leaves alone in a Caddyfile.
func checkName(name string) error {
	if strings.Contains(name, ".") {
		if short := shorthandFor(name); short != "" {
			return fmt.Errorf("{%s} is what Caddy makes of its shorthand {%s}: choose another name, such as {%s_value}", name, short, short)
		}
		return fmt.Errorf("{%s} is a Caddy placeholder or contains a dot: choose a name of letters, digits and _", name)
	}
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return fmt.Errorf("the parameter name %q must be letters, digits and _, and not begin with a digit", name)
		}
	}
	if name == "" {
		return fmt.Errorf("a parameter has no name, write {name}, or {name...} for the rest of the path")
	}
	if caddyShorthand(name) {
		return fmt.Errorf("{%s} is shorthand that Caddy replaces in a Caddyfile: choose another name, such as {%s_value}", name, name)
	}
	return nil
}

// checkLiteral requires RFC 3986 section 3.3 pchar without percent-encoding and
// without `;`, whose meaning differs between servers.
func checkLiteral(text string) error {
	if strings.HasSuffix(text, "*") {
		return fmt.Errorf("%q is no wildcard here: write {name} for one segment, {name...} for the rest", text)
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '%':
			return fmt.Errorf("percent-encoding in %q: write the character itself, or a {name} parameter where it needs encoding", text)
		case c == ';':
			return fmt.Errorf("%q contains ;, which servers read differently: use a {name} parameter and `encoded allow`", text)
		case c == '?' || c == '#':
			return fmt.Errorf("%q contains %c: a pattern covers the path only, leave the query and fragment out", text, c)
		case !plainPathByte(c):
			return fmt.Errorf("%q contains %q, which a path cannot hold unencoded: use a {name} parameter", text, text[i:i+1])
		}
	}
	return nil
}

// plainPathByte reports whether c may stand in a literal: pchar less `%` and `;`.
func plainPathByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0
}

// String writes the pattern as it was read.
func (p pattern) String() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteByte('/')
		switch s.kind {
		case literal:
			b.WriteString(s.text)
		case param:
			b.WriteString("{" + s.text + "}")
		case rest:
			b.WriteString("{" + s.text + "...}")
		}
	}
	return b.String()
}

// index is the position of the parameter called name, -1 if there is none.
func (p pattern) index(name string) int {
	return slices.IndexFunc(p, func(s segment) bool { return s.kind != literal && s.text == name })
}

// literals counts the segments that p names.
func (p pattern) literals() int {
	n := 0
	for _, s := range p {
		if s.kind == literal && s.text != "" {
			n++
		}
	}
	return n
}

// normal is the pattern in normal form: literals case-folded, the trailing
// slash gone. A {name...} in normal form also matches where even the slash
// before it is missing.
func (p pattern) normal() pattern {
	n := slices.Clone(p)
	if last := len(n) - 1; last >= 0 && n[last] == (segment{}) {
		n = n[:last]
	}
	for i, s := range n {
		if s.kind == literal {
			n[i].text = strings.ToLower(s.text)
		}
	}
	return n
}

// plain reports that the paths p matches are in normal form wherever its
// parameters' values are: its own literals cannot be what differs.
func (p pattern) plain() bool {
	for _, s := range p {
		if s.kind == rest || s.kind == literal && (s.text == "" || s.text != strings.ToLower(s.text)) {
			return false
		}
	}
	return true
}

// relation says how the sets of paths of two patterns lie to each other.
type relation uint8

const (
	disjoint relation = iota
	equal
	within   // the first is more specific
	contains // the second is
	crossing // they share paths and neither contains the other
)

// compare relates p to q. bare says that {name...} also matches the path that
// ends before its slash, as it does in normal form.
func (p pattern) compare(q pattern, bare bool) relation {
	narrower, wider := false, false
loop:
	for i := 0; ; i++ {
		pEnds, qEnds := i == len(p), i == len(q)
		pRest, qRest := !pEnds && p[i].kind == rest, !qEnds && q[i].kind == rest
		switch {
		case pEnds && qEnds, pRest && qRest:
			break loop
		case pRest || qRest:
			if (pEnds || qEnds) && !bare {
				return disjoint
			}
			narrower, wider = narrower || qRest, wider || pRest
			break loop
		case pEnds || qEnds:
			return disjoint
		}
		a, b := p[i], q[i]
		switch {
		case a.kind == param && b.kind == param:
		case a.kind == literal && b.kind == literal:
			if a.text != b.text {
				return disjoint
			}
		case a.kind == literal && a.text != "":
			narrower = true
		case b.kind == literal && b.text != "":
			wider = true
		default: // a trailing slash against {name}, which is never empty
			return disjoint
		}
	}
	switch {
	case narrower && wider:
		return crossing
	case narrower:
		return within
	case wider:
		return contains
	}
	return equal
}

// common is a path that both p and q match, which must not be disjoint.
func (p pattern) common(q pattern) string {
	var b strings.Builder
	for i := 0; i < len(p) || i < len(q); i++ {
		text := ""
		for _, side := range []pattern{p, q} {
			if i < len(side) && side[i].kind == literal && side[i].text != "" {
				text = side[i].text
			} else if i < len(side) && side[i].kind == param && text == "" {
				text = "x"
			}
		}
		b.WriteString("/" + text)
	}
	return b.String()
}
