package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func mask(m policy.Mask) *policy.Mask { return &m }

// grants is a patch of a role's permissions.
func grants(p map[string]*policy.Mask) RolePatch { return RolePatch{Permissions: Some(p)} }

func TestNoRoleChangesPastTheBoundOfASource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		customerID Optional[string]
	}{{"a role of the customer", Some("acme")}, {"a role for every customer", Null[string]()}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			make := func(name string, p policy.Permissions) string {
				r, _, err := h.CreateRole(h.ctx, local, NewRole{Name: name, CustomerID: c.customerID, Permissions: p})
				require.NoError(t, err)
				return r.ID
			}
			low, most := make("Low", policy.Permissions{"a": policy.View}), make("Most", policy.Permissions{"a": policy.Full, "b": policy.Full})
			unused := make("Unused", policy.Permissions{"c": policy.Full})
			_, _, err := h.CreateSource(h.ctx, local, NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceReadOnly, MaxRoleID: most})
			require.NoError(t, err)
			k := theirs("a")
			k.RoleID = low
			h.mustPush(SourceRef{Name: "idp", CustomerID: "acme"}, k)
			head, events := h.head(), h.eventCount()
			for _, attempt := range []struct {
				name, role string
				patch      RolePatch
			}{
				{"the role of a key is widened", low, grants(map[string]*policy.Mask{"c": mask(policy.View)})},
				{"the highest role is narrowed", most, grants(map[string]*policy.Mask{"a": nil})},
				{"the highest role is emptied", most, RolePatch{Permissions: Null[map[string]*policy.Mask]()}},
			} {
				_, _, err := h.UpdateRole(h.ctx, local, attempt.role, attempt.patch, nil)
				requireRefused(t, err, Conflict, CodeInUse, "")
				require.ErrorContains(t, err, "source idp (customer acme)", attempt.name)
			}
			require.Equal(t, []any{head, events}, []any{h.head(), h.eventCount()}, "nothing was written")
			for _, attempt := range []struct {
				name, role string
				patch      RolePatch
			}{
				{"within the bound", low, grants(map[string]*policy.Mask{"a": mask(policy.Full)})},
				{"what no key needs of the highest", most, grants(map[string]*policy.Mask{"b": nil})},
				{"a wider highest", most, grants(map[string]*policy.Mask{"d": mask(policy.Full)})},
				{"a role that no key of a source has", unused, grants(map[string]*policy.Mask{"e": mask(policy.Full)})},
				{"another name", low, RolePatch{Name: Some("Lower")}},
				{"less", low, grants(map[string]*policy.Mask{"a": mask(policy.View)})},
			} {
				_, _, err := h.UpdateRole(h.ctx, local, attempt.role, attempt.patch, nil)
				require.NoError(t, err, attempt.name)
			}
		})
	}
}

func TestWhetherThereIsASourceIsNotForEveryoneToKnow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.source()
	in := NewSource{Name: "idp", Rule: "locked", MaxRoleID: keystore.RoleReadOnly}
	for _, a := range []Actor{h.actor("blind", keystore.RoleFullAccess), h.actor("viewer", h.role("Viewer", policy.Permissions{"keyreeve/sources": policy.View})),
		h.actor("inside", h.role("Inside", sourceRights), func(k *NewKey) { k.MicrotenantID = Some("emea") })} {
		there, missing := in, in
		missing.Name = "none-such"
		_, _, _, one := h.PutSource(h.ctx, a, there, nil)
		_, _, _, other := h.PutSource(h.ctx, a, missing, nil)
		require.Error(t, one)
		require.Equal(t, one, other)
	}
}
