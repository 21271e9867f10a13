package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var tenantAdmin = policy.Permissions{"keyreeve/tenants": policy.Full}

func customerIDs(p Page[Customer]) (ids []string) {
	for _, c := range p.Items {
		ids = append(ids, c.ID)
	}
	return ids
}

func microtenantIDs(p Page[Microtenant]) (ids []string) {
	for _, m := range p.Items {
		ids = append(ids, m.CustomerID+"/"+m.ID)
	}
	return ids
}

func TestTenantsAreSeenAndChangedAsFarAsRightsReach(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, _, err := h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: "west", CustomerID: "umbrella", Name: "west"})
	require.NoError(t, err)
	role := h.role("Tenants", tenantAdmin)
	inside := func(k *NewKey) { k.MicrotenantID = Some("emea") }
	operator, admin, within, blind := h.actor("operator", keystore.RoleOperator), h.actor("admin", role), h.actor("within", role, inside), h.actor("blind", keystore.RoleFullAccess)

	for _, c := range []struct {
		actor                   Actor
		customers, microtenants []string
	}{
		{local, []string{"acme", "umbrella"}, []string{"acme/apac", "acme/emea", "umbrella/west"}},
		{operator, []string{"acme", "umbrella"}, []string{"acme/apac", "acme/emea", "umbrella/west"}},
		{admin, []string{"acme"}, []string{"acme/apac", "acme/emea"}},
		{within, []string{"acme"}, []string{"acme/emea"}},
	} {
		customers, err := h.ListCustomers(h.ctx, c.actor, CustomerFilter{})
		require.NoError(t, err)
		require.Equal(t, c.customers, customerIDs(customers), c.actor.Name)
		require.Equal(t, len(c.customers), customers.Total)
		microtenants, err := h.ListMicrotenants(h.ctx, c.actor, MicrotenantFilter{})
		require.NoError(t, err)
		require.Equal(t, c.microtenants, microtenantIDs(microtenants), c.actor.Name)
		require.Equal(t, len(c.microtenants), microtenants.Total)
	}
	elsewhere, err := h.ListMicrotenants(h.ctx, admin, MicrotenantFilter{CustomerID: "umbrella"})
	require.NoError(t, err)
	require.Empty(t, elsewhere.Items, "a filter does not widen what is seen")

	// what each attempt answers, by actor
	type attempt struct {
		kind ErrorKind
		code string
	}
	fine, exceeding, unknown, none := attempt{}, attempt{Forbidden, CodeExceedsRights}, attempt{NotFound, CodeNotFound}, attempt{Forbidden, CodePermissionDenied}
	rename := TenantPatch{Name: Some("renamed")}
	for _, c := range []struct {
		name                              string
		do                                func(Actor) error
		operator, admin, inside, unheldBy attempt
	}{
		{"its customer", func(a Actor) error { _, err := h.GetCustomer(h.ctx, a, "acme"); return err }, fine, fine, fine, none},
		{"another customer", func(a Actor) error { _, err := h.GetCustomer(h.ctx, a, "umbrella"); return err }, fine, unknown, unknown, none},
		{"no customer", func(a Actor) error { _, err := h.GetCustomer(h.ctx, a, "none"); return err }, unknown, unknown, unknown, none},
		{"change its customer", func(a Actor) error { _, _, err := h.UpdateCustomer(h.ctx, a, "acme", rename, nil); return err }, fine, exceeding, exceeding, none},
		{"change another customer", func(a Actor) error {
			_, _, err := h.UpdateCustomer(h.ctx, a, "umbrella", TenantPatch{}, nil)
			return err
		}, fine, unknown, unknown, none},
		{"delete another customer", func(a Actor) error { _, err := h.DeleteCustomer(h.ctx, a, "none", nil); return err }, unknown, unknown, unknown, none},
		{"its microtenant", func(a Actor) error {
			_, err := h.GetMicrotenant(h.ctx, a, MicrotenantRef{ID: "emea"})
			return err
		}, fine, fine, fine, none},
		{"a sibling", func(a Actor) error {
			_, err := h.GetMicrotenant(h.ctx, a, MicrotenantRef{ID: "apac"})
			return err
		}, fine, fine, unknown, none},
		{"another customer's", func(a Actor) error {
			_, err := h.GetMicrotenant(h.ctx, a, MicrotenantRef{ID: "west"})
			return err
		}, fine, unknown, unknown, none},
		{"another customer's, named", func(a Actor) error {
			_, err := h.GetMicrotenant(h.ctx, a, MicrotenantRef{ID: "west", CustomerID: "umbrella"})
			return err
		}, fine, unknown, unknown, none},
		{"change its microtenant", func(a Actor) error {
			_, _, err := h.UpdateMicrotenant(h.ctx, a, MicrotenantRef{ID: "emea"}, TenantPatch{}, nil)
			return err
		}, fine, fine, exceeding, none},
		{"change a sibling", func(a Actor) error {
			_, _, err := h.UpdateMicrotenant(h.ctx, a, MicrotenantRef{ID: "apac"}, TenantPatch{}, nil)
			return err
		}, fine, fine, unknown, none},
		{"delete its microtenant", func(a Actor) error {
			_, err := h.DeleteMicrotenant(h.ctx, a, MicrotenantRef{ID: "emea"}, nil)
			return err
		}, attempt{Conflict, CodeInUse}, attempt{Conflict, CodeInUse}, exceeding, none},
		{"delete a sibling", func(a Actor) error {
			_, err := h.DeleteMicrotenant(h.ctx, a, MicrotenantRef{ID: "apac"}, func(keystore.Revision) bool { return false })
			return err
		}, attempt{Precondition, CodeRevisionMismatch}, attempt{Precondition, CodeRevisionMismatch}, unknown, none},
		{"make a sibling", func(a Actor) error {
			_, _, err := h.CreateMicrotenant(h.ctx, a, NewMicrotenant{CustomerID: "acme", Name: "made by " + a.Name})
			return err
		}, fine, fine, exceeding, none},
		{"make a customer", func(a Actor) error {
			_, _, err := h.CreateCustomer(h.ctx, a, NewCustomer{Name: "made by " + a.Name})
			return err
		}, fine, exceeding, exceeding, none},
		{"list customers", func(a Actor) error { _, err := h.ListCustomers(h.ctx, a, CustomerFilter{}); return err }, fine, fine, fine, none},
		{"list microtenants", func(a Actor) error {
			_, err := h.ListMicrotenants(h.ctx, a, MicrotenantFilter{})
			return err
		}, fine, fine, fine, none},
	} {
		for _, who := range []struct {
			Actor
			attempt
		}{{operator, c.operator}, {admin, c.admin}, {within, c.inside}, {blind, c.unheldBy}} {
			err := c.do(who.Actor)
			if who.attempt == fine {
				require.NoError(t, err, "%s by %s", c.name, who.Name)
				continue
			}
			require.Error(t, err, "%s by %s", c.name, who.Name)
			requireRefused(t, err, who.kind, who.code, "")
		}
	}
}

func TestAMicrotenantOfSeveralCustomersMustBeNamedWithItsCustomer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, _, err := h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: "emea", CustomerID: "umbrella", Name: "theirs"})
	require.NoError(t, err)
	_, err = h.GetMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"})
	requireInvalid(t, err, "customer_id", FieldRequired)
	_, err = h.DeleteMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"}, nil)
	requireInvalid(t, err, "customer_id", FieldRequired)
	for customer, name := range map[string]string{"acme": "emea", "umbrella": "theirs"} {
		m, err := h.GetMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea", CustomerID: customer})
		require.NoError(t, err)
		require.Equal(t, name, m.Name)
	}
	m, err := h.GetMicrotenant(h.ctx, h.actor("admin", h.role("Tenants", tenantAdmin)), MicrotenantRef{ID: "emea"})
	require.NoError(t, err, "whoever sees one of them need not say which")
	require.Equal(t, "acme", m.CustomerID)
}

// sessionOf stores a session of a key as a sign-in now would issue it.
func (h *house) sessionOf(keyID, random string) string {
	h.Helper()
	var id string
	_, err := h.store.Update(h.ctx, func(tx keystore.Tx) error {
		k, err := tx.Key(h.ctx, keyID)
		if err != nil {
			return err
		}
		c, err := tx.Customer(h.ctx, k.CustomerID)
		if err != nil {
			return err
		}
		var m *keystore.Microtenant
		if k.MicrotenantID != "" {
			if m, err = tx.Microtenant(h.ctx, k.CustomerID, k.MicrotenantID); err != nil {
				return err
			}
		}
		now := tx.Now().Wall
		id = keystore.SessionID("ses_"+random, keystore.SessionGeneration(k, c, m), k.Secrets[0].ID)
		return tx.PutSession(h.ctx, &keystore.Session{ID: id, KeyID: k.ID, SecretID: k.Secrets[0].ID, Issued: now, Expires: now.Add(time.Hour)})
	})
	require.NoError(h, err)
	return id
}

func TestADisabledTenantEndsItsSessionsForGood(t *testing.T) {
	t.Parallel()
	disable, enable := TenantPatch{Enabled: Some(false)}, TenantPatch{Enabled: Some(true)}
	for _, c := range []struct {
		name  string
		patch func(*house, TenantPatch) error
		// ends says whether sessions at customer level and in apac end too.
		ends bool
	}{
		{"microtenant", func(h *house, p TenantPatch) error {
			_, _, err := h.UpdateMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"}, p, nil)
			return err
		}, false},
		{"customer", func(h *house, p TenantPatch) error {
			_, _, err := h.UpdateCustomer(h.ctx, local, "acme", p, nil)
			return err
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			in := h.actor("in", keystore.RoleReadOnly, func(k *NewKey) { k.MicrotenantID = Some("emea") })
			beside := h.actor("beside", keystore.RoleReadOnly, func(k *NewKey) { k.MicrotenantID = Some("apac") })
			level := h.key("level", keystore.RoleReadOnly)
			foreign, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "foreign", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella"})
			require.NoError(t, err)
			inside, others, theirs := h.sessionOf(in.ID, "in"), []string{h.sessionOf(beside.ID, "beside"), h.sessionOf(level.ID, "level")}, h.sessionOf(foreign.ID, "theirs")
			state := func(id string) string {
				s, err := h.GetSession(h.ctx, local, id)
				require.NoError(t, err)
				listed, err := h.ListSessions(h.ctx, local, SessionFilter{State: s.State})
				require.NoError(t, err)
				require.Contains(t, listed.Items, s, "the list and the session say the same")
				return s.State
			}
			rest := keystore.SessionActive
			if c.ends {
				rest = keystore.SessionEnded
			}
			require.Equal(t, keystore.SessionActive, state(inside))
			require.NoError(t, c.patch(h, TenantPatch{Name: Some("renamed")}))
			require.Equal(t, keystore.SessionActive, state(inside), "another name is no end")
			require.NoError(t, c.patch(h, disable))
			for range 2 {
				require.Equal(t, keystore.SessionEnded, state(inside))
				for _, id := range others {
					require.Equal(t, rest, state(id))
				}
				require.Equal(t, keystore.SessionActive, state(theirs), "another customer's")
				require.NoError(t, c.patch(h, enable), "and they stay so")
			}
			shown, err := h.GetSession(h.ctx, local, inside)
			require.NoError(t, err)
			require.Equal(t, endedWithKey, *shown.EndReason)
			require.Equal(t, keystore.SessionActive, state(h.sessionOf(in.ID, "again")), "who signs in anew has a session")
			require.NoError(t, c.patch(h, enable))
			require.NoError(t, c.patch(h, disable))
			require.NoError(t, c.patch(h, disable), "again is no change")
			e := h.lastEvent()
			require.Equal(t, c.name+".update", e.Action)
			require.JSONEq(t, `{"name":"renamed","enabled":true}`, string(e.Before))
			require.JSONEq(t, `{"name":"renamed","enabled":false}`, string(e.After))
		})
	}
}

func TestNoKeyLocksItsOwnTenantOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	disable := TenantPatch{Enabled: Some(false)}
	level := h.actor("level", keystore.RoleOperator)
	inside := h.actor("inside", keystore.RoleOperator, func(k *NewKey) { k.MicrotenantID = Some("emea") })
	emea := MicrotenantRef{ID: "emea", CustomerID: "acme"}
	for _, a := range []Actor{level, inside} {
		_, _, err := h.UpdateCustomer(h.ctx, a, "acme", disable, nil)
		requireRefused(t, err, Conflict, CodeOwnTenant, "")
		_, err = h.DeleteCustomer(h.ctx, a, "acme", nil)
		requireRefused(t, err, Conflict, CodeOwnTenant, "")
		_, _, err = h.UpdateCustomer(h.ctx, a, "umbrella", disable, nil)
		require.NoError(t, err, "another may be disabled")
		_, _, err = h.UpdateCustomer(h.ctx, a, "acme", TenantPatch{Name: Some("acme by " + a.Name), Enabled: Some(true)}, nil)
		require.NoError(t, err, "and one's own renamed")
	}
	_, _, err := h.UpdateMicrotenant(h.ctx, inside, emea, disable, nil)
	requireRefused(t, err, Conflict, CodeOwnTenant, "")
	_, err = h.DeleteMicrotenant(h.ctx, inside, emea, nil)
	requireRefused(t, err, Conflict, CodeOwnTenant, "")
	_, _, err = h.UpdateMicrotenant(h.ctx, level, emea, disable, nil)
	require.NoError(t, err)
	_, err = h.Me(h.ctx, inside)
	requireRefused(t, err, Unauthorized, CodeClientInactive, "")
}

func TestTenantsThatOwnSomethingAreNotDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme", MicrotenantID: Some("emea")})
	require.NoError(t, err)
	emea := MicrotenantRef{ID: "emea", CustomerID: "acme"}
	_, err = h.DeleteMicrotenant(h.ctx, local, emea, nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	require.ErrorContains(t, err, "used by 1 key;")
	_, err = h.DeleteCustomer(h.ctx, local, "acme", nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	_, err = h.DeleteKey(h.ctx, local, k.ID, nil)
	require.NoError(t, err)
	_, err = h.DeleteMicrotenant(h.ctx, local, emea, nil)
	require.NoError(t, err)
	require.Equal(t, "microtenant.delete", h.lastEvent().Action)
	require.Equal(t, "emea", h.lastEvent().MicrotenantID)
	_, err = h.DeleteCustomer(h.ctx, local, "acme", nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	require.ErrorContains(t, err, "in use by microtenants", "what it still owns is said")
	_, err = h.DeleteMicrotenant(h.ctx, local, MicrotenantRef{ID: "apac"}, nil)
	require.NoError(t, err)
	_, err = h.DeleteCustomer(h.ctx, local, "acme", nil)
	require.NoError(t, err)
	_, err = h.GetCustomer(h.ctx, local, "acme")
	requireRefused(t, err, NotFound, CodeNotFound, "")
}

func TestListsOfTenantsArePagedSortedAndSearched(t *testing.T) {
	t.Parallel()
	h := newEmptyHouse(t)
	for i, id := range []string{"c", "a", "b"} {
		_, _, err := h.CreateCustomer(h.ctx, local, NewCustomer{ID: id, Name: "Name " + id})
		require.NoError(t, err)
		for _, m := range []string{"one", "two"} { // of one name and id in each customer
			_, _, err = h.CreateMicrotenant(h.ctx, local, NewMicrotenant{ID: m, CustomerID: id, Name: "Micro " + m})
			require.NoError(t, err)
		}
		h.clock.Advance(time.Duration(i+1) * time.Second)
	}
	for sort, want := range map[string][]string{"": {"a", "b", "c"}, "-name": {"c", "b", "a"}, "created_at": {"c", "a", "b"}, "-created_at": {"b", "a", "c"}} {
		f := CustomerFilter{Sort: sort, Paging: Paging{Size: Some(1)}}
		var walked []string
		for range want {
			page, err := h.ListCustomers(h.ctx, local, f)
			require.NoError(t, err)
			require.Equal(t, 3, page.Total)
			walked = append(walked, customerIDs(page)...)
			if page.NextCursor != nil {
				f.Cursor = *page.NextCursor
			}
		}
		require.Equal(t, want, walked, sort)

		m := MicrotenantFilter{CustomerFilter: CustomerFilter{Sort: sort, Paging: Paging{Size: Some(1)}}}
		seen := map[string]bool{}
		for range 6 {
			page, err := h.ListMicrotenants(h.ctx, local, m)
			require.NoError(t, err)
			for _, id := range microtenantIDs(page) {
				require.False(t, seen[id], "%s twice by %q", id, sort)
				seen[id] = true
			}
			if page.NextCursor != nil {
				m.Cursor = *page.NextCursor
			}
		}
		require.Len(t, seen, 6, sort)
	}
	page, err := h.ListCustomers(h.ctx, local, CustomerFilter{Text: "NAME B"})
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, customerIDs(page))
	second, err := h.ListMicrotenants(h.ctx, local, MicrotenantFilter{CustomerID: "a", CustomerFilter: CustomerFilter{Paging: Paging{Number: Some(2), Size: Some(1)}}})
	require.NoError(t, err)
	require.Equal(t, []string{"a/two"}, microtenantIDs(second))
	_, err = h.ListCustomers(h.ctx, local, CustomerFilter{Sort: "id"})
	requireInvalid(t, err, "sort", FieldFormat)
	first, err := h.ListCustomers(h.ctx, local, CustomerFilter{Paging: Paging{Size: Some(1)}})
	require.NoError(t, err)
	_, err = h.ListMicrotenants(h.ctx, local, MicrotenantFilter{CustomerFilter: CustomerFilter{Paging: Paging{Cursor: *first.NextCursor}}})
	requireRefused(t, err, Invalid, CodeInvalidCursor, "cursor")
}

func TestTenantPatchesAreValidated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		patch TenantPatch
		field string
	}{
		{TenantPatch{Name: Some("")}, "name"}, {TenantPatch{Name: Null[string]()}, "name"}, {TenantPatch{Enabled: Null[bool]()}, "enabled"},
	} {
		_, _, err := h.UpdateCustomer(h.ctx, local, "acme", c.patch, nil)
		requireInvalid(t, err, c.field, FieldRequired)
		_, _, err = h.UpdateMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"}, c.patch, nil)
		requireInvalid(t, err, c.field, FieldRequired)
	}
	_, _, err := h.UpdateCustomer(h.ctx, local, "acme", TenantPatch{Name: Some("umbrella")}, nil)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	_, _, err = h.UpdateMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea"}, TenantPatch{Name: Some("apac")}, nil)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
}

func TestARepeatedCreateOfATenantOrRoleMakesNothingMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	once := local
	for name, make := range map[string]func(Actor) (any, Commit, error){
		"role": func(a Actor) (any, Commit, error) {
			v, c, err := h.CreateRole(h.ctx, a, NewRole{Name: "R", CustomerID: Some("acme"), Permissions: policy.Permissions{"a": policy.View}})
			return v, c, err
		},
		"customer": func(a Actor) (any, Commit, error) {
			v, c, err := h.CreateCustomer(h.ctx, a, NewCustomer{Name: "C"})
			return v, c, err
		},
		"microtenant": func(a Actor) (any, Commit, error) {
			v, c, err := h.CreateMicrotenant(h.ctx, a, NewMicrotenant{CustomerID: "acme", Name: "M"})
			return v, c, err
		},
	} {
		once.Once = &Once{Key: name, Fingerprint: [32]byte{1}}
		first, commit, err := make(once)
		require.NoError(t, err)
		require.False(t, commit.Replayed)
		second, commit, err := make(once)
		require.NoError(t, err, name)
		require.True(t, commit.Replayed)
		require.Equal(t, first, second, name)
	}
}

func TestTenantsTellHowManyKeysTheActorSeesInThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	sees := h.role("Sees", policy.Permissions{"keyreeve/tenants": policy.View, "keyreeve/keys": policy.View})
	inside := func(k *NewKey) { k.MicrotenantID = Some("emea") }
	operator, admin, within := h.actor("operator", keystore.RoleOperator), h.actor("admin", sees), h.actor("within", sees, inside)
	blind := h.actor("blind", h.role("Tenants", tenantAdmin))
	_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "foreign", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella"})
	require.NoError(t, err)

	type size struct{ keys, microtenants any }
	of := func(n *int) any {
		if n == nil {
			return nil
		}
		return *n
	}
	for _, c := range []struct {
		actor                   Actor
		customers, microtenants map[string]size
	}{
		{operator, map[string]size{"acme": {4, 2}, "umbrella": {1, 0}}, map[string]size{"emea": {1, nil}, "apac": {0, nil}}},
		{admin, map[string]size{"acme": {4, 2}}, map[string]size{"emea": {1, nil}, "apac": {0, nil}}},
		{within, map[string]size{"acme": {1, 1}}, map[string]size{"emea": {1, nil}}},
		{blind, map[string]size{"acme": {nil, 2}}, map[string]size{"emea": {nil, nil}, "apac": {nil, nil}}},
	} {
		customers, err := h.ListCustomers(h.ctx, c.actor, CustomerFilter{})
		require.NoError(t, err)
		listed := map[string]size{}
		for _, one := range customers.Items {
			listed[one.ID] = size{of(one.KeyCount), one.MicrotenantCount}
			alone, err := h.GetCustomer(h.ctx, c.actor, one.ID)
			require.NoError(t, err)
			require.Equal(t, one, alone)
		}
		require.Equal(t, c.customers, listed, c.actor.Name)
		microtenants, err := h.ListMicrotenants(h.ctx, c.actor, MicrotenantFilter{})
		require.NoError(t, err)
		listed = map[string]size{}
		for _, one := range microtenants.Items {
			listed[one.ID] = size{of(one.KeyCount), nil}
			alone, err := h.GetMicrotenant(h.ctx, c.actor, MicrotenantRef{ID: one.ID, CustomerID: one.CustomerID})
			require.NoError(t, err)
			require.Equal(t, one, alone)
		}
		require.Equal(t, c.microtenants, listed, c.actor.Name)
	}
}
