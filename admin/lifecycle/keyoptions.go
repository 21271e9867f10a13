package lifecycle

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// RoleOption is a role that a key of a customer could have.
type RoleOption struct {
	ID, Name, Description string
	Predefined            bool
	// Refused says why the actor may not give it, "" where it may. What such a role
	// may do is told to nobody here: it is beyond what the actor holds.
	Refused     string
	Permissions policy.Permissions
}

// KeyOptions is what an actor can choose from for a key: for doors that offer it.
// The operations decide all the same.
type KeyOptions struct {
	// CustomerID is the customer that it is of; "" where one must be named first.
	CustomerID string
	// Customers are those to choose from; none for an actor of one customer.
	Customers []Named
	// Microtenants of the customer; none for an actor inside one. Both lists end
	// after 500.
	Microtenants []Named
	Roles        []RoleOption
	// DefaultValidity is the session validity of a key that names none.
	DefaultValidity, MinValidity, MaxValidity time.Duration
	// ExpiresBy and Networks are the acting key's, which bound those it handles;
	// zero and none are no bound.
	ExpiresBy time.Time
	Networks  []netip.Prefix
}

// KeyOptions lists what a key of a customer can have, for an actor that may make
// or change keys. customerID "" is the one that a new key would get.
func (s *Service) KeyOptions(ctx context.Context, a Actor, customerID string) (KeyOptions, error) {
	var out KeyOptions
	err := s.view(ctx, a, func(o *op) (err error) {
		may := NeedsAny(NeedsTo(policy.Create, ResourceKeys), NeedsTo(policy.Update, ResourceKeys))
		if err := may(o); err != nil {
			return err
		}
		out = KeyOptions{DefaultValidity: s.cfg.DefaultValidity, MinValidity: MinValidity, MaxValidity: s.cfg.MaxValidity}
		if o.actor.Key != nil {
			out.ExpiresBy, out.Networks = o.actor.Key.ExpiresAt, o.actor.Key.AllowedCIDRs
		}
		if out.CustomerID, err = o.optionsOf(customerID); err != nil {
			return err
		}
		if err := o.tenantOptions(&out); err != nil {
			return err
		}
		return o.roleOptions(&out)
	})
	return out, err
}

// optionsOf is the customer that is meant, "" where it must still be chosen.
func (o *op) optionsOf(customerID string) (string, error) {
	switch {
	case customerID == "" && o.actor.CustomerID != "":
		return o.actor.CustomerID, nil
	case customerID == "":
		only, _, err := o.r.ListCustomers(o.ctx, keystore.TenantQuery{AllCustomers: true, Limit: 2})
		if err != nil || len(only) != 1 {
			return "", err
		}
		return only[0].ID, nil
	case !o.actor.AllCustomers && customerID != o.actor.CustomerID:
		return "", notFound("customer")
	}
	_, err := o.r.Customer(o.ctx, customerID)
	if errors.Is(err, keystore.ErrNotFound) {
		return "", notFound("customer")
	}
	return customerID, err
}

func (o *op) tenantOptions(out *KeyOptions) error {
	if o.actor.AllCustomers {
		customers, _, err := o.r.ListCustomers(o.ctx, keystore.TenantQuery{AllCustomers: true, Limit: maxNames})
		if err != nil {
			return err
		}
		for _, c := range customers {
			out.Customers = append(out.Customers, Named{ID: c.ID, Name: c.Name})
		}
	}
	if o.actor.MicrotenantID != "" && !o.actor.AllCustomers || out.CustomerID == "" {
		return nil
	}
	microtenants, _, err := o.r.ListMicrotenants(o.ctx, keystore.TenantQuery{CustomerID: out.CustomerID, Limit: maxNames})
	for _, m := range microtenants {
		out.Microtenants = append(out.Microtenants, Named{ID: m.ID, Name: m.Name, CustomerID: m.CustomerID})
	}
	return err
}

// roleOptions holds each role against the subset rule.
func (o *op) roleOptions(out *KeyOptions) error {
	if out.CustomerID == "" {
		return nil
	}
	roles, err := o.r.Roles(o.ctx, out.CustomerID)
	if err != nil {
		return err
	}
	for _, r := range roles {
		one := RoleOption{ID: r.ID, Name: r.Name, Description: r.Description, Predefined: r.Predefined}
		var refused *Error
		switch err := o.withinRole(r); {
		case err == nil:
			one.Permissions = r.Permissions.Clone()
		case errors.As(err, &refused):
			one.Refused = refused.Detail
		default:
			return err
		}
		out.Roles = append(out.Roles, one)
	}
	return nil
}
