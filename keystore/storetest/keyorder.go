package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var orderCases = []testCase{
	{"a list by what has a name follows the names, not the ids", orderNames},
	{"a list by labels has those without first, and is by name, then value", orderLabels},
	{"time alone moves no key between the pages of a list by state or secrets", orderStands},
	{"what is written between two pages moves a key that is not listed yet", orderMoves},
	{"the place of a key that is not there is not found", orderMissing},
}

// place is where a key stands in the order of a query.
func (f *fixture) place(t testing.TB, q keystore.KeyQuery, id string) (c keystore.Cursor) {
	t.Helper()
	if q.CustomerID == "" && !q.AllCustomers {
		q.CustomerID = acme
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		c, err = r.KeyCursor(ctx, q, id)
		return err
	})
	return c
}

// vary gives one of several keys what they are not all to have: labels, states and
// numbers of live secrets.
func (f *fixture) vary(k *keystore.Key, i int) {
	now := f.clock.Now().Wall
	switch i {
	case 1, 2:
		k.Labels = map[string]string{"env": "prod", "team": fmt.Sprint(i)}
	case 3:
		k.Labels = map[string]string{"env": "dev", "note": "ünï \"quoted\""}
	case 4:
		k.ExpiresAt = now
		k.Secrets = append(k.Secrets, newSecret("sec_second", now))
	case 5:
		k.Enabled, k.DisabledHere = true, false
		k.Secrets[0].Expires = now
	case 6:
		k.Secrets[0].Retired = now
	}
}

// derived are the sort fields that are no field of a key, as its own word has them.
var derived = map[string]func(*testing.T, *fixture, *keystore.Key) string{
	keystore.SortState: func(t *testing.T, f *fixture, k *keystore.Key) string {
		now := f.clock.Now()
		locked := false
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			tallies, err := r.Tallies(ctx, k.ID)
			for _, tally := range tallies {
				locked = locked || tally.Source == "" && tally.Remaining(now) > 0
			}
			return err
		})
		return k.State(locked, now.Wall)
	},
	keystore.SortSecrets: func(t *testing.T, f *fixture, k *keystore.Key) string {
		live := 0
		for i := range k.Secrets {
			if k.Secrets[i].Live(f.clock.Now().Wall) {
				live++
			}
		}
		return fmt.Sprint(live)
	},
	keystore.SortLabels: func(t *testing.T, f *fixture, k *keystore.Key) string {
		if len(k.Labels) == 0 {
			return ""
		}
		text, err := json.Marshal(k.Labels)
		require.NoError(t, err)
		letters := []rune(string(text))
		return string(letters[:min(len(letters), keystore.LabelOrder)])
	},
	keystore.SortRole: func(t *testing.T, f *fixture, k *keystore.Key) (name string) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			role, err := r.Role(ctx, k.RoleID)
			name = role.Name
			return err
		})
		return name
	},
	keystore.SortCustomer: func(t *testing.T, f *fixture, k *keystore.Key) (name string) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			customer, err := r.Customer(ctx, k.CustomerID)
			name = customer.Name
			return err
		})
		return name
	},
	keystore.SortMicrotenant: func(t *testing.T, f *fixture, k *keystore.Key) (name string) {
		if k.MicrotenantID == "" {
			return ""
		}
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			m, err := r.Microtenant(ctx, k.CustomerID, k.MicrotenantID)
			name = m.Name
			return err
		})
		return name
	},
}

func orderNames(t *testing.T, f *fixture) {
	keys := []*keystore.Key{f.key(0), f.key(1), f.key(2)}
	keys[1].RoleID, keys[1].MicrotenantID = auditor, lab
	keys[2].CustomerID, keys[2].RoleID = globex, keystore.RoleFullAccess
	f.put(t, keys...)
	ids := func(field string) []string {
		found, total := f.keys(t, keystore.KeyQuery{AllCustomers: true, Sort: by(field), Limit: 10})
		require.Equal(t, 3, total)
		return found
	}
	require.Equal(t, []string{"key_0002", "key_0000", "key_0001"}, ids(keystore.SortRole))
	require.Equal(t, []string{"key_0000", "key_0001", "key_0002"}, ids(keystore.SortCustomer))
	require.Equal(t, []string{"key_0000", "key_0002", "key_0001"}, ids(keystore.SortMicrotenant))
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		role, err := tx.Role(ctx, auditor)
		if err != nil {
			return err
		}
		role.Name = "AAA"
		customer, err := tx.Customer(ctx, globex)
		if err != nil {
			return err
		}
		customer.Name = "AAA"
		if err := tx.PutCustomer(ctx, customer); err != nil {
			return err
		}
		return tx.PutRole(ctx, role)
	})
	require.Equal(t, []string{"key_0001", "key_0002", "key_0000"}, ids(keystore.SortRole))
	require.Equal(t, []string{"key_0002", "key_0000", "key_0001"}, ids(keystore.SortCustomer))
}

func orderLabels(t *testing.T, f *fixture) {
	long := map[string]string{}
	for i := range 20 {
		long[fmt.Sprintf("label-%02d", i)] = "the same in both"
	}
	labels := []map[string]string{{"team": "ops"}, {"env": "prod"}, nil, {"env": "dev"}, {"env": "dev", "team": "ops"}, long, long}
	for i, l := range labels {
		k := f.key(i)
		k.Labels = l
		f.put(t, k)
	}
	want := []string{"key_0002", "key_0004", "key_0003", "key_0001", "key_0005", "key_0006", "key_0000"}
	q := keystore.KeyQuery{Sort: by(keystore.SortLabels), Limit: 1}
	var got []string
	for {
		page, _ := f.keys(t, q)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		c := f.place(t, q, page[0])
		require.LessOrEqual(t, len(c.Values[0]), keystore.LabelOrder)
		q.After = &c
	}
	require.Equal(t, want, got)
}

// walk lists page by page, one key each; between is called behind the first.
func (f *fixture) walk(t *testing.T, field string, between func()) (ids []string) {
	t.Helper()
	q := keystore.KeyQuery{Sort: by(field), Limit: 1}
	for {
		page, _ := f.keys(t, q)
		if len(page) == 0 {
			return ids
		}
		ids = append(ids, page...)
		c := f.place(t, q, page[0])
		q.After = &c
		if len(ids) == 1 {
			between()
		}
	}
}

func orderStands(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	active, ending, locked, expired := f.key(0), f.key(1), f.key(2), f.key(3)
	ending.ExpiresAt = now.Add(time.Minute)
	second := newSecret("sec_second", now)
	second.Expires = now.Add(time.Minute)
	locked.Secrets = append(locked.Secrets, second)
	expired.ExpiresAt = now
	f.put(t, active, ending, locked, expired)
	f.lockOut(t, locked.ID, "")
	pass := func() { f.clock.Advance(strict().Duration + time.Minute) }
	require.Equal(t, []string{active.ID, ending.ID, expired.ID, locked.ID}, f.walk(t, keystore.SortState, pass), "as of the first page")
	require.Equal(t, []string{active.ID, locked.ID, ending.ID, expired.ID}, f.walk(t, keystore.SortState, func() {}), "a new list is of now")
	require.Equal(t, []string{active.ID, ending.ID, locked.ID, expired.ID}, f.walk(t, keystore.SortSecrets, func() {}), "the second secret is over")
	second.Expires = f.clock.Now().Wall.Add(time.Minute)
	locked.Secrets[1] = second
	f.put(t, locked)
	require.Equal(t, []string{active.ID, ending.ID, expired.ID, locked.ID}, f.walk(t, keystore.SortSecrets, pass))
}

func orderMoves(t *testing.T, f *fixture) {
	first, second, third := f.key(0), f.key(1), f.key(2)
	f.put(t, first, second, third)
	require.Equal(t, []string{first.ID, third.ID, second.ID}, f.walk(t, keystore.SortState, func() {
		second.Enabled = false
		f.put(t, second)
	}))
	require.Equal(t, []string{first.ID, second.ID, third.ID}, f.walk(t, keystore.SortState, func() { f.lockOut(t, third.ID, "") })[:3],
		"among the disabled, then the locked")
}

func orderMissing(t *testing.T, f *fixture) {
	for _, field := range keystore.KeySortFields() {
		err := f.View(t.Context(), func(r keystore.Reader) error {
			_, err := r.KeyCursor(t.Context(), keystore.KeyQuery{CustomerID: acme, Sort: by(field)}, "key_none")
			return err
		})
		require.ErrorIs(t, err, keystore.ErrNotFound, field)
	}
}
