package lifecycle

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestRolesAreMadeOnlyWithinTheMakersOwnRights(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	maker := h.actor("maker", h.role("Maker", policy.Permissions{
		"configuration": policy.Full, "logs": policy.View, "keyreeve/roles": policy.Full, "keyreeve/keys": policy.View}))
	for _, c := range []struct {
		name   string
		grants policy.Permissions
		fine   bool
	}{
		{"its own", policy.Permissions{"configuration": policy.Full, "logs": policy.View}, true},
		{"less", policy.Permissions{"logs": policy.View}, true},
		{"a member of its group", policy.Permissions{"segments": policy.Update}, true},
		{"its own admin rights", policy.Permissions{"keyreeve/keys": policy.View}, true},
		{"more on one resource", policy.Permissions{"logs": policy.Full}, false},
		{"another resource", policy.Permissions{"policies": policy.View}, false},
		{"everything", policy.Permissions{"*": policy.View}, false},
		{"the Operator's mask", policy.Permissions{"*": policy.Full, "keyreeve/*": policy.Full}, false},
		{"more admin rights", policy.Permissions{"keyreeve/keys": policy.Create}, false},
		{"all admin rights", policy.Permissions{"keyreeve/*": policy.View}, false},
	} {
		_, _, err := h.CreateRole(h.ctx, maker, NewRole{Name: c.name, Permissions: c.grants})
		if c.fine {
			require.NoError(t, err, c.name)
			continue
		}
		requireRefused(t, err, Forbidden, CodeExceedsRights, "permissions")
	}
	for _, customer := range []Optional[string]{Null[string](), Some("umbrella"), Some("none")} {
		_, _, err := h.CreateRole(h.ctx, maker, NewRole{Name: "elsewhere", CustomerID: customer, Permissions: policy.Permissions{"logs": policy.View}})
		requireRefused(t, err, Forbidden, CodeExceedsRights, "customer_id")
	}
	inside := h.actor("inside", maker.Key.RoleID, func(k *NewKey) { k.MicrotenantID = Some("emea") })
	_, _, err := h.CreateRole(h.ctx, inside, NewRole{Name: "from inside", Permissions: policy.Permissions{"logs": policy.View}})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "microtenant_id")
}

func TestACustomersRoleWithTheOperatorsMaskIsNoOperator(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	all := policy.Permissions{"*": policy.Full, "keyreeve/*": policy.Full}
	king := h.actor("king", h.role("King", all))
	require.False(t, king.AllCustomers)
	_, _, err := h.CreateKey(h.ctx, king, NewKey{Name: "op", RoleID: keystore.RoleOperator})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "role_id")
	operator := h.key("operator", keystore.RoleOperator)
	_, _, err = h.UpdateKey(h.ctx, king, operator.ID, KeyPatch{Enabled: Some(false)}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "role_id")
	_, err = h.DeleteKey(h.ctx, king, operator.ID, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "role_id")
	_, _, err = h.CreateCustomer(h.ctx, king, NewCustomer{Name: "third"})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "")
	_, _, err = h.CreateMicrotenant(h.ctx, king, NewMicrotenant{CustomerID: "umbrella", Name: "theirs"})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "customer_id")
	m, _, err := h.CreateMicrotenant(h.ctx, king, NewMicrotenant{Name: "ours"})
	require.NoError(t, err)
	require.Equal(t, "acme", m.CustomerID)
}

func TestAnActorHasTheRightsOfNow(t *testing.T) {
	t.Parallel()
	admin := policy.Permissions{"*": policy.Full, "keyreeve/keys": policy.Full}
	for _, c := range []struct {
		name   string
		change func(*house, Actor) error
		kind   ErrorKind
		code   string
	}{
		{"deleted", func(h *house, a Actor) error { _, err := h.DeleteKey(h.ctx, local, a.ID, nil); return err }, Unauthorized, CodeClientInactive},
		{"disabled", func(h *house, a Actor) error {
			_, _, err := h.UpdateKey(h.ctx, local, a.ID, KeyPatch{Enabled: Some(false)}, nil)
			return err
		}, Unauthorized, CodeClientInactive},
		{"expired", func(h *house, a Actor) error {
			_, _, err := h.UpdateKey(h.ctx, local, a.ID, KeyPatch{ExpiresAt: Some(h.clock.Now().Wall.Add(time.Minute))}, nil)
			h.clock.Advance(time.Minute)
			return err
		}, Unauthorized, CodeClientInactive},
		{"microtenant disabled", func(h *house, a Actor) error { return h.disable("acme", "emea") }, Unauthorized, CodeClientInactive},
		{"customer disabled", func(h *house, a Actor) error { return h.disable("acme", "") }, Unauthorized, CodeClientInactive},
		{"networks cut", func(h *house, a Actor) error {
			_, _, err := h.UpdateKey(h.ctx, local, a.ID, KeyPatch{AllowedCIDRs: Some([]string{"198.51.100.0/24"})}, nil)
			return err
		}, Forbidden, CodeSourceNotAllowed},
		{"role changed", func(h *house, a Actor) error {
			_, _, err := h.UpdateKey(h.ctx, local, a.ID, KeyPatch{RoleID: Some(keystore.RoleFullAccess)}, nil)
			return err
		}, Forbidden, CodePermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			a := h.actor("a", h.role("Admin", admin), func(k *NewKey) { k.MicrotenantID = Some("emea") })
			_, err := h.GetKey(h.ctx, a, a.ID)
			require.NoError(t, err)
			require.NoError(t, c.change(h, a))
			_, err = h.GetKey(h.ctx, a, a.ID)
			requireRefused(t, err, c.kind, c.code, "")
			_, _, err = h.CreateKey(h.ctx, a, NewKey{Name: "n", RoleID: keystore.RoleReadOnly})
			requireRefused(t, err, c.kind, c.code, "")
		})
	}
}

func (h *house) disable(customerID, microtenantID string) error {
	_, err := h.store.Update(h.ctx, func(tx keystore.Tx) error {
		if microtenantID == "" {
			c, err := tx.Customer(h.ctx, customerID)
			if err != nil {
				return err
			}
			c.Enabled = false
			return tx.PutCustomer(h.ctx, c)
		}
		m, err := tx.Microtenant(h.ctx, customerID, microtenantID)
		if err != nil {
			return err
		}
		m.Enabled = false
		return tx.PutMicrotenant(h.ctx, m)
	})
	return err
}

func TestWhatAnActorClaimsOfItselfIsNotBelieved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.actor("a", keystore.RoleReadOnly)
	a.Permissions, a.AllCustomers, a.CustomerID, a.Key = Local("", false).Permissions, true, "umbrella", nil
	_, err := h.GetKey(h.ctx, a, a.ID)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.GetKey(h.ctx, Actor{Kind: "root", Permissions: a.Permissions, AllCustomers: true}, a.ID)
	require.ErrorContains(t, err, `unknown kind of actor "root"`)
}

func TestAReadOnlyLocalActorReadsEverythingAndChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	reader := Local("", true)
	_, err := h.GetKey(h.ctx, reader, k.ID)
	require.NoError(t, err)
	_, err = h.GetLock(h.ctx, reader, k.ID)
	require.NoError(t, err)
	_, _, createErr := h.CreateKey(h.ctx, reader, NewKey{Name: "x", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	_, _, updateErr := h.UpdateKey(h.ctx, reader, k.ID, KeyPatch{}, nil)
	_, deleteErr := h.DeleteKey(h.ctx, reader, k.ID, nil)
	_, unlockErr := h.Unlock(h.ctx, reader, k.ID, "", nil)
	_, _, roleErr := h.CreateRole(h.ctx, reader, NewRole{Name: "r", Permissions: policy.Permissions{"*": policy.View}})
	_, _, customerErr := h.CreateCustomer(h.ctx, reader, NewCustomer{Name: "c"})
	_, _, microtenantErr := h.CreateMicrotenant(h.ctx, reader, NewMicrotenant{CustomerID: "acme", Name: "m"})
	for _, err := range []error{createErr, updateErr, deleteErr, unlockErr, roleErr, customerErr, microtenantErr} {
		requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	}
}

func TestNetworksAreCoveredOnlyByWhatContainsThem(t *testing.T) {
	t.Parallel()
	parse := func(texts ...string) (out []netip.Prefix) {
		for _, s := range texts {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct {
		inner, outer []string
		want         bool
	}{
		{nil, nil, true},
		{[]string{"10.0.0.0/8"}, nil, true},
		{nil, []string{"0.0.0.0/0", "::/0"}, false}, // everywhere includes networks yet to be invented
		{[]string{"10.1.0.0/16"}, []string{"10.0.0.0/8"}, true},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.0/8"}, true},
		{[]string{"10.0.0.0/7"}, []string{"10.0.0.0/8"}, false},
		{[]string{"10.0.0.0/8", "11.0.0.0/8"}, []string{"10.0.0.0/8"}, false},
		{[]string{"10.0.0.0/8", "11.0.0.0/8"}, []string{"11.0.0.0/8", "10.0.0.0/8"}, true},
		{[]string{"10.0.0.0/8"}, []string{"10.0.0.0/9", "10.128.0.0/9"}, false},
		{[]string{"2001:db8::/48"}, []string{"2001:db8::/32"}, true},
		{[]string{"::/0"}, []string{"0.0.0.0/0"}, false},
		{[]string{"10.0.0.0/8"}, []string{"::/0"}, false},
	} {
		require.Equal(t, c.want, covered(parse(c.inner...), parse(c.outer...)), "%v in %v", c.inner, c.outer)
	}
}
