package lifecycle

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/policy"
)

// copied is an event of acme written down again with another seq and customer,
// all else, its seal too, as it was.
const copied = `INSERT INTO audit (seq, number, at, customer_id, microtenant_id, actor_kind, actor_id, actor_name, address, request_id, action,
		target_kind, target_id, target_name, before, after, hash, mac, master_key_id)
	SELECT ?, ?, at + 1, ?, '', 'key', 'key_innocent', 'alice', '192.0.2.66', 'x', 'key.delete', 'key', 'key_x', 'prod', NULL, NULL, hash, mac, master_key_id
	FROM audit WHERE customer_id = 'acme' AND seq = 2`

// TestWhatAgreesWithItselfMustAgreeWithTheWhole: whoever can write the database
// leaves chains that are right by themselves, or none.
func TestWhatAgreesWithItselfMustAgreeWithTheWhole(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		meddle func(h *house, old keystore.AuditHead)
		code   string
	}{
		"a chain erased, head and all": {func(h *house, _ keystore.AuditHead) {
			h.meddle("DELETE FROM audit WHERE customer_id = 'acme'")
			h.meddle("DELETE FROM audit_heads WHERE customer_id = 'acme'")
		}, keystore.AuditRootMismatch},
		"a chain put back to its own older head": {func(h *house, old keystore.AuditHead) {
			h.meddle("DELETE FROM audit WHERE customer_id = 'acme' AND seq > ?", old.Seq)
			h.meddle("UPDATE audit_heads SET seq = ?, hash = ?, mac = ?, master_key_id = ? WHERE customer_id = 'acme'", old.Seq, old.Hash[:], old.MAC[:], old.MasterKeyID)
		}, keystore.AuditRootMismatch},
		"an event put in outside the chains": {func(h *house, _ keystore.AuditHead) { h.meddle(copied, 0, 0, "acme") }, keystore.AuditUnchained},
		"a chain of a customer that never was": {func(h *house, _ keystore.AuditHead) {
			h.meddle(copied, 1, 99, "ghost")
		}, keystore.AuditRootMismatch},
		"the count changed":  {func(h *house, _ keystore.AuditHead) { h.meddle("UPDATE audit_root SET trimmed = 1") }, keystore.AuditForgedRoot},
		"the count removed":  {func(h *house, _ keystore.AuditHead) { h.meddle("DELETE FROM audit_root") }, keystore.AuditForgedRoot},
		"the count unsealed": {func(h *house, _ keystore.AuditHead) { h.meddle("UPDATE audit_root SET master_key_id = ''") }, keystore.AuditForgedRoot},
		"the count as if nothing had been": {func(h *house, _ keystore.AuditHead) {
			h.meddle("UPDATE audit_root SET master_key_id = '', appended = 0")
		}, keystore.AuditForgedRoot},
		"a number moved": {func(h *house, _ keystore.AuditHead) {
			h.meddle("UPDATE audit SET number = 1000 WHERE customer_id = 'umbrella' AND seq = 1")
		}, keystore.AuditRootMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			k := h.key("k", keystore.RoleReadOnly)
			_, customer, _, _ := h.auditors()
			old := h.auditHead("acme")
			_, _, err := h.UpdateKey(h.ctx, local, k.ID, KeyPatch{Enabled: Some(false)}, nil)
			require.NoError(t, err)
			h.role("another chain goes on", policy.Permissions{"*": policy.View})
			tc.meddle(h, old)
			for _, next := range []bool{false, true} {
				if next { // what is written afterwards hides nothing
					h.key("another", keystore.RoleReadOnly)
					require.NoError(t, h.store.Trim(h.ctx, policy.DefaultLockout(), time.Hour))
				}
				for _, scope := range []AuditScope{{}, {CustomerID: "acme"}, {CustomerID: "umbrella"}, {NoCustomer: true}} {
					out, err := h.VerifyAudit(h.ctx, local, scope)
					require.NoError(t, err)
					require.False(t, out.OK, scope)
					require.NotNil(t, out.Problem, scope)
					if !next {
						require.Equal(t, tc.code, out.Problem.Code, out.Problem.Detail)
					}
				}
				own, err := h.VerifyAudit(h.ctx, customer, AuditScope{})
				require.NoError(t, err)
				require.False(t, own.OK)
				require.NotRegexp(t, `\d`, own.Problem.Detail, "how much others did is not a customer's to know")
				text := exported(h, local, AuditFilter{}).String()
				require.NotNil(t, verified(t, text, h.cfg.Keyring).Problem, "an export says that the trail was not whole")
			}
		})
	}
}

func TestACustomerWithoutAnyEventIsNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.meddle("DELETE FROM audit WHERE customer_id = 'acme'")
	h.meddle("DELETE FROM audit_heads WHERE customer_id = 'acme'")
	c := h.chain("acme")
	require.Equal(t, keystore.AuditMissing, c.Problem.Code)
	out, err := h.VerifyAudit(h.ctx, local, AuditScope{})
	require.NoError(t, err)
	for _, c := range out.Chains {
		require.Equal(t, plain(c.CustomerID) != "acme", c.OK)
	}
}

func TestEventsOfACustomerThatNeverWasAreAChainWithoutAHead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.meddle(copied, 1, 99, "ghost")
	out, err := h.VerifyAudit(h.ctx, local, AuditScope{})
	require.NoError(t, err)
	i := slices.IndexFunc(out.Chains, func(c AuditChain) bool { return plain(c.CustomerID) == "ghost" })
	require.GreaterOrEqual(t, i, 0)
	require.False(t, out.Chains[i].OK)
}

func TestAChainTakenOutOfAnExportIsNoticedWithTheMasterKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.key("k", keystore.RoleReadOnly)
	lines := slices.Collect(strings.Lines(exported(h, local, AuditFilter{}).String()))
	var end AuditTrailer
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &end))
	kept := slices.DeleteFunc(lines[:len(lines)-1], func(l string) bool { return strings.Contains(l, `"customer_id":"acme"`) })
	end.Count = int64(len(kept))
	end.Chains = slices.DeleteFunc(end.Chains, func(c AuditEnds) bool { return plain(c.CustomerID) == "acme" })
	last, err := json.Marshal(end)
	require.NoError(t, err)
	forged := strings.Join(kept, "") + string(last) + "\n"
	require.True(t, verified(t, forged, nil).OK, "without the key the file agrees with itself")
	require.Equal(t, ProblemForged, verified(t, forged, h.cfg.Keyring).Problem.Code)
	end.MAC = ""
	last, err = json.Marshal(end)
	require.NoError(t, err)
	require.Equal(t, ProblemForged, verified(t, strings.Join(kept, "")+string(last)+"\n", h.cfg.Keyring).Problem.Code, "a seal must be there")
}

func TestAnExportNamesWhatSelectedIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	x, err := h.ExportAudit(h.ctx, local, AuditFilter{CustomerID: "acme", Action: "key.", Since: Some(time.Unix(1, 0))})
	require.NoError(t, err)
	end, err := x.Trailer()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"customer_id": "acme", "action": "key.", "since": "1970-01-01T00:00:01Z"}, end.Filter)
	require.Equal(t, h.clock.Now().Wall.UTC().Truncate(time.Millisecond), end.At)
}

// ringed is a second store and service on the house's file, with these master keys.
func (h *house) ringed(keys ...credential.MasterKey) (*Service, *sqlite.Store, *credential.Keyring) {
	h.Helper()
	ring, err := credential.NewKeyring(keys...)
	require.NoError(h, err)
	store, err := sqlite.Open(h.ctx, sqlite.Options{Path: h.file(), Clock: h.clock})
	require.NoError(h, err)
	h.Cleanup(func() { require.NoError(h, store.Close()) })
	store.SealAudit(ring)
	cfg := h.cfg
	cfg.Store, cfg.Keyring = store, ring
	return New(cfg), store, ring
}

func newKeyOf(name string) NewKey {
	return NewKey{Name: name, CustomerID: "acme", RoleID: keystore.RoleReadOnly}
}

func TestAProcessWithoutTheNewMasterKeyWritesNothingAndDestroysNothing(t *testing.T) {
	t.Parallel()
	h := newEmptyHouse(t)
	a, b := credential.NewMasterKey(), credential.NewMasterKey()
	older, _, _ := h.ringed(a)
	_, _, err := older.CreateCustomer(h.ctx, local, NewCustomer{ID: "acme", Name: "acme"})
	require.NoError(t, err)
	newer, _, ring := h.ringed(b, a)
	_, _, err = newer.CreateKey(h.ctx, local, newKeyOf("by the newer"))
	require.NoError(t, err)
	_, _, err = older.CreateKey(h.ctx, local, newKeyOf("by the older"))
	require.ErrorContains(t, err, "master key "+ring.CurrentID())
	require.ErrorContains(t, err, "reload")
	proved := func() {
		out, err := newer.VerifyAudit(h.ctx, local, AuditScope{})
		require.NoError(t, err)
		require.True(t, out.OK, "%+v", out)
	}
	proved()
	both, _, _ := h.ringed(a, b) // reloaded with both, the older still first
	_, _, err = both.CreateKey(h.ctx, local, newKeyOf("by the older, reloaded"))
	require.NoError(t, err)
	proved()
}

func TestATrailIsProvedOnceAnOlderMasterKeyIsGone(t *testing.T) {
	t.Parallel()
	h := newEmptyHouse(t)
	a, b := credential.NewMasterKey(), credential.NewMasterKey()
	older, _, _ := h.ringed(a)
	_, _, err := older.CreateCustomer(h.ctx, local, NewCustomer{ID: "acme", Name: "acme"})
	require.NoError(t, err)
	_, store, _ := h.ringed(b, a)
	require.NoError(t, store.Trim(h.ctx, policy.DefaultLockout(), time.Hour))
	ids, err := store.MasterKeyIDs(h.ctx)
	require.NoError(t, err)
	require.Equal(t, []string{b.ID()}, ids, "the older one may go")
	alone, _, ring := h.ringed(b)
	_, _, err = alone.CreateKey(h.ctx, local, newKeyOf("k"))
	require.NoError(t, err)
	out, err := alone.VerifyAudit(h.ctx, local, AuditScope{})
	require.NoError(t, err)
	require.True(t, out.OK, "%+v", out)
	require.EqualValues(t, 1, out.Chains[0].ByHead)
	require.EqualValues(t, 2, out.Chains[0].Events)
	other := *h
	other.Service = alone
	offline := verified(t, exported(&other, local, AuditFilter{}).String(), ring)
	require.True(t, offline.OK, "%+v", offline)
	require.EqualValues(t, 1, offline.Chains[0].ByHead)
	h.meddle("UPDATE audit SET actor_name = 'x' WHERE seq = 1")
	out, err = alone.VerifyAudit(h.ctx, local, AuditScope{})
	require.NoError(t, err)
	require.Equal(t, keystore.AuditChanged, out.Chains[0].Problem.Code)
}
