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
