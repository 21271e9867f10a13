package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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
	special.MicrotenantID, special.RoleID, special.Source, special.Name = lab, auditor, directory, "Special"
	f.put(t, plain, special)
	for name, q := range map[string]keystore.KeyQuery{
		"microtenant": {MicrotenantID: lab}, "role": {RoleID: auditor}, "source": {Source: directory}, "name": {Name: "Special"},
		"id": {ID: special.ID}, "client id": {ClientID: special.ClientID},
		"all of them": {MicrotenantID: lab, RoleID: auditor, Source: directory, Name: "Special", Text: "spec", State: keystore.StateActive},
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
		k.Enabled, k.DisabledHere = i%2 == 0, i%3 == 0
		k.RoleID = []string{keystore.RoleReadOnly, keystore.RoleFullAccess}[i/4]
		k.SessionValidity = []time.Duration{0, 9 * time.Minute, 100 * time.Minute}[i%3] // 100 sorts before 9 as text
		if i%2 == 1 {
			k.ExpiresAt = now.Add(time.Duration(i) * time.Hour)
			k.LastUsed = now.Add(-time.Duration(i/3) * time.Hour)
			k.MicrotenantID = lab
		}
		if i > 4 {
			k.Source = directory
		}
		if i == 3 {
			k.Created, k.Modified = time.Time{}, time.Time{}
		}
		f.vary(k, i)
		f.put(t, k)
	}
	f.lockOut(t, f.key(2).ID, "")
}

// orders are the orders that keys are listed in, in the tests: each field alone, and
// several in the same and in mixed directions.
func orders() map[string][]keystore.SortField {
	all := map[string][]keystore.SortField{"none": nil}
	for _, field := range keystore.KeySortFields() {
		all[field] = []keystore.SortField{{Field: field}}
		all["-"+field] = []keystore.SortField{{Field: field, Desc: true}}
	}
	for _, several := range [][]keystore.SortField{
		{{Field: keystore.SortCreated}, {Field: keystore.SortName}},
		{{Field: keystore.SortCreated, Desc: true}, {Field: keystore.SortName, Desc: true}},
		{{Field: keystore.SortCreated, Desc: true}, {Field: keystore.SortName}},
		{{Field: keystore.SortRole}, {Field: keystore.SortEnabled, Desc: true}, {Field: keystore.SortModified}, {Field: keystore.SortClientID, Desc: true}},
		{{Field: keystore.SortMicrotenantID}, {Field: keystore.SortExpires, Desc: true}},
		{{Field: keystore.SortState}, {Field: keystore.SortSecrets, Desc: true}, {Field: keystore.SortLabels}, {Field: keystore.SortMicrotenant, Desc: true}},
	} {
		name := ""
		for _, f := range several {
			name += fmt.Sprintf(" %s %v", f.Field, f.Desc)
		}
		all[name] = several
	}
	return all
}

func listSorts(t *testing.T, f *fixture) {
	listed(t, f)
	for name, sort := range orders() {
		q := keystore.KeyQuery{CustomerID: acme, Sort: sort, Limit: 100}
		ids, total := f.keys(t, q)
		require.Len(t, ids, 7)
		require.Equal(t, 7, total)
		var back []keystore.SortField
		fields, err := q.Order()
		require.NoError(t, err)
		for _, field := range fields {
			back = append(back, keystore.SortField{Field: field.Field, Desc: !field.Desc})
		}
		reversed, _ := f.keys(t, keystore.KeyQuery{Sort: back, Limit: 100})
		slices.Reverse(reversed)
		require.Equal(t, ids, reversed, name)
		for i := range len(ids) - 1 {
			require.True(t, before(t, f, q, f.get(t, ids[i]), f.get(t, ids[i+1])), "%s: %v", name, ids)
		}
	}
}

// before reports whether a stands before b in the order of q, by the keys' own values.
func before(t *testing.T, f *fixture, q keystore.KeyQuery, a, b *keystore.Key) bool {
	t.Helper()
	fields, err := q.Order()
	require.NoError(t, err)
	for _, field := range fields {
		if c := compare(t, f, field.Field, a, b); c != 0 {
			return c < 0 != field.Desc
		}
	}
	return a.ID < b.ID != fields[len(fields)-1].Desc
}

func compare(t *testing.T, f *fixture, field string, a, b *keystore.Key) int {
	if read := derived[field]; read != nil {
		return cmp.Compare(read(t, f, a), read(t, f, b))
	}
	flag := func(on bool) int {
		if on {
			return 1
		}
		return 0
	}
	switch field {
	case keystore.SortName:
		return cmp.Compare(a.Name, b.Name)
	case keystore.SortClientID:
		return cmp.Compare(a.ClientID, b.ClientID)
	case keystore.SortCreated:
		return a.Created.Compare(b.Created)
	case keystore.SortModified:
		return a.Modified.Compare(b.Modified)
	case keystore.SortLastUsed:
		return a.LastUsed.Compare(b.LastUsed)
	case keystore.SortExpires:
		return a.ExpiresAt.Compare(b.ExpiresAt)
	case keystore.SortEnabled:
		return cmp.Compare(flag(a.Active()), flag(b.Active()))
	case keystore.SortValidity:
		return cmp.Compare(a.SessionValidity, b.SessionValidity)
	case keystore.SortRoleID:
		return cmp.Compare(a.RoleID, b.RoleID)
	case keystore.SortSource:
		return cmp.Compare(a.Source, b.Source)
	case keystore.SortMicrotenantID:
		return cmp.Compare(a.MicrotenantID, b.MicrotenantID)
	}
	panic("no such field " + field)
}

func listCursor(t *testing.T, f *fixture) {
	for name, sort := range orders() {
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
		q := keystore.KeyQuery{CustomerID: acme, Sort: sort, Limit: 100}
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
			c := f.place(t, q, page[len(page)-1])
			q.After = &c
			if round == 0 { // the place stays even when the key it names goes
				f.update(t, func(ctx context.Context, tx keystore.Tx) error {
					return tx.DeleteKey(ctx, page[len(page)-1])
				})
				added := f.key(100)
				added.Name, added.ClientID = "New", "new"
				f.put(t, added)
			}
		}
		require.Equal(t, want, without(got, "key_0100"), name)
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
	after := f.place(t, keystore.KeyQuery{}, all[0])
	page, _ = f.keys(t, keystore.KeyQuery{After: &after, Offset: 2, Limit: 3})
	require.Equal(t, all[1:4], page, "a cursor needs no offset")
	page, total = f.keys(t, keystore.KeyQuery{})
	require.Empty(t, page, "limit 0 only counts")
	require.Equal(t, 7, total)
}

func listErrors(t *testing.T, f *fixture) {
	f.put(t, f.key(1)) // so that there is something to list
	for name, q := range map[string]keystore.KeyQuery{
		"sort":                {Sort: by("secret")},
		"sort given twice":    {Sort: append(by(keystore.SortName), keystore.SortField{Field: keystore.SortName, Desc: true})},
		"too many sorts":      {Sort: append(by(keystore.SortName), append(by(keystore.SortCreated), append(by(keystore.SortRole), append(by(keystore.SortSource), by(keystore.SortEnabled)...)...)...)...)},
		"state":               {State: "happy"},
		"cursor":              {Sort: by(keystore.SortCreated), After: &keystore.Cursor{Values: []string{"yesterday"}}},
		"cursor of a flag":    {Sort: by(keystore.SortEnabled), After: &keystore.Cursor{Values: []string{"true"}}},
		"cursor without":      {After: &keystore.Cursor{}},
		"cursor of two":       {After: &keystore.Cursor{Values: []string{"a", "b"}}},
		"cursor, only counts": {After: &keystore.Cursor{}, Limit: -10},
	} {
		q.CustomerID, q.Limit = acme, q.Limit+10
		err := f.View(t.Context(), func(r keystore.Reader) error {
			_, _, err := r.Keys(t.Context(), q)
			return err
		})
		require.Error(t, err, name)
	}
}

// by is the order by one field.
func by(field string) []keystore.SortField { return []keystore.SortField{{Field: field}} }
