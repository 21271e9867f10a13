package keystore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestAnEndedSessionIsRememberedPastItsExpiryAndOnePushedOutBarely(t *testing.T) {
	b := newBench(t)
	b.put("a", true)
	ends := map[string]string{"signed-out": "sign_out", "pushed-out": keystore.EndPushedOut}
	_, err := b.c.Update(t.Context(), func(tx keystore.Tx) error {
		k, err := tx.KeyByClientID(t.Context(), "a")
		require.NoError(t, err)
		for id, reason := range ends {
			s := keystore.Session{ID: id, KeyID: k.ID, Issued: tx.Now().Wall, Expires: tx.Now().Wall.Add(time.Hour), Ended: tx.Now().Wall, EndReason: reason}
			require.NoError(t, tx.PutSession(t.Context(), &s))
		}
		return nil
	})
	require.NoError(t, err)
	remembered := func() (ids []string) {
		b.c.Sweep(t.Context())
		for id := range ends {
			if b.c.SessionEnded(id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	b.clock.Advance(time.Hour) // the token's own expiry
	require.Len(t, remembered(), 2)
	b.clock.Advance(time.Minute + time.Millisecond)
	require.Equal(t, []string{"signed-out"}, remembered())
	b.clock.Advance(2 * time.Hour)
	require.Empty(t, remembered())
}
