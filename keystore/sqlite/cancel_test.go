package sqlite

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// TestACallerThatHangsUpAnyTimeLeavesNothingToTheNext cancels at every moment of a
// transaction, the statement that begins it included: that can have taken effect
// and be answered as cancelled all the same.
func TestACallerThatHangsUpAnyTimeLeavesNothingToTheNext(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "keys.db"), storetest.NewClock())
	touch := func(ctx context.Context) func(keystore.Tx) error {
		return func(tx keystore.Tx) error {
			return tx.PutPreference(ctx, keystore.Preference{Owner: "a", Name: "b", Value: []byte("1")})
		}
	}
	_, err := s.Update(t.Context(), touch(t.Context()))
	require.NoError(t, err)
	look := func(keystore.Reader) error { return nil }
	for i := range 3000 {
		ctx, hangUp := context.WithCancel(t.Context())
		go func() {
			for began := time.Now(); time.Since(began) < time.Duration(i%150)*time.Microsecond; {
			}
			hangUp()
		}()
		_, _ = s.Update(ctx, touch(ctx))
		_, err = s.Update(t.Context(), touch(t.Context()))
		require.NoError(t, err, "the writer, after %d", i)
		brief, cancel := context.WithTimeout(t.Context(), time.Duration(i%40)*time.Microsecond)
		_ = s.View(brief, look)
		cancel()
		require.NoError(t, s.View(t.Context(), look), "a reader, after %d", i)
	}
}
