package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// newDSN is an empty database of the shared server.
func newDSN(t testing.TB) string {
	server := pgtest.Shared(t)
	return server.DSN(pgtest.Superuser, server.NewDatabase(t))
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s := open(t, newDSN(t), keystore.NewSystemClock())
	seed(t, s)
	return s
}

// seed makes customer c.
func seed(t testing.TB, s *Store) {
	t.Helper()
	ctx := context.Background()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		return tx.PutCustomer(ctx, &keystore.Customer{ID: "c", Name: "C", Enabled: true})
	})
	require.NoError(t, err)
}

// testKey is the n-th key of customer c.
func testKey(n int) *keystore.Key {
	id := fmt.Sprintf("%08d", n)
	return &keystore.Key{ID: "key_" + id, ClientID: "client-" + id, Name: "Key " + id, CustomerID: "c", RoleID: keystore.RoleReadOnly, Enabled: true,
		Secrets: []keystore.Secret{{ID: "sec_" + id, MasterKeyID: "mk"}}}
}

func putKeys(t testing.TB, s *Store, first, n int) {
	t.Helper()
	ctx := context.Background()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		for i := range n {
			if err := tx.PutKey(ctx, testKey(first+i)); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
}

// connect is a connection beside the store's.
func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func run(t testing.TB, c *pgx.Conn, text string, args ...any) {
	t.Helper()
	_, err := c.Exec(context.Background(), text, args...)
	require.NoError(t, err, text)
}

// verifyChain is what keystore.AuditCheck finds wrong with a customer's chain, "" for nothing.
func verifyChain(t testing.TB, s *Store, customerID string) string {
	t.Helper()
	ctx := context.Background()
	check := keystore.NewAuditCheck(customerID, storetest.NewSealer("mk"))
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		heads, err := r.AuditHeads(ctx, customerID, false)
		if err != nil {
			return err
		}
		events, _, err := r.AuditEvents(ctx, keystore.AuditQuery{CustomerID: customerID, Oldest: true, Limit: 10_000})
		for _, e := range events {
			check.Add(e)
		}
		require.Len(t, heads, 1)
		check.End(heads[0])
		return err
	}))
	if p := check.Problem(); p != nil {
		return p.Code
	}
	return ""
}
