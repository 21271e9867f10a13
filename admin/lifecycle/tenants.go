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
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	Enabled          bool              `json:"enabled"`
	KeyCount         *int              `json:"key_count" nullable:"true" doc:"How many of the keys that you may see are in it; null if you may see none at all."`
	MicrotenantCount int               `json:"microtenant_count" doc:"How many microtenants that you may see it has."`
	CreatedAt        time.Time         `json:"created_at"`
	ModifiedAt       time.Time         `json:"modified_at"`
	Revision         keystore.Revision `json:"-"`
}

// Microtenant is a part of a customer as every door shows it.
type Microtenant struct {
	ID         string            `json:"id"`
	CustomerID string            `json:"customer_id"`
	Name       string            `json:"name"`
	Enabled    bool              `json:"enabled"`
	KeyCount   *int              `json:"key_count" nullable:"true" doc:"How many of the keys that you may see are in it; null if you may see none at all."`
	CreatedAt  time.Time         `json:"created_at"`
	ModifiedAt time.Time         `json:"modified_at"`
	Revision   keystore.Revision `json:"-"`
}

// tenantSizes count what is in tenants, as far as the actor may see it.
type tenantSizes struct {
	// keys are counted by customer and microtenant; nil where the actor may not look at keys.
	keys         map[string]map[string]int
	microtenants map[string]int
	// only is the microtenant that the actor is in, "" for one who sees the whole.
	only string
}

// tenantSizes reads those of a customer that the actor sees, or with "" of all that it sees.
func (o *op) tenantSizes(customerID string) (s tenantSizes, err error) {
	t, some := o.bound(tenant{customerID: customerID})
	if !some {
		return s, nil
	}
	s.only = t.microtenantID
	if o.need(ResourceKeys, policy.Read) == nil {
		if s.keys, err = o.r.KeysByTenant(o.ctx, t.customerID); err != nil {
			return s, err
		}
	}
	s.microtenants, err = o.r.MicrotenantsByCustomer(o.ctx, t.customerID)
	return s, err
}

// keysIn is how many keys are in a microtenant, or with "" in the whole customer.
func (s tenantSizes) keysIn(customerID, microtenantID string) *int {
	if s.keys == nil {
		return nil
	}
	n := 0
	for in, keys := range s.keys[customerID] {
		if (microtenantID == "" || in == microtenantID) && (s.only == "" || in == s.only) {
			n += keys
		}
	}
	return &n
}

func (s tenantSizes) customer(c *keystore.Customer) Customer {
	shown := Customer{ID: c.ID, Name: c.Name, Enabled: c.Enabled, KeyCount: s.keysIn(c.ID, ""), MicrotenantCount: s.microtenants[c.ID],
		CreatedAt: c.Created, ModifiedAt: c.Modified, Revision: c.Revision}
	if s.only != "" {
		shown.MicrotenantCount = 1 // its own
	}
	return shown
}

func (s tenantSizes) microtenant(m *keystore.Microtenant) Microtenant {
	return Microtenant{ID: m.ID, CustomerID: m.CustomerID, Name: m.Name, Enabled: m.Enabled, KeyCount: s.keysIn(m.CustomerID, m.ID),
		CreatedAt: m.Created, ModifiedAt: m.Modified, Revision: m.Revision}
}

func (o *op) showCustomer(c *keystore.Customer) (Customer, error) {
	sizes, err := o.tenantSizes(c.ID)
	return sizes.customer(c), err
}

func (o *op) showMicrotenant(m *keystore.Microtenant) (Microtenant, error) {
	sizes, err := o.tenantSizes(m.CustomerID)
	return sizes.microtenant(m), err
}

// tenantRecord is what the audit trail keeps of a customer or microtenant.
type tenantRecord struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

func recordCustomer(c *keystore.Customer) *tenantRecord { return &tenantRecord{c.Name, c.Enabled} }

func recordMicrotenant(m *keystore.Microtenant) *tenantRecord {
	return &tenantRecord{m.Name, m.Enabled}
}

func customerTarget(c *keystore.Customer) target {
	return target{kind: string(keystore.KindCustomer), id: c.ID, name: c.Name, customerID: c.ID}
}

func microtenantTarget(m *keystore.Microtenant) target {
	return target{kind: string(keystore.KindMicrotenant), id: m.ID, name: m.Name, customerID: m.CustomerID, microtenantID: m.ID}
}

// CreateCustomer makes a customer; only an actor for all customers may.
func (s *Service) CreateCustomer(ctx context.Context, a Actor, in NewCustomer) (Customer, Commit, error) {
	may := func(o *op) error { return o.ruleCustomers(policy.Create) }
	return create(ctx, s, a, may, func(o *op) (Customer, error) {
		var bad FieldErrors
		now := o.stamp()
		c := &keystore.Customer{ID: newOrOwnID(&bad, in.ID, "cus"), Name: cleanName(&bad, in.Name),
			Enabled: !in.Enabled.Has() || in.Enabled.Value, Created: now, Modified: now}
		if err := bad.Err(); err != nil {
			return Customer{}, err
		}
		_, err := o.r.Customer(ctx, c.ID)
		if err := unusedID("customer", err); err != nil {
			return Customer{}, err
		}
		return o.addCustomer(c)
	})
}

// ruleCustomers refuses an actor that may not make and change customers.
func (o *op) ruleCustomers(action policy.Mask) error {
	if err := o.need(ResourceTenants, action); err != nil {
		return err
	}
	if !o.actor.AllCustomers {
		return exceeds("id", "only an Operator may make, change or delete a customer")
	}
	return nil
}

// addCustomer stores a valid customer.
func (o *op) addCustomer(c *keystore.Customer) (Customer, error) {
	if err := o.tx.PutCustomer(o.ctx, c); err != nil {
		return Customer{}, refusal(err, "customer")
	}
	if err := o.audit("customer.create", customerTarget(c), nil, recordCustomer(c)); err != nil {
		return Customer{}, err
	}
	stored, err := o.r.Customer(o.ctx, c.ID)
	if err != nil {
		return Customer{}, err
	}
	return o.showCustomer(stored)
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
	may := func(o *op) error { return o.need(ResourceTenants, policy.Create) }
	return create(ctx, s, a, may, func(o *op) (Microtenant, error) {
		m, err := o.newMicrotenant(in)
		if err != nil {
			return Microtenant{}, err
		}
		if err := o.tx.PutMicrotenant(ctx, m); err != nil {
			return Microtenant{}, refusal(err, "microtenant")
		}
		if err := o.audit("microtenant.create", microtenantTarget(m), nil, recordMicrotenant(m)); err != nil {
			return Microtenant{}, err
		}
		stored, err := o.r.Microtenant(ctx, m.CustomerID, m.ID)
		if err != nil {
			return Microtenant{}, err
		}
		return o.showMicrotenant(stored)
	})
}

// newMicrotenant validates in and holds it against the actor's rights and what is stored.
func (o *op) newMicrotenant(in NewMicrotenant) (*keystore.Microtenant, error) {
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
		return nil, err
	}
	// Held at customer level: an actor inside a microtenant makes no siblings.
	if err := o.withinTenant(m.CustomerID, ""); err != nil {
		return nil, err
	}
	_, err := o.r.Microtenant(o.ctx, m.CustomerID, m.ID)
	return m, unusedID("microtenant", err)
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
