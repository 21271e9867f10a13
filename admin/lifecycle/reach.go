package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Reach is the tenant that a request names, for doors where each must name one.
// It narrows what the actor sees and never widens it.
type Reach struct {
	CustomerID string
	// MicrotenantID is as the request has it: "" names none, policy.DefaultMicrotenant
	// is the customer level, policy.AllMicrotenants is everything, for reading.
	MicrotenantID string
}

// holds reports whether a record of this customer and microtenant is within.
func (r *Reach) holds(customerID, microtenantID string) bool {
	if r == nil {
		return true
	}
	switch r.MicrotenantID {
	case "", policy.AllMicrotenants:
		return customerID == r.CustomerID
	case policy.DefaultMicrotenant:
		return customerID == r.CustomerID && microtenantID == ""
	}
	return customerID == r.CustomerID && microtenantID == r.MicrotenantID
}

// Filter selects the keys that a list in this reach is of: those at customer
// level where no microtenant is named, so that a name is found in one only.
func (r *Reach) Filter() (customerID, microtenantID string) {
	switch r.MicrotenantID {
	case "", policy.DefaultMicrotenant:
		return r.CustomerID, FilterNull
	case policy.AllMicrotenants:
		return r.CustomerID, ""
	}
	return r.CustomerID, r.MicrotenantID
}

// Tenant is where a key made in this reach belongs.
func (r *Reach) Tenant() (customerID string, microtenantID Optional[string]) {
	switch r.MicrotenantID {
	case "", policy.DefaultMicrotenant:
		return r.CustomerID, Null[string]()
	}
	return r.CustomerID, Some(r.MicrotenantID)
}

// withinReach holds the tenant that the request names, if it must name one,
// against the actor's, by the rules of the gate. A customer that is not the
// actor's is one that does not exist.
func (o *op) withinReach() error {
	r := o.actor.Reach
	if r == nil {
		return nil
	}
	if !o.actor.AllCustomers && o.actor.CustomerID != r.CustomerID {
		return notFound("customer")
	}
	if _, err := o.r.Customer(o.ctx, r.CustomerID); err != nil {
		return refusal(err, "customer")
	}
	who := policy.Subject{CustomerID: r.CustomerID}
	if !o.actor.AllCustomers {
		who.MicrotenantID = o.actor.MicrotenantID
	}
	var failed error
	who.Microtenant = func(customerID, id string) (enabled, known bool) {
		m, err := o.r.Microtenant(o.ctx, customerID, id)
		if err != nil {
			if !errors.Is(err, keystore.ErrNotFound) {
				failed = err
			}
			return false, false
		}
		return m.Enabled, true
	}
	action := policy.Read
	if o.tx != nil {
		action = policy.Update
	}
	reason, detail := who.CheckMicrotenant(action, r.MicrotenantID)
	if failed != nil || reason == policy.Allowed {
		return failed
	}
	return &Error{Kind: Forbidden, Code: reason.Code(), Detail: detail}
}

// Surroundings is what keys refer to by id or by leaving it out, for doors that
// show it.
type Surroundings struct {
	// Microtenants is the names of the reach's microtenants that the actor sees, by id.
	Microtenants map[string]string
	// Rules is the rule of each source of the customer, by its name.
	Rules map[string]string
	// DefaultValidity is the lifetime of access tokens of a key that names none.
	DefaultValidity time.Duration
}

// Surroundings is for an actor that may do action on keys within its reach.
func (s *Service) Surroundings(ctx context.Context, a Actor, action policy.Mask) (Surroundings, error) {
	out := Surroundings{DefaultValidity: s.cfg.DefaultValidity}
	if a.Reach == nil {
		return out, errors.New("surroundings of no customer asked for")
	}
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceKeys, action); err != nil {
			return err
		}
		out.Microtenants, out.Rules = map[string]string{}, map[string]string{}
		microtenants, err := o.r.Microtenants(ctx, a.Reach.CustomerID)
		if err != nil {
			return err
		}
		for _, m := range microtenants {
			if o.actor.sees(m.CustomerID, m.ID) {
				out.Microtenants[m.ID] = m.Name
			}
		}
		sources, err := o.r.Sources(ctx, a.Reach.CustomerID)
		if err != nil {
			return err
		}
		for _, source := range sources {
			out.Rules[source.Name] = source.Rule
		}
		return nil
	})
	return out, err
}

// EditKey is UpdateKey for a patch that depends on what the key is. edit must
// have no effect of its own: it may be called again after a conflict.
func (s *Service) EditKey(ctx context.Context, a Actor, id string, edit func(Key) (KeyPatch, error), cond Condition) (Key, Commit, error) {
	var out Key
	commit, err := s.update(ctx, a, func(o *op) error {
		k, err := o.ownedKey(id, policy.Update, cond)
		if err != nil {
			return err
		}
		now, err := o.show(k)
		if err != nil {
			return err
		}
		p, err := edit(now)
		if err != nil {
			return err
		}
		out, err = o.updateKey(id, p, nil)
		return err
	})
	if err != nil {
		return Key{}, Commit{}, err
	}
	return out, commit, nil
}
