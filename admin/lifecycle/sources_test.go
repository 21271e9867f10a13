package lifecycle

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var sourceRights = policy.Permissions{"*": policy.Full, "keyreeve/sources": policy.Full, "keyreeve/keys": policy.Full}

// source makes the source `idp` of acme, which may give up to API Read Only.
func (h *house) source() SourceRef {
	h.Helper()
	_, _, err := h.CreateSource(h.ctx, local, NewSource{Name: "idp", CustomerID: "acme", Owner: "Identity team", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(h, err)
	return SourceRef{Name: "idp", CustomerID: "acme"}
}

func TestASourceIsCheckedWhenItIsMade(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceLocked, MaxRoleID: keystore.RoleFullAccess}
	for _, c := range []struct {
		name, field, code string
		change            func(*NewSource)
	}{
		{"no name", "name", FieldRequired, func(s *NewSource) { s.Name = "" }},
		{"capitals", "name", FieldFormat, func(s *NewSource) { s.Name = "IdP" }},
		{"a path", "name", FieldFormat, func(s *NewSource) { s.Name = "a/b" }},
		{"a dot in front", "name", FieldFormat, func(s *NewSource) { s.Name = ".a" }},
		{"too long", "name", FieldFormat, func(s *NewSource) { s.Name = string(make([]byte, 64)) }},
		{"Keyreeve's own", "name", FieldReserved, func(s *NewSource) { s.Name = "keyreeve" }},
		{"no source", "name", FieldReserved, func(s *NewSource) { s.Name = "null" }},
		{"no rule", "rule", FieldRequired, func(s *NewSource) { s.Rule = "" }},
		{"another rule", "rule", FieldFormat, func(s *NewSource) { s.Rule = "open" }},
		{"no role", "max_role_id", FieldRequired, func(s *NewSource) { s.MaxRoleID = "" }},
		{"unknown role", "max_role_id", FieldNotFound, func(s *NewSource) { s.MaxRoleID = "role_none" }},
		{"an owner that turns the writing around", "owner", FieldFormat, func(s *NewSource) { s.Owner = "a\u202eb" }},
		{"no customer of several", "customer_id", FieldRequired, func(s *NewSource) { s.CustomerID = "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := good
			c.change(&in)
			_, _, err := h.CreateSource(h.ctx, local, in)
			requireInvalid(t, err, c.field, c.code)
		})
	}
	made, _, err := h.CreateSource(h.ctx, local, good)
	require.NoError(t, err)
	require.Equal(t, []any{"idp", "acme", "", "locked", keystore.RoleFullAccess, 0}, []any{made.Name, made.CustomerID, made.Owner, made.Rule, made.MaxRoleID, made.KeyCount})
	require.Nil(t, made.LastSyncAt)
	_, _, err = h.CreateSource(h.ctx, local, good)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	good.CustomerID = "umbrella"
	_, _, err = h.CreateSource(h.ctx, local, good)
	require.NoError(t, err, "names are unique in their customer alone")
}

func TestSourcesAreAdministeredWithinOnesOwnRights(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	role := h.role("Sources", sourceRights)
	admin := h.actor("admin", role)
	weak := h.actor("weak", h.role("Weak", policy.Permissions{"keyreeve/sources": policy.Full}))
	viewer := h.actor("viewer", h.role("Viewer", policy.Permissions{"keyreeve/sources": policy.View}))
	inside := h.actor("inside", role, func(k *NewKey) { k.MicrotenantID = Some("emea") })
	foreign := h.actor("foreign", role, func(k *NewKey) { k.CustomerID = "umbrella" })
	owner := SourcePatch{Owner: Some("another")}
	for _, c := range []struct {
		name  string
		actor Actor
		kind  ErrorKind
		code  string
		read  bool
	}{
		{"who holds less than the highest role", weak, Forbidden, CodeExceedsRights, true},
		{"who may only look", viewer, Forbidden, CodePermissionDenied, true},
		{"who is in a microtenant", inside, Forbidden, CodeExceedsRights, false},
		{"who is of another customer", foreign, NotFound, CodeNotFound, false},
		{"who has no right to sources", h.actor("none", keystore.RoleFullAccess), Forbidden, CodePermissionDenied, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.GetSource(h.ctx, c.actor, ref)
			if c.read {
				require.NoError(t, err)
			} else {
				requireRefused(t, err, c.kind, c.code, "")
			}
			_, _, err = h.UpdateSource(h.ctx, c.actor, ref, owner, nil)
			requireRefused(t, err, c.kind, c.code, "")
			_, err = h.DeleteSource(h.ctx, c.actor, ref, nil)
			requireRefused(t, err, c.kind, c.code, "")
		})
	}
	_, _, err := h.UpdateSource(h.ctx, admin, SourceRef{Name: "idp"}, owner, nil)
	require.NoError(t, err, "its own customer goes without saying")
	_, _, err = h.UpdateSource(h.ctx, admin, ref, SourcePatch{MaxRoleID: Some(keystore.RoleOperator)}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "max_role_id")
	_, _, err = h.CreateSource(h.ctx, admin, NewSource{Name: "x", Rule: "locked", MaxRoleID: keystore.RoleOperator})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "max_role_id")
	_, _, err = h.CreateSource(h.ctx, admin, NewSource{Name: "x", CustomerID: "umbrella", Rule: "locked", MaxRoleID: keystore.RoleReadOnly})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "customer_id")
}

func TestASourceIsChangedOnlyAsItWasRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	first, err := h.GetSource(h.ctx, local, ref)
	require.NoError(t, err)
	at := func(r keystore.Revision) Condition { return func(now keystore.Revision) bool { return now == r } }
	same, _, err := h.UpdateSource(h.ctx, local, ref, SourcePatch{Owner: Some("Identity team"), Rule: Some("read_only")}, at(first.Revision))
	require.NoError(t, err)
	require.Equal(t, first, same, "what changes nothing writes nothing")
	second, _, err := h.UpdateSource(h.ctx, local, ref, SourcePatch{Owner: Null[string](), Rule: Some("locked")}, at(first.Revision))
	require.NoError(t, err)
	require.Equal(t, []string{"", "locked"}, []string{second.Owner, second.Rule})
	require.Greater(t, second.Revision, first.Revision)
	_, _, err = h.UpdateSource(h.ctx, local, ref, SourcePatch{Owner: Some("late")}, at(first.Revision))
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, err = h.DeleteSource(h.ctx, local, ref, at(first.Revision))
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, _, _, err = h.PutSource(h.ctx, local, NewSource{Name: "idp", CustomerID: "acme", Rule: "locked", MaxRoleID: keystore.RoleReadOnly}, at(first.Revision))
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, _, err = h.UpdateSource(h.ctx, local, ref, SourcePatch{Rule: Null[string]()}, nil)
	requireInvalid(t, err, "rule", FieldRequired)
	_, err = h.DeleteSource(h.ctx, local, ref, at(second.Revision))
	require.NoError(t, err)
	_, err = h.GetSource(h.ctx, local, ref)
	requireRefused(t, err, NotFound, CodeNotFound, "")
}

func TestPutMakesASourceOrReplacesItWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := NewSource{Name: "idp", CustomerID: "acme", Owner: "one", Rule: "read_only", MaxRoleID: keystore.RoleReadOnly}
	_, _, _, err := h.PutSource(h.ctx, local, in, func(r keystore.Revision) bool { return r != Absent })
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, created, _, err := h.PutSource(h.ctx, local, in, nil)
	require.NoError(t, err)
	require.True(t, created)
	in.Owner, in.CustomerID = "", ""
	out, created, _, err := h.PutSource(h.ctx, local, in, nil)
	require.NoError(t, err, "the only one of that name goes without saying")
	require.False(t, created)
	require.Equal(t, []string{"acme", ""}, []string{out.CustomerID, out.Owner}, "what is left out is taken away")
	h.other("umbrella")
	_, _, _, err = h.PutSource(h.ctx, local, in, nil)
	requireInvalid(t, err, "customer_id", FieldRequired)
	onlyNew := h.actor("new", h.role("New", policy.Permissions{"*": policy.Full, "keyreeve/sources": policy.Create}))
	_, _, _, err = h.PutSource(h.ctx, onlyNew, in, nil)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	in.Name = "second"
	_, created, _, err = h.PutSource(h.ctx, onlyNew, in, nil)
	require.NoError(t, err)
	require.True(t, created)
}

// other makes a source `idp` of another customer.
func (h *house) other(customer string) {
	h.Helper()
	_, _, err := h.CreateSource(h.ctx, local, NewSource{Name: "idp", CustomerID: customer, Rule: "locked", MaxRoleID: keystore.RoleReadOnly})
	require.NoError(h, err)
}

func TestSourcesAreListedByNameWithinOnesCustomer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.source()
	h.other("umbrella")
	for _, name := range []string{"b", "a", "z"} {
		_, _, err := h.CreateSource(h.ctx, local, NewSource{Name: name, CustomerID: "acme", Owner: "Team " + name, Rule: "locked", MaxRoleID: keystore.RoleReadOnly})
		require.NoError(t, err)
	}
	list := func(a Actor, f SourceFilter) (names []string) {
		for range 10 {
			page, err := h.ListSources(h.ctx, a, f)
			require.NoError(t, err)
			for _, s := range page.Items {
				names = append(names, s.CustomerID+"/"+s.Name)
			}
			if page.NextCursor == nil {
				return names
			}
			f.Cursor = *page.NextCursor
		}
		require.Fail(t, "the list does not end")
		return nil
	}
	all := []string{"acme/a", "acme/b", "acme/idp", "umbrella/idp", "acme/z"}
	require.Equal(t, all, list(local, SourceFilter{}))
	require.Equal(t, all, list(local, SourceFilter{Paging: Paging{Size: Some(1)}}))
	require.Equal(t, []string{"umbrella/idp"}, list(local, SourceFilter{CustomerID: "umbrella"}))
	require.Equal(t, []string{"acme/z"}, list(local, SourceFilter{Text: "TEAM Z"}))
	admin := h.actor("admin", h.role("Sources", sourceRights))
	require.Equal(t, []string{"acme/a", "acme/b", "acme/idp", "acme/z"}, list(admin, SourceFilter{}))
	require.Empty(t, list(admin, SourceFilter{CustomerID: "umbrella"}))
}

func TestASourceIsMadeOnceHoweverOftenItIsAskedFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	admin := h.actor("admin", h.role("Sources", sourceRights))
	admin.Once = &Once{Key: "once", Fingerprint: [32]byte{1}}
	in := NewSource{Name: "idp", Rule: "locked", MaxRoleID: keystore.RoleReadOnly}
	first, commit, err := h.CreateSource(h.ctx, admin, in)
	require.NoError(t, err)
	require.False(t, commit.Replayed)
	again, commit, err := h.CreateSource(h.ctx, admin, in)
	require.NoError(t, err)
	require.True(t, commit.Replayed)
	require.Equal(t, first, again)
	admin.Once = nil
	_, _, err = h.CreateSource(h.ctx, admin, in)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
}
