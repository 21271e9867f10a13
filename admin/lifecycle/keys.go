package lifecycle

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// NewKey is what a key is made from. Name and RoleID are required.
type NewKey struct {
	Name        string
	Description string
	RoleID      string
	// CustomerID left empty is the actor's own customer. For an actor that has
	// none it is the only one there is, made as `default` if there is none yet.
	CustomerID string
	// MicrotenantID left out is the actor's own; null is the customer level.
	MicrotenantID Optional[string]
	// Enabled left out is true.
	Enabled Optional[bool]
	// SessionValiditySeconds left out or null is the configured default.
	SessionValiditySeconds Optional[int64]
	// ExpiresAt left out or null is never.
	ExpiresAt    Optional[time.Time]
	AllowedCIDRs []string
	Labels       map[string]string
	// ClientID keeps the client ID of a key made elsewhere; "" makes one.
	ClientID string
	// SecretSHA256 is SHA-256 of a secret made elsewhere, in hex or base64url; ""
	// makes one. It needs a ClientID.
	SecretSHA256 string
}

// KeyPatch is what changes in a key; what is left out stays. Null resets
// Description, SessionValiditySeconds, ExpiresAt, AllowedCIDRs and Labels, and
// is refused for the others.
type KeyPatch struct {
	Name                   Optional[string]
	Description            Optional[string]
	RoleID                 Optional[string]
	Enabled                Optional[bool]
	SessionValiditySeconds Optional[int64]
	ExpiresAt              Optional[time.Time]
	AllowedCIDRs           Optional[[]string]
	// Labels are merged one by one; a nil value removes a label.
	Labels Optional[map[string]*string]
	// DisabledHere is for keys of an external source, of which it alone can change here.
	DisabledHere Optional[bool]
}

// CreatedKey is a new key with its secret, which is shown this once.
type CreatedKey struct {
	Key
	// ClientSecret is "" where the secret was imported.
	ClientSecret string `json:"client_secret,omitempty" doc:"Shown this once; absent if the secret was imported."`
}

// Condition is a precondition on a record's revision, such as If-Match; nil always
// holds. An operation that makes what is not there asks it about Absent.
type Condition func(keystore.Revision) bool

// Absent is the revision of a record that there is none of.
const Absent keystore.Revision = -1

// CreateKey makes a key, with a secret unless one is imported.
func (s *Service) CreateKey(ctx context.Context, a Actor, in NewKey) (CreatedKey, Commit, error) {
	may := func(o *op) error { return o.need(ResourceKeys, policy.Create) }
	return create(ctx, s, a, may, func(o *op) (CreatedKey, error) {
		k, secret, err := o.newKey(in)
		if err != nil {
			return CreatedKey{}, err
		}
		if err := o.tx.PutKey(ctx, k); err != nil {
			return CreatedKey{}, refusal(err, "key")
		}
		if err := o.audit("key.create", keyTarget(k), nil, recordKey(k)); err != nil {
			return CreatedKey{}, err
		}
		stored, err := o.storedKey(k.ID)
		return CreatedKey{Key: stored, ClientSecret: secret}, err
	})
}

// newKey validates in and holds it against the actor's rights and what is stored.
func (o *op) newKey(in NewKey) (k *keystore.Key, secret string, err error) {
	var bad FieldErrors
	now := o.stamp()
	k = &keystore.Key{
		ID: credential.NewID("key"), ClientID: in.ClientID,
		Name: cleanName(&bad, in.Name), Description: cleanDescription(&bad, in.Description),
		CustomerID: in.CustomerID, MicrotenantID: in.MicrotenantID.Value, RoleID: in.RoleID,
		Enabled:      !in.Enabled.Has() || in.Enabled.Value,
		AllowedCIDRs: cleanCIDRs(&bad, in.AllowedCIDRs), Labels: cleanLabels(&bad, in.Labels),
		Created: now, CreatedBy: o.actor.label(), Modified: now, ModifiedBy: o.actor.label(),
	}
	if k.CustomerID == "" {
		k.CustomerID = o.actor.CustomerID
	}
	if k.CustomerID == "" && o.actor.AllCustomers {
		if k.CustomerID, err = o.onlyCustomer(); err != nil {
			return nil, "", err
		}
	}
	if !in.MicrotenantID.Set && k.CustomerID == o.actor.CustomerID {
		k.MicrotenantID = o.actor.MicrotenantID
	}
	if in.MicrotenantID.Has() && in.MicrotenantID.Value == "" {
		bad.Add("microtenant_id", FieldFormat, "is empty; leave it out, or give null for the customer level")
	}
	if k.CustomerID == "" {
		bad.Add("customer_id", FieldRequired, "is required, there are several customers")
	}
	if k.RoleID == "" {
		bad.Add("role_id", FieldRequired, "is required")
	}
	if in.SessionValiditySeconds.Has() {
		k.SessionValidity = o.cleanValidity(&bad, in.SessionValiditySeconds.Value)
	}
	if in.ExpiresAt.Has() {
		k.ExpiresAt = cleanExpiry(&bad, in.ExpiresAt.Value, o.now.Wall)
	}
	digest, imported := cleanImport(&bad, in.ClientID, in.SecretSHA256)
	if err := bad.Err(); err != nil {
		return nil, "", err
	}
	if err := o.admitNew(k); err != nil {
		return nil, "", err
	}
	if k.ClientID == "" {
		k.ClientID = credential.NewClientID()
	}
	hint := ""
	if !imported {
		secret = credential.NewSecret()
		digest, hint = o.cfg.Keyring.Digest(secret), credential.Hint(secret)
	}
	return k, secret, o.addSecret(k, digest, hint, now)
}

// admitNew holds a key about to be made against the actor. The tenant comes
// first, so that what is not the actor's is refused whether or not it exists.
func (o *op) admitNew(k *keystore.Key) error {
	if err := o.withinTenant(k.CustomerID, k.MicrotenantID); err != nil {
		return err
	}
	role, err := o.usableRole(k.RoleID, k.CustomerID)
	if err != nil {
		return err
	}
	return o.within(k, role)
}

// addSecret puts a secret with this digest first.
func (o *op) addSecret(k *keystore.Key, digest [32]byte, hint string, now time.Time) error {
	master := o.cfg.Keyring.CurrentID()
	verifier, ok := o.cfg.Keyring.Verifier(master, digest)
	if !ok {
		return errors.New("the keyring does not hold its own current master key")
	}
	settle(k.Secrets, o.now.Wall)
	k.Secrets = slices.Insert(k.Secrets, 0, keystore.Secret{
		ID: credential.NewID("sec"), Verifier: verifier, MasterKeyID: master, Hint: hint, Created: now,
	})
	return nil
}

// GetKey shows one key.
func (s *Service) GetKey(ctx context.Context, a Actor, id string) (Key, error) {
	var out Key
	err := s.view(ctx, a, func(o *op) error {
		k, err := o.key(id, ResourceKeys, policy.Read)
		if err != nil {
			return err
		}
		out, err = o.show(k)
		return err
	})
	return out, err
}

// GetKeys shows those of these keys that there are for the actor, in this order, at
// most MaxBatch of them.
func (s *Service) GetKeys(ctx context.Context, a Actor, ids []string) ([]Key, error) {
	var out []Key
	err := s.view(ctx, a, func(o *op) error {
		var found []*keystore.Key
		for _, id := range ids[:min(len(ids), MaxBatch)] {
			k, err := o.key(id, ResourceKeys, policy.Read)
			var refused *Error
			switch {
			case errors.As(err, &refused) && refused.Kind == NotFound:
			case err != nil:
				return err
			default:
				found = append(found, k)
			}
		}
		show, err := o.shower(found...)
		if err != nil {
			return err
		}
		out = make([]Key, len(found))
		for i, k := range found {
			if out[i], err = show(k); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// key is the stored key that the actor may do action on.
func (o *op) key(id, resource string, action policy.Mask) (*keystore.Key, error) {
	if err := o.need(resource, action); err != nil {
		return nil, err
	}
	k, err := o.r.Key(o.ctx, id)
	if err != nil {
		return nil, refusal(err, "key")
	}
	if !o.actor.sees(k.CustomerID, k.MicrotenantID) {
		return nil, notFound("key")
	}
	return k, nil
}

// storedKey reads back what this transaction wrote, with its revision.
func (o *op) storedKey(id string) (Key, error) {
	k, err := o.r.Key(o.ctx, id)
	if err != nil {
		return Key{}, err
	}
	return o.show(k)
}

// keyAt is key at the revision that the caller knows.
func (o *op) keyAt(id, resource string, action policy.Mask, cond Condition) (*keystore.Key, error) {
	k, err := o.key(id, resource, action)
	if err == nil && cond != nil && !cond(k.Revision) {
		err = stale("key")
	}
	return k, err
}

// ownedKey is a key that the actor may change: its own to change by rights, by
// source, and at the revision that the caller knows.
func (o *op) ownedKey(id string, action policy.Mask, cond Condition) (*keystore.Key, error) {
	k, err := o.keyAt(id, ResourceKeys, action, cond)
	if err != nil {
		return nil, err
	}
	if k.Source != "" {
		return nil, o.managed(k)
	}
	return k, o.withinStored(k)
}

// managed refuses what only the owner of an external source's key can do.
func (o *op) managed(k *keystore.Key) error {
	owner, err := o.ownerOf(k)
	if err != nil {
		return err
	}
	return &Error{Kind: Conflict, Code: CodeManaged, Detail: "the key is managed by " + owner + "; change it there, or refuse it here by disabled_here"}
}

// UpdateKey applies a patch. A patch that changes nothing writes nothing.
func (s *Service) UpdateKey(ctx context.Context, a Actor, id string, p KeyPatch, cond Condition) (Key, Commit, error) {
	var out Key
	commit, err := s.update(ctx, a, func(o *op) (err error) {
		out, err = o.updateKey(id, p, cond)
		return err
	})
	if err != nil {
		return Key{}, Commit{}, err
	}
	return out, commit, nil
}

func (o *op) updateKey(id string, p KeyPatch, cond Condition) (Key, error) {
	k, err := o.keyAt(id, ResourceKeys, policy.Update, cond)
	if err != nil {
		return Key{}, err
	}
	if k.Source != "" && p.beyondDisabledHere() {
		return Key{}, o.managed(k)
	}
	if err := o.withinStored(k); err != nil {
		return Key{}, err
	}
	next, err := o.patched(k, p)
	if err != nil {
		return Key{}, err
	}
	if sameKey(k, next) {
		if p.revokes() {
			o.revokeNow()
		}
		return o.show(k)
	}
	o.revokeBy(k, next)
	return o.putKey("key.update", next, recordKey(k), recordKey(next))
}

// putKey stores a changed key. before and after are records made for the audit.
func (o *op) putKey(action string, next *keystore.Key, before, after any) (Key, error) {
	next.Modified, next.ModifiedBy = o.stamp(), o.actor.label()
	if err := o.tx.PutKey(o.ctx, next); err != nil {
		return Key{}, refusal(err, "key")
	}
	if err := o.audit(action, keyTarget(next), before, after); err != nil {
		return Key{}, err
	}
	return o.storedKey(next.ID)
}

// DeleteKey removes a key, its secrets, sessions and counts.
func (s *Service) DeleteKey(ctx context.Context, a Actor, id string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error { return o.deleteKey(id, cond) })
}

func (o *op) deleteKey(id string, cond Condition) error {
	k, err := o.ownedKey(id, policy.Delete, cond)
	if err != nil {
		return err
	}
	return o.removeKey(k)
}

// removeKey takes away a key that may go, and what is kept for it.
func (o *op) removeKey(k *keystore.Key) error {
	o.revokeNow()
	if err := o.tx.DeleteKey(o.ctx, k.ID); err != nil {
		return refusal(err, "key")
	}
	if err := o.forgetPreferences(keyOwner(k.ID)); err != nil {
		return err
	}
	return o.audit("key.delete", keyTarget(k), recordKey(k), nil)
}

// sameKey compares what a patch can change.
func sameKey(a, b *keystore.Key) bool {
	return a.Name == b.Name && a.Description == b.Description && a.RoleID == b.RoleID && a.Enabled == b.Enabled &&
		a.DisabledHere == b.DisabledHere && a.SessionValidity == b.SessionValidity && a.ExpiresAt.Equal(b.ExpiresAt) &&
		slices.Equal(a.AllowedCIDRs, b.AllowedCIDRs) && maps.Equal(a.Labels, b.Labels)
}
