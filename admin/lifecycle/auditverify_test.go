package lifecycle

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// meddle changes the database behind the store's back.
func (h *house) meddle(statement string, args ...any) {
	h.Helper()
	db, err := sql.Open("sqlite", "file:"+h.file()+"?_pragma=busy_timeout(5000)")
	require.NoError(h, err)
	result, err := db.ExecContext(h.ctx, statement, args...)
	require.NoError(h, err)
	n, err := result.RowsAffected()
	require.NoError(h, err)
	require.NotZero(h, n, statement)
	require.NoError(h, db.Close())
}

// chain is what verifying finds of one customer's chain, "" for none.
func (h *house) chain(customerID string) AuditChain {
	h.Helper()
	out, err := h.VerifyAudit(h.ctx, local, AuditScope{CustomerID: customerID, NoCustomer: customerID == ""})
	require.NoError(h, err)
	require.Len(h, out.Chains, 1)
	require.Equal(h, out.OK, out.Chains[0].OK)
	require.Equal(h, out.OK, out.Chains[0].Problem == nil)
	return out.Chains[0]
}

func (h *house) auditHead(customerID string) (head keystore.AuditHead) {
	h.Helper()
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) error {
		heads, err := r.AuditHeads(h.ctx, customerID, false)
		if err == nil {
			require.Len(h, heads, 1)
			head = heads[0]
		}
		return err
	}))
	return head
}

func TestAnUntouchedTrailIsProvedChainByChain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.role("everywhere", policy.Permissions{"*": policy.View})
	h.key("k", keystore.RoleReadOnly)
	out, err := h.VerifyAudit(h.ctx, local, AuditScope{})
	require.NoError(t, err)
	require.True(t, out.OK)
	require.EqualValues(t, 6, out.Events, "2 customers, 2 microtenants, a role, a key")
	require.Len(t, out.Chains, 3)
	require.Nil(t, out.Chains[0].CustomerID)
	for i, want := range []struct {
		customer string
		events   int64
	}{{"", 1}, {"acme", 4}, {"umbrella", 1}} {
		c := out.Chains[i]
		require.Equal(t, want.customer, plain(c.CustomerID))
		require.Equal(t, want.events, c.Events)
		require.EqualValues(t, 1, *c.FirstSeq)
		head := h.auditHead(want.customer)
		require.Equal(t, head.Seq, c.Head.Seq)
		require.Equal(t, hex.EncodeToString(head.Hash[:]), c.Head.Hash)
	}
}

func TestATrailLongerThanAPageIsProved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fill(2*verifyPage + 7)
	c := h.chain("acme")
	require.True(t, c.OK, c.Problem)
	require.EqualValues(t, 3+2*verifyPage+7, c.Events)
}

// fill appends n events to acme's chain, a hundred in a transaction.
func (h *house) fill(n int) {
	h.Helper()
	for n > 0 {
		_, err := h.store.Update(h.ctx, func(tx keystore.Tx) error {
			for range min(n, 100) {
				n--
				if err := tx.AddAudit(h.ctx, &keystore.Audit{At: h.clock.Now().Wall, CustomerID: "acme", ActorKind: ActorSystem, Action: "test.fill"}); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(h, err)
	}
}

func TestWhateverIsDoneToTheDatabaseIsNoticed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ statement, code string }{
		"who":            {"UPDATE audit SET actor_name = 'somebody else' WHERE customer_id = 'acme' AND seq = 2", keystore.AuditChanged},
		"where":          {"UPDATE audit SET address = '203.0.113.9' WHERE customer_id = 'acme' AND seq = 2", keystore.AuditChanged},
		"when":           {"UPDATE audit SET at = at + 1 WHERE customer_id = 'acme' AND seq = 2", keystore.AuditChanged},
		"after":          {"UPDATE audit SET after = replace(after, 'emea', 'apac') WHERE customer_id = 'acme' AND seq = 2", keystore.AuditChanged},
		"the tenant":     {"UPDATE audit SET microtenant_id = '' WHERE customer_id = 'acme' AND seq = 2", keystore.AuditChanged},
		"a hash":         {"UPDATE audit SET hash = zeroblob(32) WHERE customer_id = 'acme' AND seq = 2", keystore.AuditChanged},
		"a MAC":          {"UPDATE audit SET mac = zeroblob(32) WHERE customer_id = 'acme' AND seq = 2", keystore.AuditForged},
		"the first":      {"DELETE FROM audit WHERE customer_id = 'acme' AND seq = 1", keystore.AuditMissing},
		"one between":    {"DELETE FROM audit WHERE customer_id = 'acme' AND seq = 2", keystore.AuditMissing},
		"the last":       {"DELETE FROM audit WHERE customer_id = 'acme' AND seq = 4", keystore.AuditHeadMismatch},
		"all":            {"DELETE FROM audit WHERE customer_id = 'acme'", keystore.AuditHeadMismatch},
		"the head":       {"DELETE FROM audit_heads WHERE customer_id = 'acme'", keystore.AuditHeadMismatch},
		"a number":       {"UPDATE audit SET seq = 9 WHERE customer_id = 'acme' AND seq = 4", keystore.AuditMissing},
		"unchained":      {"UPDATE audit SET seq = 0 WHERE customer_id = 'acme' AND seq = 2", keystore.AuditMissing},
		"moved away":     {"UPDATE audit SET customer_id = 'umbrella', seq = 2 WHERE customer_id = 'acme' AND seq = 4", keystore.AuditHeadMismatch},
		"the head's MAC": {"UPDATE audit_heads SET mac = zeroblob(32) WHERE customer_id = 'acme'", keystore.AuditForgedHead},
		"head put back": {`UPDATE audit_heads SET seq = 3, hash = (SELECT hash FROM audit WHERE customer_id = 'acme' AND seq = 3)
			WHERE customer_id = 'acme'`, keystore.AuditHeadMismatch},
		"begun later": {`UPDATE audit_heads SET trimmed_seq = 1, trimmed_mac = zeroblob(32), trimmed_master_key_id = master_key_id,
			trimmed_hash = (SELECT hash FROM audit WHERE customer_id = 'acme' AND seq = 1) WHERE customer_id = 'acme'`, keystore.AuditMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.key("k", keystore.RoleReadOnly) // acme's fourth event
			require.True(t, h.chain("acme").OK)
			h.meddle(tc.statement)
			c := h.chain("acme")
			require.False(t, c.OK)
			require.Equal(t, tc.code, c.Problem.Code, c.Problem.Detail)
			require.NotNil(t, c.Problem.Seq)
			out, err := h.VerifyAudit(h.ctx, local, AuditScope{})
			require.NoError(t, err)
			require.False(t, out.OK)
			for _, other := range out.Chains {
				if name != "moved away" && plain(other.CustomerID) != "acme" {
					require.True(t, other.OK, "the other chains are what they were")
				}
			}
		})
	}
}

func TestMeddlingStaysVisibleAfterTheNextEvent(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		"DELETE FROM audit WHERE customer_id = 'acme' AND seq = (SELECT max(seq) FROM audit WHERE customer_id = 'acme')",
		"UPDATE audit SET actor_name = 'x' WHERE customer_id = 'acme' AND seq = 3",
		"UPDATE audit_heads SET mac = zeroblob(32) WHERE customer_id = 'acme'",
	} {
		h := newHouse(t)
		h.key("k", keystore.RoleReadOnly)
		h.meddle(statement)
		h.key("another", keystore.RoleReadOnly)
		require.False(t, h.chain("acme").OK, statement)
	}
}

func TestForgettingOldEventsLeavesTheRestProvable(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.clock.Advance(48 * time.Hour)
	h.key("young", keystore.RoleReadOnly)
	require.NoError(t, h.store.TrimAudit(h.ctx, 24*time.Hour))
	c := h.chain("acme")
	require.True(t, c.OK, c.Problem)
	require.EqualValues(t, 1, c.Events)
	require.EqualValues(t, 4, *c.FirstSeq)
	h.meddle("UPDATE audit_heads SET trimmed_mac = zeroblob(32) WHERE customer_id = 'acme'")
	require.Equal(t, keystore.AuditForgedStart, h.chain("acme").Problem.Code)
}

func TestAMasterKeyThatIsNotHeldLeavesATrailUnproved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ring, err := credential.NewKeyring(credential.NewMasterKey())
	require.NoError(t, err)
	cfg := h.cfg
	cfg.Keyring = ring
	h.Service = New(cfg)
	c := h.chain("acme")
	require.False(t, c.OK)
	require.Equal(t, keystore.AuditUnknownKey, c.Problem.Code)
	require.EqualValues(t, 3, c.Events, "it was followed to its end all the same")
}

func TestAHeadThatWasNotedProvesThatNothingWasPutBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	noted := h.auditHead("acme")
	acme := "acme"
	verify := func(pins ...AuditPin) AuditVerification {
		out, err := h.VerifyAudit(h.ctx, local, AuditScope{CustomerID: "acme", Pins: pins})
		require.NoError(t, err)
		return out
	}
	h.key("k", keystore.RoleReadOnly)
	require.True(t, verify(AuditPin{Seq: noted.Seq, Hash: noted.Hash}).OK)
	require.True(t, verify(AuditPin{CustomerID: &acme, Seq: noted.Seq, Hash: noted.Hash}).OK)
	for _, wrong := range []AuditPin{{Seq: noted.Seq, Hash: [32]byte{1}}, {Seq: noted.Seq + 5, Hash: noted.Hash}} {
		out := verify(wrong)
		require.False(t, out.OK)
		require.Equal(t, keystore.AuditPinMismatch, out.Chains[0].Problem.Code)
	}
	_, err := h.VerifyAudit(h.ctx, local, AuditScope{Pins: []AuditPin{{Seq: 1}}})
	requireInvalid(t, err, "head", FieldFormat)
	other := "umbrella"
	_, err = h.VerifyAudit(h.ctx, local, AuditScope{CustomerID: "acme", Pins: []AuditPin{{CustomerID: &other, Seq: 1}}})
	requireInvalid(t, err, "head", FieldNotFound)
}

func TestATrailIsVerifiedByWhoSeesItWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	operator, customer, microtenant, _ := h.auditors()
	out, err := h.VerifyAudit(h.ctx, operator, AuditScope{})
	require.NoError(t, err)
	require.Len(t, out.Chains, 3)
	for _, scope := range []AuditScope{{}, {CustomerID: "acme"}} {
		out, err = h.VerifyAudit(h.ctx, customer, scope)
		require.NoError(t, err)
		require.Len(t, out.Chains, 1)
		require.Equal(t, "acme", *out.Chains[0].CustomerID)
		require.True(t, out.OK)
	}
	for _, id := range []string{"umbrella", "nobody"} {
		_, err = h.VerifyAudit(h.ctx, customer, AuditScope{CustomerID: id})
		requireRefused(t, err, NotFound, CodeNotFound, "")
	}
	_, err = h.VerifyAudit(h.ctx, operator, AuditScope{CustomerID: "nobody"})
	requireRefused(t, err, NotFound, CodeNotFound, "")
	_, err = h.VerifyAudit(h.ctx, customer, AuditScope{NoCustomer: true})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.ListAudit(h.ctx, customer, AuditFilter{NoCustomer: true}, "", Paging{})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.ExportAudit(h.ctx, customer, AuditFilter{NoCustomer: true})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.VerifyAudit(h.ctx, microtenant, AuditScope{})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.VerifyAudit(h.ctx, h.actor("nobody", keystore.RoleFullAccess), AuditScope{})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}

// busyStore does something before each reading.
type busyStore struct {
	Store
	before func()
}

func (s busyStore) View(ctx context.Context, fn func(keystore.Reader) error) error {
	s.before()
	return s.Store.View(ctx, fn)
}

func TestATrailThatRetentionKeepsOvertakingIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for range verifyTries + 1 {
		h.clock.Advance(24 * time.Hour)
		h.fill(verifyPage + 10)
	}
	keep := time.Duration(verifyTries) * 24 * time.Hour
	readings := 0
	cfg := h.cfg
	cfg.Store = busyStore{h.store, func() {
		if readings++; readings%2 == 1 && readings > 1 { // the first lists the chains, then two pages a try
			keep -= 24 * time.Hour
			require.NoError(t, h.store.TrimAudit(h.ctx, keep+time.Hour))
		}
	}}
	_, err := New(cfg).VerifyAudit(h.ctx, local, AuditScope{CustomerID: "acme"})
	requireRefused(t, err, Conflict, CodeAuditOvertaken, "")
	require.True(t, h.chain("acme").OK, "and what is kept is proved")
}

// TestATrailIsProvedWhileOthersWrite: the head moves between the pages that are
// read, and events are forgotten, and neither is taken for meddling.
func TestATrailIsProvedWhileOthersWrite(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.fill(verifyPage + 10)
	ctx, stop := context.WithCancel(h.ctx)
	var writers sync.WaitGroup
	writers.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			_, err := h.store.Update(h.ctx, func(tx keystore.Tx) error {
				return tx.AddAudit(h.ctx, &keystore.Audit{At: h.clock.Now().Wall, CustomerID: "acme", ActorKind: ActorSystem, Action: "test.write", RequestID: fmt.Sprint(i)})
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		c := h.chain("acme")
		require.True(t, c.OK, c.Problem)
		out := verified(t, exported(h, local, AuditFilter{CustomerID: "acme"}).String(), h.cfg.Keyring)
		require.True(t, out.OK, out)
	}
	stop()
	writers.Wait()
}
