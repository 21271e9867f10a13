package authn

import (
	"context"
	"errors"
	"net/netip"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
)

// Internal causes of a refused token, for logs.
const (
	causeGone        = "key deleted"
	causeEnded       = "session ended"
	causeOldSessions = "sessions of this key or its tenant ended"
	causeSecretGone  = "the secret it was issued for is not good any more"
	causeMoved       = "key of another customer or microtenant"
)

// Bearer proves an access token. What the key is now decides, not what it was
// when the token was issued: a disabled, deleted, expired, locked or moved key
// refuses its running sessions.
func (a *Authenticator) Bearer(ctx context.Context, token string, from Address, now policy.Instant) Result {
	return a.judge(ctx, token, from, now)
}

// Judge tells whether a token is good that nobody presents: whether Bearer would
// take it from a caller at an address that its key may be used from, and that
// guard mode has not locked out. For introspection (RFC 7662).
func (a *Authenticator) Judge(ctx context.Context, token string, now policy.Instant) Result {
	return a.judge(ctx, token, nil, now)
}

// judge decides on a token; from is nil where it is not known who will use it.
func (a *Authenticator) judge(ctx context.Context, token string, from Address, now policy.Instant) Result {
	var r Result
	decision := a.keys.Begin()
	defer func() { a.keys.End(decision) }()
	claims, err := a.tokens.Verify(ctx, token, now)
	switch {
	case errors.Is(err, session.ErrInvalid):
		r.refuseToken(policy.InvalidToken, err.Error())
		return r
	case err != nil:
		r.Decision = unavailable(err)
		return r
	}
	key, directory, err := a.look(ctx, &decision, claims.ClientID, now)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		r.refuseToken(policy.ClientInactive, causeGone)
		return r
	case err != nil:
		r.Decision = unavailable(err)
		return r
	case decision.Waited() && a.keys.SessionEnded(claims.ID):
		r.refuseToken(policy.InvalidToken, causeEnded)
		return r
	}
	id := Identity{Key: key, Directory: directory}
	id.Role = id.Directory.Role(key.RoleID)
	r.Claims = claims
	generation, secretID := claims.Origin()
	secret := key.SecretByID(secretID)
	if reason, cause := a.unusableSession(id, claims, generation, secret, from, now); cause != "" {
		r.Key = key
		r.refuseToken(reason, cause)
		return r
	}
	r.prove(id)
	r.SecretID = secret.ID
	return r
}

func (r *Result) refuseToken(reason policy.Reason, cause string) {
	r.Decision = policy.Deny(reason)
	r.Detail = cause
}

// unusableSession says why a good token is refused all the same, "" if it is not.
// generation and secret are those that it came from, secret nil for one that is gone.
func (a *Authenticator) unusableSession(id Identity, claims *session.Claims, generation int64, secret *keystore.Secret, from Address, now policy.Instant) (policy.Reason, string) {
	if cause := id.inactive(now); cause != "" {
		return policy.ClientInactive, cause
	}
	var source netip.Prefix // none: only a lock of the whole client counts
	if from != nil {
		source = a.source(from)
	}
	switch {
	case generation != id.SessionGeneration():
		return policy.ClientInactive, causeOldSessions
	case secret == nil || !secret.Live(now.Wall):
		return policy.ClientInactive, causeSecretGone
	case claims.Customer != id.Key.CustomerID || claims.Microtenant != id.Key.MicrotenantID:
		return policy.ClientInactive, causeMoved
	case !a.settings.ExistingTokens && a.keys.Locked(a.settings.Lockout, id.Key.ID, source, now) > 0:
		return policy.ClientLocked, causeLocked
	case from != nil && len(id.Key.AllowedCIDRs) > 0 && !id.Key.AllowsAddress(from()):
		return policy.SourceNotAllowed, causeNetwork
	}
	return policy.Allowed, ""
}
