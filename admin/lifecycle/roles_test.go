package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// acmeRole makes a role of acme.
func (h *house) acmeRole(name string, p policy.Permissions) Role {
	h.Helper()
	r, _, err := h.CreateRole(h.ctx, local, NewRole{Name: name, CustomerID: Some("acme"), Permissions: p})
	require.NoError(h, err)
	return r
}

// grant is a patch of permissions.
func grant(p policy.Permissions, remove ...string) RolePatch {
	patch := map[string]*policy.Mask{}
	for name, mask := range p {
		patch[name] = &mask
	}
	for _, name := range remove {
		patch[name] = nil
	}
	return RolePatch{Permissions: Some(patch)}
}

// lastEvent is the newest audit event of acme.
func (h *house) lastEvent() *keystore.Audit {
	h.Helper()
	var events []*keystore.Audit
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) (err error) {
		events, _, err = r.AuditEvents(h.ctx, keystore.AuditQuery{CustomerID: "acme", Limit: 1})
		return err
	}))
	require.Len(h, events, 1)
	return events[0]
}

func TestARolePatchMergesAndLeavesTheRest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.acmeRole("R", policy.Permissions{"a": policy.Full, "b": policy.View})
	changed, commit, err := h.UpdateRole(h.ctx, local, r.ID, grant(policy.Permissions{"b": policy.Update, "c": policy.Full}, "a"), nil)
	require.NoError(t, err)
	require.Equal(t, policy.Permissions{"b": policy.Update, "c": policy.Full}, changed.Permissions)
	require.Equal(t, "R", changed.Name)
	require.Equal(t, commit.Revision, changed.Revision)
	e := h.lastEvent()
	require.Equal(t, "role.update", e.Action)
	require.JSONEq(t, `{"name":"R","permissions":{"a":"full","b":"view"}}`, string(e.Before))
	require.JSONEq(t, `{"name":"R","permissions":{"b":["update"],"c":"full"}}`, string(e.After))

	again, commit, err := h.UpdateRole(h.ctx, local, r.ID, RolePatch{Name: Some("R"), Description: Some("")}, nil)
	require.NoError(t, err)
	require.Equal(t, changed, again, "a patch that changes nothing writes nothing")
	require.Equal(t, changed.Revision, commit.Revision)

	changed, _, err = h.UpdateRole(h.ctx, local, r.ID, RolePatch{Permissions: Null[map[string]*policy.Mask]()}, nil)
	require.NoError(t, err)
	require.Equal(t, policy.Permissions{}, changed.Permissions, "null takes all away")
}

func TestBadRolePatchesAreRefusedByField(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.acmeRole("R", nil)
	h.acmeRole("Other", nil)
	for _, c := range []struct {
		patch       RolePatch
		field, code string
	}{
		{RolePatch{Name: Some("")}, "name", FieldRequired},
		{RolePatch{Name: Null[string]()}, "name", FieldRequired},
		{RolePatch{Name: Some("operator")}, "name", FieldReserved},
		{RolePatch{Description: Some("\x00")}, "description", FieldFormat},
		{grant(policy.Permissions{"keyreeve/nothing": policy.View}), "permissions", FieldFormat},
		{grant(policy.Permissions{"a": 0}), "permissions.a", FieldFormat},
	} {
		_, _, err := h.UpdateRole(h.ctx, local, r.ID, c.patch, nil)
		requireInvalid(t, err, c.field, c.code)
	}
	_, _, err := h.UpdateRole(h.ctx, local, r.ID, RolePatch{Name: Some("Other")}, nil)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
}

func TestPredefinedRolesAreNeverChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, p := range keystore.PredefinedRoles() {
		_, _, err := h.UpdateRole(h.ctx, local, p.ID, RolePatch{Description: Some("mine")}, nil)
		requireRefused(t, err, Conflict, CodePredefined, "")
		_, err = h.DeleteRole(h.ctx, local, p.ID, nil)
		requireRefused(t, err, Conflict, CodePredefined, "")
		shown, err := h.GetRole(h.ctx, local, p.ID)
		require.NoError(t, err)
		require.Equal(t, p.Permissions, shown.Permissions)
		require.False(t, shown.Editable || shown.Deletable)
	}
}

func TestNobodyEditsARoleBeyondTheirOwnRights(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	own := policy.Permissions{"configuration": policy.Full, "keyreeve/roles": policy.Full, "keyreeve/keys": policy.View}
	editorRole := h.acmeRole("Editor", own)
	editor := h.actor("editor", editorRole.ID)
	mask := h.acmeRole("King", policy.Permissions{"*": policy.Full, "keyreeve/*": policy.Full})
	weak := h.acmeRole("Weak", policy.Permissions{"segments": policy.View})
	global := h.role("Global", policy.Permissions{"segments": policy.View})
	theirs, _, err := h.CreateRole(h.ctx, local, NewRole{Name: "Theirs", CustomerID: Some("umbrella")})
	require.NoError(t, err)

	for _, c := range []struct {
		name, id string
		patch    RolePatch
		field    string
	}{
		{"grants more", weak.ID, grant(policy.Permissions{"logs": policy.View}), "permissions"},
		{"grants all resources", weak.ID, grant(policy.Permissions{"*": policy.View}), "permissions"},
		{"grants the Operator's mask", weak.ID, grant(policy.Permissions{"*": policy.Full, "keyreeve/*": policy.Full}), "permissions"},
		{"grants more of Keyreeve itself", weak.ID, grant(policy.Permissions{"keyreeve/keys": policy.Create}), "permissions"},
		{"weakens a stronger one", mask.ID, grant(nil, "*", "keyreeve/*"), "permissions"},
		{"renames a stronger one", mask.ID, RolePatch{Name: Some("Mine")}, "permissions"},
		{"its own, downwards", editorRole.ID, grant(nil, "keyreeve/keys"), "id"},
		{"its own name", editorRole.ID, RolePatch{Name: Some("Boss")}, "id"},
		{"one for every customer", global, grant(nil, "segments"), "customer_id"},
	} {
		_, _, err := h.UpdateRole(h.ctx, editor, c.id, c.patch, nil)
		requireRefused(t, err, Forbidden, CodeExceedsRights, c.field)
	}
	for _, id := range []string{mask.ID, global, editorRole.ID} {
		_, err := h.DeleteRole(h.ctx, editor, id, nil)
		requireRefused(t, err, Forbidden, CodeExceedsRights, "")
	}
	for _, id := range []string{theirs.ID, "role_none"} {
		_, err := h.GetRole(h.ctx, editor, id)
		requireRefused(t, err, NotFound, CodeNotFound, "")
		_, _, err = h.UpdateRole(h.ctx, editor, id, RolePatch{Name: Some("x")}, nil)
		requireRefused(t, err, NotFound, CodeNotFound, "")
		_, err = h.DeleteRole(h.ctx, editor, id, nil)
		requireRefused(t, err, NotFound, CodeNotFound, "")
	}
	_, _, err = h.UpdateRole(h.ctx, editor, weak.ID, grant(policy.Permissions{"segments": policy.Full}), nil)
	require.NoError(t, err)
	_, _, err = h.UpdateRole(h.ctx, h.actor("king", mask.ID), weak.ID, grant(policy.Permissions{"*": policy.Full, "keyreeve/*": policy.Full}), nil)
	require.NoError(t, err, "who holds the mask may hand it on")

	inside := h.actor("inside", editorRole.ID, func(k *NewKey) { k.MicrotenantID = Some("emea") })
	_, err = h.GetRole(h.ctx, inside, weak.ID)
	require.NoError(t, err, "its keys may be given the customer's roles")
	_, _, err = h.UpdateRole(h.ctx, inside, weak.ID, RolePatch{Name: Some("x")}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "microtenant_id")
	_, err = h.DeleteRole(h.ctx, inside, weak.ID, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "microtenant_id")
}

func TestARoleIsNotWidenedForKeysThatReachFurtherThanTheEditor(t *testing.T) {
	t.Parallel()
	own := policy.Permissions{"segments": policy.Full, "keyreeve/roles": policy.Full, "keyreeve/keys": policy.Full}
	for name, bound := range map[string]func(*house) func(*NewKey){
		"in networks": func(*house) func(*NewKey) {
			return func(k *NewKey) { k.AllowedCIDRs = []string{"192.0.2.0/24"} }
		},
		"in time": func(h *house) func(*NewKey) {
			return func(k *NewKey) { k.ExpiresAt = Some(h.clock.Now().Wall.Add(time.Hour)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			editor := h.actor("editor", h.role("Editor", own), bound(h))
			role := h.acmeRole("Shared", policy.Permissions{"segments": policy.View})
			widen, narrow := grant(policy.Permissions{"segments": policy.Full}), grant(nil, "segments")
			within := NewKey{Name: "within", RoleID: role.ID, CustomerID: "acme"}
			bound(h)(&within)
			_, _, err := h.CreateKey(h.ctx, local, within)
			require.NoError(t, err)
			_, _, err = h.UpdateRole(h.ctx, editor, role.ID, widen, nil)
			require.NoError(t, err, "its only key is bound as the editor is")
			_, _, err = h.UpdateRole(h.ctx, local, role.ID, grant(policy.Permissions{"segments": policy.View}), nil)
			require.NoError(t, err)

			h.key("beyond", role.ID)
			_, _, err = h.UpdateRole(h.ctx, editor, role.ID, widen, nil)
			requireRefused(t, err, Forbidden, CodeExceedsRights, "permissions")
			_, _, err = h.UpdateRole(h.ctx, editor, role.ID, narrow, nil)
			require.NoError(t, err, "to take away gives nobody anything")
		})
	}
}

func TestARoleInUseIsNotDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.acmeRole("R", nil)
	one, two := h.key("one", role.ID), h.key("two", role.ID)
	_, err := h.DeleteRole(h.ctx, local, role.ID, nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	require.ErrorContains(t, err, "used by 2 keys")
	_, err = h.DeleteKey(h.ctx, local, one.ID, nil)
	require.NoError(t, err)
	_, err = h.DeleteRole(h.ctx, local, role.ID, nil)
	require.ErrorContains(t, err, "used by 1 key;")
	_, _, err = h.UpdateKey(h.ctx, local, two.ID, KeyPatch{RoleID: Some(keystore.RoleReadOnly)}, nil)
	require.NoError(t, err)

	_, _, err = h.CreateSource(h.ctx, local, NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceReadOnly, MaxRoleID: role.ID})
	require.NoError(t, err)
	_, err = h.DeleteRole(h.ctx, local, role.ID, nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	_, err = h.DeleteSource(h.ctx, local, SourceRef{Name: "idp", CustomerID: "acme"}, nil)
	require.NoError(t, err)
	_, err = h.DeleteRole(h.ctx, local, role.ID, nil)
	require.NoError(t, err)
	_, err = h.GetRole(h.ctx, local, role.ID)
	requireRefused(t, err, NotFound, CodeNotFound, "")
	require.Equal(t, "role.delete", h.lastEvent().Action)
}

func TestARoleCountsTheKeysThatOneMaySee(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Counted", nil)
	for _, k := range []NewKey{{Name: "a", CustomerID: "acme"}, {Name: "b", CustomerID: "acme", MicrotenantID: Some("emea")},
		{Name: "c", CustomerID: "acme", MicrotenantID: Some("apac")}, {Name: "d", CustomerID: "umbrella"}} {
		k.RoleID = role
		_, _, err := h.CreateKey(h.ctx, local, k)
		require.NoError(t, err)
	}
	admin := h.role("Admin", policy.Permissions{"keyreeve/roles": policy.View, "keyreeve/keys": policy.View})
	blind := h.role("Blind", policy.Permissions{"keyreeve/roles": policy.View})
	inside := func(k *NewKey) { k.MicrotenantID = Some("emea") }
	three, one, four := 3, 1, 4
	for _, c := range []struct {
		name  string
		actor Actor
		want  *int
	}{
		{"all customers", local, &four},
		{"the customer's", h.actor("admin", admin), &three},
		{"the microtenant's", h.actor("inside", admin, inside), &one},
		{"none", h.actor("blind", blind), nil},
	} {
		shown, err := h.GetRole(h.ctx, c.actor, role)
		require.NoError(t, err)
		require.Equal(t, c.want, shown.KeyCount, c.name)
		listed, err := h.ListRoles(h.ctx, c.actor, RoleFilter{Text: "Counted"})
		require.NoError(t, err)
		require.Equal(t, []Role{shown}, listed.Items, c.name)
	}
	listed, err := h.ListRoles(h.ctx, local, RoleFilter{Text: "Counted", CustomerID: "umbrella"})
	require.NoError(t, err)
	require.Equal(t, &one, listed.Items[0].KeyCount, "those of the customer that was asked for")
}

func TestOfTwoEditorsOneWins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.acmeRole("R", nil)
	c, err := h.GetCustomer(h.ctx, local, "acme")
	require.NoError(t, err)
	m, err := h.GetMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"})
	require.NoError(t, err)
	at := func(r keystore.Revision) Condition {
		return func(now keystore.Revision) bool { return now == r }
	}
	for name, edit := range map[string]func(string) error{
		"role": func(to string) error {
			_, _, err := h.UpdateRole(h.ctx, local, role.ID, RolePatch{Name: Some(to)}, at(role.Revision))
			return err
		},
		"customer": func(to string) error {
			_, _, err := h.UpdateCustomer(h.ctx, local, "acme", TenantPatch{Name: Some(to)}, at(c.Revision))
			return err
		},
		"microtenant": func(to string) error {
			_, _, err := h.UpdateMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"}, TenantPatch{Name: Some(to)}, at(m.Revision))
			return err
		},
	} {
		results := make(chan error, 2)
		for _, to := range []string{"first", "second"} {
			go func() { results <- edit(name + " " + to) }()
		}
		var won, lost int
		for range 2 {
			if err := <-results; err == nil {
				won++
			} else {
				requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
				lost++
			}
		}
		require.Equal(t, []int{1, 1}, []int{won, lost}, name)
	}
	_, err = h.DeleteRole(h.ctx, local, role.ID, at(role.Revision))
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, err = h.DeleteCustomer(h.ctx, local, "acme", at(c.Revision))
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, err = h.DeleteMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"}, at(m.Revision))
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
}
