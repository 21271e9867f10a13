package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
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
	bare := func(b *testing.B, text string) {
		s := benchStore(b)
		db := s.database("_query_only=1")
		db.SetMaxIdleConns(1)
		stmt, err := db.Prepare(text)
		require.NoError(b, err)
		rows, err := stmt.Query("none")
		require.NoError(b, err)
		names, err := rows.Columns()
		require.NoError(b, err)
		require.NoError(b, rows.Close())
		values, dest := make([]any, len(names)), make([]any, len(names))
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
	b.Run("bare, same columns", func(b *testing.B) {
		lookup := asked(b, newStore(b), "WHERE k.client_id = ?", func(s *sqlstore.Store) error {
			_, err := s.KeyByClientID(b.Context(), "none")
			require.ErrorIs(b, err, keystore.ErrNotFound)
			return nil
		})
		bare(b, lookup.Text)
	})
	b.Run("bare, one column", func(b *testing.B) { bare(b, "SELECT id FROM keys WHERE client_id = ?") })
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
		c, err := s.writes.get(b.Context())
		require.NoError(b, err)
		defer s.writes.put(c)
		for b.Loop() {
			for _, text := range []string{"BEGIN IMMEDIATE", "UPDATE state SET tally_seq = tally_seq + 1", "COMMIT"} {
				if _, err := c.Exec(b.Context(), text); err != nil {
					b.Fatal(err)
				}
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
			l := bareList(b, s, c.q)
			for b.Loop() {
				if err := l.read(ctx, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// bare is what a query selects as anybody would write it down.
type bare struct{ count, list sqlstore.Statement }

func bareList(b *testing.B, s *Store, q keystore.KeyQuery) bare {
	first, page := q, keyPage(b, s, q)
	first.After = nil
	_, where, found := strings.Cut(page.Text, "(SELECT k.rowid")
	require.True(b, found)
	where, _, found = strings.Cut(where, ") ORDER BY")
	require.True(b, found)
	given, rest, _ := strings.Cut(page.Text, "SELECT k.id,")
	columns, _, _ := strings.Cut(rest, " FROM keys k WHERE k.rowid")
	where = strings.TrimSuffix(where, " OFFSET ?")
	return bare{keyCount(b, s, first), sqlstore.Statement{Text: given + "SELECT k.id," + columns + where, Args: page.Args[:len(page.Args)-1]}}
}

func (l bare) read(ctx context.Context, s *Store) error {
	c, err := s.readers.get(ctx)
	if err != nil {
		return err
	}
	defer s.readers.put(c)
	for _, a := range []sqlstore.Statement{l.count, l.list} {
		rows, err := c.c.QueryContext(ctx, a.Text, a.Args...)
		if err != nil {
			return err
		}
		names, err := rows.Columns()
		if err != nil {
			return err
		}
		dest := make([]any, len(names))
		for i := range dest {
			dest[i] = new(any)
		}
		for err == nil && rows.Next() {
			err = rows.Scan(dest...)
		}
		if err = errors.Join(err, rows.Close()); err != nil {
			return err
		}
	}
	return nil
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
	const each = 100
	b.Run("store", func(b *testing.B) {
		s := newStore(b)
		ctx := b.Context()
		for b.Loop() {
			_, err := s.Update(ctx, func(tx keystore.Tx) error {
				for range each {
					if err := tx.AddAudit(ctx, event()); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/event")
	})
	b.Run("bare", func(b *testing.B) {
		s := newStore(b)
		ctx := b.Context()
		insert := asked(b, s, "INSERT INTO audit (", func(s *sqlstore.Store) error {
			_, err := s.Update(ctx, func(tx keystore.Tx) error { return tx.AddAudit(ctx, event()) })
			return err
		})
		c, err := s.writes.get(ctx)
		require.NoError(b, err)
		defer s.writes.put(c)
		number := int64(10)
		for b.Loop() {
			_, err := c.Exec(ctx, "BEGIN IMMEDIATE")
			for range each {
				number++
				insert.Args[0], insert.Args[1] = number, number // in the chain, and over all
				var id int64
				stmt, stmtErr := c.stmt(ctx, insert.Text)
				if err = errors.Join(err, stmtErr); err == nil {
					err = stmt.QueryRowContext(ctx, insert.Args...).Scan(&id)
				}
			}
			_, commitErr := c.Exec(ctx, "COMMIT")
			if err = errors.Join(err, commitErr); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/event")
	})
}
