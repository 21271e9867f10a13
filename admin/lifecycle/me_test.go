package lifecycle

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// pageAdmin holds what the page needs for keys.
var pageAdmin = policy.Permissions{"keyreeve/keys": policy.Full}

func TestMeIsWhoIsSignedIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	end := h.clock.Now().Wall.AddDate(0, 1, 0).UTC()
	role := h.acmeRole("Page", pageAdmin)
	a := h.actor("me", role.ID, func(k *NewKey) { k.MicrotenantID, k.ExpiresAt = Some("emea"), Some(end) })
	me, err := h.Me(h.ctx, a)
	require.NoError(t, err)
	text := func(s string) *string { return &s }
	require.Equal(t, Me{Kind: ActorKey, KeyID: &a.ID, ClientID: &a.Key.ClientID, Name: "me", CustomerID: text("acme"), CustomerName: text("acme"),
		MicrotenantID: text("emea"), MicrotenantName: text("emea"), RoleID: &role.ID, RoleName: text("Page"), Permissions: pageAdmin, ExpiresAt: &end}, me)

	me, err = h.Me(h.ctx, h.actor("op", keystore.RoleOperator))
	require.NoError(t, err)
	require.True(t, me.AllCustomers)
	require.Nil(t, me.MicrotenantID)
	require.Nil(t, me.ExpiresAt)

	me, err = h.Me(h.ctx, local)
	require.NoError(t, err)
	require.Equal(t, Me{Kind: ActorLocal, Name: "test", AllCustomers: true, Permissions: local.Permissions}, me)

	me, err = h.Me(h.ctx, h.actor("nothing", h.acmeRole("Nothing", nil).ID))
	require.NoError(t, err, "it needs no permission")
	require.NotNil(t, me.Permissions)
}

func members(text string) (out map[string]json.RawMessage) {
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		panic(err)
	}
	return out
}

func requireValues(t *testing.T, want string, p Preferences) {
	t.Helper()
	got, err := json.Marshal(p.Values)
	require.NoError(t, err)
	require.JSONEq(t, want, string(got))
}

func TestPreferencesAreOnesOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Page", pageAdmin)
	one, two := h.actor("one", role), h.actor("two", role)
	p, err := h.GetPreferences(h.ctx, one)
	require.NoError(t, err)
	requireValues(t, `{}`, p)
	first, _, err := h.ReplacePreferences(h.ctx, one, members(`{"a":{"b":1,"c":[1]},"d":"x"}`), nil)
	require.NoError(t, err)
	for _, other := range []Actor{two, local} {
		p, err = h.GetPreferences(h.ctx, other)
		require.NoError(t, err)
		requireValues(t, `{}`, p)
	}
	merged, _, err := h.MergePreferences(h.ctx, one, members(`{"a":{"b":null,"e":{"f":null,"g":1}},"d":null,"h":{"i":2}}`), nil)
	require.NoError(t, err)
	requireValues(t, `{"a":{"c":[1],"e":{"g":1}},"h":{"i":2}}`, merged)
	require.Greater(t, merged.Revision, first.Revision)
	p, err = h.GetPreferences(h.ctx, one)
	require.NoError(t, err)
	require.Equal(t, merged, p)

	old := func(r keystore.Revision) bool { return r == first.Revision }
	_, _, err = h.ReplacePreferences(h.ctx, one, members(`{}`), old)
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, _, err = h.ReplacePreferences(h.ctx, one, members(`{"x":"`+strings.Repeat("y", MaxPreferences)+`"}`), nil)
	requireRefused(t, err, Invalid, CodeValidation, "")
	_, _, err = h.ReplacePreferences(h.ctx, one, members(`{"x":"`+strings.Repeat("y", MaxPreferences-100)+`"}`), nil)
	require.NoError(t, err)

	blind := h.actor("blind", keystore.RoleFullAccess)
	_, _, err = h.ReplacePreferences(h.ctx, blind, nil, nil)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	reader := Local("test", true)
	_, err = h.GetPreferences(h.ctx, reader)
	require.NoError(t, err)
	_, _, err = h.ReplacePreferences(h.ctx, reader, nil, nil)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}

func TestADeletedKeyLeavesNoPreferencesBehind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.actor("a", h.role("Page", pageAdmin))
	_, _, err := h.ReplacePreferences(h.ctx, a, members(`{"a":1}`), nil)
	require.NoError(t, err)
	_, _, err = h.CreateView(h.ctx, a, NewView{Name: "v", List: "keys"})
	require.NoError(t, err)
	shared, _, err := h.CreateView(h.ctx, a, NewView{Name: "s", List: "keys", Shared: true})
	require.NoError(t, err)
	_, err = h.DeleteKey(h.ctx, local, a.ID, nil)
	require.NoError(t, err)
	kept := func(owner string) (out []keystore.Preference) {
		require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) (err error) {
			out, err = r.Preferences(h.ctx, owner)
			return err
		}))
		return out
	}
	require.Empty(t, kept(keyOwner(a.ID)))
	require.Len(t, kept(sharedOwner("acme", "")), 1, "what it shared is the others' too")
	next := h.actor("next", h.role("Next", pageAdmin))
	view, err := h.GetView(h.ctx, next, shared.ID)
	require.NoError(t, err)
	require.False(t, view.Editable)
}

func TestViewsAreOnesOwnUnlessShared(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Page", pageAdmin)
	chief := h.actor("chief", h.role("Chief", policy.Permissions{"keyreeve/keys": policy.View, "keyreeve/roles": policy.Full}))
	inside := func(k *NewKey) { k.MicrotenantID = Some("emea") }
	maker, other, within := h.actor("maker", role), h.actor("other", role), h.actor("within", role, inside)
	keyless := h.actor("keyless", h.role("Locks", policy.Permissions{"keyreeve/locks": policy.Full}))
	foreign, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "foreign", RoleID: role, CustomerID: "umbrella"})
	require.NoError(t, err)
	stranger := Actor{Kind: ActorKey, ID: foreign.ID, Address: "192.0.2.1"}

	own, _, err := h.CreateView(h.ctx, maker, NewView{Name: "own", List: "keys", Query: "state=locked&sort=-created_at", Columns: []string{"name", "last_used_at"}})
	require.NoError(t, err)
	require.True(t, own.Editable)
	shared, _, err := h.CreateView(h.ctx, maker, NewView{Name: "shared", List: "audit", Shared: true})
	require.NoError(t, err)
	require.Equal(t, "view.create", h.lastEvent().Action, "what is shared is audited")
	require.Equal(t, shared.ID, h.lastEvent().TargetID)
	theirs, _, err := h.CreateView(h.ctx, within, NewView{Name: "inside", List: "keys", Shared: true})
	require.NoError(t, err)

	for _, c := range []struct {
		Actor
		sees []string
	}{{maker, []string{own.ID, shared.ID}}, {other, []string{shared.ID}}, {chief, []string{shared.ID}}, {within, []string{theirs.ID}}, {keyless, nil}, {stranger, nil}, {local, nil}} {
		page, err := h.ListViews(h.ctx, c.Actor, ViewFilter{})
		require.NoError(t, err)
		ids := []string(nil)
		for _, v := range page.Items {
			ids = append(ids, v.ID)
		}
		require.Equal(t, c.sees, ids, c.Name)
		for _, v := range []View{own, shared, theirs} {
			if strings.Contains(fmt.Sprint(c.sees), v.ID) {
				continue
			}
			_, err := h.GetView(h.ctx, c.Actor, v.ID)
			requireRefused(t, err, NotFound, CodeNotFound, "")
			_, err = h.DeleteView(h.ctx, c.Actor, v.ID, nil)
			requireRefused(t, err, NotFound, CodeNotFound, "")
		}
	}
	page, err := h.ListViews(h.ctx, maker, ViewFilter{List: "audit"})
	require.NoError(t, err)
	require.Equal(t, []View{shared}, page.Items)

	_, _, err = h.UpdateView(h.ctx, other, shared.ID, ViewPatch{Name: Some("mine")}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "id")
	_, err = h.DeleteView(h.ctx, other, shared.ID, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "id")
	_, _, err = h.UpdateView(h.ctx, chief, shared.ID, ViewPatch{Shared: Some(false)}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "shared")
	renamed, _, err := h.UpdateView(h.ctx, chief, shared.ID, ViewPatch{Name: Some("renamed")}, nil)
	require.NoError(t, err, "who keeps the roles keeps what is shared")
	_, _, err = h.UpdateView(h.ctx, maker, shared.ID, ViewPatch{Name: Some("late")}, func(r keystore.Revision) bool { return r == shared.Revision })
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	private, _, err := h.UpdateView(h.ctx, maker, shared.ID, ViewPatch{Shared: Some(false)}, func(r keystore.Revision) bool { return r == renamed.Revision })
	require.NoError(t, err)
	require.Equal(t, "renamed", private.Name)
	_, err = h.GetView(h.ctx, other, shared.ID)
	requireRefused(t, err, NotFound, CodeNotFound, "")
	require.Equal(t, "view.update", h.lastEvent().Action)

	for _, a := range []Actor{local, keyless} {
		_, _, err = h.CreateView(h.ctx, a, NewView{Name: "v", List: "keys", Shared: true})
		requireRefused(t, err, Forbidden, CodeExceedsRights, "shared")
		_, _, err = h.CreateView(h.ctx, a, NewView{Name: "v", List: "keys"})
		require.NoError(t, err)
	}
}

func TestAListHasOneDefaultView(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Page", policy.Permissions{"keyreeve/keys": policy.Full, "keyreeve/roles": policy.Update})
	a, b := h.actor("a", role), h.actor("b", role)
	first, _, err := h.CreateView(h.ctx, a, NewView{Name: "1", List: "keys", Default: true})
	require.NoError(t, err)
	_, _, err = h.CreateView(h.ctx, a, NewView{Name: "2", List: "audit", Default: true})
	require.NoError(t, err)
	_, _, err = h.CreateView(h.ctx, a, NewView{Name: "3", List: "keys", Default: true})
	require.NoError(t, err)
	_, _, err = h.CreateView(h.ctx, a, NewView{Name: "4", List: "keys", Default: true, Shared: true})
	require.NoError(t, err)
	page, err := h.ListViews(h.ctx, a, ViewFilter{})
	require.NoError(t, err)
	defaults := map[string]bool{}
	for _, v := range page.Items {
		defaults[v.Name] = v.Default
	}
	require.Equal(t, map[string]bool{"1": false, "2": true, "3": true, "4": true}, defaults)
	changed, err := h.GetView(h.ctx, a, first.ID)
	require.NoError(t, err)
	require.Greater(t, changed.Revision, first.Revision, "its ETag is another")
	fifth, _, err := h.CreateView(h.ctx, b, NewView{Name: "5", List: "keys", Default: true, Shared: true})
	require.NoError(t, err)
	page, err = h.ListViews(h.ctx, b, ViewFilter{})
	require.NoError(t, err)
	for _, v := range page.Items {
		require.Equal(t, v.ID == fifth.ID, v.Default, v.Name)
	}
}

func TestViewsAreBoundedInSizeAndNumber(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.actor("a", h.role("Page", pageAdmin))
	many := make([]string, maxViewColumns+1)
	for i := range many {
		many[i] = fmt.Sprintf("c%d", i)
	}
	for _, c := range []struct {
		in          NewView
		field, code string
	}{
		{NewView{List: "keys"}, "name", FieldRequired},
		{NewView{Name: "v"}, "list", FieldFormat},
		{NewView{Name: "v", List: "secrets"}, "list", FieldFormat},
		{NewView{Name: "v", List: "keys", Query: strings.Repeat("q", maxViewQuery+1)}, "query", FieldRange},
		{NewView{Name: "v", List: "keys", Query: "a=%zz"}, "query", FieldFormat},
		{NewView{Name: "v", List: "keys", Query: "a\n"}, "query", FieldFormat},
		{NewView{Name: "v", List: "keys", Columns: many}, "columns", FieldTooMany},
		{NewView{Name: "v", List: "keys", Columns: []string{"name", "<b>"}}, "columns[1]", FieldFormat},
		{NewView{Name: "v", List: "keys", Columns: []string{"name", "name"}}, "columns[1]", FieldConflict},
	} {
		_, _, err := h.CreateView(h.ctx, a, c.in)
		requireInvalid(t, err, c.field, c.code)
	}
	for i := range MaxViews {
		_, _, err := h.CreateView(h.ctx, a, NewView{Name: fmt.Sprint(i), List: "keys"})
		require.NoError(t, err)
	}
	_, _, err := h.CreateView(h.ctx, a, NewView{Name: "one more", List: "keys"})
	requireRefused(t, err, Conflict, CodeTooMany, "")
	once := a
	once.Once = &Once{Key: "k", Fingerprint: [32]byte{1}}
	shared, _, err := h.CreateView(h.ctx, once, NewView{Name: "shared", List: "keys", Shared: true})
	require.NoError(t, err, "the shared ones count apart")
	again, commit, err := h.CreateView(h.ctx, once, NewView{Name: "shared", List: "keys", Shared: true})
	require.NoError(t, err)
	require.True(t, commit.Replayed)
	require.Equal(t, shared, again)
	_, _, err = h.UpdateView(h.ctx, a, shared.ID, ViewPatch{Shared: Some(false)}, nil)
	requireRefused(t, err, Conflict, CodeTooMany, "")
}
