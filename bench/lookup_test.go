package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
)

// lookupKeys is how many keys the cache holds.
const lookupKeys = 10_000

// BenchmarkLookup finds cached keys by client ID, in an order that no processor
// foresees. Run with -test.cpu 1,2 it shows what a second one is worth.
func BenchmarkLookup(b *testing.B) {
	ctx, clock := context.Background(), keystore.NewSystemClock()
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(b.TempDir(), "keyreeve.db"), Clock: clock, Logger: zap.NewNop()})
	require.NoError(b, err)
	sizes := keystore.CacheSizes{Keys: 1_000_000, Unknown: 100_000, UnknownTTL: 10 * time.Second}
	keys, err := keystore.OpenCached(ctx, store, clock, sizes, zap.NewNop())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, keys.Close()) })
	clientIDs := make([]string, lookupKeys)
	_, err = keys.Update(ctx, func(tx keystore.Tx) error {
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: customer, Name: "Customer", Enabled: true}); err != nil {
			return err
		}
		for i := range clientIDs {
			clientIDs[i] = fmt.Sprintf("kr_%022d", i)
			key := &keystore.Key{ID: fmt.Sprintf("key_%022d", i), ClientID: clientIDs[i], Name: clientIDs[i], CustomerID: customer, RoleID: keystore.RoleFullAccess, Enabled: true}
			if err := tx.PutKey(ctx, key); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(b, err)
	for _, id := range clientIDs { // each once, so that what is measured are hits
		_, _, err := keys.Look(ctx, id, clock.Now())
		require.NoError(b, err)
	}
	b.Run("10k", func(b *testing.B) {
		b.ReportAllocs()
		now := clock.Now()
		var started atomic.Uint64
		began, known := cpuTime()
		b.RunParallel(func(pb *testing.PB) {
			at := started.Add(1) * 0x9e3779b97f4a7c15
			for pb.Next() {
				at = at*6364136223846793005 + 1442695040888963407 // a linear congruence (Knuth)
				if _, _, err := keys.Look(ctx, clientIDs[at>>33%lookupKeys], now); err != nil {
					b.Error(err)
					return
				}
			}
		})
		if ended, _ := cpuTime(); known {
			b.ReportMetric(float64(ended-began)/float64(b.N), "cpu-ns/op")
		}
	})
}
