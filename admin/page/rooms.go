package page

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// room is an entry of the navigation.
type room struct {
	Title, Path, Icon string
	// resources are those of which one must be readable to enter; none needs nothing.
	resources []string
	// operators see it alone.
	operators bool
	// whole: it is of a whole customer, so nobody inside a microtenant sees it.
	whole   bool
	Current bool
}

// allRooms is the navigation in its order.
var allRooms = []room{
	{Title: "Keys", Path: keysPath, Icon: "key", resources: []string{lifecycle.ResourceKeys}},
	{Title: "Roles", Path: rolesPath, Icon: "shield", resources: []string{lifecycle.ResourceRoles}},
	{Title: "Locks", Path: locksPath, Icon: "lock", resources: []string{lifecycle.ResourceLocks}},
	{Title: "Sessions", Path: sessionsPath, Icon: "clock", resources: []string{lifecycle.ResourceSessions}},
	{Title: "Audit", Path: auditPath, Icon: "list", resources: []string{lifecycle.ResourceAudit}},
	{Title: "Sources", Path: sourcesPath, Icon: "link", resources: []string{lifecycle.ResourceSources}, whole: true},
	{Title: "Microtenants", Path: microtenantsPath, Icon: "layers", resources: []string{lifecycle.ResourceTenants}},
	{Title: "Customers", Path: customersPath, Icon: "building", resources: []string{lifecycle.ResourceTenants}, operators: true},
	{Title: "Nodes", Path: nodesPath, Icon: "server", resources: []string{lifecycle.ResourceNodes}},
	{Title: "Policy check", Path: policyPath, Icon: "check", resources: []string{lifecycle.ResourceKeys, lifecycle.ResourceRoles}},
	{Title: "Preferences", Path: preferencesPath, Icon: "sliders"},
}

// rooms are those that the page has and the actor may enter.
func (v *visit) rooms() []room {
	var open []room
	for _, at := range allRooms {
		if !v.page.served["GET "+at.Path] {
			continue
		}
		readable := func(resource string) bool { return v.may(resource, policy.Read) }
		if len(at.resources) > 0 && !slices.ContainsFunc(at.resources, readable) || at.operators && !v.actor.AllCustomers || at.whole && v.confined() {
			continue
		}
		at.Current = v.r.URL.Path == at.Path || strings.HasPrefix(v.r.URL.Path, at.Path+"/")
		open = append(open, at)
	}
	return open
}
