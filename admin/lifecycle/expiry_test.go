package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestTheZeroTimeIsNoWayToSayNever(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	ref := h.source()
	h.mustPush(ref, theirs("a"))
	for _, at := range []time.Time{{}, time.Time{}.In(time.FixedZone("", 3600)), time.Unix(0, 0), time.Time{}.Add(time.Microsecond)} {
		_, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "n", RoleID: keystore.RoleReadOnly, CustomerID: "acme", ExpiresAt: Some(at)})
		requireInvalid(t, err, "expires_at", FieldRange)
		_, _, err = h.UpdateKey(h.ctx, local, k.ID, KeyPatch{ExpiresAt: Some(at)}, nil)
		requireInvalid(t, err, "expires_at", FieldRange)
		for _, clientID := range []string{"a", "b"} {
			pushed := theirs(clientID)
			pushed.ExpiresAt = Some(at)
			_, err = h.push(ref, pushed)
			requireInvalid(t, err, "keys[0].expires_at", FieldRange)
		}
	}
	end := h.clock.Now().Wall.Add(time.Minute)
	_, _, err := h.UpdateKey(h.ctx, local, k.ID, KeyPatch{ExpiresAt: Some(end)}, nil)
	require.NoError(t, err)
	_, _, err = h.UpdateKey(h.ctx, local, k.ID, KeyPatch{ExpiresAt: Some(time.Time{})}, nil)
	requireInvalid(t, err, "expires_at", FieldRange)
	h.clock.Advance(time.Hour)
	_, _, err = h.UpdateKey(h.ctx, local, k.ID, KeyPatch{ExpiresAt: Some(end)}, nil)
	require.NoError(t, err, "what was read may be sent back")
}
