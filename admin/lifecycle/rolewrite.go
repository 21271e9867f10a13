package lifecycle

import (
	"context"
	"fmt"
	"maps"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// RolePatch is what changes in a role; what is left out stays. Null resets
// Description and Permissions, and is refused for Name.
type RolePatch struct {
	Name        Optional[string]
	Description Optional[string]
	// Permissions are merged one by one; a nil mask takes an entry away.
	Permissions Optional[map[string]*policy.Mask]
}

// GetRole shows one role.
func (s *Service) GetRole(ctx context.Context, a Actor, id string) (Role, error) {
	var out Role
	err := s.view(ctx, a, func(o *op) error {
		if _, err := o.role(id, policy.Read); err != nil {
			return err
		}
		var err error
		out, err = o.storedRole(id)
		return err
	})
	return out, err
}

// role is the stored role that the actor may do action on: one of its customer,
// or one for every customer.
func (o *op) role(id string, action policy.Mask) (*keystore.Role, error) {
	if err := o.need(ResourceRoles, action); err != nil {
		return nil, err
	}
	r, err := o.r.Role(o.ctx, id)
	if err != nil {
		return nil, refusal(err, "role")
	}
	if r.CustomerID != "" && r.CustomerID != o.actor.CustomerID && !o.actor.AllCustomers {
		return nil, notFound("role")
	}
	return r, nil
}

// changeableRole is role at the revision that the caller knows, not predefined,
// and within the actor's own rights as it stands: nobody edits, even downwards, a
// role that grants more than they hold.
func (o *op) changeableRole(id string, action policy.Mask, cond Condition) (*keystore.Role, error) {
	r, err := o.role(id, action)
	if err != nil {
		return nil, err
	}
	switch {
	case cond != nil && !cond(r.Revision):
		return nil, stale("role")
	case r.Predefined:
		return nil, &Error{Kind: Conflict, Code: CodePredefined, Detail: "the role is predefined and cannot be changed; make one of your own"}
	case o.actor.Key != nil && o.actor.Key.RoleID == id:
		return nil, exceeds("id", "a key cannot change its own role")
	}
	return r, o.admitRole(r)
}

// UpdateRole applies a patch. A patch that changes nothing writes nothing.
func (s *Service) UpdateRole(ctx context.Context, a Actor, id string, p RolePatch, cond Condition) (Role, Commit, error) {
	var out Role
	commit, err := s.update(ctx, a, func(o *op) error {
		r, err := o.changeableRole(id, policy.Update, cond)
		if err != nil {
			return err
		}
		next, err := o.patchedRole(r, p)
		if err != nil {
			return err
		}
		if p.Permissions.Set { // what of them is more, and what less, groups decide, which each node may have its own of
			o.revokeNow()
		}
		if r.Name != next.Name || r.Description != next.Description || !maps.Equal(r.Permissions, next.Permissions) {
			next.Modified = o.stamp()
			if err := o.tx.PutRole(ctx, next); err != nil {
				return refusal(err, "role")
			}
			if err := o.audit("role.update", roleTarget(next), recordRole(r), recordRole(next)); err != nil {
				return err
			}
		}
		out, err = o.storedRole(id)
		return err
	})
	if err != nil {
		return Role{}, Commit{}, err
	}
	return out, commit, nil
}

// patchedRole is r with p applied, validated and held against the actor's rights.
// r itself stays as it is.
func (o *op) patchedRole(r *keystore.Role, p RolePatch) (*keystore.Role, error) {
	var bad FieldErrors
	next := *r
	next.Permissions = r.Permissions.Clone()
	refuseNull(&bad, "name", p.Name)
	if p.Name.Has() {
		next.Name = cleanName(&bad, p.Name.Value)
	}
	renamed := next.Name != r.Name
	if renamed { // an older store may hold names that are refused now
		refuseReservedName(&bad, next.Name)
	}
	if p.Description.Set {
		next.Description = cleanDescription(&bad, p.Description.Value)
	}
	if p.Permissions.Null {
		next.Permissions = policy.Permissions{}
	}
	for name, mask := range p.Permissions.Value {
		if mask == nil {
			delete(next.Permissions, name)
		} else {
			next.Permissions[name] = *mask
		}
	}
	cleanPermissions(&bad, next.Permissions)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if err := o.admitRole(&next); err != nil {
		return nil, err
	}
	if renamed {
		if err := o.refuseSharedName(&next); err != nil {
			return nil, err
		}
	}
	if !next.Permissions.Within(r.Permissions, o.cfg.GroupOf) {
		if err := o.withinHolders(&next); err != nil {
			return nil, err
		}
	}
	return &next, o.sourcesHold(r, &next)
}

// withinHolders is the subset rule for a role about to grant more: each key that
// has it gains by that, so none may reach further or live longer than the acting
// key. An actor without such bounds need not look.
func (o *op) withinHolders(role *keystore.Role) error {
	if !o.actor.bounded() {
		return nil
	}
	q := keystore.KeyQuery{RoleID: role.ID, CustomerID: role.CustomerID, AllCustomers: role.CustomerID == ""}
	return o.eachKey(q, func(k *keystore.Key) error {
		if o.within(k, role) != nil {
			return exceeds("permissions", "a key that has this role could do more than the acting key: it is not bound to the same networks or time")
		}
		return nil
	})
}

// DeleteRole removes a role that nothing uses.
func (s *Service) DeleteRole(ctx context.Context, a Actor, id string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		r, err := o.changeableRole(id, policy.Delete, cond)
		if err != nil {
			return err
		}
		if err := o.unusedByKeys("role", keystore.KeyQuery{RoleID: id, AllCustomers: true}); err != nil {
			return err
		}
		o.revokeNow()
		if err := o.tx.DeleteRole(ctx, id); err != nil {
			return refusal(err, "role")
		}
		return o.audit("role.delete", roleTarget(r), recordRole(r), nil)
	})
}

// unusedByKeys refuses to delete what keys need, and says how many they are.
func (o *op) unusedByKeys(what string, q keystore.KeyQuery) error {
	_, users, err := o.r.Keys(o.ctx, q)
	if err != nil || users == 0 {
		return err
	}
	keys := "1 key"
	if users > 1 {
		keys = fmt.Sprintf("%d keys", users)
	}
	return &Error{Kind: Conflict, Code: CodeInUse, Detail: "the " + what + " is used by " + keys + "; delete or change these first"}
}
