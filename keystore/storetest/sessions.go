package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var sessionCases = []testCase{
	{"each session is listed under one state, the record's own", sessionStates},
	{"raising a generation, of the key, its microtenant or its customer, ends what was issued before", sessionGenerations},
	{"sessions are listed newest first, by customer, microtenant and key", sessionFilters},
	{"paging through sessions misses and repeats nothing while others sign in", sessionPages},
	{"a session query must name a customer or ask for all, and a state there is", sessionErrors},
	{"locks in force are listed with their keys, whole clients before their sources", lockList},
	{"paging through locks misses and repeats nothing while some end", lockPages},
}

// signIn is a session of a key with one secret, issued now for an hour. Not stored yet.
func (f *fixture) signIn(k *keystore.Key, n int) *keystore.Session {
	now := f.clock.Now().Wall
	return &keystore.Session{ID: keystore.SessionID(fmt.Sprintf("ses_%04d", n), k.Generation, k.Secrets[0].ID), KeyID: k.ID,
		SecretID: k.Secrets[0].ID, Issued: now, Expires: now.Add(time.Hour)}
}

func (f *fixture) putSessions(t testing.TB, sessions ...*keystore.Session) {
	t.Helper()
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		for _, s := range sessions {
			if err := tx.PutSession(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// sessions lists what a query of acme selects.
func (f *fixture) sessions(t testing.TB, q keystore.SessionQuery) (list []*keystore.Session, total int) {
	t.Helper()
	if q.CustomerID == "" && !q.AllCustomers {
		q.CustomerID = acme
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		list, total, err = r.ListSessions(ctx, q)
		return err
	})
	return list, total
}

func sessionStates(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	k := f.key(1)
	k.Generation = 40 // two digits in base 36
	retired, over := newSecret("sec_retired", now), newSecret("sec_over", now)
	retired.Retired, over.Expires = now, now
	k.Secrets = append(k.Secrets, retired, over)
	f.put(t, k)
	of := func(n int, change func(*keystore.Session)) *keystore.Session {
		s := f.signIn(k, n)
		if change != nil {
			change(s)
		}
		return s
	}
	from := func(generation int64, secretID string) func(*keystore.Session) {
		return func(s *keystore.Session) {
			s.SecretID, s.ID = secretID, keystore.SessionID(s.ID[:8], generation, secretID)
		}
	}
	all := []*keystore.Session{
		of(1, nil),
		of(2, func(s *keystore.Session) { s.Ended, s.EndReason = now, "signout" }),
		of(3, func(s *keystore.Session) { s.Expires = now }),
		of(4, func(s *keystore.Session) { s.Expires, s.Ended = now, now.Add(-time.Minute) }),
		of(5, from(39, k.Secrets[0].ID)),
		of(6, from(40, retired.ID)),
		of(7, from(40, over.ID)),
		of(8, from(40, "sec_unknown")),
		of(9, func(s *keystore.Session) { from(39, "sec_unknown")(s); s.Expires = now }),
		of(10, func(s *keystore.Session) { s.ID = "no id of ours" }),
		of(11, func(s *keystore.Session) { s.Expires = now.Add(time.Millisecond) }),
	}
	f.putSessions(t, all...)
	want := map[string][]string{}
	for _, s := range all {
		state := s.State(k, k.Generation, now)
		want[state] = append(want[state], s.ID)
	}
	require.Equal(t, map[string]int{keystore.SessionActive: 2, keystore.SessionEnded: 7, keystore.SessionExpired: 2},
		map[string]int{keystore.SessionActive: len(want[keystore.SessionActive]), keystore.SessionEnded: len(want[keystore.SessionEnded]),
			keystore.SessionExpired: len(want[keystore.SessionExpired])})
	for state, ids := range want {
		list, total := f.sessions(t, keystore.SessionQuery{State: state, Limit: 100})
		require.ElementsMatch(t, ids, sessionIDs(list), state)
		require.Equal(t, len(ids), total, state)
	}
	k.Generation++ // ends them all in one write
	f.put(t, k)
	list, _ := f.sessions(t, keystore.SessionQuery{State: keystore.SessionActive, Limit: 100})
	require.Empty(t, list)
}

func sessionGenerations(t *testing.T, f *fixture) {
	top, inside, other := f.key(1), f.key(2), f.key(3)
	inside.MicrotenantID, other.CustomerID = lab, globex
	inside.Generation = 2
	f.put(t, top, inside, other)
	keys := []*keystore.Key{top, inside, other}
	generation := func(k *keystore.Key) (g int64) {
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			c, err := r.Customer(ctx, k.CustomerID)
			require.NoError(t, err)
			var m *keystore.Microtenant
			if k.MicrotenantID != "" {
				m, err = r.Microtenant(ctx, k.CustomerID, k.MicrotenantID)
			}
			g = keystore.SessionGeneration(k, c, m)
			return err
		})
		return g
	}
	// active lists the keys that have a running session, and signs all in again.
	n := 0
	active := func() (ids []string) {
		list, _ := f.sessions(t, keystore.SessionQuery{AllCustomers: true, State: keystore.SessionActive, Limit: 100})
		for _, s := range list {
			ids = append(ids, s.KeyID)
		}
		for _, k := range keys {
			n++
			s := f.signIn(k, n)
			s.ID = keystore.SessionID(fmt.Sprintf("ses_%04d", n), generation(k), s.SecretID)
			f.clock.Advance(time.Second)
			f.putSessions(t, s)
		}
		return ids
	}
	active()
	raise := func(fn func(ctx context.Context, tx keystore.Tx) error) { f.update(t, fn) }
	raise(func(ctx context.Context, tx keystore.Tx) error {
		m, err := tx.Microtenant(ctx, acme, lab)
		require.NoError(t, err)
		m.Generation++
		return tx.PutMicrotenant(ctx, m)
	})
	require.ElementsMatch(t, []string{top.ID, other.ID}, active())
	raise(func(ctx context.Context, tx keystore.Tx) error {
		c, err := tx.Customer(ctx, acme)
		require.NoError(t, err)
		c.Generation++
		return tx.PutCustomer(ctx, c)
	})
	require.ElementsMatch(t, []string{other.ID, other.ID}, active())
	inside.Generation++
	f.put(t, inside)
	require.ElementsMatch(t, []string{top.ID, other.ID, other.ID, other.ID}, active())
}

func sessionFilters(t *testing.T, f *fixture) {
	plain, inside, other := f.key(1), f.key(2), f.key(3)
	inside.MicrotenantID, other.CustomerID = lab, globex
	f.put(t, plain, inside, other)
	var ids []string
	for i, k := range []*keystore.Key{plain, inside, other, plain} {
		s := f.signIn(k, i)
		f.putSessions(t, s)
		ids = append(ids, s.ID)
		f.clock.Advance(time.Second)
	}
	for name, c := range map[string]struct {
		q    keystore.SessionQuery
		want []string
	}{
		"a customer":            {keystore.SessionQuery{}, []string{ids[3], ids[1], ids[0]}},
		"another customer":      {keystore.SessionQuery{CustomerID: globex}, []string{ids[2]}},
		"all":                   {keystore.SessionQuery{AllCustomers: true}, []string{ids[3], ids[2], ids[1], ids[0]}},
		"a microtenant":         {keystore.SessionQuery{MicrotenantID: lab}, []string{ids[1]}},
		"a key":                 {keystore.SessionQuery{KeyID: plain.ID}, []string{ids[3], ids[0]}},
		"a key of another":      {keystore.SessionQuery{KeyID: other.ID}, []string{}},
		"a key and a state":     {keystore.SessionQuery{KeyID: plain.ID, State: keystore.SessionActive}, []string{ids[3], ids[0]}},
		"a key without a state": {keystore.SessionQuery{KeyID: plain.ID, State: keystore.SessionEnded}, []string{}},
	} {
		c.q.Limit = 10
		list, total := f.sessions(t, c.q)
		require.Equal(t, c.want, sessionIDs(list), name)
		require.Equal(t, len(c.want), total, name)
	}
}

func sessionPages(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	for n := range 7 { // pairs of one moment
		f.putSessions(t, f.signIn(k, n))
		f.clock.Advance(time.Duration(n%2) * time.Second)
	}
	all, total := f.sessions(t, keystore.SessionQuery{Limit: 100})
	require.Equal(t, 7, total)
	var got []string
	q := keystore.SessionQuery{Limit: 2}
	for n := 100; ; n++ {
		list, _ := f.sessions(t, q)
		if len(list) == 0 {
			break
		}
		got = append(got, sessionIDs(list)...)
		after := list[len(list)-1].Cursor()
		q.After, q.Offset = &after, 3 // a cursor needs no offset
		f.clock.Advance(time.Second)
		f.putSessions(t, f.signIn(k, n))
	}
	require.Equal(t, sessionIDs(all), got)
	skipped, _ := f.sessions(t, keystore.SessionQuery{Offset: total, Limit: 2})
	require.Len(t, skipped, 2)
	none, total := f.sessions(t, keystore.SessionQuery{})
	require.Empty(t, none, "limit 0 only counts")
	require.Equal(t, 11, total)
}

func sessionErrors(t *testing.T, f *fixture) {
	k := f.key(1)
	f.put(t, k)
	f.putSessions(t, f.signIn(k, 1))
	for name, q := range map[string]keystore.SessionQuery{
		"no customer": {}, "state": {CustomerID: acme, State: "happy"}, "cursor": {CustomerID: acme, After: &keystore.Cursor{Values: []string{"yesterday"}}},
	} {
		q.Limit = 10
		require.Error(t, f.View(t.Context(), func(r keystore.Reader) error {
			_, _, err := r.ListSessions(t.Context(), q)
			return err
		}), name)
	}
	require.Error(t, f.View(t.Context(), func(r keystore.Reader) error {
		_, _, err := r.Locks(t.Context(), keystore.LockQuery{Limit: 10})
		return err
	}), "locks of no customer")
}

// lockOut counts failures of a source, or of the whole client, until they lock.
func (f *fixture) lockOut(t testing.TB, keyID, source string) {
	t.Helper()
	l := strict()
	if source != "" {
		l = guard()
	}
	for i := range l.Attempts {
		_, err := f.Count(t.Context(), l, []keystore.Proof{{KeyID: keyID, Source: source, Fingerprint: uint64(i)}})
		require.NoError(t, err)
	}
}

// locks lists what a query of acme selects, as key and source.
func (f *fixture) locks(t testing.TB, q keystore.LockQuery) (list []keystore.Lock, names []string, total int) {
	t.Helper()
	if q.CustomerID == "" && !q.AllCustomers {
		q.CustomerID = acme
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		list, total, err = r.Locks(ctx, q)
		return err
	})
	names = []string{}
	for _, l := range list {
		names = append(names, l.KeyName+" "+l.Source)
	}
	return list, names, total
}

func lockList(t *testing.T, f *fixture) {
	a, b, c, d := f.key(1), f.key(2), f.key(3), f.key(4)
	a.Name, b.Name, c.Name, d.Name = "d", "c", "b", "a"
	b.MicrotenantID, c.CustomerID = lab, globex
	f.put(t, a, b, c, d)
	f.lockOut(t, a.ID, "")
	f.lockOut(t, b.ID, "192.0.2.1/32")
	f.lockOut(t, b.ID, "")
	f.lockOut(t, c.ID, "")
	_, err := f.Count(t.Context(), strict(), []keystore.Proof{{KeyID: d.ID}}) // counted, not locked
	require.NoError(t, err)
	list, names, total := f.locks(t, keystore.LockQuery{AllCustomers: true, Limit: 10})
	require.Equal(t, []string{"b ", "c ", "c 192.0.2.1/32", "d "}, names)
	require.Equal(t, 4, total)
	first := list[0]
	require.Equal(t, []string{c.ID, c.ClientID, globex, ""}, []string{first.KeyID, first.ClientID, first.CustomerID, first.MicrotenantID})
	require.Equal(t, strict().Duration, first.Remaining(f.clock.Now()))
	_, names, total = f.locks(t, keystore.LockQuery{Limit: 10})
	require.Equal(t, []string{"c ", "c 192.0.2.1/32", "d "}, names)
	require.Equal(t, 3, total)
	_, names, _ = f.locks(t, keystore.LockQuery{MicrotenantID: lab, Limit: 10})
	require.Equal(t, []string{"c ", "c 192.0.2.1/32"}, names)
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, b.ID) })
	_, names, _ = f.locks(t, keystore.LockQuery{Limit: 10})
	require.Equal(t, []string{"d "}, names)
	f.clock.Advance(strict().Duration)
	_, names, total = f.locks(t, keystore.LockQuery{AllCustomers: true, Limit: 10})
	require.Empty(t, names, "a lock that has ended is none")
	require.Zero(t, total)
}

func lockPages(t *testing.T, f *fixture) {
	for n := range 5 {
		k := f.key(n)
		f.put(t, k)
		if n == 2 {
			f.lockOut(t, k.ID, "192.0.2.1/32")
		}
		f.lockOut(t, k.ID, "")
	}
	_, all, total := f.locks(t, keystore.LockQuery{Limit: 100})
	require.Equal(t, 6, total)
	var got []string
	q := keystore.LockQuery{Limit: 2}
	for {
		list, names, _ := f.locks(t, q)
		if len(list) == 0 {
			break
		}
		got = append(got, names...)
		after := list[len(list)-1].Cursor()
		q.After, q.Offset = &after, 5 // a cursor needs no offset
		f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.Unlock(ctx, list[0].KeyID) })
	}
	require.Equal(t, all, got)
	_, names, total := f.locks(t, keystore.LockQuery{Offset: 1, Limit: 10})
	require.Equal(t, []string{"Key 0004 "}, names)
	require.Equal(t, 2, total, "of the first and last page one each was left")
	_, names, _ = f.locks(t, keystore.LockQuery{})
	require.Empty(t, names, "limit 0 only counts")
}
