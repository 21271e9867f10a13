package credential

import (
	"net/http"
	"net/url"
	"strings"
)

// FormBody is `client_id` and `client_secret` in a form-encoded body (RFC 6749
// section 2.3.1). Only ExtractClient reads it.
const FormBody Forms = 1 << 4

// Parameters of a form-encoded body by which a client authenticates.
const (
	paramClientID      = "client_id"
	paramClientSecret  = "client_secret"
	paramAssertion     = "client_assertion"
	paramAssertionType = "client_assertion_type"
)

// maxClientEncoded bounds a Basic value whose two parts have every byte
// percent-encoded before the base64.
const maxClientEncoded = (3*maxPair + 2) / 3 * 4

// Client is what a client authenticated with at an OAuth endpoint. However it is
// printed, it shows the form and the client ID only.
type Client struct {
	Credential
	// literal is the secret of a Basic credential as it stands, where decoding it
	// changed it; "" where the two are the same.
	literal string
}

// Spellings lists what the secret can be: the standard's reading first, and, for
// the many clients that put client ID and secret into Basic as they are, the
// literal one.
func (c Client) Spellings() []string {
	if c.literal == "" {
		return []string{c.Secret}
	}
	return []string{c.Secret, c.literal}
}

// ExtractClient reads the one client authentication of a request to an OAuth
// endpoint: `Authorization: Basic`, whose two parts are form-encoded (RFC 6749
// section 2.3.1), or `client_id` and `client_secret` of the body. forms says
// which of FormBasic, FormBody and FormBearer the endpoint takes. No parameter
// of the body may be repeated; the caller has seen to that.
//
// A second method beside the first is Ambiguous, as is a credential in the query
// (RFC 6749 section 2.3). A method that the endpoint does not take is Missing,
// an assertion (RFC 7521 section 4.2) included. A client_id beside Basic
// identifies the client once more and must be the same.
func ExtractClient(h http.Header, rawQuery string, body url.Values, forms Forms) (Client, Problem) {
	if rawQuery != "" && queryNamesCredential(rawQuery) {
		return Client{}, Ambiguous
	}
	auth := h[headerAuthorization]
	id, secret := body.Get(paramClientID), body.Get(paramClientSecret)
	methods := 0
	for _, used := range [...]bool{first(auth) != "", secret != "", body.Get(paramAssertion) != "" || body.Get(paramAssertionType) != ""} {
		if used {
			methods++
		}
	}
	switch {
	case len(auth) > 1 || methods > 1:
		return Client{}, Ambiguous
	case secret != "" && forms&FormBody != 0:
		c, problem := pair(FormBody, id, secret)
		return Client{Credential: c}, problem
	case first(auth) == "":
		return Client{}, Missing
	}
	c, problem := clientAuthorization(first(auth), forms)
	if problem == None && c.Form == FormBasic && id != "" && id != c.ClientID {
		return Client{}, Ambiguous
	}
	return c, problem
}

func clientAuthorization(value string, forms Forms) (Client, Problem) {
	scheme, rest := cutScheme(value)
	if !equalFold(scheme, "basic") || forms&FormBasic == 0 {
		c, problem := authorization(value, forms&FormBearer)
		return Client{Credential: c}, problem
	}
	if joined(value, true) {
		return Client{}, Ambiguous
	}
	return decodeClientBasic(rest)
}

// decodeClientBasic reads Basic as RFC 6749 section 2.3.1 has it. A client ID has
// no character that decoding could change, so it may come either way; a part
// that is not form-encoded at all stands for itself.
func decodeClientBasic(encoded string) (Client, Problem) {
	if len(encoded) > maxClientEncoded {
		return Client{}, MalformedClient
	}
	plain, err := strictBase64.DecodeString(encoded)
	if err != nil || strictBase64.EncodedLen(len(plain)) != len(encoded) {
		return Client{}, MalformedClient
	}
	id, literal, _ := strings.Cut(string(plain), ":")
	if decoded, err := url.QueryUnescape(id); err == nil {
		id = decoded
	}
	secret, err := url.QueryUnescape(literal)
	if err != nil || !validSecret(secret) {
		secret = literal
	}
	c, problem := pair(FormBasic, id, secret)
	if problem != None {
		return Client{}, problem
	}
	if literal == secret || !validSecret(literal) {
		literal = ""
	}
	return Client{Credential: c, literal: literal}, None
}
