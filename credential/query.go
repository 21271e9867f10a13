package credential

import "strings"

// forbiddenQuery are the parameters that carry a credential where URLs are
// logged (RFC 6750 section 5.3, RFC 6749 section 2.3.1).
var forbiddenQuery = [...]string{"access_token", "client_secret"}

// maxQueryName bounds the names that are decoded, in bytes: room for a forbidden
// one with every byte encoded, and the percent signs as often as is looked through.
const maxQueryName = 160

// minQueryName is the shortest forbidden name, in bytes.
const minQueryName = len("access_token")

// queryNamesCredential reports a forbidden parameter in a raw query: in any
// case, however percent-encoded, `&` or `;` before it. Values do not matter.
func queryNamesCredential(raw string) bool {
	for raw != "" {
		parameter := raw
		if i := strings.IndexAny(raw, "&;"); i >= 0 {
			parameter, raw = raw[:i], raw[i+1:]
		} else {
			raw = ""
		}
		name, _, _ := strings.Cut(parameter, "=")
		if forbiddenName(name) {
			return true
		}
	}
	return false
}

func forbiddenName(name string) bool {
	if strings.IndexByte(name, '%') < 0 {
		return matchesForbidden(name)
	}
	if len(name) > maxQueryName || len(name) < minQueryName { // decoding only shortens
		return false
	}
	// Decoded as by a chain of parsers, each of which decodes once.
	var buf [maxQueryName]byte
	decoded := buf[:copy(buf[:], name)]
	for range maxDecodings {
		decoded = percentDecode(decoded)
	}
	return matchesForbidden(string(decoded))
}

func matchesForbidden(name string) bool {
	for _, f := range forbiddenQuery {
		if equalFold(name, f) {
			return true
		}
	}
	return false
}

// percentDecode decodes every valid triplet of b in place, once, and leaves the
// others as they are.
func percentDecode(b []byte) []byte {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' && i+2 < len(b) {
			if v, ok := unhex(b[i+1], b[i+2]); ok {
				c, i = v, i+2
			}
		}
		b[n] = c
		n++
	}
	return b[:n]
}

// unhex is the byte that two hex digits stand for.
func unhex(hi, lo byte) (byte, bool) {
	h, l := hexValue(hi), hexValue(lo)
	return h<<4 | l&0x0f, h < 16 && l < 16
}

// hexValue is 0 to 15, or more for what is no hex digit.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
