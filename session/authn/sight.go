package authn

import (
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// resourceSessions is what a role must hold to look at sessions of others.
const resourceSessions = policy.OwnPrefix + "sessions"

// SeesSessionsOf reports whether the caller may look at sessions of a key: its
// own always; others' with a role that may read sessions, within its customer
// and microtenant, or everywhere for Operator.
func (id Identity) SeesSessionsOf(key *keystore.Key) bool {
	switch {
	case key.ID == id.Key.ID:
		return true
	case !id.Role.Permissions.Allow(resourceSessions, "", policy.Read):
		return false
	case id.Role.ID == keystore.RoleOperator:
		return true
	}
	return key.CustomerID == id.Key.CustomerID && (id.Key.MicrotenantID == "" || key.MicrotenantID == id.Key.MicrotenantID)
}
