package caddymodule

import (
	"io"
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
)

// The identity headers. Everything a client sends under the prefix is removed.
const (
	headerClientID      = "Keyreeve-Client-Id"
	headerKeyID         = "Keyreeve-Key-Id"
	headerKeyName       = "Keyreeve-Key-Name"
	headerCustomerID    = "Keyreeve-Customer-Id"
	headerMicrotenantID = "Keyreeve-Microtenant-Id"
	headerRole          = "Keyreeve-Role"
	headerAssertion     = "Keyreeve-Assertion"

	fencedPrefix = "keyreeve-"
)

// sessionCookies are the names of Keyreeve's own session cookie, with and without TLS.
var sessionCookies = [...]string{"__Host-keyreeve_session", "keyreeve_session"}

// overrideHeaders make some upstreams act on another method, URL or host than the
// one that was decided on. Lower case, hyphens.
var overrideHeaders = map[string]bool{
	"http-method-override":   true,
	"x-http-method-override": true,
	"x-http-method":          true,
	"x-method-override":      true,
	"x-original-method":      true,
	"x-forwarded-method":     true,
	"x-http-destinationurl":  true,
	"x-http-path-override":   true,
	"x-override-url":         true,
	"x-original-url":         true,
	"x-original-uri":         true,
	"x-original-path":        true,
	"x-original-host":        true,
	"x-envoy-original-path":  true,
	"x-request-uri":          true,
	"x-rewrite-url":          true,
	"x-forwarded-uri":        true,
	"x-forwarded-path":       true,
}

// The lengths of those names, in bytes.
const (
	minOverride = len("x-http-method")
	maxOverride = len("x-http-method-override")
)

// fence removes from the request what the upstream must not receive: whatever
// looks like an identity, credentials, overrides, protocol switches other than
// to WebSocket.
func (g *Gate) fence(r *http.Request, v *verdict) {
	cookies, connection, upgrade := false, false, false
	for name := range r.Header { // every name has to be looked at: see fenced
		switch name {
		case "Cookie":
			cookies = true
		case "Connection":
			connection = true
		case "Upgrade":
			upgrade = true
		default:
			if g.fenced(name) {
				delete(r.Header, name)
			}
		}
	}
	forward := g.ForwardCredentials
	if v.Reason == policy.Public {
		forward = v.Route.ForwardCredentials
	}
	if !forward {
		credential.Strip(r.Header, g.forms)
	}
	if cookies {
		fenceCookies(r.Header, r.Header["Cookie"])
	}
	if upgrade {
		fenceUpgrade(r.Header)
	}
	if connection {
		fenceConnection(r.Header, r.Header["Connection"])
	}
	if r.Trailer != nil && r.Body != nil {
		// Trailers arrive after this handler: the declared names are taken away now,
		// what comes in under others when the body ends.
		g.fenceTrailer(r.Trailer)
		r.Body = &trailerFence{ReadCloser: r.Body, gate: g, trailer: r.Trailer}
	}
}

// fenced reports whether a header of this name must not pass. Upstreams of CGI
// descent (RFC 3875 section 4.1.18) turn `-` into `_`, and many of them whatever
// else is no letter or digit, so that all such spellings are one name.
func (g *Gate) fenced(name string) bool {
	if name == "" {
		return false
	}
	switch name[0] {
	case 'k', 'K':
		return isIdentityName(name)
	case 'x', 'X', 'h', 'H':
		return !g.ForwardOverrides && isOverrideName(name)
	}
	return false
}

func isIdentityName(name string) bool {
	if len(name) < len(fencedPrefix) {
		return false
	}
	for i := range len(fencedPrefix) {
		if plainByte(name[i]) != fencedPrefix[i] {
			return false
		}
	}
	return true
}

func isOverrideName(name string) bool {
	if len(name) < minOverride || len(name) > maxOverride {
		return false
	}
	var plain [maxOverride]byte
	for i := range len(name) {
		plain[i] = plainByte(name[i])
	}
	return overrideHeaders[string(plain[:len(name)])] // this conversion does not allocate
}

// plainByte maps the spellings of a header name's byte to one.
func plainByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c | 0x20
	}
	return '-'
}

// fenceCookies takes Keyreeve's own session cookie out.
func fenceCookies(h http.Header, lines []string) {
	kept := make([]string, 0, len(lines))
	changed := false
	for _, line := range lines {
		if !strings.Contains(line, "keyreeve_session") {
			kept = append(kept, line)
			continue
		}
		var pairs []string
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			name, _, _ := strings.Cut(pair, "=")
			if name = strings.TrimSpace(name); name == sessionCookies[0] || name == sessionCookies[1] {
				changed = true
				continue
			}
			pairs = append(pairs, pair)
		}
		if len(pairs) > 0 {
			kept = append(kept, strings.Join(pairs, "; "))
		}
	}
	switch {
	case !changed:
	case len(kept) == 0:
		delete(h, "Cookie")
	default:
		h["Cookie"] = kept
	}
}

// fenceUpgrade leaves only an upgrade to WebSocket: after any other the bytes
// that follow would be requests nobody examined.
func fenceUpgrade(h http.Header) {
	upgrade := h["Upgrade"]
	if len(upgrade) == 0 || (len(upgrade) == 1 && strings.EqualFold(strings.TrimSpace(upgrade[0]), "websocket")) {
		return
	}
	delete(h, "Upgrade")
	delete(h, "Http2-Settings")
	removeTokens(h, func(token string) bool {
		return strings.EqualFold(token, "upgrade") || strings.EqualFold(token, "http2-settings")
	})
}

// fenceConnection keeps a client from having identity headers taken away: the
// proxy behind removes every header that Connection names (RFC 9110 section
// 7.6.1), after this handler has set them.
func fenceConnection(h http.Header, lines []string) {
	for _, line := range lines {
		if strings.ContainsAny(line, "kK") {
			removeTokens(h, isIdentityName)
			return
		}
	}
}

// removeTokens rebuilds Connection without the tokens that match.
func removeTokens(h http.Header, match func(token string) bool) {
	var kept []string
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if token = strings.TrimSpace(token); token != "" && !match(token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}

// fenceTrailer removes what must not pass as a trailer: the above, and whatever
// decides how a message is read or who sent it (RFC 9110 section 6.5.1).
func (g *Gate) fenceTrailer(trailer http.Header) {
	credential.Strip(trailer, credential.FormHeader|credential.FormAPIKey)
	for name := range trailer {
		if g.fenced(name) || name == "Cookie" || name == "Connection" || name == "Host" {
			delete(trailer, name)
		}
	}
}

// trailerFence filters trailers at the end of the body. The map is the one that
// net/http fills, undeclared names included.
type trailerFence struct {
	io.ReadCloser
	gate    *Gate
	trailer http.Header
}

func (t *trailerFence) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.gate.fenceTrailer(t.trailer)
	}
	return n, err
}

// setIdentity tells the upstream who calls.
func (v *verdict) setIdentity(h http.Header) {
	key, values := v.Key, &v.headers
	values[0], h[headerClientID] = key.ClientID, values[0:1:1]
	values[1], h[headerKeyID] = key.ID, values[1:2:2]
	values[2], h[headerKeyName] = escapeName(key.Name), values[2:3:3]
	values[3], h[headerCustomerID] = key.CustomerID, values[3:4:4]
	values[4], h[headerRole] = v.Role.ID, values[4:5:5]
	if key.MicrotenantID != "" {
		values[5], h[headerMicrotenantID] = key.MicrotenantID, values[5:6:6]
	}
	if v.assertion != "" {
		h[headerAssertion] = []string{v.assertion}
	}
}

// escapeName percent-encodes all but the unreserved characters (RFC 3986 section
// 2.3), so that any decoder gives the name back.
func escapeName(name string) string {
	i := 0
	for i < len(name) && isUnreserved(name[i]) {
		i++
	}
	if i == len(name) {
		return name
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(name) + 2*(len(name)-i))
	b.WriteString(name[:i])
	for ; i < len(name); i++ {
		c := name[i]
		if isUnreserved(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
