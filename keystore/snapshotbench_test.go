package keystore

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// benchSealer gives keys that are no secret.
type benchSealer struct{}

func (benchSealer) CurrentID() string { return "bench" }

func (benchSealer) Derive(string, string) (key [32]byte, held bool) { return key, true }

// BenchmarkSnapshot writes and loads the snapshot of a million keys, as fast as the disk
// takes it. A node at work writes no faster than writeRate.
func BenchmarkSnapshot(b *testing.B) {
	const keys = 1_000_000
	s, err := OpenDeferred(b.Context(), DeferredOptions{Identity: "bench", Logger: zap.NewNop(),
		Open: func(context.Context) (Store, error) { return nil, ErrUnavailable }})
	require.NoError(b, err)
	defer s.Close()
	c, err := newCached(s, NewSystemClock(), CacheSizes{Keys: keys, Unknown: 100}, zap.NewNop())
	require.NoError(b, err)
	defer c.keys.close()
	defer c.stop()
	c.ignorant()
	all := make(map[string]readKey, keys)
	for i := range keys {
		k := &Key{ID: fmt.Sprintf("key_%022d", i), ClientID: fmt.Sprintf("kr_%022d", i), Name: fmt.Sprint("Deployment ", i), CustomerID: "cust_0000000000000000000001",
			RoleID: RoleReadOnly, Enabled: true, CreatedBy: "key_operator", ModifiedBy: "key_operator", Created: time.Unix(1_700_000_000, 0), Modified: time.Unix(1_700_000_000, 0),
			Secrets: []Secret{{ID: fmt.Sprintf("sec_%022d", i), MasterKeyID: "0123456789ab", Hint: "abcd", Created: time.Unix(1_700_000_000, 0)}}}
		all[k.ClientID] = readKey{key: k}
	}
	began := time.Now()
	c.keys.restore(all)
	b.ReportMetric(time.Since(began).Seconds(), "s/restoring")
	all = nil
	j := newJournal(c, SnapshotOptions{Path: filepath.Join(b.TempDir(), "snapshot"), Sealer: benchSealer{}, MaxStale: time.Hour})
	j.goOn(1, nil)
	for b.Loop() {
		began := time.Now()
		j.rewrite(false)
		require.NotNil(b, j.file)
		b.ReportMetric(time.Since(began).Seconds(), "s/writing")
		b.ReportMetric(float64(j.full)/keys, "bytes/key")
		began = time.Now()
		p, err := loadSnapshot(j.o.Path, j.o.Sealer)
		require.NoError(b, err)
		require.Len(b, p.keys, keys)
		b.ReportMetric(time.Since(began).Seconds(), "s/loading")
		p.former.close()
	}
	j.closeFile()
	j.discard()
}
