package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// Me is who is signed in. Members about a key are null for an actor that is none.
type Me struct {
	Kind            string             `json:"kind" enum:"key,session,local,system" doc:"How it is signed in: by a key, at the page, or at the machine itself."`
	KeyID           *string            `json:"key_id" nullable:"true"`
	ClientID        *string            `json:"client_id" nullable:"true"`
	Name            string             `json:"name"`
	CustomerID      *string            `json:"customer_id" nullable:"true"`
	CustomerName    *string            `json:"customer_name" nullable:"true"`
	MicrotenantID   *string            `json:"microtenant_id" nullable:"true" doc:"null is the customer level."`
	MicrotenantName *string            `json:"microtenant_name" nullable:"true"`
	RoleID          *string            `json:"role_id" nullable:"true"`
	RoleName        *string            `json:"role_name" nullable:"true"`
	Permissions     policy.Permissions `json:"permissions"`
	AllCustomers    bool               `json:"all_customers" doc:"Sees every customer, as an Operator does."`
	ExpiresAt       *time.Time         `json:"expires_at" nullable:"true" doc:"End of the key; null is never."`
	StoreRestored   *StoreRestored     `json:"store_restored,omitempty" doc:"There only if the key store went back to an earlier state, and nothing can be changed until that is accepted, and only for who has something to do here."`
}

// Me shows who the actor is. It needs no permission.
func (s *Service) Me(ctx context.Context, a Actor) (Me, error) {
	var out Me
	err := s.view(ctx, a, func(o *op) error {
		out = Me{Kind: o.actor.Kind, Name: o.actor.Name, Permissions: o.actor.Permissions, AllCustomers: o.actor.AllCustomers}
		if o.administers(false) == nil {
			restored, err := o.restored()
			if err != nil {
				return err
			}
			out.StoreRestored = showRestored(restored)
		}
		k := o.actor.Key
		if k == nil {
			return nil
		}
		c, m, err := o.tenantOf(k)
		if err != nil {
			return err
		}
		role, err := o.r.Role(ctx, k.RoleID)
		if err != nil {
			return fmt.Errorf("role %s of key %s: %w", k.RoleID, k.ID, err)
		}
		out.KeyID, out.ClientID, out.ExpiresAt = &k.ID, &k.ClientID, optional(k.ExpiresAt)
		out.CustomerID, out.CustomerName = &c.ID, &c.Name
		if m != nil {
			out.MicrotenantID, out.MicrotenantName = &m.ID, &m.Name
		}
		out.RoleID, out.RoleName = &role.ID, &role.Name
		if out.Permissions == nil {
			out.Permissions = policy.Permissions{} // an object, not null
		}
		return nil
	})
	return out, err
}

// administers refuses an actor that has nothing to do here, so that no key of the
// upstreams' callers keeps things in the store. Whoever sits at the machine and may
// only read keeps nothing either.
func (o *op) administers(change bool) error {
	if change && o.actor.Kind == ActorLocal {
		return o.need(ResourceKeys, policy.Update)
	}
	if slices.ContainsFunc(ownResources, func(r string) bool { return o.actor.Permissions.On(r, "") != 0 }) {
		return nil
	}
	return &Error{Kind: Forbidden, Code: CodePermissionDenied, Detail: "the role holds nothing of " + ownResourcesAll}
}
