package credential

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// PathClass says how plain an acceptable path is; 0 is not acceptable at all.
type PathClass uint8

const (
	// PathPlain has one reading, whoever parses it.
	PathPlain PathClass = iota + 1
	// PathOdd holds an encoded slash (%2F), an encoded percent sign (%25), a
	// semicolon (raw or %3B) or an empty segment (//): parsers differ about these,
	// so a path with one is for routes that admit it only.
	PathOdd
)

const (
	// maxPath bounds the escaped path, in bytes.
	maxPath = 8 << 10
	// maxDecodings is how many layers of percent-encoding are looked through; one
	// layer more is refused, since looking through n costs n passes.
	maxDecodings = 4
	// pathOnStack is the longest path that is decoded without allocating.
	pathOnStack = 512
)

// CheckPath examines an escaped path as it is on the wire. It is false for what
// some parser behind the gate could read as another path, no matter the route:
//
//   - an empty path, one that does not begin with a slash, one over 8 KiB;
//   - a byte outside RFC 3986 pchar and "/": backslash, "#", "?", quotes,
//     brackets, white space, controls, anything from 0x80 up;
//   - a percent sign without two hex digits;
//   - an encoded control character (%00 to %1F, %7F) or backslash (%5C);
//   - a segment "." or "..", also before a semicolon;
//   - bytes that decode to invalid UTF-8, overlong forms included.
//
// The last three hold however often the path is decoded, up to four times, and
// with %2F taken for a slash; a path that can be decoded once more is refused.
// What is left is PathPlain or PathOdd.
func CheckPath(escaped string) (PathClass, bool) {
	class, _, ok := checkPath(escaped)
	return class, ok
}

// checkPath is CheckPath. literal reports further that every byte stands for
// itself and net/url would not write it otherwise.
func checkPath(escaped string) (class PathClass, literal, ok bool) {
	if escaped == "" || escaped[0] != '/' || len(escaped) > maxPath {
		return 0, false, false
	}
	class = PathPlain
	decode := false
	every := uint8(pathLiteral)
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		bits := byteClass[c]
		every &= bits
		if bits&pathPlain != 0 {
			continue
		}
		if bits&pathSpecial == 0 {
			return 0, false, false
		}
		switch c {
		case '/':
			if i+1 < len(escaped) {
				switch escaped[i+1] {
				case '/':
					class = PathOdd
				case '.': // a dot segment begins, or only a name such as .well-known
					decode = true
				}
			}
		case ';':
			class = PathOdd
		case '%':
			if i+2 >= len(escaped) {
				return 0, false, false
			}
			v, ok := unhex(escaped[i+1], escaped[i+2])
			if !ok {
				return 0, false, false
			}
			if v == '/' || v == '%' || v == ';' {
				class = PathOdd
			}
			decode = true
			i += 2
		}
	}
	if decode && !decodesSafely(escaped) {
		return 0, false, false
	}
	return class, every != 0, true
}

// decodesSafely applies the rules that hold for a path after decoding to each
// layer of it.
func decodesSafely(escaped string) bool {
	var stack [pathOnStack]byte
	decoded := stack[:]
	if len(escaped) > len(stack) {
		decoded = make([]byte, len(escaped))
	}
	decoded = decoded[:copy(decoded, escaped)]
	for range maxDecodings {
		shorter := percentDecode(decoded)
		if !safeLayer(shorter) {
			return false
		}
		if len(shorter) == len(decoded) {
			return true
		}
		decoded = shorter
	}
	return len(percentDecode(decoded)) == len(decoded)
}

// safeLayer is false for controls, backslashes, dot segments and invalid UTF-8.
func safeLayer(path []byte) bool {
	segment := 0 // where the current one begins
	ended := false
	for i, c := range path {
		switch {
		case c < ' ' || c == 0x7f || c == '\\':
			return false
		case c == '/':
			if !ended && isDots(path[segment:i]) {
				return false
			}
			segment, ended = i+1, false
		case c == ';' && !ended: // parameters follow (RFC 3986 section 3.3)
			if isDots(path[segment:i]) {
				return false
			}
			ended = true
		}
	}
	return (ended || !isDots(path[segment:])) && utf8.Valid(path)
}

func isDots(segment []byte) bool {
	return len(segment) == 1 && segment[0] == '.' ||
		len(segment) == 2 && segment[0] == '.' && segment[1] == '.'
}

// DecidablePath is the path to decide on: byte for byte what will leave the
// gate, so that no later parser can tidy it into another. u is the URL as it
// will be forwarded, requestURI the target as it was received; both must pass
// CheckPath, and the worse class is returned. Refused are an opaque URL, one
// whose RawPath does not belong to its Path, a fragment anywhere in the target,
// user information in it, and targets without a path of their own: `*` and
// CONNECT's authority. Only an absolute target with an empty path,
// `http://host`, stands for "/" (RFC 9110 section 4.2.3).
func DecidablePath(u *url.URL, requestURI string) (path string, class PathClass, ok bool) {
	if u.Opaque != "" {
		return "", 0, false
	}
	if u.RawPath == "" && u.Path == requestURI {
		// The usual case, in one pass: a literal path has no query and no fragment,
		// and EscapedPath would leave it as it is.
		if class, literal, ok := checkPath(requestURI); ok && literal {
			return requestURI, class, true
		}
	}
	received, ok := targetPath(requestURI)
	if !ok {
		return "", 0, false
	}
	if u.RawPath == "" && u.Path == received {
		if class, literal, ok := checkPath(received); ok && literal {
			return received, class, true
		}
	}
	path = u.EscapedPath()
	if u.RawPath != "" && u.RawPath != path {
		return "", 0, false
	}
	if path == "" && received == "/" {
		path = "/" // which is what net/http sends
	}
	class, ok = CheckPath(path)
	if !ok {
		return "", 0, false
	}
	if received == path {
		return path, class, true
	}
	receivedClass, ok := CheckPath(received) // the URL was rewritten before the gate
	if !ok {
		return "", 0, false
	}
	return path, max(class, receivedClass), true
}

// targetPath is the raw path of a request target in origin-form or absolute-form
// (RFC 9112 section 3.2); false for the other forms.
func targetPath(target string) (string, bool) {
	if strings.IndexByte(target, '#') >= 0 {
		return "", false
	}
	target, _, _ = strings.Cut(target, "?")
	if strings.HasPrefix(target, "/") {
		return target, true
	}
	scheme, rest, found := strings.Cut(target, "://")
	if !found || !isScheme(scheme) {
		return "", false
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		slash = len(rest)
	}
	// No authority, or user information in it (RFC 9110 section 4.2.4).
	if slash == 0 || strings.IndexByte(rest[:slash], '@') >= 0 {
		return "", false
	}
	if path := rest[slash:]; path != "" {
		return path, true
	}
	return "/", true
}

// isScheme follows RFC 3986 section 3.1.
func isScheme(s string) bool {
	if s == "" || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("+-.", s[i]) < 0 {
			return false
		}
	}
	return true
}
