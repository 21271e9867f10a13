package session

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members, unlike encoding/json

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// tokenType is the header's typ (RFC 9068 section 2.1).
	tokenType = "at+jwt"
	// leeway is how far a token's nbf and iat may lie ahead of this node's clock.
	leeway = 60 * time.Second
	// maxTime bounds the times in a token: the year 9999, far from any overflow.
	maxTime = 253402300799
)

// ErrInvalid is what every token that is not good is refused with; the error
// that wraps it says why, for logs.
var ErrInvalid = errors.New("invalid token")

// ErrEnded is an ErrInvalid: a token of ours whose session was ended early, as far as this
// node knows. Others may not know it yet.
var ErrEnded = fmt.Errorf("%w: session ended", ErrInvalid)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Claims is what a token says (RFC 9068 section 2.2).
type Claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	// Subject is the client itself, the resource owner of its own grant.
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	// ID is the jti: the session's id, see keystore.SessionID.
	ID string `json:"jti"`
	// The times are seconds since the epoch.
	IssuedAt  int64 `json:"iat"`
	NotBefore int64 `json:"nbf"`
	Expires   int64 `json:"exp"`

	Customer    string `json:"customer"`
	Microtenant string `json:"microtenant,omitempty"`
}

// newSessionID makes a jti.
func newSessionID(generation int64, secretID string) string {
	return keystore.SessionID(credential.NewID("ses"), generation, secretID)
}

// Origin is the generation and the secret that the session came from.
func (c *Claims) Origin() (generation int64, secretID string) { return keystore.SessionOrigin(c.ID) }

// current checks the times against the clock.
func (c *Claims) current(now time.Time) error {
	at := now.Unix()
	ahead := at + int64(leeway/time.Second)
	switch {
	case at >= c.Expires:
		return invalid("expired")
	case c.NotBefore > ahead:
		return invalid("not yet valid")
	case c.IssuedAt > ahead:
		return invalid("issued in the future")
	}
	return nil
}

// check finds what no token of ours has.
func (c *Claims) check() error {
	for _, t := range []int64{c.IssuedAt, c.NotBefore, c.Expires} {
		if t <= 0 || t > maxTime {
			return invalid("a time is missing or out of range")
		}
	}
	if c.ID == "" || c.ClientID == "" || c.Subject != c.ClientID {
		return invalid("a claim is missing or contradicts another")
	}
	return nil
}

// unverified is a token taken apart, its signature not yet checked.
type unverified struct {
	jws       *jose.JSONWebSignature
	keyID     string
	algorithm string
}

// parse takes a compact JWS apart. Header members that point at keys elsewhere or
// carry one are refused unread: nothing is fetched, ever.
func parse(token, typ string) (unverified, error) {
	if len(token) > credential.MaxBearer { // one that comes in a form was not looked at before
		return unverified{}, invalid("over %d bytes", credential.MaxBearer)
	}
	jws, err := jose.ParseSignedCompact(token, accepted)
	if err != nil {
		return unverified{}, invalid("not a signed token: %v", err)
	}
	if err := onlyPlainMembers(token); err != nil {
		return unverified{}, err
	}
	h := jws.Signatures[0].Protected
	if t, _ := h.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(t, typ) {
		return unverified{}, invalid("its typ is not %s", typ)
	}
	if h.KeyID == "" {
		return unverified{}, invalid("no key id")
	}
	return unverified{jws: jws, keyID: h.KeyID, algorithm: h.Algorithm}, nil
}

// onlyPlainMembers refuses a header with any member that ours do not have.
func onlyPlainMembers(token string) error {
	encoded, _, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return invalid("its header is not base64url")
	}
	var members map[string]any
	if err := json.Unmarshal(header, &members); err != nil {
		return invalid("its header: %v", err)
	}
	for name := range members {
		if name != "alg" && name != "kid" && name != "typ" {
			return invalid("its header has the member %q", name)
		}
	}
	return nil
}

// verify checks the signature by the key that the header named, whose algorithm
// must be the header's, and reads the claims.
func (u unverified) verify(key *verifyingKey) (*Claims, error) {
	if u.algorithm != key.algorithm {
		return nil, invalid("signed with %s by a key for %s", u.algorithm, key.algorithm)
	}
	payload, err := u.jws.Verify(key.public)
	if err != nil {
		return nil, invalid("bad signature")
	}
	c := new(Claims)
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, invalid("claims: %v", err)
	}
	return c, c.check()
}
