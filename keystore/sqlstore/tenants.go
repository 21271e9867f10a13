package sqlstore

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	selectRole         = "SELECT id, customer_id, name, description, permissions, predefined, created, modified, revision FROM roles "
	customerColumns    = "id, name, enabled, generation, created, modified, revision"
	selectCustomer     = "SELECT " + customerColumns + " FROM customers "
	microtenantColumns = "id, customer_id, name, enabled, generation, created, modified, revision"
	selectMicrotenant  = "SELECT " + microtenantColumns + " FROM microtenants "
)

func scanRole(scan scanner) (*keystore.Role, error) {
	var role keystore.Role
	var permissions string
	var created, modified int64
	err := scan(&role.ID, &role.CustomerID, &role.Name, &role.Description, &permissions, &role.Predefined, &created, &modified, &role.Revision)
	if err != nil {
		return nil, err
	}
	role.Created, role.Modified = fromMillis(created), fromMillis(modified)
	role.Permissions, err = decodePermissions(permissions)
	return &role, err
}

func scanCustomer(scan scanner) (*keystore.Customer, error) {
	var c keystore.Customer
	var created, modified int64
	if err := scan(&c.ID, &c.Name, &c.Enabled, &c.Generation, &created, &modified, &c.Revision); err != nil {
		return nil, err
	}
	c.Created, c.Modified = fromMillis(created), fromMillis(modified)
	return &c, nil
}

func scanMicrotenant(scan scanner) (*keystore.Microtenant, error) {
	var m keystore.Microtenant
	var created, modified int64
	if err := scan(&m.ID, &m.CustomerID, &m.Name, &m.Enabled, &m.Generation, &created, &modified, &m.Revision); err != nil {
		return nil, err
	}
	m.Created, m.Modified = fromMillis(created), fromMillis(modified)
	return &m, nil
}

// first is the one record of a list that has at most one.
func first[T any](records []*T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, keystore.ErrNotFound
	}
	return records[0], nil
}

// Role is the role with that id.
func (r *reader) Role(ctx context.Context, id string) (*keystore.Role, error) {
	return first(list(ctx, r, scanRole, selectRole+"WHERE id = ?", id))
}

// Roles lists a customer's roles and the global ones.
func (r *reader) Roles(ctx context.Context, customerID string) ([]*keystore.Role, error) {
	if customerID == "" {
		return list(ctx, r, scanRole, selectRole+"ORDER BY name, id")
	}
	return list(ctx, r, scanRole, selectRole+"WHERE customer_id IN ('', ?) ORDER BY name, id", customerID)
}

// Customer is the customer with that id.
func (r *reader) Customer(ctx context.Context, id string) (*keystore.Customer, error) {
	return first(list(ctx, r, scanCustomer, selectCustomer+"WHERE id = ?", id))
}

// Customers lists all customers, by name.
func (r *reader) Customers(ctx context.Context) ([]*keystore.Customer, error) {
	return list(ctx, r, scanCustomer, selectCustomer+"ORDER BY name, id")
}

// Microtenant is the microtenant with that id in that customer.
func (r *reader) Microtenant(ctx context.Context, customerID, id string) (*keystore.Microtenant, error) {
	return first(list(ctx, r, scanMicrotenant, selectMicrotenant+"WHERE customer_id = ? AND id = ?", customerID, id))
}

// Microtenants lists a customer's microtenants, by name.
func (r *reader) Microtenants(ctx context.Context, customerID string) ([]*keystore.Microtenant, error) {
	if customerID == "" {
		return list(ctx, r, scanMicrotenant, selectMicrotenant+"ORDER BY name, customer_id, id")
	}
	return list(ctx, r, scanMicrotenant, selectMicrotenant+"WHERE customer_id = ? ORDER BY name, id", customerID)
}
