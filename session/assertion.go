package session

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// assertionType is the header's typ. It is not an access token's, so that an
	// upstream cannot use what it receives to call.
	assertionType = "keyreeve-assertion+jwt"
	// assertionLifetime is how long an assertion is good for: the upstream has it
	// at once, but its clock may differ.
	assertionLifetime = 60 * time.Second
)

// Assertion tells an upstream, verifiably, who sent one request.
type Assertion struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
	ID       string `json:"jti"`
	// The times are seconds since the epoch.
	IssuedAt int64 `json:"iat"`
	Expires  int64 `json:"exp"`
	// Method and Path are those that were decided on; the path is escaped as on
	// the wire, without a query.
	Method string `json:"htm"`
	Path   string `json:"htp"`

	KeyID       string `json:"key_id"`
	Role        string `json:"role"`
	Customer    string `json:"customer"`
	Microtenant string `json:"microtenant,omitempty"`
}

// Assert makes a signed assertion for a request that was let through. Its
// audience is the default one. It writes to the store only when a signing key is due.
func (t *Tokens) Assert(ctx context.Context, key *keystore.Key, roleID, method, path string, now policy.Instant) (string, error) {
	who, err := t.names()
	if err != nil {
		return "", err
	}
	pair, err := t.signer(ctx, now)
	if err != nil {
		return "", err
	}
	issued := now.Wall.Truncate(time.Second)
	return pair.sign(assertionType, &Assertion{
		Issuer: who.issuer, Audience: who.audiences[0], Subject: key.ClientID, ClientID: key.ClientID,
		ID: credential.NewID("asr"), IssuedAt: issued.Unix(), Expires: issued.Add(assertionLifetime).Unix(),
		Method: method, Path: path,
		KeyID: key.ID, Role: roleID, Customer: key.CustomerID, Microtenant: key.MicrotenantID,
	})
}
