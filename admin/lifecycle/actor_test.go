package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

func TestAnActorIsHeldToItsKeysNetworksLikeAnyCaller(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Reader", policy.Permissions{"keyreeve/keys": policy.View})
	bound := h.actor("bound", role, func(k *NewKey) { k.AllowedCIDRs = []string{"192.0.2.0/24", "fe80::/10"} })
	free := h.actor("free", role)
	for address, inside := range map[string]bool{
		"192.0.2.1":        true,
		"::ffff:192.0.2.1": true,
		"fe80::1":          true,
		"fe80::1%eth0":     true,
		"198.51.100.1":     false,
		"2001:db8::1%eth0": false,
		"":                 false, // no address at all, as over a unix socket
		"invalid IP":       false,
		"192.0.2.1:80":     false,
	} {
		bound.Address, free.Address = address, address
		_, err := h.GetKey(h.ctx, free, free.ID)
		require.NoError(t, err, "a key without networks: %q", address)
		_, err = h.GetKey(h.ctx, bound, bound.ID)
		if inside {
			require.NoError(t, err, "%q", address)
			continue
		}
		require.Error(t, err, "%q", address)
		requireRefused(t, err, Forbidden, CodeSourceNotAllowed, "")
	}
}
