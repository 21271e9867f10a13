package lifecycle

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// ownResourcesAll grants on every resource of Keyreeve itself.
	ownResourcesAll = policy.OwnPrefix + "*"
	// maxPermissions is how many entries a role may have.
	maxPermissions = 500
)

type rolePermissions = map[string]policy.Mask

// NewRole is what a role is made from. Name is required; a role without
// permissions grants nothing.
type NewRole struct {
	Name        string
	Description string
	// CustomerID left out is the actor's own customer; null is every customer,
	// which only an actor for all customers may ask for.
	CustomerID  Optional[string]
	Permissions policy.Permissions
}

// Role is a role as every door shows it.
type Role struct {
	ID          string             `json:"id"`
	Name        string             `json:"name"`
	Description string             `json:"description"`
	CustomerID  *string            `json:"customer_id" nullable:"true" doc:"null is a role for every customer."`
	Permissions policy.Permissions `json:"permissions"`
	Predefined  bool               `json:"predefined" doc:"A predefined role cannot be changed."`
	Editable    bool               `json:"editable"`
	Deletable   bool               `json:"deletable"`
	CreatedAt   *time.Time         `json:"created_at" nullable:"true" doc:"null for a predefined role."`
	ModifiedAt  *time.Time         `json:"modified_at" nullable:"true"`
	Revision    keystore.Revision  `json:"-"`
}

func showRole(r *keystore.Role) Role {
	v := Role{ID: r.ID, Name: r.Name, Description: r.Description, CustomerID: optional(r.CustomerID), Permissions: r.Permissions,
		Predefined: r.Predefined, Editable: !r.Predefined, Deletable: !r.Predefined, Revision: r.Revision}
	if !r.Predefined {
		v.CreatedAt, v.ModifiedAt = optional(r.Created), optional(r.Modified)
	}
	return v
}

// CreateRole makes a role of a customer, or one for every customer.
func (s *Service) CreateRole(ctx context.Context, a Actor, in NewRole) (Role, Commit, error) {
	var out Role
	commit, err := s.update(ctx, a, func(o *op) error {
		if err := o.need(ResourceRoles, policy.Create); err != nil {
			return err
		}
		role, err := o.newRole(in)
		if err != nil {
			return err
		}
		if err := o.tx.PutRole(ctx, role); err != nil {
			return refusal(err, "role")
		}
		stored, err := o.r.Role(ctx, role.ID)
		if err != nil {
			return err
		}
		out = showRole(stored)
		return o.audit("role.create", target{string(keystore.KindRole), role.ID, role.Name, role.CustomerID}, nil, out)
	})
	if err != nil {
		return Role{}, Commit{}, err
	}
	return out, commit, nil
}

func (o *op) newRole(in NewRole) (*keystore.Role, error) {
	var bad FieldErrors
	now := o.stamp()
	role := &keystore.Role{ID: credential.NewID("role"), CustomerID: in.CustomerID.Value,
		Name: cleanName(&bad, in.Name), Description: cleanDescription(&bad, in.Description),
		Permissions: in.Permissions.Clone(), Created: now, Modified: now}
	if !in.CustomerID.Set {
		role.CustomerID = o.actor.CustomerID
	}
	if role.CustomerID == "" && !in.CustomerID.Null {
		bad.Add("customer_id", FieldRequired, "is required, the acting party belongs to no customer; null is a role for every customer")
	}
	for _, p := range keystore.PredefinedRoles() {
		if strings.EqualFold(p.Name, role.Name) {
			bad.Add("name", FieldReserved, "%q is the name of a predefined role", p.Name)
		}
	}
	cleanPermissions(&bad, role.Permissions)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	return role, o.admitRole(role)
}

// admitRole holds a role against the actor: in its tenant, and granting nothing
// that the actor does not hold. A role belongs to a whole customer, so an actor
// inside a microtenant makes none.
func (o *op) admitRole(role *keystore.Role) error {
	if err := o.withinTenant(role.CustomerID, ""); err != nil {
		return err
	}
	if !role.Permissions.Within(o.actor.Permissions, o.cfg.GroupOf) {
		return exceeds("permissions", "the role would grant more than the acting key holds")
	}
	return nil
}

// RoleFilter selects roles; empty fields do not filter.
type RoleFilter struct {
	// Text is found in name, description or id, whatever the case.
	Text string
	// CustomerID is for actors of all customers: that customer's roles and the global ones.
	CustomerID string
	// Sort is name (the default) or -name.
	Sort string
	Paging
}

// ListRoles lists the roles that the actor's keys may be given, the predefined
// ones included.
func (s *Service) ListRoles(ctx context.Context, a Actor, f RoleFilter) (Page[Role], error) {
	var out Page[Role]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceRoles, policy.Read); err != nil {
			return err
		}
		var bad FieldErrors
		desc := false
		switch f.Sort {
		case "", "name":
		case "-name":
			desc = true
		default:
			bad.Add("sort", FieldFormat, "must be name or -name")
		}
		scope := o.scope(roleCursor, []string{f.Text, f.CustomerID, f.Sort})
		at, err := f.Paging.check(o, scope, bad)
		if err != nil {
			return err
		}
		roles, err := o.matchingRoles(f)
		if err != nil {
			return err
		}
		out = pageOfRoles(o, roles, desc, at, scope)
		return nil
	})
	return out, err
}

func (o *op) matchingRoles(f RoleFilter) ([]*keystore.Role, error) {
	customerID := f.CustomerID
	if !o.actor.AllCustomers {
		if customerID != "" && customerID != o.actor.CustomerID {
			return nil, nil
		}
		customerID = o.actor.CustomerID
	}
	all, err := o.r.Roles(o.ctx, customerID)
	if err != nil {
		return nil, err
	}
	text := strings.ToLower(f.Text)
	return slices.DeleteFunc(all, func(r *keystore.Role) bool {
		return !strings.Contains(strings.ToLower(r.Name+"\n"+r.Description+"\n"+r.ID), text)
	}), nil
}

// pageOfRoles cuts one page out of all roles: there are few.
func pageOfRoles(o *op, roles []*keystore.Role, desc bool, at place, scope string) Page[Role] {
	order := func(r *keystore.Role, c keystore.Cursor) int {
		d := cmp.Or(strings.Compare(r.Name, c.Values[0]), strings.Compare(r.ID, c.ID))
		if desc {
			return -d
		}
		return d
	}
	slices.SortFunc(roles, func(a, b *keystore.Role) int { return order(a, keystore.Cursor{Values: []string{b.Name}, ID: b.ID}) })
	page := Page[Role]{Items: []Role{}, Total: len(roles)}
	start := min(at.offset, len(roles))
	if at.after != nil {
		start, _ = slices.BinarySearchFunc(roles, *at.after, func(r *keystore.Role, c keystore.Cursor) int {
			if order(r, c) <= 0 {
				return -1
			}
			return 1
		})
	}
	end := min(start+at.size, len(roles))
	for _, r := range roles[start:end] {
		page.Items = append(page.Items, showRole(r))
	}
	if end < len(roles) && end > start {
		last := roles[end-1]
		page.NextCursor = optional(o.sealCursor(scope, keystore.Cursor{Values: []string{last.Name}, ID: last.ID}))
	}
	return page
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
