package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const benchKeys = 10_000

func benchStore(b *testing.B) *Store {
	b.Helper()
	s := newStore(b)
	for first := 0; first < benchKeys; first += 1000 {
		putKeys(b, s, first, 1000)
	}
	b.ReportAllocs()
	return s
}

// BenchmarkLookup compares the miss path of the cache, secrets included, with
// the least that a point lookup of the same row can cost.
func BenchmarkLookup(b *testing.B) {
	clientIDs := make([]string, benchKeys)
	for i := range clientIDs {
		clientIDs[i] = testKey(rand.IntN(benchKeys)).ClientID
	}
	b.Run("store", func(b *testing.B) {
		s := benchStore(b)
		ctx := b.Context()
		for i := 0; b.Loop(); i++ {
			k, err := s.KeyByClientID(ctx, clientIDs[i%benchKeys])
			if err != nil || len(k.Secrets) != 1 {
				b.Fatal(err)
			}
		}
	})
	bare := func(b *testing.B, text string, columns int) {
		s := benchStore(b)
		db := s.database("_query_only=1")
		db.SetMaxIdleConns(1)
		stmt, err := db.Prepare(text)
		require.NoError(b, err)
		values, dest := make([]any, columns), make([]any, columns)
		for i := range dest {
			dest[i] = &values[i]
		}
		ctx := context.Background()
		for i := 0; b.Loop(); i++ {
			if err := stmt.QueryRowContext(ctx, clientIDs[i%benchKeys]).Scan(dest...); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("bare, same columns", func(b *testing.B) { bare(b, keyByClientID, 28) })
	b.Run("bare, one column", func(b *testing.B) { bare(b, "SELECT id FROM keys WHERE client_id = ?", 1) })
}

// BenchmarkFail measures durable counting: one transaction, one sync, however
// many failures it counts.
func BenchmarkFail(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch of %d", n), func(b *testing.B) {
			s := benchStore(b)
			l := policy.DefaultLockout()
			l.Attempts = 1 << 50 // every failure counts
			failures := make([]keystore.Proof, n)
			for i := 0; b.Loop(); i++ {
				for j := range failures {
					failures[j].KeyID = fmt.Sprintf("key_%08d", (i*n+j)%benchKeys)
				}
				if _, err := s.Count(b.Context(), l, failures); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/failure")
		})
	}
	b.Run("bare commit", func(b *testing.B) {
		s := benchStore(b)
		for b.Loop() {
			_, err := s.update(b.Context(), func(t *tx) error { return t.exec(b.Context(), "UPDATE state SET tally_seq = tally_seq + 1") })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHead measures the poll for other writers' changes when there are none.
func BenchmarkHead(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if _, err := s.Head(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeys measures a page in the middle of a list.
func BenchmarkKeys(b *testing.B) {
	s := benchStore(b)
	after := keystore.Cursor{Values: []string{testKey(benchKeys / 2).Name}, ID: testKey(benchKeys / 2).ID}
	for b.Loop() {
		err := s.View(b.Context(), func(r keystore.Reader) error {
			_, _, err := r.Keys(b.Context(), keystore.KeyQuery{CustomerID: "c", Limit: 20, After: &after})
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
