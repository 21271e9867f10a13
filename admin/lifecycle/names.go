package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// maxNames bounds each list of KeyChoices.
const maxNames = 500

// Named is a record as people know it.
type Named struct {
	ID, Name string
	// CustomerID is set for microtenants, whose ids are unique in their customer.
	CustomerID string
}

// KeyNames is what keys refer to by id, for doors that show names.
type KeyNames struct {
	// Roles and Customers are by id.
	Roles, Customers map[string]string
	// Microtenants are by customer, then id.
	Microtenants map[string]map[string]string
}

// KeyNames names what these keys refer to, for an actor that may look at keys: no
// more than its role's, customer's and microtenant's name goes with a key.
func (s *Service) KeyNames(ctx context.Context, a Actor, keys []Key) (KeyNames, error) {
	var out KeyNames
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceKeys, policy.Read); err != nil {
			return err
		}
		out = KeyNames{Roles: map[string]string{}, Customers: map[string]string{}, Microtenants: map[string]map[string]string{}}
		for _, k := range keys {
			microtenantID := ""
			if k.MicrotenantID != nil {
				microtenantID = *k.MicrotenantID
			}
			if !o.actor.sees(k.CustomerID, microtenantID) {
				continue
			}
			if err := o.nameKey(&out, k); err != nil && !errors.Is(err, keystore.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (o *op) nameKey(n *KeyNames, k Key) error {
	if _, known := n.Roles[k.RoleID]; !known {
		r, err := o.r.Role(o.ctx, k.RoleID)
		if err != nil {
			return err
		}
		n.Roles[k.RoleID] = r.Name
	}
	if _, known := n.Customers[k.CustomerID]; !known {
		c, err := o.r.Customer(o.ctx, k.CustomerID)
		if err != nil {
			return err
		}
		n.Customers[k.CustomerID] = c.Name
	}
	if k.MicrotenantID == nil {
		return nil
	}
	there := n.Microtenants[k.CustomerID]
	if there == nil {
		there = map[string]string{}
		n.Microtenants[k.CustomerID] = there
	}
	if _, known := there[*k.MicrotenantID]; known {
		return nil
	}
	m, err := o.r.Microtenant(o.ctx, k.CustomerID, *k.MicrotenantID)
	if err == nil {
		there[m.ID] = m.Name
	}
	return err
}

// KeyChoices is what keys can be told apart by, each by name and at most 500 of them.
type KeyChoices struct {
	Roles, Microtenants, Customers []Named
	// Sources are named by their name alone.
	Sources []string
}

// KeyChoices lists what the keys that the actor sees can refer to.
func (s *Service) KeyChoices(ctx context.Context, a Actor) (KeyChoices, error) {
	var out KeyChoices
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceKeys, policy.Read); err != nil {
			return err
		}
		out = KeyChoices{}
		t, _ := o.bound(tenant{}) // nothing was asked for that it could refuse
		roles, err := o.r.Roles(ctx, t.customerID)
		if err != nil {
			return err
		}
		// Who may not look at roles is told of those that keys have.
		every := o.need(ResourceRoles, policy.Read) == nil
		var used map[string]int
		if !every {
			if used, err = o.r.KeysByRole(ctx, t.customerID, t.microtenantID); err != nil {
				return err
			}
		}
		for _, r := range roles {
			if every || used[r.ID] > 0 {
				out.Roles = append(out.Roles, Named{ID: r.ID, Name: r.Name, CustomerID: r.CustomerID})
			}
		}
		if t.microtenantID == "" { // sources are the customer's
			sources, err := o.r.Sources(ctx, t.customerID)
			if err != nil {
				return err
			}
			for _, source := range sources {
				out.Sources = append(out.Sources, source.Name)
			}
		}
		query := keystore.TenantQuery{CustomerID: t.customerID, ID: t.microtenantID, AllCustomers: t.all, Limit: maxNames}
		microtenants, _, err := o.r.ListMicrotenants(ctx, query)
		if err != nil {
			return err
		}
		for _, m := range microtenants {
			out.Microtenants = append(out.Microtenants, Named{ID: m.ID, Name: m.Name, CustomerID: m.CustomerID})
		}
		if !t.all {
			out.trim()
			return nil
		}
		customers, _, err := o.r.ListCustomers(ctx, query)
		for _, c := range customers {
			out.Customers = append(out.Customers, Named{ID: c.ID, Name: c.Name})
		}
		out.trim()
		return err
	})
	return out, err
}

// trim puts the lists into the order of their names, and bounds them.
func (c *KeyChoices) trim() {
	byName := func(a, b Named) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) }
	for _, list := range []*[]Named{&c.Roles, &c.Microtenants, &c.Customers} {
		slices.SortFunc(*list, byName)
		*list = (*list)[:min(len(*list), maxNames)]
	}
	slices.Sort(c.Sources)
	c.Sources = slices.Compact(c.Sources)
	c.Sources = c.Sources[:min(len(c.Sources), maxNames)]
}
