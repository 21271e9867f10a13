package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func (h *house) nameRole(customer, name string) (Role, error) {
	in := NewRole{Name: name, CustomerID: Some(customer)}
	if customer == "" {
		in.CustomerID = Null[string]()
	}
	r, _, err := h.CreateRole(h.ctx, local, in)
	return r, err
}

func TestNoRoleIsNamedAsAnIDOrAPredefinedRole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{"role_operator", "ROLE_API_FULL_ACCESS", "role_", "Role_x", "operator"} {
		for _, customer := range []string{"", "acme"} {
			_, err := h.nameRole(customer, name)
			requireInvalid(t, err, "name", FieldReserved)
			r, err := h.nameRole(customer, "Fine")
			require.NoError(t, err)
			_, _, err = h.UpdateRole(h.ctx, local, r.ID, RolePatch{Name: Some(name)}, nil)
			requireInvalid(t, err, "name", FieldReserved)
			_, err = h.DeleteRole(h.ctx, local, r.ID, nil)
			require.NoError(t, err)
		}
	}
	for _, name := range []string{"role", "roles_", "my role_operator"} {
		_, err := h.nameRole("acme", name)
		require.NoError(t, err, name)
	}
}

func TestACustomersRoleAndOneForEveryCustomerShareNoName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range [][2]string{{"", "Global"}, {"acme", "Own"}, {"umbrella", "Own"}, {"acme", "Free"}, {"", "Loose"}} {
		_, err := h.nameRole(c[0], c[1])
		require.NoError(t, err, "customers may have roles of one name")
	}
	actor := h.actor("k", h.role("Roles", policy.Permissions{"keyreeve/roles": policy.Full}))
	_, _, err := h.CreateRole(h.ctx, actor, NewRole{Name: "GLOBAL"})
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	require.Equal(t, "another role has this name", detailOf(refusedOf(t, err), "name"), "whose is not told")

	_, err = h.nameRole("", "own")
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	require.Equal(t, "a role of this name belongs to acme, umbrella", refusedOf(t, err).Detail)

	for _, c := range []struct{ customer, role, to string }{{"acme", "Free", "global"}, {"", "Loose", "OWN"}} {
		_, _, err := h.UpdateRole(h.ctx, local, h.roleNamed(c.customer, c.role).ID, RolePatch{Name: Some(c.to)}, nil)
		requireRefused(t, err, Conflict, CodeNameTaken, "name")
	}
}

func refusedOf(t *testing.T, err error) *Error {
	t.Helper()
	var refused *Error
	require.ErrorAs(t, err, &refused)
	return refused
}

func (h *house) roleNamed(customer, name string) Role {
	h.Helper()
	page, err := h.ListRoles(h.ctx, local, RoleFilter{Text: name, Paging: Paging{Size: Some(MaxPageSize)}})
	require.NoError(h, err)
	for _, r := range page.Items {
		if own := r.CustomerID != nil; r.Name == name && own == (customer != "") && (!own || *r.CustomerID == customer) {
			return r
		}
	}
	require.Fail(h, "no such role", name)
	return Role{}
}

func TestRolesFromBeforeNamesWereRefusedCanStillBeChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	old := []keystore.Role{{ID: "role_a", Name: "Shared"}, {ID: "role_b", Name: "shared", CustomerID: "acme"}, {ID: "role_c", Name: "role_operator", CustomerID: "acme"}}
	_, err := h.store.Update(h.ctx, func(tx keystore.Tx) error {
		for i := range old {
			if err := tx.PutRole(h.ctx, &old[i]); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	for _, r := range old {
		_, _, err := h.UpdateRole(h.ctx, local, r.ID, RolePatch{Name: Some(r.Name), Description: Some("kept")}, nil)
		require.NoError(t, err, r.Name)
		_, _, err = h.UpdateRole(h.ctx, local, r.ID, RolePatch{Name: Some("New " + r.ID)}, nil)
		require.NoError(t, err, r.Name)
	}
}
