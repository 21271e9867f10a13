// Package authn proves who calls. It is the one place where a secret is
// compared, a failure counted and a lock honoured; the gate and the admin API
// both enter here, so that every entrance shares one count and one answer.
package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
)

// Address tells where a caller is. It is asked only where something depends on
// it: a key with allowed networks, guard mode, a failure to be counted.
type Address func() netip.Addr

// Settings are the parts of the configuration that proving depends on.
type Settings struct {
	Lockout policy.Lockout
	// SourcePrefix4 and SourcePrefix6 are the prefix lengths, in bits, by which
	// guard mode tells sources apart.
	SourcePrefix4, SourcePrefix6 int
	// FailureFloor is the least time a failed proof takes, so that its duration
	// does not tell which check failed.
	FailureFloor time.Duration
	// MaxStale is how old what is cached may be.
	MaxStale time.Duration
	// ExistingTokens lets the running sessions of a locked client go on.
	ExistingTokens bool
}

// Authenticator proves credentials against a key store.
type Authenticator struct {
	// RequestID is the id of the request that a context belongs to, for the audit of
	// a lock. nil knows none. It is asked only when a failure is counted; to be set
	// before the first proof.
	RequestID func(context.Context) string

	keys     *keystore.Cached
	keyring  *credential.Keyring
	tokens   *session.Tokens
	settings Settings
	rewrap   *rewrapper
	floor    floor
	lacking  sync.Map // master key ids that were told of as not held
}

// New makes an authenticator. It starts nothing and needs no closing.
func New(keys *keystore.Cached, keyring *credential.Keyring, tokens *session.Tokens, settings Settings) *Authenticator {
	return &Authenticator{keys: keys, keyring: keyring, tokens: tokens, settings: settings,
		rewrap: newRewrapper(keys, keyring), floor: floor{least: settings.FailureFloor}}
}

// Identity is a proven caller: its key and one picture of everything around it.
type Identity struct {
	Key       *keystore.Key
	Role      *keystore.Role
	Directory *keystore.Directory
}

// SessionGeneration is the generation of sessions that the key's must be of.
func (id Identity) SessionGeneration() int64 { return id.Directory.SessionGeneration(id.Key) }

// Subject is the identity in the policy's terms.
func (id Identity) Subject() policy.Subject {
	return policy.Subject{
		CustomerID:    id.Key.CustomerID,
		MicrotenantID: id.Key.MicrotenantID,
		Permissions:   id.Role.Permissions,
		Microtenant:   id.Directory.MicrotenantFunc(),
	}
}

// Result is the outcome of a proof.
type Result struct {
	Identity
	// Decision allows, or refuses with a reason. Its Detail is for logs.
	policy.Decision
	// Outcome tells what a failure did to the count.
	Outcome policy.Outcome
	// SecretID is the secret that was shown, or that the token was issued for; ""
	// where the caller is not known by one.
	SecretID string
	// RetiredUse: SecretID is not good any more but remembered, and this is the first
	// time of late that it was shown, see keystore.Cached.Retired.
	RetiredUse bool
	// Claims is the token's, nil for a secret.
	Claims *session.Claims
}

// Internal causes of InvalidClient, for logs.
const (
	causeUnknown   = "unknown client"
	causeDisabled  = "key disabled"
	causeTenant    = "customer or microtenant disabled"
	causeExpired   = "key expired"
	causeNetwork   = "outside the allowed networks"
	causeLocked    = "locked"
	causeWrong     = "wrong secret"
	causeRetired   = "retired secret"
	causeMalformed = "malformed credential"
)

// Fresh reports whether decisions may be made on what is cached.
func (a *Authenticator) Fresh(now policy.Instant) bool { return a.keys.Fresh(now, a.settings.MaxStale) }

// Secret proves a client ID and secret. Every refusal with InvalidClient leaves
// no earlier than the failure floor after now, the same for each cause.
func (a *Authenticator) Secret(ctx context.Context, clientID, secret string, from Address, now policy.Instant) Result {
	var r Result
	decision := a.keys.Begin()
	defer func() { a.keys.End(decision) }()
	a.proveSecret(ctx, &decision, &r, clientID, secret, from, now, true)
	if r.Reason == policy.InvalidClient {
		a.keys.Pause(&decision)
		a.Floor(now)
	}
	return r
}

// Peek proves like Secret but leaves no trace: nothing is counted or cleared,
// and no time is lost. For a gate that only watches.
func (a *Authenticator) Peek(ctx context.Context, clientID, secret string, from Address, now policy.Instant) Result {
	var r Result
	decision := a.keys.Begin()
	defer func() { a.keys.End(decision) }()
	a.proveSecret(ctx, &decision, &r, clientID, secret, from, now, false)
	return r
}

// Malformed is the refusal of a credential that could not even be read, by the
// same floor as any other.
func (a *Authenticator) Malformed(now policy.Instant) Result {
	defer a.keys.End(a.keys.Aside())
	a.Floor(now)
	var r Result
	r.refuse(causeMalformed)
	return r
}

// Floor waits until a refusal that began at start may leave, see floor.
func (a *Authenticator) Floor(start policy.Instant) {
	a.floor.wait(start, a.keys.Clock().Now())
}

func (r *Result) prove(id Identity) {
	r.Identity = id
	r.Allow, r.Reason = true, policy.Allowed
}

func (r *Result) refuse(cause string) {
	r.Decision = policy.Deny(policy.InvalidClient)
	r.Detail = cause
}

// proveSecret fills in r, which is large enough for copies of it to be felt.
func (a *Authenticator) proveSecret(ctx context.Context, decision *keystore.Decision, r *Result, clientID, secret string, from Address, now policy.Instant, count bool) {
	digest := a.keyring.Digest(secret)
	key, directory, err := a.look(ctx, decision, clientID, now)
	if err != nil {
		if errors.Is(err, keystore.ErrNotFound) {
			a.spend(digest)
			r.refuse(causeUnknown)
			return
		}
		r.Decision = unavailable(err)
		return
	}
	id := Identity{Key: key, Directory: directory}
	id.Role = id.Directory.Role(key.RoleID)
	r.Key = key // so that operators can tell whose request it was, if it is refused
	source := a.source(from)
	if cause := a.unusable(id, from, source, now); cause != "" {
		a.spend(digest) // nothing is compared, the work is the same
		r.refuse(cause)
		return
	}
	live, remembered, unjudged := a.match(key, &digest, now)
	switch {
	case live != nil && !count:
		r.prove(id)
	case live != nil:
		if !a.keys.Succeed(a.settings.Lockout, key.ID, source, now) {
			r.refuse(causeLocked)
			return
		}
		a.rewrap.note(live, digest)
		r.prove(id)
		r.SecretID = live.ID
	case remembered != nil:
		r.refuse(causeRetired)
		if count {
			r.SecretID = remembered.ID
			r.RetiredUse = a.keys.Retired(key, remembered.ID, from, now)
		}
	case unjudged != nil:
		// It may be the right one. Counted as a wrong one, it would lock the client on
		// every node, by what is wrong with this one alone.
		r.Decision = a.lacks(unjudged, key)
	case !count:
		r.refuse(causeWrong)
	default:
		r.refuse(causeWrong)
		r.Key = key
		attempt := keystore.Attempt{KeyID: key.ID, Source: source, Address: from(), Fingerprint: a.keyring.Fingerprint(key.ID, secret)}
		if a.RequestID != nil {
			attempt.RequestID = a.RequestID(ctx)
		}
		a.keys.Pause(decision) // counting may take long where the store is slow
		counting := a.keys.Clock().Now()
		r.Outcome = a.keys.Fail(a.settings.Lockout, attempt)
		counted := a.keys.Clock().Now()
		a.floor.counted(counted, counted.Since-counting.Since)
	}
}

// look finds the key that a decision is about. The store may have been waited for, and
// what was decided by is as of after that: so must be that it may be decided by.
func (a *Authenticator) look(ctx context.Context, decision *keystore.Decision, clientID string, now policy.Instant) (*keystore.Key, *keystore.Directory, error) {
	if !a.Fresh(now) {
		return nil, nil, errStale
	}
	key, directory, err := a.keys.LookWithin(ctx, decision, clientID, now)
	if err == nil && decision.Waited() && !a.Fresh(a.keys.Clock().Now()) {
		return nil, nil, errStale
	}
	return key, directory, err
}

// inactive says why a key may be used by nobody and in no way, "" if it may.
func (id Identity) inactive(now policy.Instant) string {
	switch {
	case !id.Key.Active() || id.Role == nil:
		return causeDisabled
	case !id.Directory.TenantEnabled(id.Key.CustomerID, id.Key.MicrotenantID):
		return causeTenant
	case id.Key.Expired(now.Wall):
		return causeExpired
	}
	return ""
}

// unusable says why a key may not even be tried, "" if it may.
func (a *Authenticator) unusable(id Identity, from Address, source netip.Prefix, now policy.Instant) string {
	if cause := id.inactive(now); cause != "" {
		return cause
	}
	switch {
	case len(id.Key.AllowedCIDRs) > 0 && !id.Key.AllowsAddress(from()):
		return causeNetwork
	case a.keys.Locked(a.settings.Lockout, id.Key.ID, source, now) > 0:
		return causeLocked
	}
	return ""
}

// match compares against every secret of the key, whichever matches. live is the
// matching secret if it is good, remembered the one that no longer is, and unjudged one
// that makes a difference and could not be compared, as its master key is not held here.
func (a *Authenticator) match(key *keystore.Key, digest *[32]byte, now policy.Instant) (live, remembered, unjudged *keystore.Secret) {
	var verifier [32]byte
	var verifierOf string
	for i := range key.Secrets {
		s := &key.Secrets[i]
		if s.MasterKeyID != verifierOf {
			v, ok := a.keyring.Verifier(s.MasterKeyID, *digest)
			if !ok {
				if s.Live(now.Wall) || s.Remembered(now.Wall) {
					unjudged = s
				}
				continue
			}
			verifier, verifierOf = v, s.MasterKeyID
		}
		if !credential.Equal(verifier, s.Verifier) {
			continue
		}
		if s.Live(now.Wall) {
			live = s
		} else if s.Remembered(now.Wall) {
			remembered = s
		}
	}
	return live, remembered, unjudged
}

// lacks is the answer where a secret is under a master key that this process does not
// hold. None is found missing at start, but another node may have come to a newer one
// since, or the store could not be asked. Told once for each master key.
func (a *Authenticator) lacks(s *keystore.Secret, key *keystore.Key) policy.Decision {
	err := fmt.Errorf("secret %s is under master key %s, which is not held here", s.ID, s.MasterKeyID)
	if _, told := a.lacking.LoadOrStore(s.MasterKeyID, true); !told {
		a.keys.Logger().Error("a secret is under a master key that this node does not hold: whoever shows it here is answered 503; give every node that master key",
			zap.String("master_key_id", s.MasterKeyID), zap.String("secret_id", s.ID), zap.String("key_id", key.ID))
	}
	return unavailable(err)
}

// spend does the work of a comparison whose result nobody needs.
func (a *Authenticator) spend(digest [32]byte) {
	v, _ := a.keyring.Verifier(a.keyring.CurrentID(), digest)
	credential.Equal(v, digest)
}

// source is the network a failure from this address counts for; none in strict mode.
func (a *Authenticator) source(from Address) netip.Prefix {
	if a.settings.Lockout.Mode == policy.Strict {
		return netip.Prefix{}
	}
	address, bits := from(), a.settings.SourcePrefix6
	if address.Is4() {
		bits = a.settings.SourcePrefix4
	}
	p, err := address.WithZone("").Prefix(bits)
	if err != nil { // no address at all, as over a unix socket: one source of its own
		return netip.PrefixFrom(netip.IPv6Unspecified(), 128)
	}
	return p
}

var errStale = errors.New("what is cached is older than max_stale")

func unavailable(err error) policy.Decision {
	d := policy.Deny(policy.StoreUnavailable)
	d.Detail = err.Error()
	d.RetryAfter = retryAfter
	return d
}

// retryAfter is what a caller is told to wait while the store is out of reach.
const retryAfter = 5 * time.Second
