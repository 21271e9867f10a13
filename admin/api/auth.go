package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// realm is named in challenges.
const realm = `realm="keyreeve"`

// AuthProblem is why a request was not let in.
type AuthProblem struct {
	// Status is 400, 401, 403 or 503.
	Status int
	// Code is the reason's, such as invalid_client.
	Code string
	// Detail is for the client; "" is the status in words.
	Detail string
	// RetryAfter is when to try again, 0 where that is no help. Sent in whole seconds.
	RetryAfter time.Duration
}

func unauthenticated(r *http.Request, a *AuthProblem) *Problem {
	p := newProblem(a.Status, a.Code, a.Detail)
	if p.Detail == "" {
		p.Detail = strings.ToLower(p.Title)
	}
	if a.RetryAfter > 0 {
		seconds := (a.RetryAfter + time.Second - 1) / time.Second
		p.header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if a.Status == http.StatusUnauthorized {
		p.header()["Www-Authenticate"] = challenges(r, a.Code)
	}
	return p
}

// challenges is WWW-Authenticate (RFC 9110 section 11.6.1). A browser gets no
// Basic challenge: it would ask its user for a secret, and keep it.
func challenges(r *http.Request, code string) []string {
	bearer := "Bearer " + realm
	if reason, known := policy.ReasonOf(code); known && reason.AboutToken() {
		bearer += `, error="invalid_token"` // RFC 6750 section 3.1
	}
	if fromBrowser(r) {
		return []string{bearer}
	}
	return []string{bearer, "Basic " + realm + `, charset="UTF-8"`}
}

func fromBrowser(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") != "" || strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "text/html")
}
