package keystore

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// Revision is a position in the change log. Every committed change of anything
// a decision depends on has one; they grow without gaps.
type Revision int64

// MaxLiveSecrets is how many secrets of a key may be good at one time: the
// current one and the one being phased out.
const MaxLiveSecrets = 2

// RetiredSecretMemory is how long a retired secret is remembered, so that a
// lagging deployment still using it is recognised and does not lock its client.
const RetiredSecretMemory = 30 * 24 * time.Hour

// IdempotencyMemory is how long a request that was done is remembered.
const IdempotencyMemory = 24 * time.Hour

// The predefined roles. They belong to no customer and cannot be changed.
const (
	RoleOperator   = "role_operator"
	RoleFullAccess = "role_api_full_access"
	RoleReadOnly   = "role_api_read_only"
)

// PredefinedRoles are made by the first migration of every store.
func PredefinedRoles() []Role {
	return []Role{
		{ID: RoleOperator, Name: "Operator", Predefined: true, Description: "Everything of the upstreams and of Keyreeve, for every customer.",
			Permissions: policy.Permissions{"*": policy.Full, policy.OwnPrefix + "*": policy.Full}},
		{ID: RoleFullAccess, Name: "API Full Access", Predefined: true, Description: "Everything of the upstreams.",
			Permissions: policy.Permissions{"*": policy.Full}},
		{ID: RoleReadOnly, Name: "API Read Only", Predefined: true, Description: "Reads everything of the upstreams, changes nothing.",
			Permissions: policy.Permissions{"*": policy.View}},
	}
}

// Customer is a tenant: the owner of keys, roles and microtenants.
type Customer struct {
	ID      string
	Name    string
	Enabled bool
	// Generation counts how often all sessions of its keys were ended at once.
	Generation int64
	Created    time.Time
	Modified   time.Time
	Revision   Revision
}

// Microtenant is a part of a customer.
type Microtenant struct {
	ID         string
	CustomerID string
	Name       string
	Enabled    bool
	// Generation counts how often all sessions of its keys were ended at once.
	Generation int64
	Created    time.Time
	Modified   time.Time
	Revision   Revision
}

// Role is a named set of permissions.
type Role struct {
	ID string
	// CustomerID owns the role; "" makes it usable by every customer.
	CustomerID  string
	Name        string
	Description string
	Permissions policy.Permissions
	// Predefined roles cannot be edited or deleted.
	Predefined bool
	Created    time.Time
	Modified   time.Time
	Revision   Revision
}

// Key is an API key: a client ID with its secrets and what it may do. Values
// handed out by a store or cache are shared: never modify one, copy it.
type Key struct {
	// ID names the key in the admin API; it is not a credential.
	ID string
	// ClientID is the public half of the credential, compared byte for byte.
	ClientID    string
	Name        string
	Description string
	CustomerID  string
	// MicrotenantID is "" for a key at customer level.
	MicrotenantID string
	RoleID        string
	Enabled       bool
	// SessionValidity is the lifetime of its access tokens; 0 is the configured default.
	SessionValidity time.Duration
	// ExpiresAt ends the key; zero is never.
	ExpiresAt time.Time
	// AllowedCIDRs limits where the key may be used from; empty is anywhere.
	AllowedCIDRs []netip.Prefix
	Labels       map[string]string
	// Source names the external system that owns the key, a Source of its
	// customer; "" is Keyreeve itself.
	Source string
	// DisabledHere switches off a key of an external source, whatever that says of it.
	DisabledHere bool
	// Generation counts how often all of its sessions were ended at once. Those of
	// its microtenant and customer add to it: see SessionGeneration.
	Generation int64
	// Secrets holds the live ones, newest first, then the retired ones still remembered.
	Secrets []Secret

	// LastUsed is when it was last proven, from where, and on which route it was let
	// in ("" for a sign-in, the admin API and what was refused after the proof).
	// Written late, in batches: see Use.
	LastUsed        time.Time
	LastUsedAddress string
	LastUsedRoute   string

	Created    time.Time
	CreatedBy  string
	Modified   time.Time
	ModifiedBy string
	// Revision is that of the key's latest change.
	Revision Revision

	// calls counts those of a key that the cache handed out, see Cached.Called.
	calls *callCount
}

// Secret is the stored half of a client secret: a verifier, never the secret.
type Secret struct {
	ID string
	// Verifier is HMAC-SHA-256(k, SHA-256(secret)); k comes from the master key.
	Verifier [32]byte
	// MasterKeyID names the master key that k was derived from.
	MasterKeyID string
	// Hint is the secret's last four characters, to tell two apart; "" if imported.
	Hint    string
	Created time.Time
	// Expires ends the secret; zero is never.
	Expires time.Time
	// Retired is when an administrator ended the secret; zero while live.
	Retired time.Time
	// LastUsed and LastUsedAddress are when it was last good, and from where.
	LastUsed        time.Time
	LastUsedAddress string
	// Tried and TriedAddress are when it was last shown once it was no longer
	// good, and from where: a deployment that lags.
	Tried        time.Time
	TriedAddress string
}

// Live reports whether the secret may be used at now.
func (s *Secret) Live(now time.Time) bool {
	return s.Retired.IsZero() && (s.Expires.IsZero() || now.Before(s.Expires))
}

// End is when the secret is or was over, zero for never.
func (s *Secret) End() time.Time {
	if s.Retired.IsZero() {
		return s.Expires
	}
	return s.Retired
}

// Remembered reports whether a secret that is no longer live is one whose use
// is recognised as a lagging deployment and not counted as a failure.
func (s *Secret) Remembered(now time.Time) bool {
	end := s.End()
	return !end.IsZero() && now.Sub(end) < RetiredSecretMemory
}

// Tally is the failure count of a key, or of a key from one source.
type Tally struct {
	KeyID string
	// Source is the network a guard-mode count belongs to; "" is the whole client.
	Source string
	policy.Tally
	// Seq orders changes of tallies among themselves; they are not in the change log.
	Seq int64
}

// SigningKey is a key that access tokens are signed with.
type SigningKey struct {
	// ID is the `kid` of tokens and of the published key.
	ID string
	// Algorithm is a JWS algorithm such as EdDSA.
	Algorithm string
	// Public is the published half, a JWK.
	Public []byte
	// Sealed is the private half, encrypted under the master key MasterKeyID.
	Sealed      []byte
	MasterKeyID string
	Created     time.Time
	// SignFrom and SignUntil bound when it signs. It is published before, so that
	// every node and upstream knows it by then.
	SignFrom, SignUntil time.Time
	// Expires is when the last token it signed is over; it is forgotten then.
	Expires time.Time
}

// Session is an issued access token, by its jti.
type Session struct {
	ID       string
	KeyID    string
	SecretID string
	Address  string
	Issued   time.Time
	Expires  time.Time
	// Ended is when it was ended early, zero if it was not.
	Ended time.Time
	// EndReason is why, a word for the audit.
	EndReason string
}

// What an external source lets administrators do with its keys.
const (
	// SourceReadOnly keys are shown and cannot be changed here.
	SourceReadOnly = "read_only"
	// SourceLocked keys cannot be changed here either; ZPA clients are shown them as
	// restricted and not only as read-only.
	SourceLocked = "locked"
)

// Source is an external system that owns keys of a customer.
type Source struct {
	CustomerID string
	// Name is unique in the customer; keys name it.
	Name string
	// Owner is who to turn to, for people.
	Owner string
	// Rule is SourceReadOnly or SourceLocked.
	Rule string
	// MaxRoleID bounds what its keys may do: no role beyond this one.
	MaxRoleID string
	Created   time.Time
	Modified  time.Time
	// Synced is when its list was last pushed, zero for never, and SyncedBy by whom.
	Synced   time.Time
	SyncedBy string
	// Revision is that of the latest change of the source or of its list.
	Revision Revision
}

// Use is that a key was proven, or that one of its retired secrets was shown.
type Use struct {
	KeyID string
	// SecretID is the secret that was shown, or by which the session was opened.
	SecretID string
	At       time.Time
	// Address is the caller's, "" where there is none.
	Address string
	// Route is the pattern of the route that it was let in on, "" for a sign-in, the
	// admin API and what was refused after the proof.
	Route string
	// Retired: the secret was no longer good, and the caller was refused.
	Retired bool
}

// Idempotency is a request that was done, so that its retry does nothing.
type Idempotency struct {
	// Owner is the actor, so that no actor's names meet another's.
	Owner string
	// Key is the caller's name of the request.
	Key string
	// Fingerprint tells requests of one name apart.
	Fingerprint [32]byte
	// Result is what was answered, a JSON object without secrets.
	Result json.RawMessage
	// Revision is that of the request's commit.
	Revision Revision
	Created  time.Time
}

// Preference is a value that an administrator's page remembers.
type Preference struct {
	Owner string
	Name  string
	Value json.RawMessage
}

// Kind says what a Change is about.
type Kind string

// What can change.
const (
	KindKey         Kind = "key"
	KindLock        Kind = "lock"
	KindUnlock      Kind = "unlock"
	KindRole        Kind = "role"
	KindCustomer    Kind = "customer"
	KindMicrotenant Kind = "microtenant"
	// KindSession is a session that ended early; new ones are not in the log.
	KindSession    Kind = "session"
	KindSigningKey Kind = "signing_key"
	KindSource     Kind = "source"
	// KindRestore is that the store went back to an older state, or that an operator
	// accepted that: see Restore.
	KindRestore Kind = "restore"
)

// Change is one row of the change log: what to look at again, not how it looks.
type Change struct {
	Revision Revision
	Kind     Kind
	// ID is the key's, role's, … id; for a lock, the key's.
	ID string
	// ClientID is the key's, for keys, locks and sessions: cached keys are found by it.
	ClientID string
	// CustomerID is set for microtenants and sources, whose ids are unique in
	// their customer.
	CustomerID string
	// Unlocked is set for an unlock.
	Unlocked *Unlocked
}

// Unlocked is what is to be known of an unlock beside the tallies.
type Unlocked struct {
	// At is when it was made, by the clock of who reads it and as its database's time of
	// day tells: not later, but for a clock that was set back since.
	At policy.Instant
	// Counted are the sources of the key, "" for the key itself, of which something is
	// recorded as the change is read: it was counted since, and stands.
	Counted []string
}

// Active reports whether the key is switched on, by its owner and here.
func (k *Key) Active() bool { return k.Enabled && !k.DisabledHere }

// Expired reports whether the key's time is over at now.
func (k *Key) Expired(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

// SecretByID is the secret with that id, live or not, nil if there is none.
func (k *Key) SecretByID(id string) *Secret {
	for i := range k.Secrets {
		if k.Secrets[i].ID == id {
			return &k.Secrets[i]
		}
	}
	return nil
}

// AllowsAddress reports whether the key may be used from this address. An
// IPv4-mapped IPv6 address counts as the IPv4 address it is.
func (k *Key) AllowsAddress(from netip.Addr) bool {
	if len(k.AllowedCIDRs) == 0 {
		return true
	}
	from = from.Unmap().WithZone("")
	for _, p := range k.AllowedCIDRs {
		if p.Contains(from) {
			return true
		}
	}
	return false
}
