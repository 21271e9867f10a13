package policy

import (
	"slices"
	"time"
)

// Reason says why a request was let through or refused. It is the vocabulary
// shared by answers, logs, metrics and audit; the HTTP status and challenge of
// each are chosen in one place, where a Decision becomes an answer.
type Reason uint8

// The reasons, in the order in which a request is examined.
const (
	Allowed             Reason = iota // proven and permitted
	Public                            // a public route: nobody asked who calls
	TooEarly                          // TLS early data could be replayed (RFC 8470)
	AmbiguousPath                     // two parsers could read the path differently
	CredentialsRequired               // no credential at all
	InvalidRequest                    // more than one credential, or one in a forbidden place
	InvalidClient                     // unknown, wrong, disabled, expired, locked: never told apart outside
	InvalidToken                      // the token itself is not good
	ClientInactive                    // the token is good, its client no longer is
	ClientLocked                      // the token is good, its client is locked
	SourceNotAllowed                  // the token is good, it comes from outside the key's networks
	StoreUnavailable                  // not known here and the store cannot be asked
	InvalidRevision                   // Keyreeve-Min-Revision names none that the store has given
	NoRoute                           // no rule names this method and path: deny by default
	AmbiguousQuery                    // the microtenant parameter is repeated or oddly spelt
	MicrotenantRequired               // a key inside a microtenant must name it
	TenantMismatch                    // the named customer or microtenant is not the key's
	PermissionDenied                  // the role does not hold the permission
	reasonCount
)

var reasonCodes = [reasonCount]string{
	Allowed:             "allowed",
	Public:              "public",
	TooEarly:            "too_early",
	AmbiguousPath:       "ambiguous_path",
	CredentialsRequired: "credentials_required",
	InvalidRequest:      "invalid_request",
	InvalidClient:       "invalid_client",
	InvalidToken:        "invalid_token",
	ClientInactive:      "client_inactive",
	ClientLocked:        "client_locked",
	SourceNotAllowed:    "source_not_allowed",
	StoreUnavailable:    "store_unavailable",
	InvalidRevision:     "invalid_revision",
	NoRoute:             "no_route",
	AmbiguousQuery:      "ambiguous_query",
	MicrotenantRequired: "microtenant_required",
	TenantMismatch:      "tenant_mismatch",
	PermissionDenied:    "permission_denied",
}

// Code is the reason's stable machine-readable name, the `code` of an error body.
func (r Reason) Code() string {
	if r < reasonCount {
		return reasonCodes[r]
	}
	return "unknown"
}

// ReasonOf is the reason with that code; false if there is none.
func ReasonOf(code string) (Reason, bool) {
	i := slices.Index(reasonCodes[:], code)
	return Reason(max(i, 0)), i >= 0
}

// AboutToken reports that an access token was refused that might be replaced by
// signing in again: `invalid_token` of RFC 6750 section 3.1.
func (r Reason) AboutToken() bool {
	return r == InvalidToken || r == ClientInactive || r == ClientLocked
}

// String is Code.
func (r Reason) String() string { return r.Code() }

// Reasons lists every reason, for tables and tests.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Decision is the outcome of examining one request: a plain value, without any
// notion of HTTP.
type Decision struct {
	// Allow is true only for Allowed and Public.
	Allow bool
	// Reason is why.
	Reason Reason
	// Detail is the internal cause where Reason hides one (a disabled key and a
	// wrong secret are both InvalidClient). For logs only, never for the client.
	Detail string
	// Route is the rule that matched, nil if the examination ended before one did.
	Route *Route
	// Action is the single action the route asked for, 0 before a route matched.
	Action Mask
	// RetryAfter is how long to wait before trying again; 0 where trying again is no help.
	RetryAfter time.Duration
}

// Deny is the refusal for reason r.
func Deny(r Reason) Decision { return Decision{Reason: r} }

// Scope is `resource:action`, the permission the matched route asks for
// (RFC 6750 section 3 `scope`), or "" before a route matched.
func (d Decision) Scope() string {
	if d.Route == nil {
		return ""
	}
	return d.Route.Resource + ":" + d.Action.String()
}
