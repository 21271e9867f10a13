package endpoint

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// Challenges (RFC 9110 section 11.6.1); every 401 has one.
const (
	basicChallenge  = `Basic realm="keyreeve"`
	bearerChallenge = `Bearer realm="keyreeve"`
	tokenChallenge  = bearerChallenge + `, error="invalid_token"`
)

// retryAfter is what callers are told to wait when a proven one could not be served.
const retryAfter = 5 * time.Second

// failure is an error answer in either form.
type failure struct {
	status int
	// code is the OAuth error (RFC 6749 section 5.2).
	code string
	// detail is for whoever wrote the client. Of the characters that RFC 6749
	// allows: no quotation mark, no backslash.
	detail     string
	challenge  string
	retryAfter time.Duration
}

var (
	tooEarly = failure{status: http.StatusTooEarly, code: policy.TooEarly.Code(),
		detail: "The request came as TLS early data, which could be a replay. Send it again after the handshake."}
	wrongMethod = failure{status: http.StatusMethodNotAllowed, code: codeInvalidRequest,
		detail: "This endpoint does not take this method; Allow names those that it takes."}
	tooLarge = failure{status: http.StatusRequestEntityTooLarge, code: codeInvalidRequest,
		detail: "The body is over 64 KiB."}
	// RFC 6749 section 5.2: malformed requests are answered with 400, and strict
	// clients read an error body from that status.
	wrongMediaType = failure{status: http.StatusBadRequest, code: codeInvalidRequest,
		detail: "Send the parameters as application/x-www-form-urlencoded."}
	unreadable = failure{status: http.StatusBadRequest, code: codeInvalidRequest,
		detail: "The body is no well-formed application/x-www-form-urlencoded."}
	repeated = failure{status: http.StatusBadRequest, code: codeInvalidRequest,
		detail: "A parameter is there more than once."}
	ambiguous = failure{status: http.StatusBadRequest, code: codeInvalidRequest,
		detail: "Authenticate in exactly one way, and not in the query."}
	noGrant = failure{status: http.StatusBadRequest, code: codeInvalidRequest,
		detail: "The parameter grant_type is missing."}
	noToken = failure{status: http.StatusBadRequest, code: codeInvalidRequest,
		detail: "The parameter token is missing."}
	wrongGrant = failure{status: http.StatusBadRequest, code: "unsupported_grant_type",
		detail: "The only grant is client_credentials."}
	noScopes = failure{status: http.StatusBadRequest, code: "invalid_scope",
		detail: "There are no scopes here: what a client may do is its role's. Leave the parameter out."}
	wrongAudience = failure{status: http.StatusBadRequest, code: "invalid_target", // RFC 8707 section 2
		detail: "Tokens are not issued for this audience."}
	// One answer for every cause, a missing authentication and one of another kind
	// included (RFC 6749 section 5.2).
	invalidClient = failure{status: http.StatusUnauthorized, code: policy.InvalidClient.Code(), challenge: basicChallenge,
		detail: "The client is not known or its credential is not good. Send client ID and secret, by Basic or in the body."}
	noBearer = failure{status: http.StatusUnauthorized, code: "access_denied", challenge: bearerChallenge,
		detail: "Send the access token: Authorization: Bearer."}
	invalidToken = failure{status: http.StatusUnauthorized, code: policy.InvalidToken.Code(), challenge: tokenChallenge,
		detail: "The access token is not good. Sign in again."}
	notAllowedHere = failure{status: http.StatusForbidden, code: "access_denied",
		detail: "This client may not call from this address."}
)

const codeInvalidRequest = "invalid_request"

// unavailable is the answer while the store cannot be asked.
func unavailable(wait time.Duration) failure {
	return failure{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", retryAfter: wait,
		detail: "This cannot be checked or stored at the moment. Try again."}
}

// oauthError is the body of RFC 6749 section 5.2.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// zpaError is the body that clients of the modelled product read.
type zpaError struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// fail writes a failure in the endpoint's form.
func (c *call) fail(f failure) {
	h := c.w.Header()
	if c.zpa && f.challenge == basicChallenge {
		f.challenge = bearerChallenge // Basic is not taken here, and some clients would try it unasked
	}
	if f.challenge != "" {
		h.Set("WWW-Authenticate", f.challenge)
	}
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
	}
	if c.zpa {
		c.write(zpaStatus(f), zpaBody(f))
		return
	}
	c.write(f.status, oauthError{Error: f.code, Description: f.detail})
}

// zpaStatus is 415 for a wrong media type: those clients repeat what is answered
// with 400, up to a hundred times.
func zpaStatus(f failure) int {
	if f == wrongMediaType {
		return http.StatusUnsupportedMediaType
	}
	return f.status
}

func zpaBody(f failure) zpaError {
	switch f.code {
	case policy.InvalidClient.Code():
		return zpaError{ID: "access.denied", Reason: "Access denied"}
	case policy.InvalidToken.Code():
		return zpaError{ID: "SESSION_NOT_VALID", Reason: f.detail}
	}
	return zpaError{ID: strings.ReplaceAll(f.code, "_", "."), Reason: f.detail}
}

// write sends a JSON body that nobody may keep (RFC 6749 section 5.1).
func (c *call) write(status int, body any) {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	if body == nil {
		c.w.WriteHeader(status)
		return
	}
	data, err := json.Marshal(body)
	if err != nil {
		c.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(data, '\n')) // the client may be gone
}
