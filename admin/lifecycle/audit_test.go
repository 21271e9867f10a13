package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/policy"
)

// events lists what a filter selects for an actor, the oldest first.
func (h *house) trail(a Actor, f AuditFilter) []AuditEvent {
	h.Helper()
	page, err := h.ListAudit(h.ctx, a, f, "at", Paging{Size: Some(MaxPageSize)})
	require.NoError(h, err)
	require.Equal(h, len(page.Items), page.Total)
	return page.Items
}

func actions(events []AuditEvent) []string {
	out := []string{}
	for _, e := range events {
		out = append(out, e.Action)
	}
	return out
}

// file is where the store is.
func (h *house) file() string { return strings.TrimPrefix(h.store.Identity(), "sqlite:") }

// auditors are actors that may read the trail: of all, of acme, of acme's emea,
// and of umbrella.
func (h *house) auditors() (operator, customer, microtenant, foreign Actor) {
	h.Helper()
	role := h.role("Auditor", policy.Permissions{ResourceAudit: policy.View})
	return h.actor("operator", keystore.RoleOperator), h.actor("auditor", role),
		h.actor("emea auditor", role, func(k *NewKey) { k.MicrotenantID = Some("emea") }),
		h.actor("foreign auditor", role, func(k *NewKey) { k.CustomerID = "umbrella" })
}

func TestAnEventSaysWhoFromWhereAndWhatChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	operator, _, _, _ := h.auditors()
	made, _, err := h.CreateKey(h.ctx, operator, NewKey{Name: "nightly", RoleID: keystore.RoleReadOnly, MicrotenantID: Some("emea"), CustomerID: "acme"})
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, operator, made.ID, KeyPatch{Description: Some("x"), Enabled: Some(false)}, nil)
	require.NoError(t, err)
	_, err = h.DeleteKey(h.ctx, operator, made.ID, nil)
	require.NoError(t, err)

	events := h.trail(operator, AuditFilter{TargetID: made.ID})
	require.Equal(t, []string{"key.create", "key.update", "key.delete"}, actions(events))
	for _, e := range events {
		require.Equal(t, AuditActor{Kind: ActorKey, ID: operator.ID, Name: "operator", Address: "192.0.2.1"}, e.Actor)
		require.Equal(t, AuditTarget{Kind: "key", ID: made.ID, Name: "nightly"}, e.Target)
		require.Equal(t, []string{"req-1", "acme", "emea"}, []string{e.RequestID, *e.CustomerID, *e.MicrotenantID})
		require.NotContains(t, string(e.Before)+string(e.After), made.ClientSecret)
		require.Equal(t, h.clock.Now().Wall.UTC().Truncate(time.Millisecond), e.At)
	}
	require.Equal(t, "null", string(events[0].Before))
	require.Empty(t, events[0].Changes)
	require.Equal(t, []string{"description", "enabled"}, events[1].Changes)
	require.Equal(t, "null", string(events[2].After))
}

func TestWhatDiffersBetweenTwoRecordsIsNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		before, after string
		want          []string
	}{
		{`{"a":1,"b":[1,2],"c":"x"}`, `{"c":"x","b":[2,1],"a":1}`, []string{"b"}},
		{`{"a":null}`, `{}`, []string{"a"}},
		{`{"a":{"x":1,"y":2}}`, `{"a":{"y":2,"x":1}}`, []string{}},
		{`{"z":1}`, `{"a":1}`, []string{"a", "z"}},
		{`null`, `{"a":1}`, []string{}},
		{`{"a":1}`, ``, []string{}},
	} {
		require.Equal(t, tc.want, changes([]byte(tc.before), []byte(tc.after)), tc)
	}
}

func TestATrailIsSeenWithinTheActorsTenantOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	operator, customer, microtenant, foreign := h.auditors()
	in := func(e AuditEvent) string { return plain(e.CustomerID) + "/" + plain(e.MicrotenantID) }
	seen := func(a Actor, f AuditFilter) []string {
		var out []string
		for _, e := range h.trail(a, f) {
			out = append(out, in(e))
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	require.Equal(t, []string{"/", "acme/", "acme/apac", "acme/emea", "umbrella/"}, seen(operator, AuditFilter{}))
	require.Equal(t, []string{"acme/", "acme/apac", "acme/emea"}, seen(customer, AuditFilter{}))
	require.Equal(t, []string{"acme/emea"}, seen(microtenant, AuditFilter{}))
	require.Equal(t, []string{"umbrella/"}, seen(foreign, AuditFilter{}))
	require.Equal(t, []string{"/"}, seen(operator, AuditFilter{NoCustomer: true}))
	for name, f := range map[string]AuditFilter{
		"another customer": {CustomerID: "umbrella"}, "another customer's microtenant": {CustomerID: "umbrella", MicrotenantID: "emea"},
	} {
		require.Empty(t, seen(customer, f), name)
		require.Empty(t, seen(microtenant, f), name)
	}
	require.Empty(t, seen(microtenant, AuditFilter{MicrotenantID: "apac"}))
	nobody := h.actor("nobody", keystore.RoleFullAccess)
	_, err := h.ListAudit(h.ctx, nobody, AuditFilter{}, "", Paging{})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}

func TestFiltersOfTheTrailAddUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	operator, _, _, _ := h.auditors()
	before := h.clock.Now().Wall
	h.clock.Advance(time.Hour)
	made, _, err := h.CreateKey(h.ctx, operator, NewKey{Name: "nightly", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	require.NoError(t, err)
	_, err = h.Unlock(h.ctx, operator, made.ID, "", nil)
	require.NoError(t, err)
	for _, tc := range []struct {
		f    AuditFilter
		want []string
	}{
		{AuditFilter{ActorID: operator.ID}, []string{"key.create", "key.unlock"}},
		{AuditFilter{ActorID: operator.ID, Action: "key.unlock"}, []string{"key.unlock"}},
		{AuditFilter{ActorID: operator.ID, Action: "key."}, []string{"key.create", "key.unlock"}},
		{AuditFilter{ActorID: operator.ID, Action: "ke."}, []string{}},
		{AuditFilter{TargetID: made.ID, TargetKind: "role"}, []string{}},
		{AuditFilter{RequestID: "req-1"}, []string{"key.create", "key.unlock"}},
		{AuditFilter{RequestID: "req-2"}, []string{}},
		{AuditFilter{Since: Some(before.Add(time.Second))}, []string{"key.create", "key.unlock"}},
		{AuditFilter{Since: Some(before.Add(2 * time.Hour))}, []string{}},
		{AuditFilter{Until: Some(before), CustomerID: "acme"}, []string{}},
	} {
		require.Equal(t, tc.want, actions(h.trail(operator, tc.f)), "%+v", tc.f)
	}
	for field, f := range map[string]AuditFilter{
		"action": {Action: "key"}, "until": {Since: Some(before), Until: Some(before)}, "no_customer": {NoCustomer: true, CustomerID: "acme"},
		"actor_id": {ActorID: string(make([]byte, 300))}, "since": {Since: Some(time.Time{})},
	} {
		_, err := h.ListAudit(h.ctx, operator, f, "", Paging{})
		requireRefused(t, err, Invalid, CodeValidation, field)
		_, err = h.ExportAudit(h.ctx, operator, f)
		requireRefused(t, err, Invalid, CodeValidation, field)
	}
	_, err = h.ListAudit(h.ctx, operator, AuditFilter{}, "name", Paging{})
	requireRefused(t, err, Invalid, CodeValidation, "sort")
}

func TestAPagedTrailNeitherRepeatsNorSkipsWhileItGrows(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, sort := range []string{"at", "-at", ""} {
		before := h.trail(local, AuditFilter{})
		var got []string
		paging := Paging{Size: Some(3)}
		for {
			page, err := h.ListAudit(h.ctx, local, AuditFilter{}, sort, paging)
			require.NoError(t, err)
			for _, e := range page.Items {
				got = append(got, e.ID)
			}
			h.key(fmt.Sprintf("k%s%d", sort, len(got)), keystore.RoleReadOnly)
			if page.NextCursor == nil || len(got) >= len(before) {
				break
			}
			paging.Cursor = *page.NextCursor
		}
		var want []string
		for _, e := range before {
			want = append(want, e.ID)
		}
		if sort != "at" {
			slices.Reverse(want)
		}
		require.Equal(t, want, got[:len(want)], sort)
	}
	page, err := h.ListAudit(h.ctx, local, AuditFilter{}, "", Paging{Size: Some(1)})
	require.NoError(t, err)
	_, err = h.ListAudit(h.ctx, local, AuditFilter{CustomerID: "acme"}, "", Paging{Cursor: *page.NextCursor})
	requireRefused(t, err, Invalid, CodeInvalidCursor, "cursor")
}

// mutations are operations that change something, on a store with a customer
// acme, its microtenant emea and a key.
var mutations = map[string]func(h *house, key string) error{
	"create customer": func(h *house, _ string) error {
		_, _, err := h.CreateCustomer(h.ctx, local, NewCustomer{Name: "New"})
		return err
	},
	"create microtenant": func(h *house, _ string) error {
		_, _, err := h.CreateMicrotenant(h.ctx, local, NewMicrotenant{CustomerID: "acme", Name: "New"})
		return err
	},
	"create role": func(h *house, _ string) error {
		_, _, err := h.CreateRole(h.ctx, local, NewRole{Name: "New", CustomerID: Some("acme")})
		return err
	},
	"create key": func(h *house, _ string) error {
		_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "new", CustomerID: "acme", RoleID: keystore.RoleReadOnly})
		return err
	},
	"update key": func(h *house, key string) error {
		_, _, err := h.UpdateKey(h.ctx, local, key, KeyPatch{Enabled: Some(false)}, nil)
		return err
	},
	"delete key": func(h *house, key string) error { _, err := h.DeleteKey(h.ctx, local, key, nil); return err },
	"unlock key": func(h *house, key string) error { _, err := h.Unlock(h.ctx, local, key, "", nil); return err },
	"end sessions": func(h *house, key string) error {
		_, err := h.EndKeySessions(h.ctx, local, key, nil)
		return err
	},
}

// mute is a store that has no room for audit events.
type mute struct{ Store }

var errMute = errors.New("no room for an event")

func (m mute) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	return m.Store.Update(ctx, func(tx keystore.Tx) error { return fn(muteTx{tx}) })
}

type muteTx struct{ keystore.Tx }

func (muteTx) AddAudit(context.Context, *keystore.Audit) error { return errMute }

func TestAMutationWhoseEventCannotBeStoredDoesNotHappen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := h.key("k", keystore.RoleReadOnly)
	before := h.trail(local, AuditFilter{})
	head := func() (r keystore.Revision) {
		require.NoError(t, h.store.View(h.ctx, func(s keystore.Reader) (err error) { r, err = s.Head(h.ctx); return err }))
		return r
	}
	unsealed, err := sqlite.Open(h.ctx, sqlite.Options{Path: h.file(), Clock: h.clock})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unsealed.Close()) })
	was := head()
	for _, store := range []Store{mute{h.store}, unsealed} {
		cfg := h.cfg
		cfg.Store = store
		broken := *h
		broken.Service = New(cfg)
		for name, mutate := range mutations {
			require.ErrorContains(t, mutate(&broken, key.ID), "not stored", name)
			require.Equal(t, was, head(), name)
		}
	}
	require.Equal(t, before, h.trail(local, AuditFilter{}))
	for name, mutate := range mutations {
		if name != "delete key" {
			require.NoError(t, mutate(h, key.ID), name)
		}
	}
	require.NoError(t, mutations["delete key"](h, key.ID))
	require.Len(t, h.trail(local, AuditFilter{}), len(before)+len(mutations), "each leaves one event")
}

func TestALockIsInTheTrailWithTheAddressThatFailed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, customer, microtenant, _ := h.auditors()
	made, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "k", CustomerID: "acme", MicrotenantID: Some("emea"), RoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	l := policy.DefaultLockout()
	for i := range l.Attempts {
		_, err := h.store.Count(h.ctx, l, []keystore.Proof{{KeyID: made.ID, Address: "198.51.100.7", Fingerprint: uint64(i + 1)}})
		require.NoError(t, err)
	}
	for _, a := range []Actor{customer, microtenant} {
		events := h.trail(a, AuditFilter{Action: "key.lock"})
		require.Len(t, events, 1)
		require.Equal(t, AuditActor{Kind: ActorSystem, Address: "198.51.100.7"}, events[0].Actor)
		require.Equal(t, AuditTarget{Kind: "key", ID: made.ID, Name: "k"}, events[0].Target)
		require.Equal(t, "emea", plain(events[0].MicrotenantID))
	}
}
