package keystore

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/policy"
)

// What a key may be accepted for is drawn from few values, so that two keys often agree.
var (
	boundRoles = map[string]*Role{
		"all": {ID: "all", Permissions: policy.Permissions{"*": policy.Full}}, "view": {ID: "view", Permissions: policy.Permissions{"*": policy.View}},
		"a": {ID: "a", Permissions: policy.Permissions{"a": policy.Full}}, "b": {ID: "b", Permissions: policy.Permissions{"b": policy.View}},
	}
	boundNetworks = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "::/0", "2001:db8::/32"}
	boundBegin    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func boundInstant(t *rapid.T, name string) time.Time {
	if hours := rapid.IntRange(0, 3).Draw(t, name); hours > 0 {
		return boundBegin.Add(time.Duration(hours) * time.Hour)
	}
	return time.Time{}
}

func boundKey(t *rapid.T, name string) *Key {
	k := &Key{ID: "k", CustomerID: rapid.SampledFrom([]string{"c", "c", "c", "d"}).Draw(t, name+" customer"),
		RoleID:  rapid.SampledFrom([]string{"all", "view", "a", "b", "gone"}).Draw(t, name+" role"),
		Enabled: rapid.IntRange(0, 4).Draw(t, name+" enabled") > 0, DisabledHere: rapid.IntRange(0, 4).Draw(t, name+" here") == 0,
		Source: rapid.SampledFrom([]string{"", "s"}).Draw(t, name+" source"), ExpiresAt: boundInstant(t, name+" expires"),
		Generation: int64(rapid.IntRange(0, 2).Draw(t, name+" generation"))}
	for _, word := range rapid.SliceOfNDistinct(rapid.SampledFrom(boundNetworks), 0, 3, rapid.ID).Draw(t, name+" networks") {
		k.AllowedCIDRs = append(k.AllowedCIDRs, netip.MustParsePrefix(word))
	}
	return k
}

// caller is one who may be accepted by a key.
type boundCaller struct {
	at         time.Time
	from       netip.Addr
	resource   string
	action     policy.Mask
	generation int64
}

func boundAccepts(k *Key, c boundCaller) bool {
	role := boundRoles[k.RoleID]
	return k.Active() && !k.Expired(c.at) && k.AllowsAddress(c.from) && role != nil && role.Permissions.Allow(c.resource, "", c.action) && c.generation == k.Generation
}

func boundCallers(yield func(boundCaller) bool) {
	for hours := range 4 {
		for _, from := range []string{"10.1.2.3", "10.1.3.3", "10.2.2.2", "192.0.2.1", "198.51.100.1", "2001:db8::1", "2001:db9::1"} {
			for _, resource := range []string{"a", "b", "c"} {
				for _, action := range []policy.Mask{policy.Read, policy.Delete} {
					for generation := range int64(4) {
						c := boundCaller{boundBegin.Add(time.Duration(hours)*time.Hour + time.Minute), netip.MustParseAddr(from), resource, action, generation}
						if !yield(c) {
							return
						}
					}
				}
			}
		}
	}
}

func TestAKeyOfAnOlderStateIsAcceptedForNothingThatEitherStateRefuses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		restored, seen := boundKey(t, "restored"), boundKey(t, "seen")
		stone := Tombstone{Kind: TombKey, ID: "k", Bounds: KeyBounds(seen)}
		var b keyBounds
		require.NoError(t, stone.read(&b))
		k := *restored
		k.AllowedCIDRs = slices.Clone(restored.AllowedCIDRs)
		changed := b.narrowKey(&k, func(id string) *Role { return boundRoles[id] })
		require.Equal(t, KeyBounds(&k) != KeyBounds(restored), changed)
		for c := range boundCallers {
			if !boundAccepts(&k, c) {
				continue
			}
			// Sessions apart: those of either state are over where the seen one is ahead.
			c.generation = restored.Generation
			require.True(t, boundAccepts(restored, c), "%+v", c)
			c.generation = seen.Generation
			require.True(t, boundAccepts(seen, c), "%+v", c)
			require.Equal(t, restored.CustomerID, seen.CustomerID)
		}
		if seen.Generation > restored.Generation {
			require.Greater(t, k.Generation, seen.Generation, "no session of either state has it")
		}
		again := k
		b.Generation = min(b.Generation, k.Generation)
		require.False(t, b.narrowKey(&again, func(id string) *Role { return boundRoles[id] }), "twice is once")
	})
}

func TestAKeyThatIsAsItWasSeenStaysAsItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := boundKey(t, "key")
		stone := Tombstone{Kind: TombKey, ID: "k", Bounds: KeyBounds(k)}
		var b keyBounds
		require.NoError(t, stone.read(&b))
		same := *k
		require.False(t, b.narrowKey(&same, func(id string) *Role { return boundRoles[id] }))
		require.Equal(t, *k, same)
	})
}

func TestASecretEndsNoLaterThanItWasSeenTo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Secret {
			return Secret{ID: "s", Expires: boundInstant(t, name+" expires"), Retired: boundInstant(t, name+" retired")}
		}
		restored, seen := draw("restored"), draw("seen")
		stone := Tombstone{Kind: TombSecret, ID: "s", Bounds: SecretBounds(&seen)}
		var b secretBounds
		require.NoError(t, stone.read(&b))
		s := restored
		changed := b.narrowSecret(&s)
		require.Equal(t, SecretBounds(&s) != SecretBounds(&restored), changed)
		for hours := range 5 {
			at := boundBegin.Add(time.Duration(hours)*time.Hour + time.Minute)
			// Live does not ask when it was retired; so one with an end of the kind is over.
			if s.Live(at) {
				require.True(t, restored.Live(at))
				require.True(t, seen.End().IsZero() || at.Before(seen.End()))
			}
		}
	})
}

func TestARoleOfAnOlderStateGrantsNothingThatEitherStateDoesNot(t *testing.T) {
	names := []string{"*", "a", "b", "group", policy.OwnPrefix + "*", policy.OwnPrefix + "keys"}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) policy.Permissions {
			p := policy.Permissions{}
			for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID).Draw(t, name) {
				p[n] = policy.Mask(rapid.IntRange(1, 15).Draw(t, fmt.Sprint(name, " ", n)))
			}
			return p
		}
		restored, seen := draw("restored"), draw("seen")
		stone := Tombstone{Kind: TombRole, Bounds: RoleBounds(&Role{Permissions: seen})}
		var b roleBounds
		require.NoError(t, stone.read(&b))
		r := &Role{Permissions: maps.Clone(restored)}
		changed := b.narrowRole(r)
		for _, group := range []string{"", "group"} {
			for _, resource := range []string{"a", "b", "c", policy.OwnPrefix + "keys", policy.OwnPrefix + "nodes"} {
				got, both := r.Permissions.On(resource, group), restored.On(resource, group)&seen.On(resource, group)
				require.Zero(t, got&^both, "%s in %q", resource, group)
				if group == "" {
					require.Equal(t, both, got, "and all that both grant by a name of its own")
				}
			}
		}
		require.Equal(t, changed, !maps.Equal(r.Permissions, restored))
	})
}
