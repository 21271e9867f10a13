package postgres

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

// What docs/scale.md says of the database's load is measured here.

// BenchmarkCeiling measures how many administrative writes the change log takes, each
// with its audit event, beside the least that is durable on the same server: one row
// that is updated by its key. Two writers for each node keep the turn taken.
func BenchmarkCeiling(b *testing.B) {
	for name, settings := range map[string][]string{"fsync": nil, "no fsync": {"fsync=off", "full_page_writes=off"}} {
		server := pgtest.Start(b, settings...)
		dsn := server.DSN(pgtest.Superuser, server.NewDatabase(b))
		var stores []*Store
		for range 4 {
			stores = append(stores, open(b, dsn, keystore.NewSystemClock()))
		}
		seed(b, stores[0])
		putKeys(b, stores[0], 0, 500)
		run(b, connect(b, dsn), "CREATE TABLE bare (id INT PRIMARY KEY, n INT NOT NULL); INSERT INTO bare SELECT g, 0 FROM generate_series(0, 499) g")
		server.Exec(b, "CHECKPOINT")
		write := func(s *Store, n int) error {
			_, err := s.Update(context.Background(), func(tx keystore.Tx) error {
				k, err := tx.Key(context.Background(), testKey(n%500).ID)
				if err != nil {
					return err
				}
				k.Enabled = !k.Enabled
				if err := tx.PutKey(context.Background(), k); err != nil {
					return err
				}
				return tx.AddAudit(context.Background(), &keystore.Audit{At: tx.Now().Wall, CustomerID: "c", ActorKind: "local", Action: "key.update", TargetID: k.ID})
			})
			return err
		}
		bare := func(s *Store, n int) error {
			_, err := s.pool.Exec(context.Background(), "UPDATE bare SET n = n + 1 WHERE id = $1", n%500)
			return err
		}
		for _, c := range []struct {
			name  string
			nodes int
			do    func(*Store, int) error
		}{{"bare", 1, bare}, {"write", 1, write}, {"write", 4, write}} {
			b.Run(fmt.Sprintf("%s/%s/nodes=%d", name, c.name, c.nodes), func(b *testing.B) {
				var next, writer atomic.Int64
				b.SetParallelism(c.nodes)
				b.RunParallel(func(pb *testing.PB) {
					s := stores[int(writer.Add(1))%c.nodes]
					for pb.Next() {
						if err := c.do(s, int(next.Add(1))); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}

// load is what a database has done so far, as its server counts.
type load struct {
	at           time.Time
	transactions float64
	conns        float64
	busy         time.Duration // of the processors, by the connections that there are
}

// loadOf reads it. The server's processes tell what they counted once in a second.
func loadOf(b *testing.B, c *pgx.Conn, database string) (l load) {
	b.Helper()
	l.at = time.Now()
	rows, err := c.Query(b.Context(), "SELECT pid FROM pg_stat_activity WHERE datname = $1", database)
	require.NoError(b, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(b, err)
	for _, pid := range pids {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
			fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))
			user, _ := strconv.Atoi(fields[12])
			system, _ := strconv.Atoi(fields[13])
			l.busy += time.Duration(user+system) * 10 * time.Millisecond
		}
	}
	l.conns = float64(len(pids))
	require.NoError(b, c.QueryRow(b.Context(), "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1", database).Scan(&l.transactions))
	return l
}

// BenchmarkNodes measures what nodes cost the database: while nothing happens, and for
// each write until all have confirmed it. Each b.N is half a minute.
func BenchmarkNodes(b *testing.B) {
	for _, count := range []int{1, 4, 16} {
		b.Run(fmt.Sprint("nodes=", count), func(b *testing.B) {
			n := newNodes(b)
			var all []*follower
			for i := range count {
				all = append(all, n.join(fmt.Sprint("n", i), 5*time.Minute))
			}
			all[0].begin(b)
			watch := connect(b, n.server.DSN(pgtest.Superuser, "postgres"))
			time.Sleep(3 * time.Second)
			for b.Loop() {
				const quiet, writes = 20 * time.Second, 100
				before := loadOf(b, watch, n.database)
				time.Sleep(quiet)
				after := loadOf(b, watch, n.database)
				seconds, nodes := after.at.Sub(before.at).Seconds(), float64(count)
				rate := (after.transactions - before.transactions) / seconds
				busy := (after.busy - before.busy).Seconds() * 1000 / seconds
				b.ReportMetric(rate/nodes, "transactions/s/node")
				b.ReportMetric(after.conns/nodes, "conns/node")
				b.ReportMetric(busy/nodes, "cpu-ms/s/node")

				var took []time.Duration
				for i := range writes {
					began := time.Now()
					all[0].confirmed(b, all[0].enable(b, 0, i%2 == 0))
					took = append(took, time.Since(began))
				}
				time.Sleep(2 * time.Second)
				end := loadOf(b, watch, n.database)
				seconds = end.at.Sub(after.at).Seconds()
				slices.Sort(took)
				b.ReportMetric((end.transactions-after.transactions-rate*seconds)/writes, "transactions/write")
				b.ReportMetric(((end.busy-after.busy).Seconds()*1000-busy*seconds)/writes, "cpu-ms/write")
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms/write")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms/write")
			}
		})
	}
}

// BenchmarkFar measures a node to which the database is far away, as in another region:
// what a write takes there until it is committed, and until that node and one beside the
// database have confirmed it; and the same for a write beside the database.
func BenchmarkFar(b *testing.B) {
	for _, away := range []time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond} {
		n := newNodes(b)
		near, far := n.join("near", 5*time.Minute), n.join("far", 5*time.Minute)
		near.begin(b)
		far.proxy.Slow(b, away) // of answers: a round trip takes that much longer
		for _, by := range []*follower{near, far} {
			b.Run(fmt.Sprintf("%s/%s", away, by.id), func(b *testing.B) {
				var committed, confirmed []time.Duration
				for i := 0; b.Loop(); i++ {
					began := time.Now()
					rev := by.enable(b, 0, i%2 == 0)
					committed = append(committed, time.Since(began))
					by.confirmed(b, rev)
					confirmed = append(confirmed, time.Since(began))
				}
				slices.Sort(committed)
				slices.Sort(confirmed)
				b.ReportMetric(float64(committed[len(committed)/2].Milliseconds()), "p50-ms/seen")
				b.ReportMetric(float64(confirmed[len(confirmed)/2].Milliseconds()), "p50-ms/confirmed")
			})
		}
	}
}
