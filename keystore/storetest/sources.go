package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var sourceCases = []testCase{
	{"a source is read back as it was put, logged, and listed by name", sourceRoundTrip},
	{"a source needs a customer, a role that customer may use, a rule and a name", sourceConstraints},
	{"a key's source must be one of its customer", sourceOfKey},
	{"a source that owns keys cannot be deleted", sourceInUse},
	{"a role that bounds a source can neither be deleted nor given to another customer", sourceRole},
	{"a push that changed nothing is no change", sourceTouch},
}

func (f *fixture) putSource(t testing.TB, s *keystore.Source) error {
	t.Helper()
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutSource(ctx, s) })
	return err
}

func (f *fixture) sources(t testing.TB, customerID string) (all []*keystore.Source) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		all, err = r.Sources(ctx, customerID)
		return err
	})
	return all
}

func sourceRoundTrip(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	before := f.head(t)
	s := &keystore.Source{CustomerID: acme, Name: hostile[0], Owner: hostile[5], Rule: keystore.SourceLocked, MaxRoleID: auditor,
		Created: now.Add(time.Nanosecond), Modified: now.Add(time.Second), Synced: now.Add(time.Hour), SyncedBy: hostile[1]}
	require.NoError(t, f.putSource(t, s))
	require.Equal(t, before+1, s.Revision)
	changes, err := f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: s.Revision, Kind: keystore.KindSource, ID: s.Name, CustomerID: acme}}, changes)
	get := func() (got *keystore.Source) {
		f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
			got, err = r.Source(ctx, acme, s.Name)
			_, other := r.Source(ctx, globex, s.Name)
			require.ErrorIs(t, other, keystore.ErrNotFound)
			return err
		})
		return got
	}
	require.Equal(t, s, get())
	s.Rule, s.MaxRoleID, s.Owner, s.Synced, s.SyncedBy = keystore.SourceReadOnly, keystore.RoleFullAccess, "", time.Time{}, ""
	require.NoError(t, f.putSource(t, s))
	require.Equal(t, s, get())

	other := &keystore.Source{CustomerID: globex, Name: directory, Rule: keystore.SourceLocked, MaxRoleID: keystore.RoleReadOnly}
	require.NoError(t, f.putSource(t, other))
	names := func(all []*keystore.Source) (names []string) {
		for _, s := range all {
			names = append(names, s.CustomerID+" "+s.Name)
		}
		return names
	}
	require.Equal(t, []string{acme + " " + s.Name, acme + " " + directory}, names(f.sources(t, acme)))
	require.Equal(t, []string{acme + " " + s.Name, acme + " " + directory, globex + " " + directory}, names(f.sources(t, "")))
	before = f.head(t)
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteSource(ctx, acme, s.Name) })
	changes, err = f.Changes(t.Context(), before)
	require.NoError(t, err)
	require.Equal(t, []keystore.Change{{Revision: rev, Kind: keystore.KindSource, ID: s.Name, CustomerID: acme}}, changes)
	require.Equal(t, []*keystore.Source{other}, f.sources(t, globex))
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteSource(ctx, acme, s.Name) })
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

func sourceConstraints(t *testing.T, f *fixture) {
	good := keystore.Source{CustomerID: acme, Name: "n", Rule: keystore.SourceLocked, MaxRoleID: auditor}
	s := good
	s.CustomerID = "cust_none"
	refused(t, f.putSource(t, &s), keystore.ErrNotFound, "customer_id")
	s = good
	s.MaxRoleID = "role_none"
	refused(t, f.putSource(t, &s), keystore.ErrNotFound, "max_role_id")
	s = good
	s.CustomerID = globex
	refused(t, f.putSource(t, &s), keystore.ErrNotFound, "max_role_id")
	s = good
	s.Rule = "anything goes"
	require.ErrorContains(t, f.putSource(t, &s), "rule")
	s = good
	s.Name = ""
	require.ErrorContains(t, f.putSource(t, &s), "name")
	require.NoError(t, f.putSource(t, &good))
}

func sourceOfKey(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Source = "none"
	put := func() error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.PutKey(ctx, k) })
		return err
	}
	refused(t, put(), keystore.ErrNotFound, "source")
	k.Source, k.CustomerID = directory, globex
	refused(t, put(), keystore.ErrNotFound, "source")
	k.CustomerID = acme
	require.NoError(t, put())
	require.Equal(t, directory, f.get(t, k.ID).Source)
}

func sourceInUse(t *testing.T, f *fixture) {
	k := f.key(1)
	k.Source = directory
	f.put(t, k)
	require.NoError(t, f.putSource(t, &keystore.Source{CustomerID: globex, Name: directory, Rule: keystore.SourceLocked, MaxRoleID: keystore.RoleReadOnly}))
	remove := func(customerID string) error {
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteSource(ctx, customerID, directory) })
		return err
	}
	refused(t, remove(acme), keystore.ErrInUse, "keys")
	require.NoError(t, remove(globex), "another customer's of that name")
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteKey(ctx, k.ID) })
	require.NoError(t, remove(acme))
}

func sourceRole(t *testing.T, f *fixture) {
	require.NoError(t, f.putSource(t, &keystore.Source{CustomerID: acme, Name: "n", Rule: keystore.SourceLocked, MaxRoleID: auditor}))
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteRole(ctx, auditor) })
	refused(t, err, keystore.ErrInUse, "sources")
	_, err = f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.PutRole(ctx, &keystore.Role{ID: auditor, CustomerID: globex, Name: "Auditor"})
	})
	refused(t, err, keystore.ErrInUse, "sources")
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteSource(ctx, acme, "n") })
	f.update(t, func(ctx context.Context, tx keystore.Tx) error { return tx.DeleteRole(ctx, auditor) })
}

func sourceTouch(t *testing.T, f *fixture) {
	want := f.sources(t, acme)[0]
	before := f.head(t)
	want.Synced, want.SyncedBy = f.clock.Now().Wall.Add(time.Hour), "pusher"
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.TouchSource(ctx, acme, directory, want.Synced, want.SyncedBy)
	})
	require.Equal(t, before, rev)
	require.Equal(t, want, f.sources(t, acme)[0])
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		return tx.TouchSource(ctx, globex, directory, want.Synced, "")
	})
	require.ErrorIs(t, err, keystore.ErrNotFound)
}
