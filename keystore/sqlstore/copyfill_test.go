package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/postgres"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/policy"
)

// place is where a store is, to be opened as a command does.
type place struct {
	path, dsn string
	clock     keystore.Clock
	ring      *credential.Keyring
}

var masterKey = credential.NewMasterKey()

func newPlace(t testing.TB) place {
	ring, err := credential.NewKeyring(masterKey)
	require.NoError(t, err)
	return place{clock: keystore.NewSystemClock(), ring: ring}
}

func onSQLite(t testing.TB) place {
	p := newPlace(t)
	p.path = filepath.Join(t.TempDir(), "keyreeve.db")
	return p
}

func onPostgres(t testing.TB) place {
	p, server := newPlace(t), pgtest.Shared(t)
	p.dsn = server.DSN(pgtest.Superuser, server.NewDatabase(t))
	return p
}

// kinds are the ways a store can move.
var kinds = []struct {
	name     string
	from, to func(testing.TB) place
}{
	{"sqlite to postgres", onSQLite, onPostgres},
	{"postgres to sqlite", onPostgres, onSQLite},
	{"sqlite to sqlite", onSQLite, onSQLite},
	{"postgres to postgres", onPostgres, onPostgres},
}

// open opens the store; it is closed when t ends, if it was not before.
func (p place) open(t testing.TB) keystore.Store {
	t.Helper()
	var s keystore.Store
	var err error
	if p.dsn != "" {
		s, err = postgres.Open(t.Context(), postgres.Options{DSN: p.dsn, Clock: p.clock, Visit: true})
	} else {
		s, err = sqlite.Open(t.Context(), sqlite.Options{Path: p.path, Clock: p.clock, Visit: true})
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	s.SealAudit(p.ring)
	return s
}

// raw runs a statement behind the store's back.
func (p place) raw(t testing.TB, text string) {
	t.Helper()
	driver, source := "sqlite", "file:"+p.path
	if p.dsn != "" {
		driver, source = "pgx", p.dsn
	}
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), text)
	require.NoError(t, err, text)
	require.NoError(t, db.Close())
}

func rows(t testing.TB, s keystore.Store) map[string][]string {
	t.Helper()
	inner, ok := keystore.As[interface{ SQL() *sqlstore.Store }](s)
	require.True(t, ok)
	found, err := sqlstore.CopiedRows(t.Context(), inner.SQL())
	require.NoError(t, err)
	return found
}

// odd is text that databases keep in different ways.
const odd = "nul \x00, no UTF-8 \xff\xfe, a mark \uf8f0\uf701, 'quoted', Ünïcode \U0001f511"

// fill puts something into every table.
func fill(t testing.TB, s keystore.Store, keys int) {
	t.Helper()
	ctx := t.Context()
	now := time.Now().Truncate(time.Millisecond).UTC()
	update := func(fn func(tx keystore.Tx) error) {
		t.Helper()
		_, err := s.Update(ctx, fn)
		require.NoError(t, err)
	}
	update(func(tx keystore.Tx) error { return fillTenants(ctx, tx, now) })
	for first := 0; first < keys; first += 1000 {
		update(func(tx keystore.Tx) error {
			for n := first; n < min(keys, first+1000); n++ {
				if err := tx.PutKey(ctx, fillKey(n, now)); err != nil {
					return err
				}
			}
			return tx.AddAudit(ctx, &keystore.Audit{At: now, CustomerID: "acme", ActorKind: "local", Action: "key.create", TargetKind: "key", TargetID: fmt.Sprint(first), After: []byte(`{"a": 1}`)})
		})
	}
	update(func(tx keystore.Tx) error { return fillRecords(ctx, tx, now) })
	strict := policy.DefaultLockout()
	guard := strict
	guard.Mode = policy.Guard
	for i := range 3 {
		at := "203.0.113.7"
		_, err := s.Count(ctx, strict, []keystore.Proof{{KeyID: "key_1", Address: at, RequestID: "r", Fingerprint: uint64(i + 1)}})
		require.NoError(t, err)
		_, err = s.Count(ctx, guard, []keystore.Proof{{KeyID: "key_2", Source: "203.0.113.7/32", Address: at, Fingerprint: 1<<63 + uint64(i)}})
		require.NoError(t, err)
	}
	_, err := s.Count(ctx, guard, []keystore.Proof{{KeyID: "key_3", Source: "198.51.100.0/24", Success: true}, {KeyID: "key_3", Fingerprint: 9}})
	require.NoError(t, err)
	require.NoError(t, s.Use(ctx, []keystore.Use{{KeyID: "key_4", SecretID: "sec_4", At: now, Address: "192.0.2.9", Route: "GET /a"}},
		keystore.Calls{KeyID: "key_4", Hour: now.Truncate(time.Hour), Calls: 17}))
}

func fillTenants(ctx context.Context, tx keystore.Tx, now time.Time) error {
	for _, id := range []string{"acme", "globex"} {
		if err := tx.PutCustomer(ctx, &keystore.Customer{ID: id, Name: "Näme of " + id, Enabled: id == "acme", Generation: 3, Created: now, Modified: now}); err != nil {
			return err
		}
		if err := tx.PutMicrotenant(ctx, &keystore.Microtenant{ID: "lab", CustomerID: id, Name: "Lab", Enabled: true, Generation: 1, Created: now, Modified: now}); err != nil {
			return err
		}
		if err := tx.AddAudit(ctx, &keystore.Audit{At: now, CustomerID: id, ActorKind: "local", Action: "customer.create", TargetKind: "customer", TargetID: id, TargetName: odd}); err != nil {
			return err
		}
	}
	if err := tx.PutRole(ctx, &keystore.Role{ID: "role_own", CustomerID: "acme", Name: "Own", Permissions: policy.Permissions{"a": policy.View, "b": policy.Full}, Created: now, Modified: now}); err != nil {
		return err
	}
	return tx.PutSource(ctx, &keystore.Source{CustomerID: "acme", Name: "directory", Owner: "them", Rule: keystore.SourceLocked, MaxRoleID: "role_own",
		Created: now, Modified: now, Synced: now, SyncedBy: "x"})
}

func fillKey(n int, now time.Time) *keystore.Key {
	id := fmt.Sprint(n)
	k := &keystore.Key{ID: "key_" + id, ClientID: "client-" + id, Name: "Key " + id, CustomerID: "acme", RoleID: keystore.RoleReadOnly, Enabled: n%7 != 0,
		Created: now, CreatedBy: "x", Modified: now, ModifiedBy: "y", Generation: int64(n % 4),
		Secrets: []keystore.Secret{{ID: "sec_" + id, MasterKeyID: masterKey.ID(), Hint: "abcd", Created: now, Verifier: [32]byte{0, byte(n), byte(n >> 8), 0xff}}}}
	switch n % 5 {
	case 1:
		k.MicrotenantID, k.RoleID, k.Description = "lab", "role_own", odd+id
		k.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		k.Labels = map[string]string{"team": "ü", "tier": id}
	case 2:
		k.Source, k.DisabledHere, k.ExpiresAt, k.SessionValidity = "directory", true, now.Add(time.Hour), 90*time.Minute
		k.ClientID += odd
		k.Secrets = append(k.Secrets, keystore.Secret{ID: "old_" + id, MasterKeyID: masterKey.ID(), Created: now, Retired: now, Tried: now, TriedAddress: "192.0.2.1"})
	}
	return k
}

func fillRecords(ctx context.Context, tx keystore.Tx, now time.Time) error {
	for i := range 10 {
		s := &keystore.Session{ID: fmt.Sprintf("ses%d.3.sec_1", i), KeyID: "key_1", SecretID: "sec_1", Address: "192.0.2.1", Issued: now, Expires: now.Add(time.Hour)}
		if i%2 == 0 {
			s.Ended, s.EndReason = now, "signed_out"
		}
		if err := tx.PutSession(ctx, s); err != nil {
			return err
		}
	}
	if err := tx.PutIdempotency(ctx, &keystore.Idempotency{Owner: "key_1", Key: "again", Fingerprint: [32]byte{1}, Result: []byte(`{"x":1}`), Created: now}); err != nil {
		return err
	}
	for i := range 40 {
		e := &keystore.Audit{At: now, CustomerID: []string{"", "acme", "globex"}[i%3], ActorKind: "key", ActorID: "key_1", ActorName: strings.Repeat("n", i), Action: "key.update", TargetKind: "key",
			TargetID: "key_2", RequestID: "req", Before: []byte(`{"b":[1,2.5,"\u0000"]}`), After: []byte(`null`)}
		if err := tx.AddAudit(ctx, e); err != nil {
			return err
		}
	}
	return tx.PutPreference(ctx, keystore.Preference{Owner: "key_1", Name: "columns", Value: []byte(`["name"]`)})
}
