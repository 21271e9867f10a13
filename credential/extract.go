package credential

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Forms is a set of ways to present a credential.
type Forms uint8

// The forms a gate can enable.
const (
	// FormBasic is `Authorization: Basic` (RFC 7617) with client ID and secret.
	FormBasic Forms = 1 << iota
	// FormBearer is `Authorization: Bearer` (RFC 6750 section 2.1).
	FormBearer
	// FormHeader is X-Client-Id together with X-Client-Secret.
	FormHeader
	// FormAPIKey is `X-API-Key: <client ID>.<secret>`. The first dot separates, so
	// an imported client ID that contains one cannot be presented in this form.
	FormAPIKey
)

// Header names as net/http spells them, so that they index a map directly.
const (
	headerAuthorization = "Authorization"
	headerClientID      = "X-Client-Id"
	headerClientSecret  = "X-Client-Secret"
	headerAPIKey        = "X-Api-Key"
)

const (
	// MaxBearer is the longest bearer token accepted, in bytes.
	MaxBearer = 16 << 10
	// maxBearerDots is how many dots a JWS in compact form has (RFC 7515 section 3.1).
	maxBearerDots = 2
	// maxPair is client ID, colon and secret at their longest, far below the 8 KiB
	// that bound an Authorization value elsewhere.
	maxPair        = MaxClientID + 1 + MaxSecret
	maxPairEncoded = (maxPair + 2) / 3 * 4
)

// Credential is what one request was presented with: client ID and secret, or a
// token. However it is printed, it shows the form and the client ID only.
type Credential struct {
	// Form is the single form the credential came in.
	Form Forms
	// ClientID satisfies ValidClientID; "" with FormBearer.
	ClientID string
	// Secret is 1 to 256 bytes of UTF-8 without control characters; "" with FormBearer.
	Secret string
	// Token is the bearer token, not yet verified; "" but with FormBearer.
	Token string
}

// Problem is why there is no credential to prove.
type Problem uint8

// The problems, each with the answer it calls for.
const (
	// None: there is exactly one credential, in good form.
	None Problem = iota
	// Missing: no credential in an enabled form; 401 credentials_required.
	Missing
	// Ambiguous: more than one, or one in a forbidden place; 400 invalid_request.
	Ambiguous
	// MalformedClient: no client can have it; 401 invalid_client.
	MalformedClient
	// MalformedToken: no token can look like it; 401 invalid_token.
	MalformedToken
)

// String is a word for logs.
func (p Problem) String() string {
	switch p {
	case None:
		return "none"
	case Missing:
		return "missing"
	case Ambiguous:
		return "ambiguous"
	case MalformedClient:
		return "malformed client"
	case MalformedToken:
		return "malformed token"
	}
	return "unknown"
}

// Extract reads the one credential of a request. With any Problem but None the
// Credential is zero.
//
// The header fields of FormHeader and FormAPIKey are not looked at unless
// enabled. Authorization always is: a second credential beside it is Ambiguous
// whatever its scheme; alone, with a scheme that is unknown or not enabled, it
// is Missing. `access_token` and `client_secret` in the query are Ambiguous in
// every case, because URLs end up in logs.
//
// Header values are those of net/http: names canonical, outer white space gone.
func Extract(h http.Header, rawQuery string, forms Forms) (Credential, Problem) {
	if rawQuery != "" && queryNamesCredential(rawQuery) {
		return Credential{}, Ambiguous
	}
	var id, secret, key []string
	if forms&FormHeader != 0 {
		id, secret = h[headerClientID], h[headerClientSecret]
	}
	if forms&FormAPIKey != 0 {
		key = h[headerAPIKey]
	}
	auth := h[headerAuthorization]
	if len(auth) > 1 || len(id) > 1 || len(secret) > 1 || len(key) > 1 {
		return Credential{}, Ambiguous
	}
	value := first(auth)
	hasAuth, hasPair, hasKey := value != "", len(id)+len(secret) > 0, len(key) > 0
	if hasAuth && (hasPair || hasKey) || hasPair && hasKey {
		return Credential{}, Ambiguous
	}
	switch {
	case hasPair:
		return pair(FormHeader, first(id), first(secret))
	case hasKey:
		before, after, _ := strings.Cut(key[0], ".")
		return pair(FormAPIKey, before, after)
	case hasAuth:
		return authorization(value, forms)
	}
	return Credential{}, Missing
}

// Strip removes the header fields that can carry a credential: Authorization
// always, those of the other forms where enabled.
func Strip(h http.Header, forms Forms) {
	delete(h, headerAuthorization)
	if forms&FormHeader != 0 {
		delete(h, headerClientID)
		delete(h, headerClientSecret)
	}
	if forms&FormAPIKey != 0 {
		delete(h, headerAPIKey)
	}
}

// authorization reads an Authorization value (RFC 9110 section 11.4: scheme,
// spaces, credential; the scheme's case does not matter).
func authorization(value string, forms Forms) (Credential, Problem) {
	scheme, rest := cutScheme(value)
	basic, bearer := equalFold(scheme, "basic"), equalFold(scheme, "bearer")
	if joined(value, basic || bearer) {
		return Credential{}, Ambiguous
	}
	switch {
	case basic && forms&FormBasic != 0:
		return decodeBasic(rest)
	case bearer && forms&FormBearer != 0:
		if !validBearer(rest) {
			return Credential{}, MalformedToken
		}
		return Credential{Form: FormBearer, Token: rest}, None
	}
	return Credential{}, Missing
}

// cutScheme splits at the first white space. Only spaces are skipped behind it,
// so that a tab, which the grammar does not allow there, stays and is refused.
func cutScheme(value string) (scheme, rest string) {
	for i := range len(value) {
		if c := value[i]; c == ' ' || c == '\t' {
			return value[:i], strings.TrimLeft(value[i:], " ")
		}
	}
	return value, ""
}

// joined reports several credentials in one value, as an intermediary makes of
// repeated fields (RFC 9110 section 5.3). Neither base64 nor a token contains a
// comma; other schemes may, between their parameters.
func joined(value string, known bool) bool {
	_, after, found := strings.Cut(value, ",")
	if known {
		return found
	}
	for found {
		var element string
		element, after, found = strings.Cut(after, ",")
		scheme, _ := cutScheme(strings.TrimLeft(element, " \t"))
		if equalFold(scheme, "basic") || equalFold(scheme, "bearer") {
			return true
		}
	}
	return false
}

// strictBase64 is base64 as RFC 7617 has it: padded, no stray bits at the end.
var strictBase64 = base64.StdEncoding.Strict()

// decodeBasic reads user-id ":" password (RFC 7617 section 2). The only
// allocation is the string that client ID and secret share.
func decodeBasic(encoded string) (Credential, Problem) {
	var dst [maxPairEncoded / 4 * 3]byte
	if len(encoded) > maxPairEncoded {
		return Credential{}, MalformedClient
	}
	n, err := strictBase64.Decode(dst[:], []byte(encoded)) // the compiler makes no copy
	// The decoder skips line ends, so what it read may be less than was there.
	if err != nil || strictBase64.EncodedLen(n) != len(encoded) {
		return Credential{}, MalformedClient
	}
	id, secret, _ := strings.Cut(string(dst[:n]), ":")
	return pair(FormBasic, id, secret)
}

// pair makes a credential of a client ID and a secret that some client could have.
func pair(form Forms, id, secret string) (Credential, Problem) {
	if !ValidClientID(id) || !validSecret(secret) {
		return Credential{}, MalformedClient
	}
	return Credential{Form: form, ClientID: id, Secret: secret}, None
}

// validSecret is 1 to 256 bytes of UTF-8 without control characters (RFC 7617
// section 2). Secrets of Keyreeve's own are narrower, imported ones are not.
func validSecret(s string) bool {
	if s == "" || len(s) > MaxSecret {
		return false
	}
	rest := s
	for len(rest) >= 8 && printableASCII(binary.LittleEndian.Uint64([]byte(rest[:8]))) {
		rest = rest[8:]
	}
	for i := range len(rest) {
		if rest[i] < ' ' || rest[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(rest) // what was taken off is whole characters
}

// printableASCII reports whether none of eight bytes is a control character or
// beyond ASCII: the top bit of each byte tells, at or above 0x80, below 0x20, or
// equal to 0x7f.
func printableASCII(eight uint64) bool {
	const each = 0x0101010101010101
	del := eight ^ 0x7f*each
	return (eight|(eight-0x20*each)|(del-each)&^del)&(0x80*each) == 0
}

// validBearer is a b64token of RFC 6750 section 2.1, and within bounds that make
// everything behind it cheap to refuse.
func validBearer(token string) bool {
	if len(token) > MaxBearer {
		return false
	}
	body := strings.TrimRight(token, "=")
	if body == "" || strings.Count(body, ".") > maxBearerDots {
		return false
	}
	all := uint8(b64token)
	for i := range len(body) {
		all &= byteClass[body[i]]
	}
	return all != 0
}

// String shows the form and the client ID.
func (c Credential) String() string {
	switch c.Form {
	case FormBasic:
		return "basic credential of " + c.ClientID
	case FormBody:
		return "body credential of " + c.ClientID
	case FormBearer:
		return "bearer token"
	case FormHeader:
		return "header credential of " + c.ClientID
	case FormAPIKey:
		return "apikey credential of " + c.ClientID
	}
	return "no credential"
}

// GoString is String.
func (c Credential) GoString() string { return c.String() }

// Format writes String whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText is String; JSON and YAML use it.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// equalFold compares ASCII letters without case. With equal lengths in bytes no
// longer character can fold into the ASCII word.
func equalFold(s, word string) bool { return len(s) == len(word) && strings.EqualFold(s, word) }
