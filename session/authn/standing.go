package authn

import (
	"context"
	"errors"
	"net/netip"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
)

// causeNoSecret: nothing that a caller could show would be right.
const causeNoSecret = "no secret of the key is good any more"

// Standing is how a key would be taken whose credential is right.
type Standing struct {
	Identity
	// Decision allows, or refuses as a proof would that day. Detail says why.
	policy.Decision
	// Network: it is refused for where it comes from.
	Network bool
}

// Standing judges the key of a client ID by what Secret judges before it
// compares, or with token by what Bearer judges after the signature, of a session
// that began this moment. from is nil where it is not known who will use it, as
// for Judge. Nothing is counted and no time is lost.
func (a *Authenticator) Standing(ctx context.Context, clientID string, token bool, from Address, now policy.Instant) Standing {
	var s Standing
	decision := a.keys.Begin()
	defer func() { a.keys.End(decision) }()
	key, directory, err := a.look(ctx, &decision, clientID, now)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		s.Decision = policy.Deny(policy.InvalidClient)
		s.Detail = causeUnknown
		if token {
			s.Decision = policy.Deny(policy.ClientInactive)
			s.Detail = causeGone
		}
		return s
	case err != nil:
		s.Decision = unavailable(err)
		return s
	}
	s.Identity = Identity{Key: key, Directory: directory, Role: directory.Role(key.RoleID)}
	reason, cause := a.standing(s.Identity, token, from, now)
	s.Allow, s.Reason, s.Detail = cause == "", reason, cause
	s.Network = cause == causeNetwork
	return s
}

func (a *Authenticator) standing(id Identity, token bool, from Address, now policy.Instant) (policy.Reason, string) {
	var live *keystore.Secret
	for i := range id.Key.Secrets {
		if id.Key.Secrets[i].Live(now.Wall) {
			live = &id.Key.Secrets[i]
		}
	}
	if token {
		claims := &session.Claims{Customer: id.Key.CustomerID, Microtenant: id.Key.MicrotenantID}
		return a.unusableSession(id, claims, id.SessionGeneration(), live, from, now)
	}
	cause := a.unusableFrom(id, from, now)
	if cause == "" && live == nil {
		cause = causeNoSecret
	}
	if cause != "" {
		return policy.InvalidClient, cause
	}
	return policy.Allowed, ""
}

// unusableFrom is unusable for a caller who may not be known yet.
func (a *Authenticator) unusableFrom(id Identity, from Address, now policy.Instant) string {
	if from != nil {
		return a.unusable(id, from, a.source(from), now)
	}
	anywhere := *id.Key
	anywhere.AllowedCIDRs = nil
	id.Key = &anywhere
	return a.unusable(id, nil, netip.Prefix{}, now) // only a lock of the whole client counts
}
