package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// totals are those of the whole trail, which must add up under the seal.
func (f *fixture) totals(t testing.TB, by keystore.AuditSealer) (out keystore.AuditTotals) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		out, err = r.AuditTotals(ctx)
		return err
	})
	require.Nil(t, out.Problem(by))
	return out
}

func auditRoot(t *testing.T, f *fixture) {
	require.False(t, f.totals(t, mk1).Begun())
	first, second, third := f.event(acme, 1), f.event(globex, 1), f.event(acme, 2)
	f.add(t, first, second, third)
	require.Equal(t, []int64{1, 2, 3}, []int64{first.Number, second.Number, third.Number})
	got := f.totals(t, mk1)
	require.True(t, got.Begun())
	require.Equal(t, []int64{3, 3, 3, 2, 3, 0}, []int64{got.Chained, got.Numbers, got.Newest, got.Heads, got.Root.Appended, got.Root.Trimmed})
	require.NotNil(t, got.Problem(NewSealer("mk2")))
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		ids, err := r.AuditCustomers(ctx)
		require.Equal(t, []string{acme, globex}, ids)
		return err
	})
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		require.NoError(t, tx.AddAudit(ctx, f.event(acme, 3)))
		within, err := tx.AuditTotals(ctx)
		require.NoError(t, err)
		require.Nil(t, within.Problem(mk1), "a transaction sees what it appended")
		require.EqualValues(t, 4, within.Newest)
		require.NoError(t, tx.AddAudit(ctx, f.event(acme, 4)))
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 3, f.totals(t, mk1).Newest)
	f.clock.Advance(keep + time.Millisecond)
	require.NoError(t, f.TrimAudit(t.Context(), keep))
	got = f.totals(t, mk1)
	require.Equal(t, []int64{2, 3, 1}, []int64{got.Chained, got.Root.Appended, got.Root.Trimmed})
	f.add(t, f.event("", 1))
	require.EqualValues(t, 4, f.totals(t, mk1).Newest)
}

func auditUnheld(t *testing.T, f *fixture) {
	f.SealAudit(NewSealer("mk2", "mk1"))
	f.add(t, f.event(acme, 1))
	f.SealAudit(mk1)
	for _, customer := range []string{acme, globex} {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.AddAudit(ctx, f.event(customer, 2)) })
		require.ErrorContains(t, err, "mk2", "it says which is missing")
	}
	require.Equal(t, 1, f.verify(t, NewSealer("mk2"), acme), "and the seal is there still")
	f.SealAudit(NewSealer("mk1", "mk2"))
	f.add(t, f.event(acme, 2))
	require.Equal(t, 2, f.verify(t, mk1, acme))
	f.totals(t, mk1)
}
