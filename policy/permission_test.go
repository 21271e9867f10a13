package policy

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMasksReadAndWriteAsTheContractSays(t *testing.T) {
	t.Parallel()
	for text, mask := range map[string]Mask{
		`"full"`:                              Full,
		`"view"`:                              View,
		`["create"]`:                          Create,
		`["read","update"]`:                   Read | Update,
		`["read","create","update"]`:          Read | Create | Update,
		`["create","update","delete"]`:        Create | Update | Delete,
		`["read","create","delete"]`:          Read | Create | Delete,
		`["read","create","update","delete"]`: 0, // read as full, below
	} {
		var got Mask
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		if mask == 0 {
			require.Equal(t, Full, got)
			continue
		}
		require.Equal(t, mask, got, text)
		back, err := json.Marshal(mask)
		require.NoError(t, err)
		require.JSONEq(t, text, string(back))
	}
	for _, text := range []string{`[]`, `null`, `15`, `true`, `{}`, `"read"`, `"FULL"`, `["write"]`, `["full"]`, `[1]`, `""`} {
		var got Mask
		require.Error(t, json.Unmarshal([]byte(text), &got), text)
	}
	var p Permissions
	require.NoError(t, json.Unmarshal([]byte(`{"a":"full","*":["delete"]}`), &p))
	require.Equal(t, Permissions{"a": Full, "*": Delete}, p)
}

func TestMaskBitsAreThoseOfTheModelledSystem(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, []Mask{1, 2, 4, 8, 15, 1}, []Mask{Read, Update, Create, Delete, Full, View})
	require.Equal(t, "read", Read.String())
	require.Equal(t, "create,delete", (Create | Delete).String())
	require.Equal(t, "full", Full.String())
	require.Equal(t, "none", Mask(0).String())
	_, err := ParseAction("write")
	require.ErrorContains(t, err, "expected read, create, update or delete")
}

func TestTheHighestOfOverlappingEntriesWins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p               Permissions
		resource, group string
		want            Mask
	}{
		{Permissions{"apps": Full, "config": Read}, "apps", "config", Full},
		{Permissions{"apps": Read, "config": Full}, "apps", "config", Full},
		{Permissions{"apps": Read, "config": Create, "*": Delete}, "apps", "config", Read | Create | Delete},
		{Permissions{"config": Full}, "apps", "", 0},
		{Permissions{"config": Full}, "apps", "other", 0},
		{Permissions{"": Full}, "apps", "", 0},
		{Permissions{"*": Full}, "keyreeve/keys", "", 0},
		{Permissions{"*": Full, "keyreeve/keys": Read}, "keyreeve/keys", "", Read},
		{Permissions{"keyreeve/*": Full}, "keyreeve/keys", "", Full},
		{Permissions{"keyreeve/*": Full}, "apps", "config", 0},
		{Permissions{"keyreeve/roles": Full}, "keyreeve/keys", "", 0},
		{nil, "apps", "config", 0},
	} {
		require.Equal(t, c.want, c.p.On(c.resource, c.group), "%v on %s", c.p, c.resource)
	}
}

func TestNobodyGrantsBeyondTheirOwn(t *testing.T) {
	t.Parallel()
	groupOf := func(r string) string { return map[string]string{"apps": "config", "servers": "config"}[r] }
	for _, c := range []struct {
		grant, holder Permissions
		want          bool
	}{
		{nil, nil, true},
		{Permissions{"apps": Read}, nil, false},
		{Permissions{"apps": Read}, Permissions{"apps": Full}, true},
		{Permissions{"apps": Full}, Permissions{"apps": Read}, false},
		{Permissions{"apps": Full}, Permissions{"config": Full}, true},
		{Permissions{"apps": Full}, Permissions{"config": Read, "apps": Create | Update | Delete}, true},
		{Permissions{"config": Read}, Permissions{"apps": Full, "servers": Full}, false}, // members do not add up
		{Permissions{"config": Full}, Permissions{"*": Full}, true},
		{Permissions{"*": Read}, Permissions{"config": Full, "apps": Full}, false},
		{Permissions{"*": Full}, Permissions{"*": Full}, true},
		{Permissions{"unknown": Read}, Permissions{"config": Full}, false},
		{Permissions{"keyreeve/keys": Read}, Permissions{"*": Full}, false},
		{Permissions{"keyreeve/keys": Full}, Permissions{"keyreeve/*": Full}, true},
		{Permissions{"keyreeve/*": Read}, Permissions{"keyreeve/keys": Full}, false},
		{Permissions{"keyreeve/*": Full, "*": Full}, Permissions{"keyreeve/*": Full}, false},
	} {
		require.Equal(t, c.want, c.grant.Within(c.holder, groupOf), "%v within %v", c.grant, c.holder)
	}
	require.False(t, Permissions{"apps": Read}.Within(Permissions{"config": Read}, nil), "without a policy no group is known")
}

// What Within accepts must hold on every resource there is, whatever its group.
func TestWithinMeansNoMoreOnAnyResource(t *testing.T) {
	t.Parallel()
	groups := map[string]string{"a": "g", "b": "g", "c": "h", "d": "", "keyreeve/keys": "", "keyreeve/roles": ""}
	names := []string{"a", "b", "c", "d", "g", "h", "*", "keyreeve/keys", "keyreeve/roles", "keyreeve/*"}
	masks := []Mask{Read, Full, Create | Update, Delete}
	draw := rapid.MapOfN(rapid.SampledFrom(names), rapid.SampledFrom(masks), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		grant, holder := Permissions(draw.Draw(t, "grant")), Permissions(draw.Draw(t, "holder"))
		if !grant.Within(holder, func(r string) string { return groups[r] }) {
			return
		}
		for r, g := range groups {
			require.True(t, holder.On(r, g).Has(grant.On(r, g)), "on %s", r)
		}
	})
}

func TestAClonedPermissionIsIndependent(t *testing.T) {
	t.Parallel()
	p := Permissions{"b": Full, "a": Read}
	c := p.Clone()
	c["a"] = Full
	require.Equal(t, Permissions{"b": Full, "a": Read}, p)
}
