package page

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestARoleIsToldInPlainWords(t *testing.T) {
	for _, c := range []struct {
		permissions policy.Permissions
		want        []string
	}{
		{nil, []string{"Nothing: every call is refused"}},
		{policy.Permissions{"*": policy.Full}, []string{"Full access to everything of the upstreams"}},
		{policy.Permissions{"*": policy.View}, []string{"Read everything of the upstreams"}},
		{policy.Permissions{"*": policy.Full, "keyreeve/*": policy.Full},
			[]string{"Full access to everything of the upstreams", "Full access to everything in Keyreeve itself"}},
		{policy.Permissions{"policies": policy.Full, "servers": policy.View, "segments": policy.View, "apps": policy.Read | policy.Update},
			[]string{"Full access to policies", "Read and update apps", "Read segments and servers"}},
		{policy.Permissions{"*": policy.View, "servers": policy.View, "segments": policy.Full},
			[]string{"Read everything of the upstreams", "Full access to segments"}},
		{policy.Permissions{"keyreeve/keys": policy.Read | policy.Create, "keyreeve/locks": policy.Full, "keyreeve/audit": policy.View},
			[]string{"Full access to locks in Keyreeve", "Read and create API keys in Keyreeve", "Read the audit trail in Keyreeve"}},
		{policy.Permissions{"keyreeve/*": policy.View, "keyreeve/keys": policy.View, "keyreeve/nodes": policy.Update},
			[]string{"Read everything in Keyreeve itself", "Update nodes in Keyreeve"}},
		{policy.Permissions{"a": policy.View, "b": policy.View, "c": policy.View, "d": policy.View, "e": policy.View, "f": policy.View, "g": policy.View},
			[]string{"Read a, b, c, d, e, f and g"}},
		{policy.Permissions{"a": 2, "b": 2, "c": 2, "d": 2, "e": 2, "f": 2, "g": 2, "h": 2},
			[]string{"Update a, b, c, d, e, f and 2 more"}},
	} {
		require.Equal(t, c.want, titles(nil).roleWords(c.permissions), c.permissions)
	}
}

func TestARoleIsToldByTheTitlesOfThePolicy(t *testing.T) {
	known := titles{"segments": "Application Segments", "api-key-management": groupTitle("api-key-management"), "servers": ""}
	require.Equal(t, []string{"Full access to API key management", "Read Application Segments and servers"},
		known.roleWords(policy.Permissions{"segments": policy.View, "servers": policy.View, "api-key-management": policy.Full}))
}

func TestARowTellsARoleInFewWords(t *testing.T) {
	require.Equal(t, "Full access to everything of the upstreams; full access to everything in Keyreeve itself",
		titles(nil).roleBrief(keystore.PredefinedRoles()[0].Permissions))
	require.Equal(t, "Read a, b and 3 more; read and create API keys in Keyreeve",
		titles(nil).roleBrief(policy.Permissions{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "keyreeve/keys": policy.Read | policy.Create}))
}

func TestEveryResourceOfKeyreeveHasAName(t *testing.T) {
	for _, one := range ownNames {
		require.NotEqual(t, "Nothing: every call is refused", titles(nil).roleWords(policy.Permissions{one.resource: policy.View})[0])
	}
	require.Len(t, ownNames, 8, "as many as lifecycle has")
}
