package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// QueryValue finds the parameter called name in a raw query. An empty value
// counts as absent. ambiguous says that two parsers could disagree on it: the
// name occurs twice, or in another spelling (case, encoding, blanks, `[]`,
// behind a `;`), or the value is encoded, or the name of any parameter cannot be
// decoded. It does not allocate unless a parameter's name is encoded or beyond
// ASCII.
func QueryValue(raw, name string) (value string, ambiguous bool) {
	seen := false
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		// Some parsers split at `;` too, others take it as part of the value.
		pair, behind, semicolon := strings.Cut(pair, ";")
		for behind != "" {
			var hidden string
			hidden, behind, _ = strings.Cut(behind, ";")
			if key, _, _ := strings.Cut(hidden, "="); sameName(key, name) {
				return "", true
			}
		}
		key, v, _ := strings.Cut(pair, "=")
		if !sameName(key, name) {
			continue
		}
		if seen || semicolon || key != name || strings.ContainsAny(v, "%+") {
			return "", true
		}
		seen, value = true, v
	}
	return value, false
}

// sameName reports whether some parser could take key, as written in a query,
// for the parameter called name, which is plain ASCII.
func sameName(key, name string) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case c <= ' ', c == '%', c == '+', c == '[', c == '?', c == 0x7f, c >= utf8.RuneSelf:
			return sameNameDecoded(key, name)
		}
	}
	return strings.EqualFold(key, name) // both are ASCII
}

// sameNameDecoded compares what is left of key once decoded, without what some
// parser drops around it, up to the first byte that ends a name somewhere. A key
// that cannot be decoded could be anything: parsers make of a broken escape and
// of broken UTF-8 what they like (`%u006d` is an m to some).
func sameNameDecoded(key, name string) bool {
	key = decodeFully(key)
	if strings.IndexByte(key, '%') >= 0 || !utf8.ValidString(key) {
		return true
	}
	key = strings.TrimLeftFunc(key, func(r rune) bool { return dropped(r) || r == '?' })
	ends := func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune("[=&;#", r) }
	if end := strings.IndexFunc(key, ends); end >= 0 {
		key = key[:end]
	}
	return fold(strings.TrimRightFunc(key, dropped)) == fold(name)
}

// dropped reports what parsers trim off a name: blanks, control and format
// characters (a byte order mark, a zero width space) of all of Unicode.
func dropped(r rune) bool {
	return r == '+' || unicode.IsSpace(r) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Z)
}
