package policy

import (
	"strings"
	"unicode/utf8"
)

// queryValue finds the parameter called name in a raw query. An empty value
// counts as absent. ambiguous says that two parsers could disagree on it: the
// name occurs twice, or in another spelling (case, encoding, blanks, `[]`,
// behind a `;`), or the value is encoded. It does not allocate unless a
// parameter's name is encoded or beyond ASCII.
func queryValue(raw, name string) (value string, ambiguous bool) {
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
		case c <= ' ', c == '%', c == '+', c == '[', c == 0x7f, c >= utf8.RuneSelf:
			return sameNameDecoded(key, name)
		}
	}
	return strings.EqualFold(key, name) // both are ASCII
}

// sameNameDecoded compares what is left of key once decoded, without blanks and
// control characters around it, up to the first byte that ends a name somewhere.
func sameNameDecoded(key, name string) bool {
	blank := func(r rune) bool { return r <= ' ' || r == '+' || r == 0x7f }
	key = strings.TrimLeftFunc(decodeFully(key), blank)
	ends := func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune("[=&;#", r) }
	if end := strings.IndexFunc(key, ends); end >= 0 {
		key = key[:end]
	}
	return fold(strings.TrimRightFunc(key, blank)) == fold(name)
}
