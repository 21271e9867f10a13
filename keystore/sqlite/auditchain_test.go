package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// The tampering is done by who can write the file and has no master key.
func TestWhatWasDoneToAChainIsNotHiddenByWhatIsWrittenAfterwards(t *testing.T) {
	cases := map[string]struct {
		statements []string
		want       string
	}{
		"nothing":          {nil, ""},
		"an event changed": {[]string{"UPDATE audit SET actor_name = 'somebody else' WHERE seq = 3"}, keystore.AuditChanged},
		"an event removed": {[]string{"DELETE FROM audit WHERE seq = 3"}, keystore.AuditMissing},
		"the newest removed": {
			[]string{"DELETE FROM audit WHERE seq = 5"}, keystore.AuditForgedHead},
		"the newest removed, and the head set back": {
			[]string{"DELETE FROM audit WHERE seq = 5", "UPDATE audit_heads SET seq = 4, hash = (SELECT hash FROM audit WHERE seq = 4)"}, keystore.AuditForgedHead},
		"the newest changed": {
			[]string{"UPDATE audit SET hash = zeroblob(32) WHERE seq = 5"}, keystore.AuditChanged},
		"the head removed": {
			[]string{"DELETE FROM audit_heads"}, keystore.AuditForgedHead},
		"the head set back alone": {
			[]string{"UPDATE audit_heads SET seq = 2, hash = (SELECT hash FROM audit WHERE seq = 2)"}, keystore.AuditForgedHead},
		"all events removed": {
			[]string{"DELETE FROM audit"}, keystore.AuditForgedHead},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keyreeve.db")
			s := open(t, path, storetest.NewClock())
			addEvents(t, s, "c", 5)
			raw(t, path, c.statements...)
			addEvents(t, s, "c", 3) // goes on: a trail that was damaged stops nobody's work
			require.NoError(t, s.Trim(t.Context(), policy.DefaultLockout(), time.Hour))
			require.Equal(t, c.want, verifyChain(t, s, "c"))
			addEvents(t, s, "c", 1)
			require.Equal(t, c.want, verifyChain(t, s, "c"), "it stays so")
		})
	}
}

func TestUnderAnUnknownMasterKeyNothingIsWrittenAndNoSealIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyreeve.db")
	s := open(t, path, storetest.NewClock())
	addEvents(t, s, "c", 2)
	for _, table := range []string{"audit_heads", "audit_root"} {
		raw(t, path, "UPDATE "+table+" SET master_key_id = 'gone'")
		_, err := s.Update(t.Context(), func(tx keystore.Tx) error {
			return tx.AddAudit(t.Context(), &keystore.Audit{At: tx.Now().Wall, CustomerID: "c", Action: "key.update"})
		})
		require.ErrorContains(t, err, "which is not held here")
		require.ErrorContains(t, err, "master key gone")
		require.NoError(t, s.Trim(t.Context(), policy.DefaultLockout(), time.Hour))
		raw(t, path, "UPDATE "+table+" SET master_key_id = 'mk'")
		require.Empty(t, verifyChain(t, s, "c"))
	}
}

func TestOnlyWhatVerifiesIsForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		left      int // of 5 old events and a newest one
	}{
		"whole":                    {"", 1},
		"an event changed":         {"UPDATE audit SET action = 'x' WHERE customer_id = 'c' AND seq = 3", 4},
		"an event removed":         {"DELETE FROM audit WHERE customer_id = 'c' AND seq = 3", 3},
		"a time made older":        {"UPDATE audit SET at = 1 WHERE customer_id = 'c' AND seq = 1", 6},
		"the beginning cut off":    {"DELETE FROM audit WHERE customer_id = 'c' AND seq < 3", 4},
		"the beginning declared":   {"UPDATE audit_heads SET trimmed_seq = 1, trimmed_hash = zeroblob(32), trimmed_mac = zeroblob(32), trimmed_master_key_id = 'mk' WHERE customer_id = 'c'", 6},
		"the head taken away":      {"DELETE FROM audit_heads WHERE customer_id = 'c'", 6},
		"a seal under another key": {"UPDATE audit SET mac = zeroblob(32) WHERE customer_id = 'c' AND seq = 2", 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keyreeve.db")
			clock := storetest.NewClock()
			s := open(t, path, clock)
			addEvents(t, s, "c", 5)
			addEvents(t, s, "other", 5)
			clock.Advance(2 * time.Hour)
			addEvents(t, s, "c", 1)
			if c.statement != "" {
				raw(t, path, c.statement)
			}
			err := s.TrimAudit(t.Context(), time.Hour)
			if c.left == 1 || name == "the head taken away" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, `customer "c"`)
			}
			left := func(customerID string) (total int) {
				require.NoError(t, s.View(t.Context(), func(r keystore.Reader) (err error) {
					_, total, err = r.AuditEvents(t.Context(), keystore.AuditQuery{CustomerID: customerID})
					return err
				}))
				return total
			}
			require.Equal(t, c.left, left("c"))
			require.Equal(t, 1, left("other"), "the other chain is trimmed all the same")
			require.Empty(t, verifyChain(t, s, "other"))
		})
	}
}
