package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var listCases = []testCase{
	{"a query must name a customer or ask for all", listScope},
	{"each filter selects by its field", listFilters},
	{"text is found in name, description and client id, in any case, without wildcards", listText},
	{"each key is listed under one state", listStates},
	{"each sort order is complete and reversible", listSorts},
	{"paging by cursor misses and repeats nothing while keys are added and removed", listCursor},
	{"an offset skips, a limit bounds, the total counts all", listOffset},
	{"an unknown sort, state or cursor is an error", listErrors},
}

// keys lists what a query of acme selects.
func (f *fixture) keys(t testing.TB, q keystore.KeyQuery) (ids []string, total int) {
	t.Helper()
	if q.CustomerID == "" && !q.AllCustomers {
		q.CustomerID = acme
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		keys, n, err := r.Keys(ctx, q)
		for _, k := range keys {
			ids = append(ids, k.ID)
		}
		total = n
		return err
	})
	return ids, total
}

func listScope(t *testing.T, f *fixture) {
	other := f.key(2)
	other.CustomerID = globex
	f.put(t, f.key(1), other)
	err := f.View(t.Context(), func(r keystore.Reader) error {
		_, _, err := r.Keys(t.Context(), keystore.KeyQuery{Limit: 10})
		return err
	})
	require.Error(t, err)
	ids, _ := f.keys(t, keystore.KeyQuery{AllCustomers: true, Limit: 10})
	require.Equal(t, []string{"key_0001", "key_0002"}, ids)
	ids, _ = f.keys(t, keystore.KeyQuery{CustomerID: globex, Limit: 10})
	require.Equal(t, []string{"key_0002"}, ids)
}

func listFilters(t *testing.T, f *fixture) {
	plain, special := f.key(1), f.key(2)
	special.MicrotenantID, special.RoleID, special.Source, special.Name = lab, auditor, "directory", "Special"
	f.put(t, plain, special)
	for name, q := range map[string]keystore.KeyQuery{
		"microtenant": {MicrotenantID: lab}, "role": {RoleID: auditor}, "source": {Source: "directory"}, "name": {Name: "Special"},
		"all of them": {MicrotenantID: lab, RoleID: auditor, Source: "directory", Name: "Special", Text: "spec", State: keystore.StateActive},
	} {
		q.Limit = 10
		ids, total := f.keys(t, q)
		require.Equal(t, []string{special.ID}, ids, name)
		require.Equal(t, 1, total, name)
	}
	ids, _ := f.keys(t, keystore.KeyQuery{Name: "special", Limit: 10})
	require.Empty(t, ids, "names match exactly")
}

func listText(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Name, k.Description, k.ClientID = "Nightly ÉXPORT", "50%_of \\ it", "CLIENT-xyz"
	f.put(t, k, f.key(2))
	for _, text := range []string{"nightly", "éxport", "Éxport", "50%_", "%_of \\", "client-XYZ"} {
		ids, _ := f.keys(t, keystore.KeyQuery{Text: text, Limit: 10})
		require.Equal(t, []string{k.ID}, ids, "%q", text)
	}
	for _, text := range []string{"n%y", "night_y", "export", "' OR '1'='1", "xyz%"} {
		ids, total := f.keys(t, keystore.KeyQuery{Text: text, Limit: 10})
		require.Empty(t, ids, "%q", text)
		require.Zero(t, total)
	}
}

func listStates(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	keys := make([]*keystore.Key, 6)
	for i := range keys {
		keys[i] = f.key(i)
	}
	active, later, disabled, expired, locked, both := keys[0], keys[1], keys[2], keys[3], keys[4], keys[5]
	later.ExpiresAt = now.Add(time.Millisecond)
	disabled.Enabled = false
	expired.ExpiresAt = now
	both.Enabled = false
	f.put(t, keys...)
	for _, k := range []*keystore.Key{locked, both} {
		for range strict().Attempts {
			_, err := f.Count(t.Context(), strict(), []keystore.Proof{{KeyID: k.ID}})
			require.NoError(t, err)
		}
	}
	want := map[string][]string{
		keystore.StateActive:   {active.ID, later.ID},
		keystore.StateDisabled: {disabled.ID, both.ID},
		keystore.StateExpired:  {expired.ID},
		keystore.StateLocked:   {locked.ID},
	}
	for state, ids := range want {
		got, total := f.keys(t, keystore.KeyQuery{State: state, Limit: 10})
		require.Equal(t, ids, got, state)
		require.Equal(t, len(ids), total, state)
	}
	for _, k := range keys { // the list and the record's own word agree
		state := k.State(k == locked || k == both, now)
		require.Contains(t, want[state], k.ID)
	}
	f.clock.Advance(strict().Duration)
	got, _ := f.keys(t, keystore.KeyQuery{State: keystore.StateLocked, Limit: 10})
	require.Empty(t, got, "a lock that has ended is none")
}

// listed stores keys whose sort fields are in different orders, two of them equal.
func listed(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	for i := range 7 {
		k := f.key(i)
		k.Name = fmt.Sprintf("Key %d", (i*3)%7)
		k.ClientID = fmt.Sprintf("client-%d", (i*5)%7)
		k.Created = now.Add(time.Duration((i*2)%7/2) * time.Second)
		k.Modified = now.Add(-time.Duration((i*4)%7/2) * time.Second)
		if i == 3 {
			k.Created, k.Modified = time.Time{}, time.Time{}
		}
		f.put(t, k)
	}
}

var sorts = []string{"", keystore.SortName, keystore.SortClientID, keystore.SortCreated, keystore.SortModified}

func listSorts(t *testing.T, f *fixture) {
	listed(t, f)
	for _, sort := range sorts {
		up, total := f.keys(t, keystore.KeyQuery{Sort: sort, Limit: 100})
		require.Len(t, up, 7)
		require.Equal(t, 7, total)
		down, _ := f.keys(t, keystore.KeyQuery{Sort: sort, Desc: true, Limit: 100})
		for i := range up {
			require.Equal(t, up[i], down[len(down)-1-i], "%q", sort)
		}
		var last keystore.Cursor
		for i, id := range up {
			c, err := keystore.KeyQuery{Sort: sort}.Cursor(f.get(t, id))
			require.NoError(t, err)
			if i > 0 {
				require.False(t, c.Value < last.Value || c.Value == last.Value && c.ID <= last.ID, "%q: %v after %v", sort, c, last)
			}
			last = c
		}
	}
}

func listCursor(t *testing.T, f *fixture) {
	for _, sort := range sorts {
		for _, desc := range []bool{false, true} {
			f.update(t, func(ctx context.Context, tx keystore.Tx) error {
				keys, _, err := tx.Keys(ctx, keystore.KeyQuery{AllCustomers: true, Limit: 100})
				for _, k := range keys {
					if err := tx.DeleteKey(ctx, k.ID); err != nil {
						return err
					}
				}
				return err
			})
			listed(t, f)
			q := keystore.KeyQuery{CustomerID: acme, Sort: sort, Desc: desc, Limit: 100}
			want, _ := f.keys(t, q)
			q.Limit = 2
			var got []string
			for round := 0; ; round++ {
				page, _ := f.keys(t, q)
				if len(page) == 0 {
					break
				}
				require.LessOrEqual(t, len(page), 2)
				got = append(got, page...)
				c, err := q.Cursor(f.get(t, page[len(page)-1]))
				require.NoError(t, err)
				q.After = &c
				if round == 0 { // the place stays even when the key it names goes
					f.update(t, func(ctx context.Context, tx keystore.Tx) error {
						return tx.DeleteKey(ctx, page[len(page)-1])
					})
					first := f.key(100)
					first.Name, first.ClientID, first.Created, first.Modified = "A", "a", time.Time{}, time.Time{}
					if desc {
						first.Name, first.ClientID = "z", "z"
						first.Created = f.clock.Now().Wall.AddDate(100, 0, 0)
						first.Modified = first.Created
					}
					f.put(t, first)
				}
			}
			// With no time at all the new key is among its equals, in order of id.
			got = without(got, "key_0100")
			require.Equal(t, want, got, "%q desc=%v", sort, desc)
		}
	}
}

func without(ids []string, id string) []string {
	var rest []string
	for _, other := range ids {
		if other != id {
			rest = append(rest, other)
		}
	}
	return rest
}

func listOffset(t *testing.T, f *fixture) {
	listed(t, f)
	all, _ := f.keys(t, keystore.KeyQuery{Limit: 100})
	page, total := f.keys(t, keystore.KeyQuery{Offset: 2, Limit: 3})
	require.Equal(t, all[2:5], page)
	require.Equal(t, 7, total)
	page, total = f.keys(t, keystore.KeyQuery{Offset: 100, Limit: 3})
	require.Empty(t, page)
	require.Equal(t, 7, total)
	after, err := keystore.KeyQuery{}.Cursor(f.get(t, all[0]))
	require.NoError(t, err)
	page, _ = f.keys(t, keystore.KeyQuery{After: &after, Offset: 2, Limit: 3})
	require.Equal(t, all[1:4], page, "a cursor needs no offset")
	page, total = f.keys(t, keystore.KeyQuery{})
	require.Empty(t, page, "limit 0 only counts")
	require.Equal(t, 7, total)
}

func listErrors(t *testing.T, f *fixture) {
	f.put(t, f.key(1)) // so that there is something to list
	for name, q := range map[string]keystore.KeyQuery{
		"sort":   {Sort: "secret"},
		"state":  {State: "happy"},
		"cursor": {Sort: keystore.SortCreated, After: &keystore.Cursor{Values: []string{"yesterday"}}},
	} {
		q.CustomerID, q.Limit = acme, 10
		err := f.View(t.Context(), func(r keystore.Reader) error {
			_, _, err := r.Keys(t.Context(), q)
			return err
		})
		require.Error(t, err, name)
	}
}
