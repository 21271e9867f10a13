package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// defaultCustomer is the id of the customer of whoever needs but one.
const defaultCustomer = "default"

// NewCustomer is what a customer is made from. Name is required and unique.
type NewCustomer struct {
	// ID of one's own, to equal the upstream's; "" makes one.
	ID   string
	Name string
	// Enabled left out is true.
	Enabled Optional[bool]
}

// NewMicrotenant is what a microtenant is made from. Name is required and
// unique in its customer.
type NewMicrotenant struct {
	// ID of one's own, to equal the upstream's; "" makes one.
	ID string
	// CustomerID left empty is the actor's own.
	CustomerID string
	Name       string
	// Enabled left out is true.
	Enabled Optional[bool]
}

// Customer is a tenant as every door shows it.
type Customer struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Enabled    bool              `json:"enabled"`
	CreatedAt  time.Time         `json:"created_at"`
	ModifiedAt time.Time         `json:"modified_at"`
	Revision   keystore.Revision `json:"-"`
}

// Microtenant is a part of a customer as every door shows it.
type Microtenant struct {
	ID         string            `json:"id"`
	CustomerID string            `json:"customer_id"`
	Name       string            `json:"name"`
	Enabled    bool              `json:"enabled"`
	CreatedAt  time.Time         `json:"created_at"`
	ModifiedAt time.Time         `json:"modified_at"`
	Revision   keystore.Revision `json:"-"`
}

// CreateCustomer makes a customer; only an actor for all customers may.
func (s *Service) CreateCustomer(ctx context.Context, a Actor, in NewCustomer) (Customer, Commit, error) {
	var out Customer
	commit, err := s.update(ctx, a, func(o *op) error {
		if err := o.need(ResourceTenants, policy.Create); err != nil {
			return err
		}
		if !o.actor.AllCustomers {
			return exceeds("id", "only an Operator may make a customer")
		}
		var bad FieldErrors
		now := o.stamp()
		c := &keystore.Customer{ID: newOrOwnID(&bad, in.ID, "cus"), Name: cleanName(&bad, in.Name),
			Enabled: !in.Enabled.Has() || in.Enabled.Value, Created: now, Modified: now}
		if err := bad.Err(); err != nil {
			return err
		}
		_, err := o.r.Customer(ctx, c.ID)
		if err := unusedID("customer", err); err != nil {
			return err
		}
		out, err = o.addCustomer(c)
		return err
	})
	if err != nil {
		return Customer{}, Commit{}, err
	}
	return out, commit, nil
}

// addCustomer stores a valid customer.
func (o *op) addCustomer(c *keystore.Customer) (Customer, error) {
	if err := o.tx.PutCustomer(o.ctx, c); err != nil {
		return Customer{}, refusal(err, "customer")
	}
	stored, err := o.r.Customer(o.ctx, c.ID)
	if err != nil {
		return Customer{}, err
	}
	out := Customer{ID: stored.ID, Name: stored.Name, Enabled: stored.Enabled,
		CreatedAt: stored.Created, ModifiedAt: stored.Modified, Revision: stored.Revision}
	return out, o.audit("customer.create", target{string(keystore.KindCustomer), c.ID, c.Name, c.ID}, nil, out)
}

// onlyCustomer is the customer that is meant where an actor of all customers
// names none: the only one there is, made as `default` on a store that has none
// yet, so that the first key needs nothing else. "" where there are several.
func (o *op) onlyCustomer() (string, error) {
	all, err := o.r.Customers(o.ctx)
	if err != nil {
		return "", err
	}
	switch len(all) {
	case 0:
		if err := o.need(ResourceTenants, policy.Create); err != nil {
			return "", err
		}
		now := o.stamp()
		made, err := o.addCustomer(&keystore.Customer{ID: defaultCustomer, Name: "Default", Enabled: true, Created: now, Modified: now})
		return made.ID, err
	case 1:
		return all[0].ID, nil
	}
	return "", nil
}

// CreateMicrotenant makes a microtenant of a customer.
func (s *Service) CreateMicrotenant(ctx context.Context, a Actor, in NewMicrotenant) (Microtenant, Commit, error) {
	var out Microtenant
	commit, err := s.update(ctx, a, func(o *op) error {
		if err := o.need(ResourceTenants, policy.Create); err != nil {
			return err
		}
		var bad FieldErrors
		now := o.stamp()
		// Requests name the Default microtenant and all of them so: no microtenant can.
		m := &keystore.Microtenant{ID: newOrOwnID(&bad, in.ID, "mt", policy.DefaultMicrotenant, policy.AllMicrotenants), CustomerID: in.CustomerID,
			Name: cleanName(&bad, in.Name), Enabled: !in.Enabled.Has() || in.Enabled.Value, Created: now, Modified: now}
		if m.CustomerID == "" {
			m.CustomerID = o.actor.CustomerID
		}
		if m.CustomerID == "" {
			bad.Add("customer_id", FieldRequired, "is required, the acting party belongs to no customer")
		}
		if err := bad.Err(); err != nil {
			return err
		}
		// Held at customer level: an actor inside a microtenant makes no siblings.
		if err := o.withinTenant(m.CustomerID, ""); err != nil {
			return err
		}
		_, err := o.r.Microtenant(ctx, m.CustomerID, m.ID)
		if err := unusedID("microtenant", err); err != nil {
			return err
		}
		if err := o.tx.PutMicrotenant(ctx, m); err != nil {
			return refusal(err, "microtenant")
		}
		stored, err := o.r.Microtenant(ctx, m.CustomerID, m.ID)
		if err != nil {
			return err
		}
		out = Microtenant{ID: stored.ID, CustomerID: stored.CustomerID, Name: stored.Name, Enabled: stored.Enabled,
			CreatedAt: stored.Created, ModifiedAt: stored.Modified, Revision: stored.Revision}
		return o.audit("microtenant.create", target{string(keystore.KindMicrotenant), m.ID, m.Name, m.CustomerID}, nil, out)
	})
	if err != nil {
		return Microtenant{}, Commit{}, err
	}
	return out, commit, nil
}

func newOrOwnID(bad *FieldErrors, id, prefix string, reserved ...string) string {
	if id == "" {
		return credential.NewID(prefix)
	}
	return cleanID(bad, id, reserved...)
}

// unusedID refuses the id of a record that is there: Put would replace it.
func unusedID(what string, err error) error {
	switch {
	case err == nil:
		return refusal(&keystore.FieldError{Field: "id", Err: keystore.ErrConflict}, what)
	case errors.Is(err, keystore.ErrNotFound):
		return nil
	}
	return err
}
