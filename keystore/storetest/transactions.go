package storetest

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

var transactionCases = []testCase{
	{"an error from the function rolls back and is returned unchanged", txError},
	{"a panic in the function rolls back and goes on", txPanic},
	{"a goroutine that ends in the function rolls back", txGoexit},
	{"a cancelled context rolls back, also when the function hides it", txCancelled},
	{"a transaction sees its own writes, others only after it commits", txIsolation},
	{"a view is one snapshot", viewSnapshot},
	{"a reader cannot outlive its function", readerOutlived},
	{"what was stored is there after closing and opening again", reopen},
	{"after Close every call answers ErrClosed, and closing again is no error", closed},
	{"identity is of the database, not of the store", identity},
	{"the snapshot's time goes as the clock does", snapshotTime},
}

func txError(t *testing.T, f *fixture) {
	before := f.head(t)
	own := errors.New("own")
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		require.NoError(t, tx.PutKey(ctx, f.key(1)))
		return own
	})
	require.Same(t, own, err)
	f.unchanged(t, before)
}

// unchanged asserts that key 1 is not there, nothing was logged, and the store goes on.
func (f *fixture) unchanged(t testing.TB, before keystore.Revision) {
	t.Helper()
	_, err := f.KeyByClientID(context.Background(), f.key(1).ClientID)
	require.ErrorIs(t, err, keystore.ErrNotFound)
	require.Equal(t, before, f.head(t))
	require.Equal(t, before+1, f.put(t, f.key(2)), "revisions have no gap")
}

func txPanic(t *testing.T, f *fixture) {
	before := f.head(t)
	require.PanicsWithValue(t, "own", func() {
		_, _ = f.try(t, func(ctx context.Context, tx keystore.Tx) error {
			require.NoError(t, tx.PutKey(ctx, f.key(1)))
			panic("own")
		})
	})
	f.unchanged(t, before)
	require.PanicsWithValue(t, "own", func() {
		_ = f.View(t.Context(), func(keystore.Reader) error { panic("own") })
	})
}

func txGoexit(t *testing.T, f *fixture) {
	before := f.head(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = f.Update(context.Background(), func(tx keystore.Tx) error {
			_ = tx.PutKey(context.Background(), f.key(1))
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	f.unchanged(t, before)
}

func txCancelled(t *testing.T, f *fixture) {
	before := f.head(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := f.Update(ctx, func(tx keystore.Tx) error {
		require.NoError(t, tx.PutKey(ctx, f.key(1)))
		cancel()
		_, _ = tx.Key(ctx, "hidden")
		_ = tx.PutKey(context.Background(), f.key(3))
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	last, cancelLast := context.WithCancel(t.Context())
	_, err = f.Update(last, func(tx keystore.Tx) error {
		defer cancelLast() // after the last write, before the commit
		return tx.PutPreference(last, keystore.Preference{Owner: "o", Name: "n", Value: []byte("1")})
	})
	require.ErrorIs(t, err, context.Canceled)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		all, err := r.Preferences(ctx, "o")
		require.Empty(t, all)
		return err
	})
	f.unchanged(t, before)
	_, err = f.KeyByClientID(t.Context(), f.key(3).ClientID)
	require.ErrorIs(t, err, keystore.ErrNotFound)

	require.ErrorIs(t, f.View(ctx, func(keystore.Reader) error { return nil }), context.Canceled)
	_, err = f.Update(ctx, func(keystore.Tx) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.KeyByClientID(ctx, "x")
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.Count(ctx, strict(), []keystore.Proof{{KeyID: "x"}})
	require.ErrorIs(t, err, context.Canceled)
}

func txIsolation(t *testing.T, f *fixture) {
	before := f.head(t)
	other := f.open(t, f.clock)
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		k := f.key(1)
		require.NoError(t, tx.PutKey(ctx, k))
		own, err := tx.Key(ctx, k.ID)
		require.NoError(t, err)
		require.Equal(t, k, own)
		head, err := tx.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, before+1, head)
		for _, s := range []keystore.Store{f.Store, other} {
			_, err = s.KeyByClientID(ctx, k.ClientID)
			require.ErrorIs(t, err, keystore.ErrNotFound)
			head, err = s.Head(ctx)
			require.NoError(t, err)
			require.Equal(t, before, head)
		}
		return nil
	})
	require.Equal(t, before+1, rev)
	for _, s := range []keystore.Store{f.Store, other} {
		_, err := s.KeyByClientID(t.Context(), f.key(1).ClientID)
		require.NoError(t, err)
		head, err := s.Head(t.Context())
		require.NoError(t, err)
		require.Equal(t, rev, head)
	}
}

func viewSnapshot(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	before := f.head(t)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		// Written before the snapshot is asked for anything, and by another.
		f.put(t, f.key(2))
		f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, "key_0001") })
		_, err := r.Key(ctx, "key_0001")
		require.NoError(t, err)
		_, err = r.KeyByClientID(ctx, f.key(2).ClientID)
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, total, err := r.Keys(ctx, keystore.KeyQuery{CustomerID: acme})
		require.NoError(t, err)
		require.Equal(t, 1, total)
		head, err := r.Head(ctx)
		require.Equal(t, before, head)
		return err
	})
}

func readerOutlived(t *testing.T, f *fixture) {
	var reader keystore.Reader
	var writer keystore.Tx
	f.view(t, func(_ context.Context, r keystore.Reader) error { reader = r; return nil })
	f.update(t, func(_ context.Context, tx keystore.Tx) error { writer = tx; return nil })
	ctx := t.Context()
	_, err := reader.Customers(ctx)
	require.Error(t, err)
	_, _, err = reader.Keys(ctx, keystore.KeyQuery{AllCustomers: true})
	require.Error(t, err)
	require.Error(t, writer.PutKey(ctx, f.key(1)))
	_, err = writer.Head(ctx)
	require.Error(t, err)
	_, err = f.KeyByClientID(ctx, f.key(1).ClientID)
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

func reopen(t *testing.T, f *fixture) {
	k := f.key(1)
	rev := f.put(t, k)
	require.NoError(t, f.Close())
	f.Store = f.open(t, f.clock)
	require.Equal(t, k, f.get(t, k.ID))
	require.Equal(t, rev, f.head(t), "opening changes nothing")
	require.Equal(t, rev+1, f.put(t, f.key(2)))
}

func closed(t *testing.T, f *fixture) {
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	ctx := t.Context()
	_, byClient := f.KeyByClientID(ctx, "x")
	_, update := f.Update(ctx, func(keystore.Tx) error { return nil })
	_, fail := f.Count(ctx, strict(), nil)
	_, succeed := f.Succeed(ctx, strict(), "x", "")
	_, head := f.Head(ctx)
	_, changes := f.Changes(ctx, 0)
	_, tallies := f.Tallies(ctx, 0)
	_, masters := f.MasterKeyIDs(ctx)
	for name, err := range map[string]error{
		"KeyByClientID": byClient, "Update": update, "Fail": fail, "Succeed": succeed, "Head": head, "Changes": changes,
		"Tallies": tallies, "MasterKeyIDs": masters,
		"View": f.View(ctx, func(keystore.Reader) error { return nil }), "Trim": f.Trim(ctx, strict(), 0),
	} {
		require.ErrorIs(t, err, keystore.ErrClosed, name)
	}
}

func identity(t *testing.T, f *fixture) {
	require.NotEmpty(t, f.Identity())
	require.Equal(t, f.Identity(), f.open(t, f.clock).Identity())
}

func snapshotTime(t *testing.T, f *fixture) {
	var read, written policy.Instant
	f.view(t, func(_ context.Context, r keystore.Reader) error {
		read = r.Now()
		return nil
	})
	require.Equal(t, f.clock.Now().Wall, read.Wall)
	f.clock.Advance(90 * time.Second)
	f.update(t, func(_ context.Context, tx keystore.Tx) error {
		written = tx.Now()
		return nil
	})
	require.Equal(t, f.clock.Now().Wall, written.Wall)
	require.Equal(t, read.Boot, written.Boot)
	require.Equal(t, 90*time.Second, written.Elapsed(read))
}
