package keystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// replayedEvents bounds how many records an audit event each tells of; one event tells
// of all in numbers.
const replayedEvents = 1000

// replayActor is who changed records so, where they say by whom.
const replayActor = "Keyreeve"

// replayer takes from records in a transaction what tombstones say they have no more.
type replayer struct {
	Tx
	changed int
	actions map[string]int
	events  []*Audit
	// ended are sessions that had to be ended again.
	ended map[string]bool
	// absent are tombstones of what is not in the database.
	absent []Tombstone
	roles  map[string]*Role
}

// all goes through tombstones: roles before the keys that have them, and what was
// deleted after what was in it.
func (r *replayer) all(ctx context.Context, stones []Tombstone) error {
	keys := make(map[string][]Tombstone)
	var order []string
	var gone []Tombstone
	for _, s := range stones {
		var err error
		switch {
		case s.Kind == TombKey:
			if _, known := keys[s.ID]; !known {
				order = append(order, s.ID)
			}
			keys[s.ID] = append(keys[s.ID], s)
		case s.Kind == TombSecret:
			if _, known := keys[s.Parent]; !known {
				order = append(order, s.Parent)
			}
			keys[s.Parent] = append(keys[s.Parent], s)
		case s.Kind == TombSession, s.Kind == TombPosition:
		case s.Gone:
			gone = append(gone, s)
		case s.Kind == TombRole:
			err = r.role(ctx, s)
		case s.Kind == TombCustomer, s.Kind == TombMicrotenant:
			err = r.tenant(ctx, s)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.Kind, s.ID, err)
		}
	}
	for _, id := range order {
		if err := r.key(ctx, id, keys[id]); err != nil {
			return fmt.Errorf("key %s: %w", id, err)
		}
	}
	for _, s := range gone {
		if err := r.gone(ctx, s); err != nil {
			return fmt.Errorf("%s %s: %w", s.Kind, s.ID, err)
		}
	}
	return r.sessions(ctx, stones)
}

// lasting are the tombstones that are to be recorded as replayed: of sessions those
// alone that were ended again, as the others are there.
func (r *replayer) lasting(stones []Tombstone) []Tombstone {
	var lasting []Tombstone
	for _, s := range stones {
		if s.Kind != TombSession || r.ended[s.ID] {
			lasting = append(lasting, s)
		}
	}
	return lasting
}

// key narrows one key, or deletes it.
func (r *replayer) key(ctx context.Context, id string, stones []Tombstone) error {
	k, err := r.Key(ctx, id)
	if errors.Is(err, ErrNotFound) { // made after the state that was restored: gone with it
		r.absent = append(r.absent, stones...)
		return nil
	}
	if err != nil {
		return err
	}
	now, changed := r.Now().Wall, false
	for _, s := range stones {
		var narrowed bool
		switch {
		case s.Kind == TombKey && s.Gone:
			r.note("key.delete", KindKey, k.ID, k.Name, k.CustomerID, k.MicrotenantID)
			return r.DeleteKey(ctx, id)
		case s.Kind == TombKey:
			var b keyBounds
			if err := s.read(&b); err != nil {
				return err
			}
			narrowed = b.narrowKey(k, func(id string) *Role { return r.roleFor(ctx, id, k.CustomerID) })
		default:
			b := secretBounds{Ends: boundMillis(s.At), Retired: true}
			if !s.Gone {
				b = secretBounds{}
				if err := s.read(&b); err != nil {
					return err
				}
			}
			if secret := k.SecretByID(s.ID); secret != nil {
				narrowed = b.narrowSecret(secret)
			} else {
				r.absent = append(r.absent, s)
			}
		}
		changed = changed || narrowed
	}
	if !changed {
		return nil
	}
	k.Modified, k.ModifiedBy = now, replayActor
	r.note("key.update", KindKey, k.ID, k.Name, k.CustomerID, k.MicrotenantID)
	return r.PutKey(ctx, k)
}

// roleFor is a role that a key of this customer may have, nil if there is none.
func (r *replayer) roleFor(ctx context.Context, id, customerID string) *Role {
	role, known := r.roles[id]
	if !known {
		role, _ = r.Role(ctx, id) // an error ends the transaction
		if r.roles == nil {
			r.roles = make(map[string]*Role)
		}
		r.roles[id] = role
	}
	if role == nil || role.CustomerID != "" && role.CustomerID != customerID {
		return nil
	}
	return role
}

func (r *replayer) role(ctx context.Context, s Tombstone) error {
	role, err := r.Role(ctx, s.ID)
	if errors.Is(err, ErrNotFound) {
		return r.passOver(s, err)
	}
	if err != nil || role.Predefined { // as this version has it
		return err
	}
	var b roleBounds
	if err := s.read(&b); err != nil || !b.narrowRole(role) {
		return err
	}
	role.Modified = r.Now().Wall
	r.note("role.update", KindRole, role.ID, role.Name, role.CustomerID, "")
	return r.PutRole(ctx, role)
}

func (r *replayer) tenant(ctx context.Context, s Tombstone) error {
	var b tenantBounds
	if err := s.read(&b); err != nil {
		return err
	}
	return r.narrowTenant(ctx, s, b)
}

// narrowTenant narrows a customer or microtenant, if it is there.
func (r *replayer) narrowTenant(ctx context.Context, s Tombstone, b tenantBounds) error {
	if s.Kind == TombCustomer {
		c, err := r.Customer(ctx, s.ID)
		if err != nil || !b.narrow(&c.Enabled, &c.Generation) {
			return r.passOver(s, err)
		}
		c.Modified = r.Now().Wall
		r.note("customer.update", KindCustomer, c.ID, c.Name, c.ID, "")
		return r.PutCustomer(ctx, c)
	}
	m, err := r.Microtenant(ctx, s.Parent, s.ID)
	if err != nil || !b.narrow(&m.Enabled, &m.Generation) {
		return r.passOver(s, err)
	}
	m.Modified = r.Now().Wall
	r.note("microtenant.update", KindMicrotenant, m.ID, m.Name, m.CustomerID, m.ID)
	return r.PutMicrotenant(ctx, m)
}

// passOver notes where there is no record of a tombstone.
func (r *replayer) passOver(s Tombstone, err error) error {
	if errors.Is(err, ErrNotFound) {
		r.absent = append(r.absent, s)
		return nil
	}
	return err
}

// gone takes away what was deleted. It was empty then, and all that it had lost before
// is lost again by now; so what is still in it was put there in this history, and it
// can only be switched off. A role that somebody was given since stays.
func (r *replayer) gone(ctx context.Context, s Tombstone) error {
	var err error
	var kind Kind
	switch s.Kind {
	case TombRole:
		kind, err = KindRole, r.DeleteRole(ctx, s.ID)
		if errors.Is(err, ErrInUse) || errors.Is(err, ErrConflict) {
			return nil
		}
	case TombCustomer:
		kind, err = KindCustomer, r.DeleteCustomer(ctx, s.ID)
	case TombMicrotenant:
		kind, err = KindMicrotenant, r.DeleteMicrotenant(ctx, s.Parent, s.ID)
	}
	switch {
	case errors.Is(err, ErrInUse):
		return r.narrowTenant(ctx, s, tenantBounds{Off: true})
	case err != nil:
		return r.passOver(s, err)
	}
	customer := s.Parent
	if s.Kind == TombCustomer {
		customer = s.ID
	}
	r.note(string(kind)+".delete", kind, s.ID, s.ID, customer, "")
	return nil
}

// sessions ends those again that had ended. One that was opened after the state that was
// restored is not in the database, but its token is still good.
func (r *replayer) sessions(ctx context.Context, stones []Tombstone) error {
	var there map[string]bool
	r.ended = make(map[string]bool)
	now := r.Now().Wall
	for _, s := range stones {
		var b sessionBounds
		if s.Kind != TombSession {
			continue
		}
		if err := s.read(&b); err != nil {
			return err
		}
		if there == nil {
			ended, err := r.EndedSessions(ctx)
			if err != nil {
				return err
			}
			there = make(map[string]bool, len(ended))
			for _, e := range ended {
				there[e.ID] = true
			}
		}
		if there[s.ID] || !now.Before(boundTime(b.Expires)) {
			continue
		}
		_, secretID := SessionOrigin(s.ID)
		err := r.PutSession(ctx, &Session{ID: s.ID, KeyID: s.Parent, SecretID: secretID, Address: b.Address, Issued: boundTime(b.Issued),
			Expires: boundTime(b.Expires), Ended: boundTime(b.Ended), EndReason: b.Reason})
		if errors.Is(err, ErrNotFound) {
			continue // its key is not there
		}
		if err != nil {
			return err
		}
		r.ended[s.ID] = true
		r.changed++
		r.actions["session.end"]++
	}
	return nil
}

// note counts a record that something was taken from.
func (r *replayer) note(action string, kind Kind, id, name, customerID, microtenantID string) {
	r.changed++
	r.actions[action]++
	if len(r.events) < replayedEvents {
		r.events = append(r.events, &Audit{CustomerID: customerID, MicrotenantID: microtenantID, ActorKind: ActorSystem, Action: action,
			TargetKind: string(kind), TargetID: id, TargetName: name, After: json.RawMessage(`{"restore_replay":true}`)})
	}
}

// report writes the audit events.
func (r *replayer) report(ctx context.Context, position Revision) error {
	head, err := r.Head(ctx)
	if err != nil {
		return err
	}
	after, err := json.Marshal(struct {
		Position Revision       `json:"seen_revision"`
		Head     Revision       `json:"found_revision"`
		Replayed map[string]int `json:"replayed"`
	}{position, head - 1, r.actions})
	if err != nil {
		return err
	}
	r.events = append(r.events, &Audit{ActorKind: ActorSystem, Action: "store.restore_replay", TargetKind: "store", After: after})
	for _, e := range r.events {
		e.At = r.Now().Wall
		if err := r.AddAudit(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
