package lifecycle

import (
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// named is the actor with a name for its request.
func named(a Actor, key, asked string) Actor {
	a.Once = &Once{Key: key, Fingerprint: sha256.Sum256([]byte(asked))}
	return a
}

func (h *house) total() int {
	h.Helper()
	list, err := h.ListKeys(h.ctx, local, KeyFilter{})
	require.NoError(h, err)
	return list.Total
}

func TestARetriedCreateMakesOneKeyAndShowsNoSecretAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"}
	a := named(local, "n-1", "create k")
	first, commit, err := h.CreateKey(h.ctx, a, in)
	require.NoError(t, err)
	require.False(t, commit.Replayed)
	require.NotEmpty(t, first.ClientSecret)
	_, _, err = h.UpdateKey(h.ctx, local, first.ID, KeyPatch{Description: Some("changed since")}, nil)
	require.NoError(t, err)
	events := h.eventCount()

	again, commit, err := h.CreateKey(h.ctx, a, in)
	require.NoError(t, err)
	require.True(t, commit.Replayed)
	require.Empty(t, again.ClientSecret)
	first.ClientSecret = ""
	require.Equal(t, first, again, "answered as then, the revision too")
	require.Equal(t, 1, h.total())
	require.Equal(t, events, h.eventCount())

	_, _, err = h.CreateKey(h.ctx, named(local, "n-1", "create k2"), NewKey{Name: "k2", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	requireRefused(t, err, Unprocessable, CodeIdempotencyReused, "")
	_, _, err = h.CreateKey(h.ctx, named(h.actor("op", keystore.RoleOperator), "n-1", "create k2"), NewKey{Name: "k2", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	require.NoError(t, err, "another actor's names are its own")
}

func TestARefusedRequestMayBeTriedAgainUnderItsName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	taken := h.key("k", keystore.RoleReadOnly)
	a, in := named(local, "n-1", "create k"), NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"}
	_, _, err := h.CreateKey(h.ctx, a, in)
	requireRefused(t, err, Conflict, CodeNameTaken, "name")
	_, err = h.DeleteKey(h.ctx, local, taken.ID, nil)
	require.NoError(t, err)
	made, commit, err := h.CreateKey(h.ctx, a, in)
	require.NoError(t, err)
	require.False(t, commit.Replayed)
	require.NotEmpty(t, made.ClientSecret)
}

func TestARetriedRotationRotatesOnceAlsoWithItsStaleETag(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	a := named(local, "r-1", "rotate k")
	known := func(r keystore.Revision) bool { return r == k.Revision }
	first, _, err := h.RotateSecret(h.ctx, a, k.ID, Rotation{}, known)
	require.NoError(t, err)
	again, commit, err := h.RotateSecret(h.ctx, a, k.ID, Rotation{}, known)
	require.NoError(t, err)
	require.True(t, commit.Replayed)
	require.Empty(t, again.ClientSecret)
	first.ClientSecret = ""
	require.Equal(t, first, again)
	require.Equal(t, 2, h.live(k.ID))
}

func TestARetriedBatchIsAnsweredAsBeforeAndADryRunHasNoName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	in := NewBatch{Action: "disable", IDs: []string{k.ID, "key_none"}}
	a := named(local, "b-1", "disable")
	dry := in
	dry.DryRun = true
	_, _, err := h.BatchKeys(h.ctx, a, dry)
	require.NoError(t, err)
	first, commit, err := h.BatchKeys(h.ctx, a, in)
	require.NoError(t, err)
	require.False(t, commit.Replayed, "the dry run was not remembered")
	_, _, err = h.UpdateKey(h.ctx, local, k.ID, KeyPatch{Enabled: Some(true)}, nil)
	require.NoError(t, err)
	again, commit, err := h.BatchKeys(h.ctx, a, in)
	require.NoError(t, err)
	require.True(t, commit.Replayed)
	require.NotNil(t, first.Items[0].Key)
	require.Equal(t, first.Items[1].Refused, again.Items[1].Refused)
	for i := range first.Items {
		first.Items[i].Key = nil
	}
	require.Equal(t, asJSON(t, first), asJSON(t, again), "but for the keys, which may be out of sight by now")
	shown, err := h.GetKey(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.True(t, shown.Enabled, "nothing was done again")
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func TestANameIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	a := named(local, "r-1", "rotate k")
	_, _, err := h.RotateSecret(h.ctx, a, k.ID, Rotation{Some(int64(1))}, nil)
	require.NoError(t, err)
	h.clock.Advance(keystore.IdempotencyMemory + time.Second)
	again, commit, err := h.RotateSecret(h.ctx, a, k.ID, Rotation{Some(int64(1))}, nil)
	require.NoError(t, err)
	require.False(t, commit.Replayed)
	require.NotEmpty(t, again.ClientSecret)
}

func TestWhatIsRememberedOfARequestTestsNoGuesses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := named(local, "n-1", "a body with the digest of an imported secret")
	_, _, err := h.CreateKey(h.ctx, a, NewKey{Name: "k", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	require.NoError(t, err)
	require.NoError(t, h.store.View(h.ctx, func(r keystore.Reader) error {
		kept, err := r.Idempotency(h.ctx, ActorLocal, "n-1")
		require.NoError(t, err)
		require.NotEqual(t, a.Once.Fingerprint, kept.Fingerprint)
		require.NotContains(t, string(kept.Result), "client_secret")
		require.NotContains(t, string(kept.Result), "krs_")
		return nil
	}))
	master := credential.NewMasterKey()
	ring, err := credential.NewKeyring(master)
	require.NoError(t, err)
	o := &op{Service: New(Config{Keyring: ring})}
	seal := o.sealOnce(ring.CurrentID(), a.Once.Fingerprint)
	rotated, err := credential.NewKeyring(credential.NewMasterKey(), master)
	require.NoError(t, err)
	next := &op{Service: New(Config{Keyring: rotated})}
	require.True(t, next.sameRequest(&keystore.Idempotency{Fingerprint: seal}, a.Once), "a retry is known after the master key was changed")
	require.False(t, next.sameRequest(&keystore.Idempotency{Fingerprint: seal}, named(local, "n-1", "another").Once))
}

func TestARepeatedRequestShowsNothingThatIsOutOfReachByNow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.actor("a", keystore.RoleOperator)
	once := named(a, "n", "make")
	in := NewKey{Name: "theirs", RoleID: keystore.RoleReadOnly, CustomerID: "umbrella"}
	made, _, err := h.CreateKey(h.ctx, once, in)
	require.NoError(t, err)
	batch := NewBatch{Action: "disable", IDs: []string{made.ID}}
	_, _, err = h.BatchKeys(h.ctx, named(a, "b", "disable"), batch)
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, local, a.ID, KeyPatch{RoleID: Some(h.role("Keys", policy.Permissions{"keyreeve/keys": policy.Full}))}, nil)
	require.NoError(t, err)

	_, _, err = h.CreateKey(h.ctx, once, in)
	requireRefused(t, err, NotFound, CodeNotFound, "")
	again, commit, err := h.BatchKeys(h.ctx, named(a, "b", "disable"), batch)
	require.NoError(t, err)
	require.True(t, commit.Replayed)
	require.Nil(t, again.Items[0].Key)
	require.True(t, again.Items[0].Shown, "the status is that of then")
}
