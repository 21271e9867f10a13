package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// tenantSearch is what a text search of customers and microtenants looks in.
func tenantSearch(name, id string) string { return fold(name) + "\n" + fold(id) }

// fillSearch gives records of before there was a search theirs.
func (t *tx) fillSearch(ctx context.Context) error {
	type record struct{ customerID, id, name string }
	scan := func(scan scanner) (r record, err error) { return r, scan(&r.customerID, &r.id, &r.name) }
	customers, err := list(ctx, &t.reader, scan, "SELECT '', id, name FROM customers WHERE search = ''")
	if err != nil {
		return err
	}
	for _, c := range customers {
		if err := t.exec(ctx, "UPDATE customers SET search = ? WHERE id = ?", tenantSearch(c.name, c.id), c.id); err != nil {
			return err
		}
	}
	microtenants, err := list(ctx, &t.reader, scan, "SELECT customer_id, id, name FROM microtenants WHERE search = ''")
	if err != nil {
		return err
	}
	for _, m := range microtenants {
		err := t.exec(ctx, "UPDATE microtenants SET search = ? WHERE customer_id = ? AND id = ?", tenantSearch(m.name, m.id), m.customerID, m.id)
		if err != nil {
			return err
		}
	}
	return nil
}

// ListCustomers lists one page of the matching customers and counts them all.
func (r *reader) ListCustomers(ctx context.Context, q keystore.TenantQuery) ([]*keystore.Customer, int, error) {
	match, order, err := tenantList(r.dialect.Contains, q, "id")
	if err != nil {
		return nil, 0, err
	}
	match.equal("id", q.CustomerID)
	return page(ctx, r, listing{columns: customerColumns, from: "customers", match: match, order: order},
		place{after: q.After, offset: q.Offset, limit: q.Limit}, scanCustomer)
}

// ListMicrotenants lists one page of the matching microtenants and counts them
// all. Their ids are unique in their customer, so that both make the place in
// the list: see keystore.TenantQuery.MicrotenantCursor.
func (r *reader) ListMicrotenants(ctx context.Context, q keystore.TenantQuery) ([]*keystore.Microtenant, int, error) {
	match, order, err := tenantList(r.dialect.Contains, q, "customer_id", "id")
	if err != nil {
		return nil, 0, err
	}
	match.equal("customer_id", q.CustomerID)
	match.equal("id", q.ID)
	after := q.After
	if after != nil {
		customerID, id, found := strings.Cut(after.ID, " ")
		if !found {
			return nil, 0, fmt.Errorf("cursor of a list of microtenants: expected a customer and an id, got %q", after.ID)
		}
		after = &keystore.Cursor{Values: append(append([]string{}, after.Values...), customerID), ID: id}
	}
	return page(ctx, r, listing{columns: microtenantColumns, from: "microtenants", match: match, order: order},
		place{after: after, offset: q.Offset, limit: q.Limit}, scanMicrotenant)
}

// tenantList is what lists of customers and microtenants have in common.
func tenantList(contains string, q keystore.TenantQuery, ids ...string) (match conditions, order []orderColumn, err error) {
	if q.CustomerID == "" && !q.AllCustomers {
		return match, nil, errors.New("a tenant query must name its customer or ask for all")
	}
	field, err := q.Order()
	if err != nil {
		return match, nil, err
	}
	if q.Text != "" {
		match.add(contains+"(search, ?) > 0", fold(q.Text))
	}
	order = []orderColumn{{column: "name", desc: field.Desc}}
	if field.Field == keystore.SortCreated {
		order = []orderColumn{{column: "created", desc: field.Desc, number: true}}
	}
	for _, id := range ids {
		order = append(order, orderColumn{column: id, desc: field.Desc})
	}
	return match, order, nil
}

// KeysByRole counts keys by their role, from an index.
func (r *reader) KeysByRole(ctx context.Context, customerID, microtenantID string) (map[string]int, error) {
	text, args := "SELECT role_id, count(*) FROM keys ", []any{}
	switch {
	case customerID == "" && microtenantID != "":
		return nil, errors.New("keys of a microtenant are counted in its customer")
	case microtenantID != "":
		text, args = text+"WHERE customer_id = ? AND microtenant_id = ? ", []any{customerID, microtenantID}
	case customerID != "":
		text, args = text+"WHERE customer_id = ? ", []any{customerID}
	}
	counts := map[string]int{}
	_, err := list(ctx, r, func(scan scanner) (struct{}, error) {
		var role string
		var n int
		err := scan(&role, &n)
		counts[role] = n
		return struct{}{}, err
	}, text+"GROUP BY role_id", args...)
	return counts, err
}

// KeysByTenant counts keys by customer and microtenant, from the index that makes
// their names unique.
func (r *reader) KeysByTenant(ctx context.Context, customerID string) (map[string]map[string]int, error) {
	where, args := ofCustomer(customerID)
	counts := map[string]map[string]int{}
	_, err := list(ctx, r, func(scan scanner) (struct{}, error) {
		var customer, microtenant string
		var n int
		err := scan(&customer, &microtenant, &n)
		if counts[customer] == nil {
			counts[customer] = map[string]int{}
		}
		counts[customer][microtenant] = n
		return struct{}{}, err
	}, "SELECT customer_id, microtenant_id, count(*) FROM keys "+where+"GROUP BY customer_id, microtenant_id", args...)
	return counts, err
}

// MicrotenantsByCustomer counts the microtenants of each customer that has any.
func (r *reader) MicrotenantsByCustomer(ctx context.Context, customerID string) (map[string]int, error) {
	where, args := ofCustomer(customerID)
	counts := map[string]int{}
	_, err := list(ctx, r, func(scan scanner) (struct{}, error) {
		var customer string
		var n int
		err := scan(&customer, &n)
		counts[customer] = n
		return struct{}{}, err
	}, "SELECT customer_id, count(*) FROM microtenants "+where+"GROUP BY customer_id", args...)
	return counts, err
}

// ofCustomer selects what a customer has; "" selects that of all.
func ofCustomer(id string) (where string, args []any) {
	if id == "" {
		return "", nil
	}
	return "WHERE customer_id = ? ", []any{id}
}
