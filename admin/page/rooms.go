package page

import (
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// room is an entry of the navigation.
type room struct {
	Title, Path, Icon string
	// resource must be readable to enter; "" needs nothing.
	resource string
	// operators see it alone.
	operators bool
	// whole: it is of a whole customer, so nobody inside a microtenant sees it.
	whole   bool
	Current bool
}

// allRooms is the navigation in its order.
var allRooms = []room{
	{Title: "Keys", Path: keysPath, Icon: "key", resource: lifecycle.ResourceKeys},
	{Title: "Roles", Path: root + "roles", Icon: "shield", resource: lifecycle.ResourceRoles},
	{Title: "Locks", Path: root + "locks", Icon: "lock", resource: lifecycle.ResourceLocks},
	{Title: "Sessions", Path: root + "sessions", Icon: "clock", resource: lifecycle.ResourceSessions},
	{Title: "Audit", Path: root + "audit", Icon: "list", resource: lifecycle.ResourceAudit},
	{Title: "Sources", Path: root + "sources", Icon: "link", resource: lifecycle.ResourceSources, whole: true},
	{Title: "Microtenants", Path: root + "microtenants", Icon: "layers", resource: lifecycle.ResourceTenants},
	{Title: "Customers", Path: root + "customers", Icon: "building", resource: lifecycle.ResourceTenants, operators: true},
	{Title: "Nodes", Path: root + "nodes", Icon: "server", resource: lifecycle.ResourceNodes},
	{Title: "Policy check", Path: root + "policy", Icon: "check", resource: lifecycle.ResourceKeys},
	{Title: "Preferences", Path: root + "preferences", Icon: "sliders"},
}

// rooms are those that the page has and the actor may enter.
func (v *visit) rooms() []room {
	var open []room
	for _, at := range allRooms {
		if !v.page.served["GET "+at.Path] {
			continue
		}
		if at.resource != "" && !v.may(at.resource, policy.Read) || at.operators && !v.actor.AllCustomers ||
			at.whole && v.actor.MicrotenantID != "" && !v.actor.AllCustomers {
			continue
		}
		at.Current = v.r.URL.Path == at.Path || strings.HasPrefix(v.r.URL.Path, at.Path+"/")
		open = append(open, at)
	}
	return open
}
