package keystore_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// waking is a store that wakes who follows it when told to, and counts how often it
// is asked.
type waking struct {
	keystore.Store
	wake  chan struct{}
	polls atomic.Int64
}

func (w *waking) Wake() <-chan struct{} { return w.wake }

func (w *waking) Head(ctx context.Context) (keystore.Revision, error) {
	w.polls.Add(1)
	return w.Store.Head(ctx)
}

// keyed is a store whose sign-ins need not wait, and that notes for which key they are.
type keyed struct {
	keystore.Store
	keys []string
}

func (k *keyed) UpdateKey(ctx context.Context, keyID string, fn func(keystore.Tx) error) (keystore.Revision, error) {
	k.keys = append(k.keys, keyID)
	return k.Store.Update(ctx, fn)
}

func openSQLite(t *testing.T, clock keystore.Clock) *sqlite.Store {
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "keys.db"), Clock: clock})
	require.NoError(t, err)
	s.SealAudit(storetest.NewSealer("mk"))
	return s
}

func openCached(t *testing.T, s keystore.Store, clock keystore.Clock) *keystore.Cached {
	c, err := keystore.OpenCached(t.Context(), s, clock, sizes, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestAStoreThatWakesIsPolledAtOnce(t *testing.T) {
	clock := storetest.NewClock()
	w := &waking{Store: openSQLite(t, clock), wake: make(chan struct{})}
	openCached(t, w, clock)
	began := time.Now()
	const wakes = 100 // polled by the clock alone, that takes 20 s
	for range wakes {
		before := w.polls.Load()
		w.wake <- struct{}{}
		require.Eventually(t, func() bool { return w.polls.Load() > before }, patience, 100*time.Microsecond)
	}
	require.Less(t, time.Since(began), patience)
}

func TestWhatConcernsOneKeyIsSeenAsAnyWriteIs(t *testing.T) {
	clock := storetest.NewClock()
	k := &keyed{Store: openSQLite(t, clock)}
	for name, s := range map[string]keystore.Store{"with": k, "without": &struct{ keystore.Store }{openSQLite(t, clock)}} {
		c := openCached(t, s, clock)
		ctx := t.Context()
		before := c.Position()
		rev, err := c.UpdateKey(ctx, "key_1", func(tx keystore.Tx) error {
			return tx.PutPreference(ctx, keystore.Preference{Owner: "o", Name: "n", Value: []byte("1")})
		})
		require.NoError(t, err, name)
		require.Equal(t, before, rev)
		rev, err = c.UpdateKey(ctx, "key_1", func(tx keystore.Tx) error {
			return tx.PutCustomer(ctx, &keystore.Customer{ID: "c", Name: "C"})
		})
		require.NoError(t, err)
		require.Equal(t, before+1, rev)
		require.Equal(t, rev, c.Position())
	}
	require.Equal(t, []string{"key_1", "key_1"}, k.keys)
}
