package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const benchKeys = 2000

// benchStores are stores of one database on a durable server, as of several nodes.
func benchStores(b *testing.B, n int) []*Store {
	b.Helper()
	server := pgtest.Start(b)
	dsn := server.DSN(pgtest.Superuser, server.NewDatabase(b))
	var stores []*Store
	for range n {
		stores = append(stores, open(b, dsn, keystore.NewSystemClock()))
	}
	seed(b, stores[0])
	for first := 0; first < benchKeys; first += 500 {
		putKeys(b, stores[0], first, 500)
	}
	server.Exec(b, "CHECKPOINT")
	b.ReportAllocs()
	return stores
}

// BenchmarkLookup compares the miss path of the cache, secrets included, with the
// least that a statement can cost here.
func BenchmarkLookup(b *testing.B) {
	s := benchStores(b, 1)[0]
	b.Run("store", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if k, err := s.KeyByClientID(b.Context(), testKey(i%benchKeys).ClientID); err != nil || len(k.Secrets) != 1 {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare, one column", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			var id string
			if err := s.pool.QueryRow(b.Context(), "SELECT id FROM keys WHERE client_id = $1", testKey(i%benchKeys).ClientID).Scan(&id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWrite measures durable transactions of several nodes at once: changes,
// which take turns, and what is written beside them.
func BenchmarkWrite(b *testing.B) {
	l := policy.DefaultLockout()
	l.Attempts = 1 << 50
	var sessions atomic.Int64
	signIn := func(key int) func(context.Context, keystore.Tx) error {
		return func(ctx context.Context, tx keystore.Tx) error {
			if _, err := tx.Key(ctx, testKey(key).ID); err != nil {
				return err
			}
			if _, err := tx.Customer(ctx, "c"); err != nil {
				return err
			}
			if _, err := tx.SessionsBeyond(ctx, testKey(key).ID, 999); err != nil {
				return err
			}
			return tx.PutSession(ctx, session(int(sessions.Add(1)), key))
		}
	}
	for _, nodes := range []int{1, 4} {
		stores := benchStores(b, nodes)
		for _, c := range []struct {
			name string
			do   func(ctx context.Context, s *Store, n int) error
		}{
			{"a key put", func(ctx context.Context, s *Store, n int) error {
				_, err := s.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, testKey(n%benchKeys)) })
				return err
			}},
			{"a failure counted", func(ctx context.Context, s *Store, n int) error {
				_, err := s.Count(ctx, l, []keystore.Proof{{KeyID: testKey(n % benchKeys).ID}})
				return err
			}},
			{"100 failures counted", func(ctx context.Context, s *Store, n int) error {
				proofs := make([]keystore.Proof, 100)
				for i := range proofs {
					proofs[i].KeyID = testKey((n*100 + i) % benchKeys).ID
				}
				_, err := s.Count(ctx, l, proofs)
				return err
			}},
			{"a sign-in in turn", func(ctx context.Context, s *Store, n int) error {
				_, err := s.Update(ctx, func(tx keystore.Tx) error { return signIn(n%benchKeys)(ctx, tx) })
				return err
			}},
			{"a sign-in beside", func(ctx context.Context, s *Store, n int) error {
				_, err := s.UpdateKey(ctx, testKey(n%benchKeys).ID, func(tx keystore.Tx) error { return signIn(n%benchKeys)(ctx, tx) })
				return err
			}},
		} {
			b.Run(fmt.Sprintf("%s/nodes=%d", c.name, nodes), func(b *testing.B) {
				var next, node atomic.Int64
				b.SetParallelism(max(1, nodes/2))
				b.RunParallel(func(pb *testing.PB) {
					s := stores[int(node.Add(1))%nodes]
					for pb.Next() {
						if err := c.do(context.Background(), s, int(next.Add(1))); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}

// BenchmarkPoll measures a look for what is new where nothing is.
func BenchmarkPoll(b *testing.B) {
	s := benchStores(b, 1)[0]
	for b.Loop() {
		if _, err := s.Head(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Tallies(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWake measures from before a commit until another node was woken and has
// read the change.
func BenchmarkWake(b *testing.B) {
	stores := benchStores(b, 2)
	follower, writer := stores[0], stores[1]
	position, err := follower.Head(b.Context())
	require.NoError(b, err)
	for n := 0; b.Loop(); n++ {
		rev, err := writer.Update(b.Context(), func(tx keystore.Tx) error { return tx.PutKey(b.Context(), testKey(n%benchKeys)) })
		if err != nil {
			b.Fatal(err)
		}
		for position < rev {
			select {
			case <-follower.Wake():
			case <-time.After(5 * time.Second):
				b.Fatal("not woken")
			}
			changes, err := follower.Changes(b.Context(), position)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range changes {
				position = c.Revision
			}
		}
	}
}
