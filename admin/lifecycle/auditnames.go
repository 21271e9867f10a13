package lifecycle

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// AuditNames is what audit events refer to by id and what of it there still is, for
// doors that show names and link to it. What is gone has no entry, nor has what the
// actor may not look at.
type AuditNames struct {
	// Keys, Roles and Customers are by id.
	Keys, Roles, Customers map[string]string
	// Microtenants are by customer, then id.
	Microtenants map[string]map[string]string
	// Sources are by customer, then name.
	Sources map[string]map[string]bool
}

// AuditNames names what these events refer to.
func (s *Service) AuditNames(ctx context.Context, a Actor, events []AuditEvent) (AuditNames, error) {
	var out AuditNames
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceAudit, policy.Read); err != nil {
			return err
		}
		w := nameWalk{op: o, asked: map[[3]string]bool{}, AuditNames: AuditNames{Keys: map[string]string{}, Roles: map[string]string{},
			Customers: map[string]string{}, Microtenants: map[string]map[string]string{}, Sources: map[string]map[string]bool{}}}
		for i := range events {
			if err := w.event(&events[i]); err != nil {
				return err
			}
		}
		out = w.AuditNames
		return nil
	})
	return out, err
}

// nameWalk collects names, each of them once.
type nameWalk struct {
	*op
	AuditNames
	asked map[[3]string]bool
}

// references are the members of records that hold the id of something else.
type references struct {
	KeyID     string `json:"key_id"`
	RoleID    string `json:"role_id"`
	MaxRoleID string `json:"max_role_id"`
}

func (w *nameWalk) event(e *AuditEvent) error {
	customerID := plain(e.CustomerID)
	named := [][3]string{
		{e.Target.Kind, customerID, e.Target.ID},
		{string(keystore.KindCustomer), "", customerID},
		{string(keystore.KindMicrotenant), customerID, plain(e.MicrotenantID)},
	}
	if e.Actor.Kind == ActorKey || e.Actor.Kind == ActorSession {
		named = append(named, [3]string{string(keystore.KindKey), "", e.Actor.ID})
	}
	for _, record := range []json.RawMessage{e.Before, e.After} {
		var r references
		_ = json.Unmarshal(record, &r) // what is no such record refers to nothing
		named = append(named, [3]string{string(keystore.KindKey), "", r.KeyID},
			[3]string{string(keystore.KindRole), "", r.RoleID}, [3]string{string(keystore.KindRole), "", r.MaxRoleID})
	}
	for _, one := range named {
		switch keystore.Kind(one[0]) {
		case keystore.KindMicrotenant, keystore.KindSource: // whose ids are unique in their customer
		default:
			one[1] = ""
		}
		if one[2] == "" || w.asked[one] {
			continue
		}
		w.asked[one] = true
		if err := w.name(keystore.Kind(one[0]), one[1], one[2]); err != nil {
			var refused *Error
			if !errors.As(err, &refused) { // gone, or not for this actor
				return err
			}
		}
	}
	return nil
}

func (w *nameWalk) name(kind keystore.Kind, customerID, id string) error {
	switch kind {
	case keystore.KindKey:
		k, err := w.key(id, ResourceKeys, policy.Read)
		if err == nil {
			w.Keys[id] = k.Name
		}
		return err
	case keystore.KindRole:
		r, err := w.role(id, policy.Read)
		if err == nil {
			w.Roles[id] = r.Name
		}
		return err
	case keystore.KindCustomer:
		c, err := w.customer(id, policy.Read)
		if err == nil {
			w.Customers[id] = c.Name
		}
		return err
	case keystore.KindMicrotenant:
		m, err := w.microtenant(MicrotenantRef{ID: id, CustomerID: customerID}, policy.Read)
		if err == nil {
			put(w.Microtenants, customerID, id, m.Name)
		}
		return err
	case keystore.KindSource:
		_, err := w.source(SourceRef{Name: id, CustomerID: customerID}, policy.Read)
		if err == nil {
			put(w.Sources, customerID, id, true)
		}
		return err
	}
	return nil
}

func put[V any](into map[string]map[string]V, first, second string, value V) {
	if into[first] == nil {
		into[first] = map[string]V{}
	}
	into[first][second] = value
}
