package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func sha(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// theirs is a key of a list.
func theirs(id string) SourceKey {
	return SourceKey{ClientID: id, Name: "name of " + id, RoleID: keystore.RoleReadOnly, SecretSHA256: sha("secret of " + id)}
}

func (h *house) push(ref SourceRef, keys ...SourceKey) (PushedSource, error) {
	out, _, err := h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: keys}, nil)
	return out, err
}

func (h *house) mustPush(ref SourceRef, keys ...SourceKey) PushedSource {
	h.Helper()
	out, err := h.push(ref, keys...)
	require.NoError(h, err)
	return out
}

func (h *house) stored(clientID string) *keystore.Key {
	h.Helper()
	k, err := h.store.KeyByClientID(h.ctx, clientID)
	require.NoError(h, err)
	return k
}

// events are the actions of the newest n audit events of acme, newest first.
func (h *house) actions(n int) (actions []string) {
	h.Helper()
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) error {
		events, _, err := r.AuditEvents(h.ctx, keystore.AuditQuery{CustomerID: "acme", Limit: n})
		for _, e := range events {
			actions = append(actions, e.Action)
		}
		return err
	}))
	return actions
}

func (h *house) head() keystore.Revision {
	h.Helper()
	head, err := h.store.Head(h.ctx)
	require.NoError(h, err)
	return head
}

func results(p PushedSource) string {
	text := fmt.Sprintf("+%d ~%d =%d -%d", p.Created, p.Updated, p.Unchanged, p.Removed)
	for _, i := range p.Items {
		text += " " + i.ClientID + ":" + i.Result
	}
	return text
}

func TestAListMakesTheSourcesKeysWhatItSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	a, b := theirs("a"), theirs("b")
	b.MicrotenantID, b.Labels, b.AllowedCIDRs = Some("emea"), map[string]string{"team": "x"}, []string{"192.0.2.0/24"}
	first := h.mustPush(ref, a, b)
	require.Equal(t, "+2 ~0 =0 -0 a:created b:created", results(first))
	require.Equal(t, []string{"source.sync", "key.create", "key.create", "source.create"}, h.actions(4))

	shown, err := h.GetKey(h.ctx, local, *first.Items[1].ID)
	require.NoError(t, err)
	require.Equal(t, []any{"idp", "idp", false, false, "emea", true}, []any{*shown.Source, shown.ManagedBy, shown.Editable, shown.Deletable, *shown.MicrotenantID, shown.Enabled})

	a.Description, a.Enabled = "now off", Some(false)
	generation := h.stored("a").Generation
	second := h.mustPush(ref, b, a, theirs("c"))
	require.Equal(t, "+1 ~1 =1 -0 b:unchanged a:updated c:created", results(second))
	require.Greater(t, second.Revision, first.Revision)
	require.Equal(t, generation+1, h.stored("a").Generation, "its sessions are over for good")
	require.Equal(t, []string{"source.sync", "key.create", "key.update"}, h.actions(3))

	third := h.mustPush(ref, b)
	require.Equal(t, "+0 ~0 =1 -2 b:unchanged a:removed c:removed", results(third))
	_, err = h.store.KeyByClientID(h.ctx, "a")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	source, err := h.GetSource(h.ctx, local, ref)
	require.NoError(t, err)
	require.Equal(t, []any{1, "local", third.Revision}, []any{source.KeyCount, *source.LastSyncBy, source.Revision})
}

func TestAListThatSaysNothingNewLeavesNoTraceButItsTime(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	expiring := theirs("a")
	expiring.ExpiresAt = Some(h.clock.Now().Wall.Add(time.Hour))
	first := h.mustPush(ref, expiring, theirs("b"))
	head, trail := h.head(), h.actions(100)
	h.clock.Advance(2 * time.Hour) // what has expired is no change either
	noSecret := theirs("b")
	noSecret.SecretSHA256 = ""
	again := h.mustPush(ref, expiring, noSecret)
	require.Equal(t, "+0 ~0 =2 -0 a:unchanged b:unchanged", results(again))
	require.Equal(t, head, h.head())
	require.Equal(t, trail, h.actions(100))
	require.Equal(t, first.Revision, again.Revision, "its ETag stands")
	source, err := h.GetSource(h.ctx, local, ref)
	require.NoError(t, err)
	require.WithinDuration(t, h.clock.Now().Wall, *source.LastSyncAt, time.Second)
}

func TestADryRunSaysWhatWouldBeAndWritesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	h.mustPush(ref, theirs("a"), theirs("b"))
	head, trail := h.head(), h.actions(100)
	changed := theirs("a")
	changed.Name = "another"
	list := SourcePush{Keys: []SourceKey{changed, theirs("c")}, DryRun: true}
	would, commit, err := h.PushSourceKeys(h.ctx, local, ref, list, nil)
	require.NoError(t, err)
	require.Equal(t, "+1 ~1 =0 -1 a:updated c:created b:removed", results(would))
	require.True(t, would.DryRun)
	require.NotNil(t, would.Items[0].ID)
	require.Nil(t, would.Items[1].ID, "the id of a key that is not there is nobody's")
	require.Equal(t, head, h.head())
	require.Equal(t, head, commit.Revision)
	require.Equal(t, trail, h.actions(100))
	list.DryRun = false
	did, _, err := h.PushSourceKeys(h.ctx, local, ref, list, nil)
	require.NoError(t, err)
	require.Equal(t, results(would), results(did))
}

func TestOneBadKeyRefusesTheWholeList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	h.mustPush(ref, theirs("there"))
	head, trail := h.head(), h.actions(100)
	for _, c := range []struct {
		name, field, code string
		change            func(*SourceKey)
	}{
		{"no client ID", "keys[1].client_id", FieldRequired, func(k *SourceKey) { k.ClientID = "" }},
		{"a client ID that is none", "keys[1].client_id", FieldFormat, func(k *SourceKey) { k.ClientID = "a b" }},
		{"no name", "keys[1].name", FieldRequired, func(k *SourceKey) { k.Name = "" }},
		{"no role", "keys[1].role_id", FieldRequired, func(k *SourceKey) { k.RoleID = "" }},
		{"unknown role", "keys[1].role_id", FieldNotFound, func(k *SourceKey) { k.RoleID = "role_none" }},
		{"a role beyond the source's", "keys[1].role_id", FieldBeyondSource, func(k *SourceKey) { k.RoleID = keystore.RoleFullAccess }},
		{"unknown microtenant", "keys[1].microtenant_id", FieldNotFound, func(k *SourceKey) { k.MicrotenantID = Some("none") }},
		{"empty microtenant", "keys[1].microtenant_id", FieldFormat, func(k *SourceKey) { k.MicrotenantID = Some("") }},
		{"a new key without a secret", "keys[1].secret_sha256", FieldRequired, func(k *SourceKey) { k.SecretSHA256 = "" }},
		{"a digest that is none", "keys[1].secret_sha256", FieldFormat, func(k *SourceKey) { k.SecretSHA256 = "abcd" }},
		{"a past expiry", "keys[1].expires_at", FieldRange, func(k *SourceKey) { k.ExpiresAt = Some(time.Unix(1, 0)) }},
		{"a short validity", "keys[1].session_validity_seconds", FieldRange, func(k *SourceKey) { k.SessionValiditySeconds = Some[int64](59) }},
		{"a network that is none", "keys[1].allowed_cidrs[0]", FieldFormat, func(k *SourceKey) { k.AllowedCIDRs = []string{"here"} }},
		{"one client ID twice", "keys[1].client_id", FieldConflict, func(k *SourceKey) { k.ClientID = "good" }},
		{"one name twice", "keys[1].name", FieldConflict, func(k *SourceKey) { k.Name = "name of good" }},
		{"another microtenant than before", "keys[1].microtenant_id", FieldConflict, func(k *SourceKey) { k.ClientID, k.MicrotenantID = "there", Some("emea") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := theirs("bad")
			c.change(&bad)
			_, err := h.push(ref, theirs("good"), bad)
			requireInvalid(t, err, c.field, c.code)
		})
	}
	t.Run("more faults than are told", func(t *testing.T) {
		var many []SourceKey
		for range 300 {
			many = append(many, SourceKey{})
		}
		_, err := h.push(ref, many...)
		var refused *Error
		require.ErrorAs(t, err, &refused)
		require.Len(t, refused.Fields, MaxFaults)
		require.Contains(t, refused.Detail, "the first 100 faults are named, and ")
	})
	require.Equal(t, head, h.head())
	require.Equal(t, trail, h.actions(100))
}

func TestAClientIDHasOneOwner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "ours", RoleID: keystore.RoleReadOnly, CustomerID: "acme", ClientID: "ours", SecretSHA256: sha("s")})
	require.NoError(t, err)
	_, _, err = h.CreateKey(h.ctx, local, NewKey{Name: "far", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella", ClientID: "far", SecretSHA256: sha("s")})
	require.NoError(t, err)
	_, _, err = h.CreateSource(h.ctx, local, NewSource{Name: "vault", CustomerID: "acme", Rule: "locked", MaxRoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	h.mustPush(SourceRef{Name: "vault"}, theirs("others"))
	head := h.head()
	for _, id := range []string{"ours", "far", "others"} {
		_, err := h.push(ref, theirs("fine"), theirs(id))
		requireRefused(t, err, Conflict, CodeClientIDTaken, "keys[1].client_id")
		require.NotContains(t, err.Error(), "umbrella")
		require.NotContains(t, err.Error(), "vault", "not whose it is")
	}
	clash := theirs("new")
	clash.Name = "ours"
	_, err = h.push(ref, clash)
	requireRefused(t, err, Conflict, CodeNameTaken, "keys[0].name")
	require.Equal(t, head, h.head(), "nothing of such a list is written")
}

func TestNamesMayChangePlacesInOneList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	a, b, c := theirs("a"), theirs("b"), theirs("c")
	h.mustPush(ref, a, b, c)
	a.Name, b.Name = b.Name, a.Name
	out := h.mustPush(ref, a, b, c)
	require.Equal(t, "+0 ~2 =1 -0 a:updated b:updated c:unchanged", results(out))
	require.Equal(t, []string{"name of b", "name of a"}, []string{h.stored("a").Name, h.stored("b").Name})
	d := theirs("d")
	d.Name = "name of c"
	h.mustPush(ref, a, b, d)
	require.Equal(t, "name of c", h.stored("d").Name, "that of a removed key is free")
}

func TestRemovalsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	var keys []SourceKey
	for i := range 120 {
		keys = append(keys, theirs(fmt.Sprintf("k%03d", i)))
	}
	h.mustPush(ref, keys...)
	push := func(keep int, most Optional[int64]) error {
		_, _, err := h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: keys[:keep], MaxRemovals: most, DryRun: true}, nil)
		return err
	}
	require.NoError(t, push(108, Optional[int64]{}), "a tenth goes unasked")
	err := push(107, Optional[int64]{})
	requireRefused(t, err, Conflict, CodeTooManyRemovals, "")
	require.Contains(t, err.Error(), "13 of the source's 120 keys, at most 12")
	require.NoError(t, push(107, Some[int64](13)))
	requireRefused(t, push(119, Some[int64](0)), Conflict, CodeTooManyRemovals, "")
	require.NoError(t, push(120, Some[int64](0)))
	requireInvalid(t, push(120, Some[int64](-1)), "max_removals", FieldRange)
	_, _, err = h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: keys[:10], MaxRemovals: Some[int64](500)}, nil)
	require.NoError(t, err)
	h.mustPush(ref) // ten are few enough
	source, err := h.GetSource(h.ctx, local, ref)
	require.NoError(t, err)
	require.Zero(t, source.KeyCount)
}
