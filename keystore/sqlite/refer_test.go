package sqlite

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestWhatAKeyRefersToIsLookedForAgainOnceItWentInTheSameTransaction(t *testing.T) {
	t.Parallel()
	s, ctx := newStore(t), t.Context()
	tenant := func() *keystore.Microtenant {
		return &keystore.Microtenant{CustomerID: "c", ID: "gone", Name: "Gone", Enabled: true}
	}
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		put := func(n int) error {
			k := testKey(n)
			k.RoleID, k.MicrotenantID, k.Source = "role_gone", "gone", "gone"
			return tx.PutKey(ctx, k)
		}
		requireMissing := func(field string) {
			var at *keystore.FieldError
			err := put(3)
			require.ErrorIs(t, err, keystore.ErrNotFound)
			require.ErrorAs(t, err, &at)
			require.Equal(t, field, at.Field)
		}
		requireMissing("microtenant_id")
		require.NoError(t, tx.PutMicrotenant(ctx, tenant()))
		requireMissing("role_id")
		require.NoError(t, tx.PutRole(ctx, &keystore.Role{ID: "role_gone", CustomerID: "c", Name: "Gone"}))
		requireMissing("source")
		require.NoError(t, tx.PutSource(ctx, &keystore.Source{CustomerID: "c", Name: "gone", Rule: keystore.SourceLocked, MaxRoleID: keystore.RoleReadOnly}))
		for n := range 2 {
			require.NoError(t, put(n))
		}
		for n := range 2 {
			require.NoError(t, tx.DeleteKey(ctx, testKey(n).ID))
		}
		require.NoError(t, tx.DeleteSource(ctx, "c", "gone"))
		requireMissing("source")
		require.NoError(t, tx.DeleteRole(ctx, "role_gone"))
		requireMissing("role_id")
		require.NoError(t, tx.DeleteMicrotenant(ctx, "c", "gone"))
		requireMissing("microtenant_id")
		return nil
	})
	require.NoError(t, err)
}
