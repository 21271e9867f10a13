package lifecycle

import (
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
	KeyCount    *int               `json:"key_count" nullable:"true" doc:"How many of the keys that you may see have this role; null if you may see none at all."`
	Predefined  bool               `json:"predefined" doc:"A predefined role cannot be changed."`
	Editable    bool               `json:"editable"`
	Deletable   bool               `json:"deletable"`
	CreatedAt   *time.Time         `json:"created_at" nullable:"true" doc:"null for a predefined role."`
	ModifiedAt  *time.Time         `json:"modified_at" nullable:"true"`
	Revision    keystore.Revision  `json:"-"`
}

// showRole is the representation of r; keys counts those of each role, nil where
// the actor may not know of any.
func showRole(r *keystore.Role, keys map[string]int) Role {
	v := Role{ID: r.ID, Name: r.Name, Description: r.Description, CustomerID: optional(r.CustomerID), Permissions: r.Permissions,
		Predefined: r.Predefined, Editable: !r.Predefined, Deletable: !r.Predefined, Revision: r.Revision}
	if v.Permissions == nil {
		v.Permissions = policy.Permissions{} // an object, not null
	}
	if keys != nil {
		count := keys[r.ID]
		v.KeyCount = &count
	}
	if !r.Predefined {
		v.CreatedAt, v.ModifiedAt = optional(r.Created), optional(r.Modified)
	}
	return v
}

// roleKeys counts the keys of each role that the actor may see; nil if it may not
// look at keys. customerID "" is every customer that it sees.
func (o *op) roleKeys(customerID string) (map[string]int, error) {
	if o.need(ResourceKeys, policy.Read) != nil {
		return nil, nil
	}
	t, some := o.bound(tenant{customerID: customerID})
	if !some {
		return map[string]int{}, nil
	}
	return o.r.KeysByRole(o.ctx, t.customerID, t.microtenantID)
}

// storedRole reads back a role as this transaction leaves it.
func (o *op) storedRole(id string) (Role, error) {
	r, err := o.r.Role(o.ctx, id)
	if err != nil {
		return Role{}, err
	}
	keys, err := o.roleKeys("")
	return showRole(r, keys), err
}

func roleTarget(r *keystore.Role) target {
	return target{kind: string(keystore.KindRole), id: r.ID, name: r.Name, customerID: r.CustomerID}
}

// roleRecord is what the audit trail keeps of a role.
type roleRecord struct {
	Name        string             `json:"name"`
	Description string             `json:"description,omitempty"`
	Permissions policy.Permissions `json:"permissions"`
}

func recordRole(r *keystore.Role) *roleRecord {
	return &roleRecord{Name: r.Name, Description: r.Description, Permissions: r.Permissions}
}

// CreateRole makes a role of a customer, or one for every customer.
func (s *Service) CreateRole(ctx context.Context, a Actor, in NewRole) (Role, Commit, error) {
	may := func(o *op) error { return o.need(ResourceRoles, policy.Create) }
	return create(ctx, s, a, may, func(o *op) (Role, error) {
		role, err := o.newRole(in)
		if err != nil {
			return Role{}, err
		}
		if err := o.tx.PutRole(ctx, role); err != nil {
			return Role{}, refusal(err, "role")
		}
		if err := o.audit("role.create", roleTarget(role), nil, recordRole(role)); err != nil {
			return Role{}, err
		}
		return o.storedRole(role.ID)
	})
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
	refuseReservedName(&bad, role.Name)
	cleanPermissions(&bad, role.Permissions)
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if err := o.admitRole(role); err != nil {
		return nil, err
	}
	return role, o.refuseSharedName(role)
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
		checkText(&bad, f.Text)
		sort := sortOf(&bad, f.Sort, keystore.SortName)
		scope := o.scope(roleCursor, []string{f.Text, f.CustomerID, f.Sort})
		at, err := f.Paging.check(o, scope, bad)
		if err != nil {
			return err
		}
		roles, err := o.matchingRoles(f)
		if err != nil {
			return err
		}
		keys, err := o.roleKeys(f.CustomerID)
		if err != nil {
			return err
		}
		place := func(r *keystore.Role) keystore.Cursor { return keystore.Cursor{Values: []string{r.Name}, ID: r.ID} }
		out, err = pageOf(o, at, cut(at, roles, sort.Desc, place), len(roles), sure(place),
			func(r *keystore.Role) (Role, error) { return showRole(r, keys), nil })
		return err
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

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
