package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// migrateTo brings a database to these migrations and no further.
func migrateTo(t *testing.T, path string, names ...string) {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range names {
		text, err := migrations.ReadFile("migrations/" + name)
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	db, err := sql.Open("sqlite", dsn(path, ""))
	require.NoError(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	require.NoError(t, err)
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// firstSchema is the path of a database of the first migration, with rows of that time in it.
func firstSchema(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	require.NoError(t, createFile(t.Context(), path))
	migrateTo(t, path, "00001_init.sql")
	verifier := "x'" + strings.Repeat("ab", 32) + "'"
	raw(t, path, "PRAGMA journal_mode = WAL",
		"UPDATE state SET head = 7",
		"INSERT INTO customers VALUES ('acme', 'Äcme', 1, 1000, 2000, 3), ('globex', 'Globex', 1, 1000, 2000, 4)",
		"INSERT INTO microtenants VALUES ('acme', 'lab', 'Ölab', 1, 1000, 2000, 5)",
		`INSERT INTO roles VALUES ('role_api_read_only', '', 'API Read Only', '', '{"*":1}', 1, 1, 1, 1), ('role_api_full_access', '', 'API Full Access', '', '{"*":15}', 1, 1, 1, 1)`,
		`INSERT INTO keys VALUES ('key_1', 'client-1', 'One', '', 'acme', 'lab', 'role_api_full_access', 1, 0, 0, '', '', '', 4, 5000, 1000, 'x', 2000, 'x', 6, 'one'),
			('key_2', 'client-2', 'Two', '', 'acme', '', 'role_api_full_access', 0, 0, 0, '', '', 'directory', 0, 0, 1000, 'x', 2000, 'x', 7, 'two')`,
		"INSERT INTO secrets VALUES ('key_1', 0, 'sec_1', "+verifier+", 'mk', 'abcd', 1000, 0, 0, 0, 5000)",
		"INSERT INTO sessions VALUES ('ses_1.4.sec_1', 'key_1', 'sec_1', 4, '192.0.2.1', 1000, 99999999999999, 0, '')",
		`INSERT INTO audit (at, customer_id, actor_kind, actor_id, actor_name, address, request_id, action, target_kind, target_id, target_name, before, after)
			VALUES (1000, 'acme', 'key', 'key_1', 'One', '', 'r1', 'key.create', 'key', 'key_2', 'Two', NULL, '{"a":1}'), (1001, 'acme', 'system', '', '', '', '', 'key.lock', 'key', 'key_2', 'Two', NULL, NULL)`)
	return path
}

func TestADatabaseOfTheFirstSchemaIsMigratedWithAllItHolds(t *testing.T) {
	path := firstSchema(t)
	s := open(t, path, storetest.NewClock())
	ctx := t.Context()
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		one, err := r.Key(ctx, "key_1")
		require.NoError(t, err)
		require.Equal(t, []any{"client-1", "lab", true, false, int64(4), time.UnixMilli(5000).UTC(), ""},
			[]any{one.ClientID, one.MicrotenantID, one.Active(), one.DisabledHere, one.Generation, one.LastUsed, one.LastUsedAddress})
		require.Len(t, one.Secrets, 1)
		require.Equal(t, bytes.Repeat([]byte{0xab}, 32), one.Secrets[0].Verifier[:])
		require.Zero(t, one.Secrets[0].Tried)
		off, _, err := r.Keys(ctx, keystore.KeyQuery{CustomerID: "acme", State: keystore.StateDisabled, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, "key_2", off[0].ID)
		active, _, err := r.ListSessions(ctx, keystore.SessionQuery{CustomerID: "acme", State: keystore.SessionActive, Limit: 10})
		require.NoError(t, err)
		require.Len(t, active, 1)

		found, _, err := r.ListCustomers(ctx, keystore.TenantQuery{AllCustomers: true, Text: "äCM", Limit: 10})
		require.NoError(t, err)
		require.Len(t, found, 1, "what a search looks in was filled in")
		parts, _, err := r.ListMicrotenants(ctx, keystore.TenantQuery{AllCustomers: true, Text: "öL", Limit: 10})
		require.NoError(t, err)
		require.Len(t, parts, 1)

		source, err := r.Source(ctx, "acme", "directory")
		require.NoError(t, err)
		require.Equal(t, []string{keystore.SourceReadOnly, keystore.RoleReadOnly}, []string{source.Rule, source.MaxRoleID}, "the least rights")

		old, total, err := r.AuditEvents(ctx, keystore.AuditQuery{CustomerID: "acme", Oldest: true, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, 2, total)
		require.Equal(t, []string{"key.create", `{"a":1}`}, []string{old[0].Action, string(old[0].After)})
		for _, e := range old {
			require.Zero(t, e.Seq, "no part of the chain")
			require.Zero(t, e.Hash)
		}
		heads, err := r.AuditHeads(ctx, "", true)
		require.Empty(t, heads)
		return err
	}))
	addEvents(t, s, "acme", 2)
	require.Empty(t, verifyChain(t, s, "acme"))
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		k, err := tx.Key(ctx, "key_2")
		if err == nil {
			err = tx.PutKey(ctx, k)
		}
		return err
	})
	require.NoError(t, err, "its source is there")
	require.NoError(t, s.TrimAudit(ctx, time.Hour))
	require.NoError(t, s.View(ctx, func(r keystore.Reader) error {
		_, total, err := r.AuditEvents(ctx, keystore.AuditQuery{CustomerID: "acme"})
		require.Equal(t, 2, total, "those of before the chain go by their age")
		return err
	}))
	require.Empty(t, verifyChain(t, s, "acme"))
}

func TestADatabaseOfTheSecondSchemaCountsCallsAndKeepsTriesFromNowOn(t *testing.T) {
	path := firstSchema(t)
	migrateTo(t, path, "00001_init.sql", "00002_lifecycle.sql")
	clock := storetest.NewClock()
	now := clock.Now()
	raw(t, path, fmt.Sprintf("INSERT INTO tallies VALUES ('key_1', '', 2, %[1]d, '%[2]s', %[3]d, 0, '', 0, 0, NULL, 0, 5, 1)",
		now.Wall.UnixNano(), now.Boot, int64(now.Since)), "UPDATE state SET tally_seq = 5")
	s := open(t, path, clock)
	ctx := t.Context()
	at := func() (tries []keystore.Try, calls []keystore.Calls) {
		require.NoError(t, s.View(ctx, func(r keystore.Reader) (err error) {
			if tries, err = r.Tries(ctx, "key_1"); err == nil {
				calls, err = r.Calls(ctx, "key_1", time.Time{})
			}
			return err
		}))
		return tries, calls
	}
	tries, calls := at()
	require.Empty(t, tries)
	require.Empty(t, calls)
	results, err := s.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: "key_1", Address: "192.0.2.1", Fingerprint: 7}})
	require.NoError(t, err)
	require.True(t, results[0].Locked, "the count of before goes on")
	hour := now.Wall.Truncate(time.Hour)
	require.NoError(t, s.Use(ctx, nil, keystore.Calls{KeyID: "key_1", Hour: hour, Calls: 3}))
	tries, calls = at()
	require.Equal(t, []keystore.Try{{At: now.Wall, Address: netip.MustParseAddr("192.0.2.1"), Fingerprint: 7}}, tries)
	require.Equal(t, []keystore.Calls{{KeyID: "key_1", Hour: hour, Calls: 3}}, calls)
}

// addEvents adds events of the clock's time to a customer's chain.
func addEvents(t testing.TB, s *Store, customerID string, n int) {
	t.Helper()
	ctx := context.Background()
	_, err := s.Update(ctx, func(tx keystore.Tx) error {
		for i := range n {
			e := &keystore.Audit{At: tx.Now().Wall, CustomerID: customerID, ActorKind: "local", Action: "key.update", TargetID: fmt.Sprint(i)}
			if err := tx.AddAudit(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
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
			if e.Seq > 0 {
				check.Add(e)
			}
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
