package keystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// Directory is one consistent picture of the roles, customers, microtenants and
// signing keys.
// A decision takes one and keeps it; changes make a new one.
type Directory struct {
	roles        map[string]*Role
	customers    map[string]*Customer
	microtenants map[tenant]*Microtenant
	signingKeys  []*SigningKey
	// microtenant is the method Microtenant, bound once and not by each request.
	microtenant func(customerID, id string) (enabled, known bool)
}

// bound makes a directory of its parts.
func (d Directory) bound() *Directory {
	d.microtenant = d.Microtenant
	return &d
}

type tenant struct{ customer, id string }

// Role is the role with that id, nil if there is none.
func (d *Directory) Role(id string) *Role { return d.roles[id] }

// Customer is the customer with that id, nil if there is none.
func (d *Directory) Customer(id string) *Customer { return d.customers[id] }

// Microtenant tells whether a customer has a microtenant, and whether it is enabled.
func (d *Directory) Microtenant(customerID, id string) (enabled, known bool) {
	m := d.microtenants[tenant{customerID, id}]
	return m != nil && m.Enabled, m != nil
}

// MicrotenantFunc is Microtenant as a function value, for a policy.Subject.
func (d *Directory) MicrotenantFunc() func(customerID, id string) (enabled, known bool) {
	return d.microtenant
}

// SigningKeys lists the keys that tokens are signed with. The slice changes
// whenever one of them does; do not modify it.
func (d *Directory) SigningKeys() []*SigningKey { return d.signingKeys }

// TenantEnabled reports whether a key of this customer and microtenant ("" for
// none) may be used at all.
func (d *Directory) TenantEnabled(customerID, microtenantID string) bool {
	c := d.customers[customerID]
	if c == nil || !c.Enabled {
		return false
	}
	if microtenantID == "" {
		return true
	}
	enabled, _ := d.Microtenant(customerID, microtenantID)
	return enabled
}

// SessionGeneration is the generation that sessions of k must have, see there;
// negative, which no session has, for a key whose tenant is not there.
func (d *Directory) SessionGeneration(k *Key) int64 {
	c := d.customers[k.CustomerID]
	if c == nil {
		return noGeneration
	}
	var m *Microtenant
	if k.MicrotenantID != "" {
		if m = d.microtenants[tenant{k.CustomerID, k.MicrotenantID}]; m == nil {
			return noGeneration
		}
	}
	return SessionGeneration(k, c, m)
}

// noGeneration is not the -1 that SessionOrigin gives for what is no id of ours:
// the two must not meet.
const noGeneration = -2

func loadDirectory(ctx context.Context, r Reader) (*Directory, error) {
	d := Directory{roles: map[string]*Role{}, customers: map[string]*Customer{}, microtenants: map[tenant]*Microtenant{}}
	roles, err := r.Roles(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("roles: %w", err)
	}
	for _, role := range roles {
		d.roles[role.ID] = role
	}
	customers, err := r.Customers(ctx)
	if err != nil {
		return nil, fmt.Errorf("customers: %w", err)
	}
	for _, c := range customers {
		d.customers[c.ID] = c
	}
	microtenants, err := r.Microtenants(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("microtenants: %w", err)
	}
	for _, m := range microtenants {
		d.microtenants[tenant{m.CustomerID, m.ID}] = m
	}
	if d.signingKeys, err = r.SigningKeys(ctx); err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	return d.bound(), nil
}

// with is d after the given changes, reading only what changed. Maps that no
// change touches are shared with d.
func (d *Directory) with(ctx context.Context, r Reader, changes []Change) (*Directory, error) {
	next := *d
	var copied struct{ roles, customers, microtenants bool }
	for _, ch := range changes {
		var err error
		switch ch.Kind {
		case KindRole:
			if !copied.roles {
				next.roles, copied.roles = maps.Clone(next.roles), true
			}
			err = refresh(next.roles, ch.ID, func() (*Role, error) { return r.Role(ctx, ch.ID) })
		case KindCustomer:
			if !copied.customers {
				next.customers, copied.customers = maps.Clone(next.customers), true
			}
			err = refresh(next.customers, ch.ID, func() (*Customer, error) { return r.Customer(ctx, ch.ID) })
		case KindMicrotenant:
			if !copied.microtenants {
				next.microtenants, copied.microtenants = maps.Clone(next.microtenants), true
			}
			id := tenant{ch.CustomerID, ch.ID}
			err = refresh(next.microtenants, id, func() (*Microtenant, error) { return r.Microtenant(ctx, id.customer, id.id) })
		case KindSigningKey:
			next.signingKeys, err = r.SigningKeys(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", ch.Kind, ch.ID, err)
		}
	}
	return next.bound(), nil
}

// refresh puts the record as it stands now under id, or takes it away.
func refresh[K comparable, V any](m map[K]*V, id K, read func() (*V, error)) error {
	v, err := read()
	switch {
	case errors.Is(err, ErrNotFound):
		delete(m, id)
	case err != nil:
		return err
	default:
		m[id] = v
	}
	return nil
}
