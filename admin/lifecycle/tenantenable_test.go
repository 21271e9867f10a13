package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestEnablingATenantRevivesNoKeyThatTheActorCouldNotEnable(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	emea := MicrotenantRef{ID: "emea", CustomerID: "acme"}
	off, on := TenantPatch{Enabled: Some(false)}, TenantPatch{Enabled: Some(true)}
	inEmea := func(k *NewKey) { k.MicrotenantID = Some("emea") }
	weak := h.actor("weak", h.role("Weak", tenantAdmin))
	set := func(a Actor, p TenantPatch) error {
		_, _, err := h.UpdateMicrotenant(h.ctx, a, emea, p, nil)
		return err
	}
	for i := range MaxPageSize { // so that what is beyond is on the second page
		_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: fmt.Sprintf("k%d", i), RoleID: weak.Key.RoleID, CustomerID: "acme", MicrotenantID: Some("emea")})
		require.NoError(t, err)
	}
	require.NoError(t, set(weak, off))
	require.NoError(t, set(weak, on), "what it could enable one by one")

	strong := h.actor("strong", keystore.RoleReadOnly, inEmea)
	require.NoError(t, set(weak, off), "disabling takes and gives nothing")
	requireRefused(t, set(weak, on), Forbidden, CodeExceedsRights, "enabled")
	shown, err := h.GetMicrotenant(h.ctx, local, emea)
	require.NoError(t, err)
	require.False(t, shown.Enabled)
	require.NoError(t, set(weak, TenantPatch{Name: Some("renamed")}), "another name gives nothing")

	disabled := func(off bool) {
		_, _, err := h.UpdateKey(h.ctx, local, strong.ID, KeyPatch{Enabled: Some(!off)}, nil)
		require.NoError(t, err)
	}
	disabled(true)
	require.NoError(t, set(weak, on), "a key that stays disabled is not revived")
	disabled(false)
	require.NoError(t, set(weak, on), "no change, no question")
	require.NoError(t, set(weak, off))
	require.NoError(t, set(local, on))
}

func TestABoundKeyEnablesNoCustomerOfKeysThatReachFurther(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bound := h.actor("bound", keystore.RoleOperator, func(k *NewKey) {
		k.AllowedCIDRs, k.ExpiresAt = []string{"192.0.2.0/24"}, Some(h.clock.Now().Wall.Add(time.Hour))
	})
	free := h.actor("free", keystore.RoleOperator)
	near := NewKey{Name: "near", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella", AllowedCIDRs: []string{"192.0.2.7/32"}, ExpiresAt: Some(h.clock.Now().Wall.Add(time.Minute))}
	_, _, err := h.CreateKey(h.ctx, local, near)
	require.NoError(t, err)
	set := func(a Actor, on bool) error {
		_, _, err := h.UpdateCustomer(h.ctx, a, "umbrella", TenantPatch{Enabled: Some(on)}, nil)
		return err
	}
	require.NoError(t, set(bound, false))
	require.NoError(t, set(bound, true))
	_, _, err = h.CreateKey(h.ctx, local, NewKey{Name: "far", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella"})
	require.NoError(t, err)
	require.NoError(t, set(bound, false))
	requireRefused(t, set(bound, true), Forbidden, CodeExceedsRights, "enabled")
	require.NoError(t, set(free, true))
}
