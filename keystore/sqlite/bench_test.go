package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

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
	b.Run("bare, same columns", func(b *testing.B) { bare(b, keyByClientID, len(new(keyRow).dest)+len(new(secretRow).dest)) })
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

// listKeys is the size of a large customer.
const listKeys = 100_000

// listStore is a store with one large customer: two roles, fifty teams, a tenth of
// the keys disabled, a third of them used.
func listStore(b *testing.B) *Store {
	b.Helper()
	s := newStore(b)
	ctx := context.Background()
	for first := 0; first < listKeys; first += 10_000 {
		_, err := s.Update(ctx, func(tx keystore.Tx) error {
			for i := first; i < first+10_000; i++ {
				k := testKey(i)
				k.Name = fmt.Sprintf("Key %08d", (i*7919)%listKeys)
				k.Description = fmt.Sprintf("nightly export of team %d", i%50)
				k.RoleID = []string{keystore.RoleReadOnly, keystore.RoleFullAccess}[i%2]
				k.Enabled = i%10 != 0
				k.Labels = map[string]string{"team": fmt.Sprint(i % 50), "env": "production"}
				k.Created = tx.Now().Wall.Add(-time.Duration(rand.IntN(1e9)) * time.Second)
				k.Modified = k.Created
				if i%3 == 0 {
					k.LastUsed = k.Created
				}
				if err := tx.PutKey(ctx, k); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(b, err)
	}
	return s
}

// BenchmarkKeys measures a page of 50 out of 100,000 keys, its total included, and
// beside it the same rows asked for in one plain statement and its count.
func BenchmarkKeys(b *testing.B) {
	s := listStore(b)
	ctx := b.Context()
	team := "7"
	narrow := keystore.KeyQuery{RoleID: keystore.RoleReadOnly, State: keystore.StateActive, Text: "team 1"}
	middle := keystore.Cursor{Values: []string{testKey(listKeys / 2).Name}, ID: testKey(listKeys / 2).ID}
	cases := []struct {
		name string
		q    keystore.KeyQuery
	}{
		{"all", keystore.KeyQuery{}},
		{"all, in the middle", keystore.KeyQuery{After: &middle}},
		{"by label", keystore.KeyQuery{Labels: []keystore.LabelFilter{{Name: "team", Value: &team}}}},
		{"by text that few have, by name", keystore.KeyQuery{Text: "key 000999"}},
	}
	for _, field := range keystore.KeySortFields() {
		q := narrow
		q.Sort = []keystore.SortField{{Field: field}}
		cases = append(cases, struct {
			name string
			q    keystore.KeyQuery
		}{"by role, state and text, sorted by " + field, q})
	}
	for _, c := range cases {
		c.q.CustomerID, c.q.Limit = "c", 50
		b.Run(c.name+"/store", func(b *testing.B) {
			for b.Loop() {
				err := s.View(ctx, func(r keystore.Reader) error {
					_, _, err := r.Keys(ctx, c.q)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/bare", func(b *testing.B) {
			for b.Loop() {
				if err := s.view(ctx, s.readers, func(r *reader) error { return bareList(ctx, r, c.q) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// bareList asks for what a query selects as anybody would write it down.
func bareList(ctx context.Context, r *reader, q keystore.KeyQuery) error {
	l, err := r.keyList(ctx, q)
	if err != nil {
		return err
	}
	if _, err := r.count(ctx, l); err != nil {
		return err
	}
	if err := l.match.behind(l.order, q.After); err != nil {
		return err
	}
	rows, err := r.conn.c.QueryContext(ctx, "SELECT "+keyColumns+" FROM keys k"+l.match.where()+orderBy(l.order, "")+" LIMIT ?",
		append(l.match.args, q.Limit)...)
	if err != nil {
		return err
	}
	_, err = drain(ctx, r, rows, func(scan scanner) (struct{}, error) {
		var k keyRow
		return struct{}{}, scan(k.into()...)
	})
	return err
}

// BenchmarkUse measures how long a batch of uses, each of another key, holds up writers.
func BenchmarkUse(b *testing.B) {
	s := benchStore(b)
	uses := make([]keystore.Use, 1000)
	at := time.Now()
	for i := 0; b.Loop(); i++ {
		at = at.Add(time.Second)
		for j := range uses {
			n := (i*len(uses) + j*7) % benchKeys
			uses[j] = keystore.Use{KeyID: testKey(n).ID, SecretID: testKey(n).Secrets[0].ID, At: at, Address: "192.0.2.1", Route: "GET /a/{b}"}
		}
		if err := s.Use(b.Context(), uses); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(uses)), "ns/use")
}

// BenchmarkAddAudit measures what an event adds to a transaction, and the least
// that storing its row can cost.
func BenchmarkAddAudit(b *testing.B) {
	event := func() *keystore.Audit {
		return &keystore.Audit{At: time.Now(), CustomerID: "c", ActorKind: "key", ActorID: "key_1", Action: "key.update", TargetKind: "key", TargetID: "key_2",
			Before: []byte(`{"enabled":true,"name":"nightly export"}`), After: []byte(`{"enabled":false,"name":"nightly export"}`)}
	}
	for name, add := range map[string]func(context.Context, *tx) error{
		"store": func(ctx context.Context, t *tx) error { return t.AddAudit(ctx, event()) },
		"bare":  func(ctx context.Context, t *tx) error { return t.insertAudit(ctx, event()) },
	} {
		b.Run(name, func(b *testing.B) {
			s := newStore(b)
			ctx := b.Context()
			for b.Loop() {
				_, err := s.update(ctx, func(t *tx) error {
					for range 100 {
						if err := add(ctx, t); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/event")
		})
	}
}
