package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Database opens one database. Every call is another process's view of it: a
// second call while the first store is open, or after it was closed, finds what
// was stored. The store is closed when t ends, if the test has not closed it.
type Database func(t testing.TB, clock *Clock) keystore.Store

// sealed is the database with the audit trail of each store sealed.
func (d Database) sealed() Database {
	return func(t testing.TB, clock *Clock) keystore.Store {
		s := d(t, clock)
		s.SealAudit(NewSealer("mk1"))
		return s
	}
}

// Run holds a kind of store to every rule of the interfaces Store, Reader and
// Tx. newDatabase makes an empty database of t's own.
func Run(t *testing.T, newDatabase func(t testing.TB) Database) {
	suites := []struct {
		name  string
		cases []testCase
	}{
		{"keys", keyCases},
		{"secrets", secretCases},
		{"tenants", tenantCases},
		{"list", listCases},
		{"order", orderCases},
		{"filters", filterCases},
		{"sources", sourceCases},
		{"uses", useCases},
		{"calls", callCases},
		{"idempotency", idempotencyCases},
		{"audit", auditCases},
		{"records", recordCases},
		{"transactions", transactionCases},
		{"feed", feedCases},
		{"sessions and locks", sessionCases},
		{"lockout", lockoutCases},
		{"guard", guardCases},
		{"tries", tryCases},
		{"trim", trimCases},
		{"parallel", parallelCases},
	}
	for _, suite := range suites {
		t.Run(suite.name, func(t *testing.T) {
			for _, c := range suite.cases {
				t.Run(c.rule, func(t *testing.T) {
					t.Parallel()
					c.test(t, newFixture(t, newDatabase(t).sealed()))
				})
			}
		})
	}
}

type testCase struct {
	rule string
	test func(t *testing.T, f *fixture)
}

// The records every fixture begins with.
const (
	acme    = "cust_acme"
	globex  = "cust_globex"
	lab     = "mt_lab" // a microtenant of acme
	auditor = "role_auditor"
	// directory is a source of acme.
	directory = "directory"
)

// fixture is an open store with two customers, a microtenant, a role and a source.
type fixture struct {
	keystore.Store
	open  Database
	clock *Clock
}

// Succeed counts one right secret. ErrNotFound if the key is not there.
func (f *fixture) Succeed(ctx context.Context, l policy.Lockout, keyID, source string) (keystore.CountResult, error) {
	results, err := f.Count(ctx, l, []keystore.Proof{{KeyID: keyID, Source: source, Success: true}})
	if err != nil {
		return keystore.CountResult{}, err
	}
	if results[0].Whole.KeyID == "" {
		return results[0], keystore.ErrNotFound
	}
	return results[0], nil
}

func newFixture(t *testing.T, open Database) *fixture {
	clock := NewClock()
	f := &fixture{Store: open(t, clock), open: open, clock: clock}
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		now := tx.Now().Wall
		for _, c := range []keystore.Customer{
			{ID: acme, Name: "Acme", Enabled: true, Created: now, Modified: now},
			{ID: globex, Name: "Globex", Enabled: true, Created: now, Modified: now},
		} {
			if err := tx.PutCustomer(ctx, &c); err != nil {
				return err
			}
		}
		if err := tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: lab, CustomerID: acme, Name: "Lab", Enabled: true, Created: now, Modified: now}); err != nil {
			return err
		}
		err := tx.PutSource(ctx, &keystore.Source{CustomerID: acme, Name: directory, Owner: "The directory team", Rule: keystore.SourceReadOnly,
			MaxRoleID: keystore.RoleReadOnly, Created: now, Modified: now})
		if err != nil {
			return err
		}
		return tx.PutRole(ctx, &keystore.Role{ID: auditor, CustomerID: acme, Name: "Auditor", Description: "Reads.",
			Permissions: policy.Permissions{"segments": policy.View, "odd": policy.Update | policy.Delete}, Created: now, Modified: now})
	})
	return f
}

// update runs fn in a transaction that must succeed.
func (f *fixture) update(t testing.TB, fn func(ctx context.Context, tx keystore.Tx) error) keystore.Revision {
	t.Helper()
	rev, err := f.try(t, fn)
	require.NoError(t, err)
	return rev
}

// try runs fn in a transaction.
func (f *fixture) try(t testing.TB, fn func(ctx context.Context, tx keystore.Tx) error) (keystore.Revision, error) {
	ctx := t.Context()
	return f.Update(ctx, func(tx keystore.Tx) error { return fn(ctx, tx) })
}

// view runs fn on a snapshot; it must succeed.
func (f *fixture) view(t testing.TB, fn func(ctx context.Context, r keystore.Reader) error) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, f.View(ctx, func(r keystore.Reader) error { return fn(ctx, r) }))
}

// put stores keys in one transaction.
func (f *fixture) put(t testing.TB, keys ...*keystore.Key) keystore.Revision {
	t.Helper()
	return f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		for _, k := range keys {
			if err := tx.PutKey(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// get reads a key that must be there.
func (f *fixture) get(t testing.TB, id string) (k *keystore.Key) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		k, err = r.Key(ctx, id)
		return err
	})
	return k
}

// head is the newest revision.
func (f *fixture) head(t testing.TB) keystore.Revision {
	t.Helper()
	head, err := f.Head(t.Context())
	require.NoError(t, err)
	return head
}

// key is a key of acme named by n, with one secret. Not stored yet.
func (f *fixture) key(n int) *keystore.Key {
	now := f.clock.Now().Wall
	return &keystore.Key{
		ID: fmt.Sprintf("key_%04d", n), ClientID: fmt.Sprintf("client-%04d", n), Name: fmt.Sprintf("Key %04d", n),
		CustomerID: acme, RoleID: keystore.RoleReadOnly, Enabled: true,
		Secrets: []keystore.Secret{newSecret(fmt.Sprintf("sec_%04d", n), now)},
		Created: now, CreatedBy: "tester", Modified: now, ModifiedBy: "tester",
	}
}

func newSecret(id string, created time.Time) keystore.Secret {
	s := keystore.Secret{ID: id, MasterKeyID: "mk1", Hint: "wxyz", Created: created}
	copy(s.Verifier[:], id)
	return s
}

// refused asserts a constraint's answer and the field it names.
func refused(t testing.TB, err error, sentinel error, field string) {
	t.Helper()
	require.ErrorIs(t, err, sentinel)
	var fe *keystore.FieldError
	require.ErrorAs(t, err, &fe)
	require.Equal(t, field, fe.Field)
}
