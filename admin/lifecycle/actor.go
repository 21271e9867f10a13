package lifecycle

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Keyreeve's own resources, which a role must name to administer.
const (
	ResourceKeys     = policy.OwnPrefix + "keys"
	ResourceRoles    = policy.OwnPrefix + "roles"
	ResourceTenants  = policy.OwnPrefix + "tenants"
	ResourceLocks    = policy.OwnPrefix + "locks"
	ResourceSessions = policy.OwnPrefix + "sessions"
	ResourceAudit    = policy.OwnPrefix + "audit"
	ResourceSources  = policy.OwnPrefix + "sources"
	ResourceNodes    = policy.OwnPrefix + "nodes"
)

// ownResources is every resource a role may name under keyreeve/.
var ownResources = []string{
	ResourceAudit, ResourceKeys, ResourceLocks, ResourceNodes, ResourceRoles, ResourceSessions, ResourceSources, ResourceTenants,
}

// Kinds of actor, as the audit trail has them.
const (
	ActorKey     = keystore.ActorKey
	ActorSession = keystore.ActorSession
	ActorLocal   = keystore.ActorLocal
	ActorSystem  = keystore.ActorSystem
)

// Actor is who does something. Of one that stands for a key, only Kind, ID,
// Address, RequestID, Once, Wait and Reach are believed: its rights are read anew in each
// transaction, so that a key that was disabled or whose role was cut while its
// request was under way gets what it has now.
type Actor struct {
	// Kind is ActorKey, ActorSession, ActorLocal or ActorSystem.
	Kind string
	// ID is the key's id; Name is its name, or the local user's.
	ID, Name string
	// Address is the caller's address without a port; "" where there is none, which
	// no key with allowed networks may act from.
	Address   string
	RequestID string
	// Once names the request, for operations that make something; nil is no name.
	Once *Once
	// Wait is how long to wait for other nodes to have what is written, at most as long as
	// a write that revokes does; left out or null is as long as the write does by itself.
	Wait Optional[time.Duration]
	// Reach is the tenant that the request names; nil where it need not name one.
	Reach *Reach
	// CustomerID and MicrotenantID bound what the actor sees; "" is unbounded
	// within what AllCustomers says.
	CustomerID, MicrotenantID string
	// Permissions is what it may do, on Keyreeve's own resources and in grants to others.
	Permissions policy.Permissions
	// AllCustomers is held by Operator keys and local actors alone.
	AllCustomers bool
	// Key is the actor's own key, whose networks and expiry bound those it
	// makes; nil for local and system.
	Key *keystore.Key
}

// Local is whoever sits at the machine. readOnly takes away every change.
func Local(name string, readOnly bool) Actor {
	level := policy.Full
	if readOnly {
		level = policy.View
	}
	return Actor{Kind: ActorLocal, ID: ActorLocal, Name: name, AllCustomers: true,
		Permissions: policy.Permissions{"*": level, policy.OwnPrefix + "*": level}}
}

// ForKey is the actor that key k, which has role r, is.
func ForKey(k *keystore.Key, r *keystore.Role, address, requestID string) Actor {
	return Actor{Kind: ActorKey, ID: k.ID, Name: k.Name, Address: address, RequestID: requestID,
		CustomerID: k.CustomerID, MicrotenantID: k.MicrotenantID,
		Permissions: r.Permissions, AllCustomers: r.ID == keystore.RoleOperator, Key: k}
}

// label is what created_by and modified_by hold: the id of the acting key, or
// the kind of an actor that is none. The audit trail says more.
func (a Actor) label() string {
	if a.Kind == ActorKey || a.Kind == ActorSession {
		return a.ID
	}
	return a.Kind
}

// sees reports whether a record of this customer and microtenant exists for the actor.
func (a Actor) sees(customerID, microtenantID string) bool {
	switch {
	case !a.Reach.holds(customerID, microtenantID):
		return false
	case a.AllCustomers:
		return true
	}
	return a.CustomerID != "" && customerID == a.CustomerID && (a.MicrotenantID == "" || microtenantID == a.MicrotenantID)
}

// current reads the actor's rights as they stand in this transaction.
func (a Actor) current(o *op) (Actor, error) {
	switch a.Kind {
	case ActorLocal, ActorSystem:
		return a, nil
	case ActorKey, ActorSession:
	default:
		return a, fmt.Errorf("unknown kind of actor %q", a.Kind)
	}
	k, err := o.r.Key(o.ctx, a.ID)
	if errors.Is(err, keystore.ErrNotFound) {
		return a, inactive()
	}
	if err != nil {
		return a, err
	}
	live, err := o.live(k)
	if err != nil {
		return a, err
	}
	if !live {
		return a, inactive()
	}
	from, _ := netip.ParseAddr(a.Address) // without one it is in no network
	if !k.AllowsAddress(from) {
		return a, &Error{Kind: Forbidden, Code: CodeSourceNotAllowed, Detail: "this key may not be used from here"}
	}
	role, err := o.r.Role(o.ctx, k.RoleID)
	if err != nil {
		return a, fmt.Errorf("role %s of key %s: %w", k.RoleID, k.ID, err)
	}
	now := ForKey(k, role, a.Address, a.RequestID)
	now.Kind, now.Once, now.Wait, now.Reach = a.Kind, a.Once, a.Wait, a.Reach
	return now, nil
}

// live reports whether k could sign in now, its lock aside.
func (o *op) live(k *keystore.Key) (bool, error) {
	if !k.Active() || k.Expired(o.now.Wall) {
		return false, nil
	}
	c, m, err := o.tenantOf(k)
	if err != nil {
		return false, err
	}
	return c.Enabled && (m == nil || m.Enabled), nil
}

// tenantOf is the key's customer and its microtenant, nil for a key at customer level.
func (o *op) tenantOf(k *keystore.Key) (*keystore.Customer, *keystore.Microtenant, error) {
	c, err := o.r.Customer(o.ctx, k.CustomerID)
	if err != nil {
		return nil, nil, fmt.Errorf("customer of key %s: %w", k.ID, err)
	}
	if k.MicrotenantID == "" {
		return c, nil, nil
	}
	m, err := o.r.Microtenant(o.ctx, k.CustomerID, k.MicrotenantID)
	if err != nil {
		return nil, nil, fmt.Errorf("microtenant of key %s: %w", k.ID, err)
	}
	return c, m, nil
}

func inactive() error {
	return &Error{Kind: Unauthorized, Code: CodeClientInactive, Detail: "this key is no longer active"}
}

// need refuses an actor that does not hold action on resource.
func (o *op) need(resource string, action policy.Mask) error {
	if o.actor.Permissions.On(resource, "").Has(action) {
		return nil
	}
	return &Error{Kind: Forbidden, Code: CodePermissionDenied,
		Detail: fmt.Sprintf("the role does not hold %s:%s", resource, action)}
}
