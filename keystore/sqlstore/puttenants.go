package sqlstore

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// PutRole stores a role. The predefined ones and their names are taken.
func (t *tx) PutRole(ctx context.Context, r *keystore.Role) error {
	if r.ID == "" {
		return missing("id")
	}
	if r.Predefined || isPredefined(r.ID) {
		return field("predefined", keystore.ErrConflict)
	}
	if slices.ContainsFunc(keystore.PredefinedRoles(), func(p keystore.Role) bool { return p.Name == r.Name }) {
		return field("name", keystore.ErrConflict)
	}
	if r.CustomerID != "" {
		if err := t.require(ctx, "customer_id", "SELECT 1 FROM customers WHERE id = ?", r.CustomerID); err != nil {
			return err
		}
		// A role that becomes one customer's must not be held by another's key or source.
		for _, held := range []struct{ name, text string }{
			{"keys", "SELECT 1 FROM keys WHERE role_id = ? AND customer_id <> ?"},
			{"sources", "SELECT 1 FROM sources WHERE max_role_id = ? AND customer_id <> ?"},
		} {
			if err := t.refuse(ctx, keystore.ErrInUse, held.name, held.text, r.ID, r.CustomerID); err != nil {
				return err
			}
		}
	}
	err := t.refuse(ctx, keystore.ErrConflict, "name", "SELECT 1 FROM roles WHERE customer_id = ? AND name = ? AND id <> ?", r.CustomerID, r.Name, r.ID)
	if err != nil {
		return err
	}
	return t.storeRole(ctx, r)
}

// storeRole stores a role whose constraints hold.
func (t *tx) storeRole(ctx context.Context, r *keystore.Role) error {
	if r.Permissions == nil {
		r.Permissions = policy.Permissions{}
	}
	permissions, err := encodePermissions(r.Permissions)
	if err != nil {
		return err
	}
	round(&r.Created, &r.Modified)
	r.Revision = t.revision()
	err = t.exec(ctx, `INSERT INTO roles (id, customer_id, name, description, permissions, predefined, created, modified, revision)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id, name = excluded.name, description = excluded.description,
			permissions = excluded.permissions, predefined = excluded.predefined,
			created = excluded.created, modified = excluded.modified, revision = excluded.revision`,
		r.ID, r.CustomerID, r.Name, r.Description, permissions, r.Predefined, millis(r.Created), millis(r.Modified), r.Revision)
	if err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindRole, ID: r.ID})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombRole, ID: r.ID, Bounds: keystore.RoleBounds(r)})
}

func isPredefined(roleID string) bool {
	return slices.ContainsFunc(keystore.PredefinedRoles(), func(p keystore.Role) bool { return p.ID == roleID })
}

// DeleteRole removes a role that no key and no source has.
func (t *tx) DeleteRole(ctx context.Context, id string) error {
	if isPredefined(id) {
		return field("predefined", keystore.ErrConflict)
	}
	if err := t.refuse(ctx, keystore.ErrInUse, "keys", "SELECT 1 FROM keys WHERE role_id = ?", id); err != nil {
		return err
	}
	if err := t.refuse(ctx, keystore.ErrInUse, "sources", "SELECT 1 FROM sources WHERE max_role_id = ?", id); err != nil {
		return err
	}
	if err := t.one(ctx, "DELETE FROM roles WHERE id = ?", id); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindRole, ID: id})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombRole, ID: id, Gone: true})
}

// PutCustomer stores a customer; names are unique.
func (t *tx) PutCustomer(ctx context.Context, c *keystore.Customer) error {
	if c.ID == "" {
		return missing("id")
	}
	if err := t.refuse(ctx, keystore.ErrConflict, "name", "SELECT 1 FROM customers WHERE name = ? AND id <> ?", c.Name, c.ID); err != nil {
		return err
	}
	round(&c.Created, &c.Modified)
	c.Revision = t.revision()
	err := t.exec(ctx, `INSERT INTO customers (id, name, enabled, generation, created, modified, revision, search) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, enabled = excluded.enabled, generation = excluded.generation,
			created = excluded.created, modified = excluded.modified, revision = excluded.revision, search = excluded.search`,
		c.ID, c.Name, c.Enabled, c.Generation, millis(c.Created), millis(c.Modified), c.Revision, tenantSearch(c.Name, c.ID))
	if err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindCustomer, ID: c.ID})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombCustomer, ID: c.ID, Bounds: keystore.CustomerBounds(c)})
}

// DeleteCustomer removes a customer that owns nothing any more.
func (t *tx) DeleteCustomer(ctx context.Context, id string) error {
	if id == "" { // stands for every customer in roles
		return keystore.ErrNotFound
	}
	for _, owned := range []struct{ name, text string }{
		{"keys", "SELECT 1 FROM keys WHERE customer_id = ?"},
		{"roles", "SELECT 1 FROM roles WHERE customer_id = ?"},
		{"microtenants", "SELECT 1 FROM microtenants WHERE customer_id = ?"},
		{"sources", "SELECT 1 FROM sources WHERE customer_id = ?"},
	} {
		if err := t.refuse(ctx, keystore.ErrInUse, owned.name, owned.text, id); err != nil {
			return err
		}
	}
	if err := t.one(ctx, "DELETE FROM customers WHERE id = ?", id); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindCustomer, ID: id})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombCustomer, ID: id, Gone: true})
}

// PutMicrotenant stores a microtenant; names are unique in the customer.
func (t *tx) PutMicrotenant(ctx context.Context, m *keystore.Microtenant) error {
	if m.ID == "" {
		return missing("id")
	}
	if err := t.require(ctx, "customer_id", "SELECT 1 FROM customers WHERE id = ?", m.CustomerID); err != nil {
		return err
	}
	err := t.refuse(ctx, keystore.ErrConflict, "name", "SELECT 1 FROM microtenants WHERE customer_id = ? AND name = ? AND id <> ?",
		m.CustomerID, m.Name, m.ID)
	if err != nil {
		return err
	}
	round(&m.Created, &m.Modified)
	m.Revision = t.revision()
	err = t.exec(ctx, `INSERT INTO microtenants (customer_id, id, name, enabled, generation, created, modified, revision, search)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (customer_id, id) DO UPDATE SET name = excluded.name, enabled = excluded.enabled, generation = excluded.generation,
			created = excluded.created, modified = excluded.modified, revision = excluded.revision, search = excluded.search`,
		m.CustomerID, m.ID, m.Name, m.Enabled, m.Generation, millis(m.Created), millis(m.Modified), m.Revision, tenantSearch(m.Name, m.ID))
	if err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindMicrotenant, ID: m.ID, CustomerID: m.CustomerID})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombMicrotenant, Parent: m.CustomerID, ID: m.ID, Bounds: keystore.MicrotenantBounds(m)})
}

// DeleteMicrotenant removes a microtenant that no key is in.
func (t *tx) DeleteMicrotenant(ctx context.Context, customerID, id string) error {
	if id == "" { // stands for the customer level in keys
		return keystore.ErrNotFound
	}
	err := t.refuse(ctx, keystore.ErrInUse, "keys", "SELECT 1 FROM keys WHERE customer_id = ? AND microtenant_id = ?", customerID, id)
	if err != nil {
		return err
	}
	if err := t.one(ctx, "DELETE FROM microtenants WHERE customer_id = ? AND id = ?", customerID, id); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindMicrotenant, ID: id, CustomerID: customerID})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombMicrotenant, Parent: customerID, ID: id, Gone: true})
}
