package storetest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var idempotencyCases = []testCase{
	{"a request that was done is remembered by actor and name, and is no change", idempotencyRoundTrip},
	{"a name is free again after its time, trimmed or not", idempotencyMemory},
	{"a request is remembered only if its transaction is", idempotencyRollback},
}

func (f *fixture) done(t testing.TB, owner, key string) (i *keystore.Idempotency, err error) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		i, err = r.Idempotency(ctx, owner, key)
		return nil
	})
	return i, err
}

func (f *fixture) do(t testing.TB, i *keystore.Idempotency) (keystore.Revision, error) {
	return f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutIdempotency(ctx, i) })
}

func idempotencyRoundTrip(t *testing.T, f *fixture) {
	before := f.head(t)
	for i, text := range hostile {
		want := &keystore.Idempotency{Owner: text, Key: text, Fingerprint: [32]byte{byte(i), 255}, Result: json.RawMessage(`{ "a": 1 }`),
			Revision: keystore.Revision(i), Created: f.clock.Now().Wall.Add(time.Nanosecond)}
		rev, err := f.do(t, want)
		require.NoError(t, err)
		require.Equal(t, before, rev)
		got, err := f.done(t, text, text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		_, err = f.done(t, "other", text)
		require.ErrorIs(t, err, keystore.ErrNotFound, "another actor's names are its own")
		_, err = f.do(t, want)
		refused(t, err, keystore.ErrConflict, "key")
	}
	_, err := f.do(t, &keystore.Idempotency{Owner: "o", Created: f.clock.Now().Wall})
	require.ErrorContains(t, err, "key")
}

func idempotencyMemory(t *testing.T, f *fixture) {
	first := &keystore.Idempotency{Owner: "o", Key: "k", Result: json.RawMessage(`1`), Created: f.clock.Now().Wall}
	_, err := f.do(t, first)
	require.NoError(t, err)
	f.clock.Advance(keystore.IdempotencyMemory - time.Millisecond)
	f.trim(t)
	got, err := f.done(t, "o", "k")
	require.NoError(t, err)
	require.Equal(t, first, got)
	f.clock.Advance(time.Millisecond)
	_, err = f.done(t, "o", "k")
	require.ErrorIs(t, err, keystore.ErrNotFound, "not trimmed yet")
	second := &keystore.Idempotency{Owner: "o", Key: "k", Result: json.RawMessage(`2`), Created: f.clock.Now().Wall}
	_, err = f.do(t, second)
	require.NoError(t, err)
	f.trim(t)
	got, err = f.done(t, "o", "k")
	require.NoError(t, err)
	require.Equal(t, second, got)
	f.clock.Advance(keystore.IdempotencyMemory)
	f.trim(t)
	_, err = f.done(t, "o", "k")
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

func idempotencyRollback(t *testing.T, f *fixture) {
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		i := &keystore.Idempotency{Owner: "o", Key: "k", Result: json.RawMessage(`1`), Created: tx.Now().Wall}
		require.NoError(t, tx.PutIdempotency(ctx, i))
		_, err := tx.Idempotency(ctx, "o", "k")
		require.NoError(t, err)
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.done(t, "o", "k")
	require.ErrorIs(t, err, keystore.ErrNotFound)
}
