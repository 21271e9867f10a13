package lifecycle

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// CustomerFilter selects customers; empty fields do not filter.
type CustomerFilter struct {
	// Text is found in name or id, whatever the case.
	Text string
	// Sort is name (the default) or created_at, with a - before it for descending.
	Sort string
	Paging
}

// MicrotenantFilter selects microtenants; empty fields do not filter.
type MicrotenantFilter struct {
	CustomerFilter
	CustomerID string
}

// ListCustomers lists the customers that the actor sees: all of them, or its own.
func (s *Service) ListCustomers(ctx context.Context, a Actor, f CustomerFilter) (Page[Customer], error) {
	var out Page[Customer]
	err := s.view(ctx, a, func(o *op) error {
		q, at, err := o.tenants(customerCursor, MicrotenantFilter{CustomerFilter: f})
		if err != nil {
			return err
		}
		t, _ := o.bound(tenant{}) // nothing was asked for that it could refuse
		q.CustomerID, q.AllCustomers = t.customerID, t.all
		found, total, err := o.r.ListCustomers(ctx, q)
		if err != nil {
			return err
		}
		sizes, err := o.tenantSizes("")
		if err != nil {
			return err
		}
		out, err = pageOf(o, at, found, total, sure(q.CustomerCursor),
			func(c *keystore.Customer) (Customer, error) { return sizes.customer(c), nil })
		return err
	})
	return out, err
}

// ListMicrotenants lists the microtenants that the actor sees. A filter for
// another customer than the actor's finds nothing.
func (s *Service) ListMicrotenants(ctx context.Context, a Actor, f MicrotenantFilter) (Page[Microtenant], error) {
	var out Page[Microtenant]
	err := s.view(ctx, a, func(o *op) error {
		q, at, err := o.tenants(microtenantCursor, f)
		if err != nil {
			return err
		}
		out = Page[Microtenant]{Items: []Microtenant{}}
		t, some := o.bound(tenant{customerID: f.CustomerID})
		if !some {
			return nil
		}
		q.CustomerID, q.ID, q.AllCustomers = t.customerID, t.microtenantID, t.all
		found, total, err := o.r.ListMicrotenants(ctx, q)
		if err != nil {
			return err
		}
		sizes, err := o.tenantSizes(f.CustomerID)
		if err != nil {
			return err
		}
		out, err = pageOf(o, at, found, total, sure(q.MicrotenantCursor),
			func(m *keystore.Microtenant) (Microtenant, error) { return sizes.microtenant(m), nil })
		return err
	})
	return out, err
}

// tenants is the query of a list of tenants, not yet bounded to the actor.
func (o *op) tenants(list string, f MicrotenantFilter) (keystore.TenantQuery, place, error) {
	if err := o.need(ResourceTenants, policy.Read); err != nil {
		return keystore.TenantQuery{}, place{}, err
	}
	var bad FieldErrors
	checkText(&bad, f.Text)
	sort := sortOf(&bad, f.Sort, keystore.SortName, keystore.SortCreated)
	at, err := f.Paging.check(o, o.scope(list, []string{f.Text, f.CustomerID, f.Sort}), bad)
	return keystore.TenantQuery{Text: f.Text, Sort: sort, After: at.after, Offset: at.offset, Limit: at.limit()}, at, err
}
