package lifecycle

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// TenantPatch is what changes in a customer or microtenant; what is left out
// stays, and null is refused.
type TenantPatch struct {
	Name Optional[string]
	// Enabled false ends all sessions of its keys for good, also once it is enabled again.
	Enabled Optional[bool]
}

// apply changes what a tenant consists of; changed is false if that leaves it as it was.
func (p TenantPatch) apply(name *string, enabled *bool, generation *int64) (changed bool, err error) {
	var bad FieldErrors
	refuseNull(&bad, "name", p.Name)
	refuseNull(&bad, "enabled", p.Enabled)
	if p.Name.Has() {
		clean := cleanName(&bad, p.Name.Value)
		changed = clean != *name
		*name = clean
	}
	if p.Enabled.Has() && p.Enabled.Value != *enabled {
		if *enabled {
			*generation++
		}
		*enabled, changed = p.Enabled.Value, true
	}
	return changed, bad.Err()
}

// GetCustomer shows one customer.
func (s *Service) GetCustomer(ctx context.Context, a Actor, id string) (Customer, error) {
	var out Customer
	err := s.view(ctx, a, func(o *op) error {
		c, err := o.customer(id, policy.Read)
		if err == nil {
			out, err = o.showCustomer(c)
		}
		return err
	})
	return out, err
}

// customer is the stored customer that the actor may do action on: its own, or any
// for an actor of all.
func (o *op) customer(id string, action policy.Mask) (*keystore.Customer, error) {
	if err := o.need(ResourceTenants, action); err != nil {
		return nil, err
	}
	if !o.actor.AllCustomers && id != o.actor.CustomerID {
		return nil, notFound("customer")
	}
	c, err := o.r.Customer(o.ctx, id)
	if err != nil {
		return nil, refusal(err, "customer")
	}
	return c, nil
}

// changeableCustomer is customer where the actor may change it, at the revision
// that the caller knows.
func (o *op) changeableCustomer(id string, action policy.Mask, cond Condition) (*keystore.Customer, error) {
	c, err := o.customer(id, action)
	if err != nil {
		return nil, err
	}
	if err := o.ruleCustomers(action); err != nil {
		return nil, err
	}
	if cond != nil && !cond(c.Revision) {
		return nil, stale("customer")
	}
	return c, nil
}

// UpdateCustomer applies a patch. A patch that changes nothing writes nothing.
func (s *Service) UpdateCustomer(ctx context.Context, a Actor, id string, p TenantPatch, cond Condition) (Customer, Commit, error) {
	var out Customer
	commit, err := s.update(ctx, a, func(o *op) error {
		c, err := o.changeableCustomer(id, policy.Update, cond)
		if err != nil {
			return err
		}
		before := *c
		changed, err := p.apply(&c.Name, &c.Enabled, &c.Generation)
		if err != nil {
			return err
		}
		if p.revokes() {
			o.revokeNow()
		}
		if before.Enabled && !c.Enabled && o.inCustomer(id) {
			return ownTenant("customer")
		}
		if !before.Enabled && c.Enabled {
			if err := o.withinTenants(keystore.KeyQuery{CustomerID: id}); err != nil {
				return err
			}
		}
		if changed {
			c.Modified = o.stamp()
			if err := o.tx.PutCustomer(ctx, c); err != nil {
				return refusal(err, "customer")
			}
			if err := o.audit("customer.update", customerTarget(c), recordCustomer(&before), recordCustomer(c)); err != nil {
				return err
			}
		}
		c, err = o.r.Customer(ctx, id)
		if err == nil {
			out, err = o.showCustomer(c)
		}
		return err
	})
	if err != nil {
		return Customer{}, Commit{}, err
	}
	return out, commit, nil
}

// DeleteCustomer removes a customer that owns nothing any more.
func (s *Service) DeleteCustomer(ctx context.Context, a Actor, id string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		c, err := o.changeableCustomer(id, policy.Delete, cond)
		if err != nil {
			return err
		}
		if o.inCustomer(id) {
			return ownTenant("customer")
		}
		if err := o.unusedByKeys("customer", keystore.KeyQuery{CustomerID: id}); err != nil {
			return err
		}
		o.revokeNow()
		if err := o.tx.DeleteCustomer(ctx, id); err != nil {
			return refusal(err, "customer")
		}
		if err := o.forgetPreferences(sharedOwner(id, "")); err != nil {
			return err
		}
		return o.audit("customer.delete", customerTarget(c), recordCustomer(c), nil)
	})
}

// MicrotenantRef names a microtenant.
type MicrotenantRef struct {
	ID string
	// CustomerID left empty is the actor's own. An actor of all customers may leave it
	// out where only one customer has a microtenant of that id.
	CustomerID string
}

// GetMicrotenant shows one microtenant.
func (s *Service) GetMicrotenant(ctx context.Context, a Actor, ref MicrotenantRef) (Microtenant, error) {
	var out Microtenant
	err := s.view(ctx, a, func(o *op) error {
		m, err := o.microtenant(ref, policy.Read)
		if err == nil {
			out, err = o.showMicrotenant(m)
		}
		return err
	})
	return out, err
}

// microtenant is the stored microtenant that the actor may do action on.
func (o *op) microtenant(ref MicrotenantRef, action policy.Mask) (*keystore.Microtenant, error) {
	if err := o.need(ResourceTenants, action); err != nil {
		return nil, err
	}
	if ref.ID == "" {
		return nil, notFound("microtenant")
	}
	t, some := o.bound(tenant{customerID: ref.CustomerID, microtenantID: ref.ID})
	if !some {
		return nil, notFound("microtenant")
	}
	found, total, err := o.r.ListMicrotenants(o.ctx, keystore.TenantQuery{CustomerID: t.customerID, ID: t.microtenantID, AllCustomers: t.all, Limit: 1})
	switch {
	case err != nil:
		return nil, err
	case total == 0:
		return nil, notFound("microtenant")
	case total > 1:
		return nil, FieldErrors{{Field: "customer_id", Code: FieldRequired, Detail: "is required, several customers have a microtenant with this id"}}.Err()
	}
	return found[0], nil
}

// changeableMicrotenant is microtenant where the actor may change it, at the
// revision that the caller knows. An actor inside it may not: what bounds it is
// not its own.
func (o *op) changeableMicrotenant(ref MicrotenantRef, action policy.Mask, cond Condition) (*keystore.Microtenant, error) {
	m, err := o.microtenant(ref, action)
	if err != nil {
		return nil, err
	}
	if !o.actor.sees(m.CustomerID, "") {
		return nil, exceeds("id", "a microtenant is changed from its customer's level, not from inside")
	}
	if cond != nil && !cond(m.Revision) {
		return nil, stale("microtenant")
	}
	return m, nil
}

// UpdateMicrotenant applies a patch. A patch that changes nothing writes nothing.
func (s *Service) UpdateMicrotenant(ctx context.Context, a Actor, ref MicrotenantRef, p TenantPatch, cond Condition) (Microtenant, Commit, error) {
	var out Microtenant
	commit, err := s.update(ctx, a, func(o *op) error {
		m, err := o.changeableMicrotenant(ref, policy.Update, cond)
		if err != nil {
			return err
		}
		before := *m
		changed, err := p.apply(&m.Name, &m.Enabled, &m.Generation)
		if err != nil {
			return err
		}
		if p.revokes() {
			o.revokeNow()
		}
		if before.Enabled && !m.Enabled && o.inMicrotenant(m) {
			return ownTenant("microtenant")
		}
		if !before.Enabled && m.Enabled {
			if err := o.withinTenants(keystore.KeyQuery{CustomerID: m.CustomerID, MicrotenantID: m.ID}); err != nil {
				return err
			}
		}
		if changed {
			m.Modified = o.stamp()
			if err := o.tx.PutMicrotenant(ctx, m); err != nil {
				return refusal(err, "microtenant")
			}
			if err := o.audit("microtenant.update", microtenantTarget(m), recordMicrotenant(&before), recordMicrotenant(m)); err != nil {
				return err
			}
		}
		m, err = o.r.Microtenant(ctx, m.CustomerID, m.ID)
		if err == nil {
			out, err = o.showMicrotenant(m)
		}
		return err
	})
	if err != nil {
		return Microtenant{}, Commit{}, err
	}
	return out, commit, nil
}

// DeleteMicrotenant removes a microtenant that no key is in.
func (s *Service) DeleteMicrotenant(ctx context.Context, a Actor, ref MicrotenantRef, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		m, err := o.changeableMicrotenant(ref, policy.Delete, cond)
		if err != nil {
			return err
		}
		if o.inMicrotenant(m) {
			return ownTenant("microtenant")
		}
		if err := o.unusedByKeys("microtenant", keystore.KeyQuery{CustomerID: m.CustomerID, MicrotenantID: m.ID}); err != nil {
			return err
		}
		o.revokeNow()
		if err := o.tx.DeleteMicrotenant(ctx, m.CustomerID, m.ID); err != nil {
			return refusal(err, "microtenant")
		}
		if err := o.forgetPreferences(sharedOwner(m.CustomerID, m.ID)); err != nil {
			return err
		}
		return o.audit("microtenant.delete", microtenantTarget(m), recordMicrotenant(m), nil)
	})
}

// inCustomer and inMicrotenant report whether the acting key itself belongs there.
func (o *op) inCustomer(id string) bool { return o.actor.Key != nil && o.actor.Key.CustomerID == id }

func (o *op) inMicrotenant(m *keystore.Microtenant) bool {
	return o.inCustomer(m.CustomerID) && o.actor.Key.MicrotenantID == m.ID
}

// ownTenant refuses what would lock out whoever asks for it.
func ownTenant(what string) error {
	return &Error{Kind: Conflict, Code: CodeOwnTenant, Detail: "the acting key belongs to this " + what + " and would lock itself out; use a key of another, or the local admin endpoint"}
}
