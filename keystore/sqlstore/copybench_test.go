package sqlstore_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// BenchmarkCopy moves a hundred thousand keys, each with its secret, and tells how fast
// and at which peak of the heap.
func BenchmarkCopy(b *testing.B) {
	const keys = 100_000
	for _, kind := range kinds[:2] {
		b.Run(kind.name, func(b *testing.B) {
			from := kind.from(b)
			source := from.open(b)
			fill(b, source, keys)
			for b.Loop() {
				b.StopTimer()
				target := kind.to(b).open(b)
				runtime.GC()
				var peak uint64
				b.StartTimer()
				began := time.Now()
				report, err := sqlstore.Copy(b.Context(), source, target, sqlstore.CopyOptions{Sealer: from.ring, Progress: func(p sqlstore.CopyProgress) {
					if p.Done%20_000 == 0 {
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak = max(peak, m.HeapAlloc)
					}
				}})
				require.NoError(b, err)
				b.ReportMetric(float64(report.Rows)/time.Since(began).Seconds(), "rows/s")
				b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
			}
		})
	}
}
