package lifecycle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestAnotherDigestReplacesTheSecretAndTheSameOneDoesNot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	first, second := credential.NewMasterKey(), credential.NewMasterKey()
	use := func(keys ...credential.MasterKey) {
		ring, err := credential.NewKeyring(keys...)
		require.NoError(t, err)
		h.cfg.Keyring = ring
	}
	use(first)
	k := theirs("a")
	h.mustPush(ref, k)
	old := h.stored("a").Secrets
	require.Len(t, old, 1)
	use(second, first) // the secret is compared under the master key it was stored with
	require.Equal(t, "+0 ~0 =1 -0 a:unchanged", results(h.mustPush(ref, k)))

	k.SecretSHA256 = sha("the next one")
	require.Equal(t, "+0 ~1 =0 -0 a:updated", results(h.mustPush(ref, k)))
	now := h.stored("a").Secrets
	require.Len(t, now, 2)
	require.Equal(t, []bool{true, false}, []bool{now[0].Live(h.clock.Now().Wall), now[1].Live(h.clock.Now().Wall)})
	require.Equal(t, old[0].ID, now[1].ID)
	require.True(t, now[1].Remembered(h.clock.Now().Wall), "a deployment that lags is not counted")

	k.SecretSHA256 = sha("secret of a") // back again
	h.mustPush(ref, k)
	back := h.stored("a").Secrets
	require.Len(t, back, 2)
	require.NotEqual(t, old[0].ID, back[0].ID)
	require.Equal(t, now[0].ID, back[1].ID)
}

func TestAPushKeepsWhatIsDecidedHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	k := theirs("a")
	id := *h.mustPush(ref, k).Items[0].ID
	_, _, err := h.UpdateKey(h.ctx, local, id, KeyPatch{DisabledHere: Some(true)}, nil)
	require.NoError(t, err)
	for n := range 3 {
		_, err := h.store.Count(h.ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: id, Fingerprint: uint64(n)}})
		require.NoError(t, err)
	}
	k.Description = "edited there"
	h.mustPush(ref, k)
	shown, err := h.GetKey(h.ctx, local, id)
	require.NoError(t, err)
	require.Equal(t, []any{true, true, true, "disabled"}, []any{shown.Enabled, shown.DisabledHere, shown.Lock.Locked, shown.State})

	_, _, err = h.UpdateKey(h.ctx, local, id, KeyPatch{Name: Some("ours")}, nil)
	requireRefused(t, err, Conflict, CodeManaged, "")
	require.Contains(t, err.Error(), "Identity team (idp)", "who to turn to")
	_, err = h.DeleteKey(h.ctx, local, id, nil)
	requireRefused(t, err, Conflict, CodeManaged, "")
	_, err = h.Unlock(h.ctx, local, id, "", nil)
	require.NoError(t, err)
}

func TestAPushGoesNoFurtherThanItsActor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, _, err := h.CreateSource(h.ctx, local, NewSource{Name: "idp", CustomerID: "acme", Rule: "locked", MaxRoleID: keystore.RoleFullAccess})
	require.NoError(t, err)
	ref := SourceRef{Name: "idp", CustomerID: "acme"}
	strong, weak := theirs("strong"), theirs("weak")
	strong.RoleID = keystore.RoleFullAccess
	h.mustPush(ref, strong, weak)
	role := h.role("Pusher", policy.Permissions{"*": policy.View, "keyreeve/sources": policy.Update})
	pusher := h.actor("pusher", role)
	push := func(a Actor, keys ...SourceKey) error {
		_, _, err := h.PushSourceKeys(h.ctx, a, ref, SourcePush{Keys: keys}, nil)
		return err
	}
	require.NoError(t, push(pusher, strong, weak), "what stays is nobody's doing")
	edited := strong
	edited.Description = "edited"
	requireRefused(t, push(pusher, edited, weak), Forbidden, CodeExceedsRights, "keys[0].role_id")
	lowered := strong
	lowered.RoleID = keystore.RoleReadOnly
	requireRefused(t, push(pusher, lowered, weak), Forbidden, CodeExceedsRights, "keys[0].role_id")
	requireRefused(t, push(pusher, weak), Forbidden, CodeExceedsRights, "keys")
	another := theirs("another")
	another.RoleID = keystore.RoleFullAccess
	requireRefused(t, push(pusher, strong, weak, another), Forbidden, CodeExceedsRights, "keys[2].role_id")
	require.NoError(t, push(pusher, strong, weak, theirs("third")))

	narrow := h.actor("narrow", role, func(k *NewKey) {
		k.AllowedCIDRs, k.ExpiresAt = []string{"192.0.2.0/24"}, Some(h.clock.Now().Wall.Add(time.Hour))
	})
	wide := theirs("wide")
	requireRefused(t, push(narrow, strong, weak, theirs("third"), wide), Forbidden, CodeExceedsRights, "keys[3].allowed_cidrs")
	wide.AllowedCIDRs = []string{"192.0.2.128/25"}
	requireRefused(t, push(narrow, strong, weak, theirs("third"), wide), Forbidden, CodeExceedsRights, "keys[3].expires_at")
	wide.ExpiresAt = Some(h.clock.Now().Wall.Add(time.Minute))
	require.NoError(t, push(narrow, strong, weak, theirs("third"), wide))

	viewer := h.actor("viewer", h.role("Viewer", policy.Permissions{"*": policy.Full, "keyreeve/sources": policy.View, "keyreeve/keys": policy.Full}))
	requireRefused(t, push(viewer, strong), Forbidden, CodePermissionDenied, "")
	inside := h.actor("inside", h.role("Inside", sourceRights), func(k *NewKey) { k.MicrotenantID = Some("emea") })
	requireRefused(t, push(inside, strong), Forbidden, CodeExceedsRights, "microtenant_id")
}

func TestOfTwoPushesFromOneReadingOneWins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	read, err := h.GetSource(h.ctx, local, ref)
	require.NoError(t, err)
	asRead := func(now keystore.Revision) bool { return now == read.Revision }
	_, _, err = h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: []SourceKey{theirs("a")}}, asRead)
	require.NoError(t, err)
	_, _, err = h.PushSourceKeys(h.ctx, local, ref, SourcePush{Keys: []SourceKey{theirs("b")}}, asRead)
	requireRefused(t, err, Precondition, CodeRevisionMismatch, "")
	_, err = h.store.KeyByClientID(h.ctx, "b")
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

func TestASourceWithKeysStaysAndItsBoundHolds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	h.mustPush(ref, theirs("a"))
	_, err := h.DeleteSource(h.ctx, local, ref, nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	require.Contains(t, err.Error(), "owns 1 keys")
	none := h.role("None", policy.Permissions{"logs": policy.View})
	_, _, err = h.UpdateSource(h.ctx, local, ref, SourcePatch{MaxRoleID: Some(none)}, nil)
	requireRefused(t, err, Conflict, CodeInUse, "")
	_, _, err = h.UpdateSource(h.ctx, local, ref, SourcePatch{MaxRoleID: Some(keystore.RoleFullAccess)}, nil)
	require.NoError(t, err)
	h.mustPush(ref)
	_, err = h.DeleteSource(h.ctx, local, ref, nil)
	require.NoError(t, err)
}

func TestTheAuditOfAPushHoldsNoDigest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	k := theirs("a")
	h.mustPush(ref, k)
	k.SecretSHA256 = sha("next")
	h.mustPush(ref, k)
	require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
		events, _, err := r.AuditEvents(h.ctx, keystore.AuditQuery{CustomerID: "acme", Limit: 100})
		require.NotEmpty(t, events)
		for _, e := range events {
			text := string(e.Before) + string(e.After)
			require.NotContains(t, text, sha("secret of a"))
			require.NotContains(t, text, sha("next"))
		}
		var sync syncRecord
		require.NoError(t, json.Unmarshal(events[0].After, &sync))
		require.Equal(t, syncRecord{Updated: 1}, sync)
		return err
	}))
}

func TestAPlanIsCarriedOutOnlyOnTheStateThatItWasMadeFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ref := h.source()
	k := theirs("a")
	id := *h.mustPush(ref, k).Items[0].ID
	k.Description = "edited there"
	plan := func() (p *push) {
		require.NoError(t, h.view(h.ctx, local, func(o *op) (err error) {
			p, err = o.planPush(ref, SourcePush{Keys: []SourceKey{k}}, nil)
			return err
		}))
		return p
	}
	carryOut := func(planned *push) (fits bool) {
		_, err := h.update(h.ctx, local, func(o *op) error {
			p, err := planned.in(o)
			if fits = p != nil; !fits {
				return err
			}
			return p.apply()
		})
		require.NoError(t, err)
		return fits
	}
	stale := plan()
	h.key("something else", keystore.RoleReadOnly)
	require.False(t, carryOut(stale))
	require.Empty(t, h.stored("a").Description)

	planned := plan()
	secret, at := h.stored("a").Secrets[0].ID, h.clock.Now().Wall.Truncate(time.Millisecond)
	require.NoError(t, h.store.Use(h.ctx, []keystore.Use{{KeyID: id, SecretID: secret, At: at, Address: "192.0.2.9", Route: "/r"}}))
	require.True(t, carryOut(planned), "a use is no change")
	stored := h.stored("a")
	require.Equal(t, "edited there", stored.Description)
	require.Equal(t, []string{"192.0.2.9", "/r", "192.0.2.9"}, []string{stored.LastUsedAddress, stored.LastUsedRoute, stored.Secrets[0].LastUsedAddress}, "and is not lost")
	require.WithinDuration(t, at, stored.LastUsed, 0)
}
