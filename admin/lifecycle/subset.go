package lifecycle

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// within is the subset rule: nobody makes, edits or deletes a key that can do
// what they cannot. It holds a key (as it is, or as it is about to be) with its
// role against the actor, in permissions, tenant, networks and expiry.
func (o *op) within(k *keystore.Key, role *keystore.Role) error {
	if err := o.withinTenant(k.CustomerID, k.MicrotenantID); err != nil {
		return err
	}
	if err := o.withinRole(role); err != nil {
		return err
	}
	if o.actor.Key == nil {
		return nil
	}
	if !covered(k.AllowedCIDRs, o.actor.Key.AllowedCIDRs) {
		return exceeds("allowed_cidrs", "the key would be usable from networks that the acting key is not; name only networks inside its own")
	}
	if outlives(k.ExpiresAt, o.actor.Key.ExpiresAt) {
		return exceeds("expires_at", "the key would outlive the acting key; let it expire no later")
	}
	return nil
}

// withinTenant refuses another customer or microtenant than the actor's,
// whether or not it exists.
func (o *op) withinTenant(customerID, microtenantID string) error {
	switch {
	case o.actor.sees(customerID, microtenantID):
		return nil
	case customerID != o.actor.CustomerID:
		return exceeds("customer_id", "the acting key belongs to another customer")
	}
	return exceeds("microtenant_id", "the acting key belongs to another microtenant")
}

// withinRole refuses a role that grants what the actor does not hold. The
// Operator role also reaches every customer, which no mask expresses.
func (o *op) withinRole(role *keystore.Role) error {
	if role.ID == keystore.RoleOperator && !o.actor.AllCustomers {
		return exceeds("role_id", "only an Operator may handle an Operator's key")
	}
	if !role.Permissions.Within(o.actor.Permissions, o.cfg.GroupOf) {
		return exceeds("role_id", "the role grants more than the acting key holds")
	}
	return nil
}

// withinStored is within for a key as it is stored, with the role it has now.
func (o *op) withinStored(k *keystore.Key) error {
	role, err := o.r.Role(o.ctx, k.RoleID)
	if err != nil {
		return fmt.Errorf("role %s of key %s: %w", k.RoleID, k.ID, err)
	}
	return o.within(k, role)
}

// bounded reports whether the acting key has networks or an end, which those that it
// lets be used must keep to.
func (a Actor) bounded() bool {
	return a.Key != nil && (len(a.Key.AllowedCIDRs) > 0 || !a.Key.ExpiresAt.IsZero())
}

// eachKey calls fn with every key that q selects, until it refuses one.
func (o *op) eachKey(q keystore.KeyQuery, fn func(*keystore.Key) error) error {
	q.Limit = MaxPageSize
	for {
		keys, _, err := o.r.Keys(o.ctx, q)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := fn(k); err != nil {
				return err
			}
		}
		if len(keys) < q.Limit {
			return nil
		}
		after, err := o.r.KeyCursor(o.ctx, q, keys[len(keys)-1].ID)
		if err != nil {
			return err
		}
		q.After = &after
	}
}

// withinTenants is the subset rule for enabling a tenant, which lets its keys be used
// again: none that the actor could not enable by itself. Those that stay refused
// all the same, disabled or expired ones, are not looked at.
func (o *op) withinTenants(q keystore.KeyQuery) error {
	if o.actor.AllCustomers && !o.actor.bounded() {
		return nil // holds everything, everywhere
	}
	roles := map[string]*keystore.Role{}
	return o.eachKey(q, func(k *keystore.Key) (err error) {
		if !k.Active() || k.Expired(o.now.Wall) {
			return nil
		}
		role := roles[k.RoleID]
		if role == nil {
			if role, err = o.r.Role(o.ctx, k.RoleID); err != nil {
				return fmt.Errorf("role %s of key %s: %w", k.RoleID, k.ID, err)
			}
			roles[k.RoleID] = role
		}
		err = o.within(k, role)
		var refused *Error
		if errors.As(err, &refused) {
			return exceeds("enabled", "it would let the key "+k.ID+" be used again, which can do more than the acting key: "+refused.Detail)
		}
		return err
	})
}

// usableRole is the role that a key of this customer may be given.
func (o *op) usableRole(id, customerID string) (*keystore.Role, error) {
	role, err := o.r.Role(o.ctx, id)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return nil, err
	}
	if err != nil || (role.CustomerID != "" && role.CustomerID != customerID) {
		var bad FieldErrors
		bad.Add("role_id", FieldNotFound, "there is no such role for this customer")
		return nil, bad.Err()
	}
	return role, nil
}

// covered reports whether each network of inner lies inside one of outer; no
// networks means everywhere. Two halves in outer do not add up to their whole:
// that refuses too much, never too little.
func covered(inner, outer []netip.Prefix) bool {
	if len(outer) == 0 {
		return true
	}
	for _, in := range inner {
		inside := false
		for _, out := range outer {
			inside = inside || (out.Bits() <= in.Bits() && out.Contains(in.Addr()))
		}
		if !inside {
			return false
		}
	}
	return len(inner) > 0
}

// outlives compares ends of life; zero is never.
func outlives(inner, outer time.Time) bool {
	return !outer.IsZero() && (inner.IsZero() || inner.After(outer))
}
