package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// decodeFully percent-decodes s until nothing is left to decode, in one pass:
// whenever the output ends in an escape, that is decoded in turn. Escapes
// cannot overlap, so the order does not matter. Broken escapes stay.
func decodeFully(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		out = append(out, s[i])
		for n := len(out); n >= 3 && out[n-3] == '%'; n = len(out) {
			high, low := unhex(out[n-2]), unhex(out[n-1])
			if high < 0 || low < 0 {
				break
			}
			out = append(out[:n-3], byte(high<<4|low))
		}
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// fold maps the spellings of s that differ only in case to one (Unicode simple
// case folding; letters that fold to ASCII become it, as U+212A becomes k).
func fold(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b.WriteByte(s[i])
		} else {
			b.WriteRune(foldRune(r))
		}
		i += size
	}
	return b.String()
}

// foldRune is the ASCII letter in r's orbit in lower case, or the orbit's least rune.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if 'A' <= least && least <= 'Z' {
		return least + 'a' - 'A'
	}
	return least
}

// normalPath is path (from its leading slash) as a lax server might read it:
// fully decoded, backslashes as slashes, `;params`, empty segments and the
// trailing slash gone, case folded; without the leading slash. dots reports a
// segment that is `.` or `..` then.
func normalPath(path string) (normal string, dots bool) {
	var b strings.Builder
	b.Grow(len(path))
	isSlash := func(r rune) bool { return r == '/' || r == '\\' }
	for part := range strings.FieldsFuncSeq(decodeFully(path), isSlash) {
		part, _, _ = strings.Cut(part, ";")
		if part == "" {
			continue
		}
		dots = dots || part == "." || part == ".."
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(fold(part))
	}
	return b.String(), dots
}

// spelling says how far a path is from normal form.
type spelling uint8

const (
	normalSpelling spelling = iota
	foldedSpelling          // letters in capitals or a trailing slash: compared as it is
	oddSpelling             // has to be rewritten by normalPath first
)

func spellingOf(path string) spelling {
	s := normalSpelling
	for i := 1; i < len(path); i++ {
		switch c := path[i]; {
		case 'A' <= c && c <= 'Z':
			s = foldedSpelling
		case c == '%', c == ';', c == '\\', c >= utf8.RuneSelf, c == '/' && path[i-1] == '/':
			return oddSpelling
		}
	}
	if s == normalSpelling && strings.HasSuffix(path, "/") {
		s = foldedSpelling
	}
	return s
}
