package lifecycle

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// given are the roles that may be given, and those that may not.
func given(o KeyOptions) (yes, no []string) {
	for _, r := range o.Roles {
		if r.Refused == "" {
			yes = append(yes, r.ID)
		} else {
			no = append(no, r.ID)
		}
	}
	return yes, no
}

func TestWhatAKeyCanBeGivenIsWhatItsMakerMayGive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	logs := h.role("Logs", policy.Permissions{"logs": policy.View})
	servers := h.role("Servers", policy.Permissions{"servers": policy.Full})
	makers := h.role("Makers", policy.Permissions{"logs": policy.View, "keyreeve/keys": policy.Full})
	maker := h.actor("maker", makers, func(k *NewKey) {
		k.AllowedCIDRs, k.ExpiresAt = []string{"192.0.2.0/24"}, Some(h.clock.Now().Wall.Add(time.Hour))
	})
	maker.Address = "192.0.2.1"

	o, err := h.KeyOptions(h.ctx, maker, "")
	require.NoError(t, err)
	yes, no := given(o)
	require.ElementsMatch(t, []string{logs, makers}, yes)
	require.ElementsMatch(t, []string{servers, keystore.RoleOperator, keystore.RoleFullAccess, keystore.RoleReadOnly}, no)
	for _, r := range o.Roles {
		require.Equal(t, r.Refused == "", len(r.Permissions) > 0, "what is beyond the actor is not told: %s", r.Name)
	}
	require.Equal(t, "acme", o.CustomerID)
	require.Empty(t, o.Customers)
	require.Len(t, o.Microtenants, 2)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, o.Networks)
	require.False(t, o.ExpiresBy.IsZero())
	require.Equal(t, time.Hour, o.DefaultValidity)

	_, err = h.KeyOptions(h.ctx, maker, "umbrella")
	requireRefused(t, err, NotFound, CodeNotFound, "")
	_, err = h.KeyOptions(h.ctx, h.actor("reader", h.role("Readers", policy.Permissions{"keyreeve/keys": policy.View})), "")
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}

func TestOptionsOfAKeyAreThoseOfItsCustomer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	own, _, err := h.CreateRole(h.ctx, local, NewRole{Name: "Acme's", CustomerID: Some("acme"), Permissions: policy.Permissions{"logs": policy.View}})
	require.NoError(t, err)

	o, err := h.KeyOptions(h.ctx, local, "")
	require.NoError(t, err)
	require.Empty(t, o.CustomerID, "there are two to choose from")
	require.Len(t, o.Customers, 2)
	require.Empty(t, o.Roles)

	o, err = h.KeyOptions(h.ctx, local, "acme")
	require.NoError(t, err)
	yes, _ := given(o)
	require.Contains(t, yes, own.ID)
	require.Len(t, o.Microtenants, 2)
	o, err = h.KeyOptions(h.ctx, local, "umbrella")
	require.NoError(t, err)
	yes, _ = given(o)
	require.NotContains(t, yes, own.ID)
	require.Empty(t, o.Microtenants)
	_, err = h.KeyOptions(h.ctx, local, "nobody")
	requireRefused(t, err, NotFound, CodeNotFound, "")

	o, err = h.KeyOptions(h.ctx, h.actor("inside", keystore.RoleOperator, func(k *NewKey) { k.MicrotenantID = Some("emea") }), "")
	require.NoError(t, err)
	require.Equal(t, "acme", o.CustomerID)
	require.Len(t, o.Microtenants, 2, "an Operator sees them all, from wherever")
	o, err = h.KeyOptions(h.ctx, h.actor("confined", h.role("Keys", policy.Permissions{"keyreeve/keys": policy.Full}), func(k *NewKey) { k.MicrotenantID = Some("emea") }), "")
	require.NoError(t, err)
	require.Empty(t, o.Microtenants)
}
