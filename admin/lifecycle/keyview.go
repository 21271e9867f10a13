package lifecycle

import (
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// ManagedHere is the managed_by of keys that no external source owns.
const ManagedHere = "keyreeve"

// Key is an API key as every door shows it.
type Key struct {
	ID          string `json:"id" doc:"Names the key in this API; not a credential."`
	Name        string `json:"name" doc:"Unique in its customer and microtenant."`
	Description string `json:"description"`
	ClientID    string `json:"client_id" doc:"Public half of the credential."`
	Enabled     bool   `json:"enabled"`
	// DisabledHere is apart from Enabled, which is the source's to say.
	DisabledHere bool   `json:"disabled_here" doc:"A key of an external source that is refused here, whatever its source says."`
	State        string `json:"state" enum:"active,disabled,locked,expired" doc:"What to mend first: disabled goes before expired, expired before locked."`
	// SessionValiditySeconds is nil where the configured default applies.
	SessionValiditySeconds *int64  `json:"session_validity_seconds" nullable:"true" doc:"Lifetime of its access tokens in seconds; null is the configured default."`
	RoleID                 string  `json:"role_id"`
	CustomerID             string  `json:"customer_id"`
	MicrotenantID          *string `json:"microtenant_id" nullable:"true" doc:"null is a key at customer level."`
	Source                 *string `json:"source" nullable:"true" doc:"External system that owns the key; null is Keyreeve itself."`
	ManagedBy              string  `json:"managed_by" doc:"Who may change the key: keyreeve, or its source."`
	Editable               bool    `json:"editable"`
	Deletable              bool    `json:"deletable"`

	ExpiresAt    *time.Time        `json:"expires_at" nullable:"true" doc:"End of the key; null is never."`
	AllowedCIDRs []netip.Prefix    `json:"allowed_cidrs" nullable:"false" doc:"Networks it may be used from; empty is anywhere."`
	Labels       map[string]string `json:"labels" nullable:"false"`
	Lock         Lock              `json:"lock"`
	Secrets      []Secret          `json:"secrets" nullable:"false" doc:"The live ones, newest first; never the secret itself."`
	LastUsedAt   *time.Time        `json:"last_used_at" nullable:"true" doc:"When it was last proven, to about ten seconds; null is never."`
	// LastUsedAddress and LastUsedRoute belong to LastUsedAt.
	LastUsedAddress *string   `json:"last_used_address" nullable:"true" doc:"Where that came from; null where it had no address."`
	LastUsedRoute   *string   `json:"last_used_route" nullable:"true" doc:"Pattern of the route that it was let in on; null for a sign-in, the admin API and what was refused by route, tenant or role."`
	CreatedAt       time.Time `json:"created_at"`
	CreatedBy       string    `json:"created_by" doc:"Id of the acting key, or local or system."`
	ModifiedAt      time.Time `json:"modified_at"`
	ModifiedBy      string    `json:"modified_by" doc:"Id of the acting key, or local or system."`

	// Revision is that of the key's latest change; it makes the ETag.
	Revision keystore.Revision `json:"-"`
}

// Lock is where a key stands with the lockout policy.
type Lock struct {
	Locked         bool       `json:"locked"`
	FailedAttempts int        `json:"failed_attempts" doc:"Failures that still count."`
	LockedUntil    *time.Time `json:"locked_until" nullable:"true"`
}

// Secret is what may be known of a live secret.
type Secret struct {
	ID         string     `json:"id"`
	Hint       string     `json:"hint" doc:"Its last four characters; empty if imported."`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at" nullable:"true"`
	LastUsedAt *time.Time `json:"last_used_at" nullable:"true"`
}

// show is the representation of k in this transaction.
func (o *op) show(k *keystore.Key) (Key, error) {
	show, err := o.shower(k)
	if err != nil {
		return Key{}, err
	}
	return show(k)
}

// shower reads what the representations of these keys need beside the keys, all
// at once, and shows each of them.
func (o *op) shower(keys ...*keystore.Key) (func(*keystore.Key) (Key, error), error) {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	locks, err := o.locks(ids...)
	if err != nil {
		return nil, err
	}
	return func(k *keystore.Key) (Key, error) { return o.showLocked(k, locks[k.ID]), nil }, nil
}

// showLocked is the representation of a key with this lock.
func (o *op) showLocked(k *keystore.Key, lock Lock) Key {
	v := Key{
		ID: k.ID, Name: k.Name, Description: k.Description, ClientID: k.ClientID, Enabled: k.Enabled, DisabledHere: k.DisabledHere,
		State:  k.State(lock.Locked, o.now.Wall),
		RoleID: k.RoleID, CustomerID: k.CustomerID, MicrotenantID: optional(k.MicrotenantID), Source: optional(k.Source),
		ManagedBy: ManagedHere, Editable: k.Source == "", Deletable: k.Source == "",
		ExpiresAt: optional(k.ExpiresAt), AllowedCIDRs: append([]netip.Prefix{}, k.AllowedCIDRs...), Labels: map[string]string{},
		Lock: lock, Secrets: []Secret{}, LastUsedAt: optional(k.LastUsed), LastUsedAddress: optional(k.LastUsedAddress), LastUsedRoute: optional(k.LastUsedRoute),
		CreatedAt: k.Created, CreatedBy: k.CreatedBy, ModifiedAt: k.Modified, ModifiedBy: k.ModifiedBy, Revision: k.Revision,
	}
	if k.SessionValidity > 0 {
		v.SessionValiditySeconds = optional(int64(k.SessionValidity / time.Second))
	}
	if k.Source != "" {
		v.ManagedBy = k.Source
	}
	if k.Labels != nil {
		v.Labels = k.Labels
	}
	for i := range k.Secrets {
		if s := &k.Secrets[i]; s.Live(o.now.Wall) {
			v.Secrets = append(v.Secrets, Secret{ID: s.ID, Hint: s.Hint, CreatedAt: s.Created,
				ExpiresAt: optional(s.Expires), LastUsedAt: optional(s.LastUsed)})
		}
	}
	return v
}

// locks reads the whole clients' counts, by key; a key that has none is not in it.
// What guard mode counts per source locks that source alone and is not the key's
// state.
func (o *op) locks(keyIDs ...string) (map[string]Lock, error) {
	tallies, err := o.r.Tallies(o.ctx, keyIDs...)
	if err != nil {
		return nil, err
	}
	locks := map[string]Lock{}
	for _, t := range tallies {
		if t.Source != "" {
			continue
		}
		l := Lock{FailedAttempts: o.cfg.Lockout().Count(t.Tally, o.now)}
		if remaining := t.Remaining(o.now); remaining > 0 {
			l.Locked = true
			l.LockedUntil = optional(o.now.Wall.Add(remaining).UTC().Truncate(timePrecision))
		}
		locks[t.KeyID] = l
	}
	return locks, nil
}

func (o *op) lock(keyID string) (Lock, error) {
	locks, err := o.locks(keyID)
	return locks[keyID], err
}

// optional is nil for the zero value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
