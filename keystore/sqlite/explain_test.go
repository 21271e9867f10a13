package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

func bigStore(t testing.TB, n int) *Store {
	dir := "/dev/shm/h1big"
	fresh := false
	if _, err := os.Stat(dir); err != nil {
		fresh = true
		os.MkdirAll(dir, 0o700)
	}
	s := open(t, filepath.Join(dir, "keyreeve.db"), storetest.NewClock())
	if !fresh {
		return s
	}
	seed(t, s)
	ctx := context.Background()
	for first := 0; first < n; first += 5000 {
		_, err := s.Update(ctx, func(tx keystore.Tx) error {
			for i := first; i < first+5000; i++ {
				k := testKey(i)
				k.Name = fmt.Sprintf("Key %08d", (i*7919)%n)
				k.Description = "nightly export of team " + fmt.Sprint(i%50)
				k.RoleID = []string{keystore.RoleReadOnly, keystore.RoleFullAccess}[i%2]
				k.Enabled = i%10 != 0
				k.Created = tx.Now().Wall.Add(-time.Duration(rand.IntN(1e9)) * time.Second)
				k.Modified = k.Created
				k.Labels = map[string]string{"team": fmt.Sprint(i % 50), "env": "prod"}
				if i%3 == 0 {
					k.LastUsed = k.Created
				}
				if err := tx.PutKey(ctx, k); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
	}
	return s
}

func TestTmpExplain(t *testing.T) {
	start := time.Now()
	s := bigStore(t, 100_000)
	fmt.Println("filled", time.Since(start))
	ctx := t.Context()
	yes := true
	v := "7"
	for _, f := range []struct {
		name string
		q    keystore.KeyQuery
	}{
		{"plain", keystore.KeyQuery{}},
		{"role,state,text", keystore.KeyQuery{RoleID: keystore.RoleReadOnly, State: keystore.StateActive, Text: "key 0000"}},
		{"role", keystore.KeyQuery{RoleID: keystore.RoleReadOnly}},
		{"role,state", keystore.KeyQuery{RoleID: keystore.RoleReadOnly, State: keystore.StateActive}},
		{"text", keystore.KeyQuery{Text: "team 7"}},
		{"label", keystore.KeyQuery{Labels: []keystore.LabelFilter{{Name: "team", Value: &v}}}},
		{"neverused", keystore.KeyQuery{NeverUsed: &yes}},
		{"state", keystore.KeyQuery{State: keystore.StateDisabled}},
	} {
		f.q.CustomerID = "c"
		match, err := func() (c conditions, err error) {
			err = s.view(ctx, s.readers, func(r *reader) error { c, err = r.keyConditions(ctx, f.q); return err })
			return
		}()
		require.NoError(t, err)
		plan := func(text string, args ...any) {
			_ = s.view(ctx, s.readers, func(r *reader) error {
				rows, err := r.conn.c.QueryContext(ctx, "EXPLAIN QUERY PLAN "+text, args...)
				require.NoError(t, err)
				for rows.Next() {
					var a, b, c int
					var d string
					rows.Scan(&a, &b, &c, &d)
					fmt.Println("      ", d)
				}
				rows.Close()
				return nil
			})
		}
		fmt.Println("==", f.name)
		start := time.Now()
		_ = s.view(ctx, s.readers, func(r *reader) error {
			n, err := r.count(ctx, listing{from: "keys k", match: match})
			require.NoError(t, err)
			fmt.Println("   count", n, time.Since(start))
			return nil
		})
		plan("SELECT count(*) FROM keys k"+match.where(), match.args...)
		for _, field := range keystore.KeySortFields() {
			for _, desc := range []bool{false, true} {
			f.q.Sort = []keystore.SortField{{Field: field, Desc: desc}}
			order, _ := keyOrder(f.q)
			if desc && field != "name" { continue }
			start := time.Now()
			_ = s.view(ctx, s.readers, func(r *reader) error {
				_, _, err := page(ctx, r, listing{columns: keyColumns, from: "keys k", match: match, order: order}, place{limit: 50, uncounted: true}, scanKey)
				require.NoError(t, err)
				return nil
			})
			fmt.Println("   page by", field, time.Since(start))
			plan("SELECT "+keyColumns+" FROM keys k"+match.where()+orderBy(order)+" LIMIT 50", match.args...)
			}
		}
	}
}
