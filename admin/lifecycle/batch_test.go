package lifecycle

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// events lists the actions of the newest events, the oldest first.
func (h *house) events(n int) (actions []string) {
	h.Helper()
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) error {
		events, _, err := r.AuditEvents(h.ctx, keystore.AuditQuery{AllCustomers: true, Limit: n})
		for _, e := range events {
			actions = append([]string{e.Action + " " + e.TargetName}, actions...)
		}
		return err
	}))
	return actions
}

func (h *house) eventCount() (n int) {
	h.Helper()
	require.NoError(h, h.store.View(h.ctx, func(r keystore.Reader) (err error) {
		_, n, err = r.AuditEvents(h.ctx, keystore.AuditQuery{AllCustomers: true})
		return err
	}))
	return n
}

// outcome is each item's refusal, "" for done.
func outcome(b Batch) (codes []string) {
	for _, item := range b.Items {
		code := ""
		if item.Refused != nil {
			code = item.Refused.Code
		}
		codes = append(codes, code)
	}
	return codes
}

func TestABatchDoesWhatEachOperationAloneWouldDo(t *testing.T) {
	t.Parallel()
	for action := range batchActions {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			admin := h.role("Admin", policy.Permissions{"logs": policy.View, "keyreeve/keys": policy.Full, "keyreeve/locks": policy.Full, "keyreeve/sessions": policy.Full})
			a := h.actor("admin", admin)
			own, stronger := h.key("own", admin), h.key("stronger", keystore.RoleFullAccess)
			foreign, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "f", RoleID: admin, CustomerID: "umbrella"})
			require.NoError(t, err)
			ids := []string{own.ID, stronger.ID, foreign.ID, h.external("theirs", admin), "key_none"}
			var want []string
			for _, id := range ids {
				want = append(want, h.alone(a, action, id))
			}
			before := h.eventCount()
			done, commit, err := h.BatchKeys(h.ctx, a, NewBatch{Action: action, IDs: ids, DryRun: true})
			require.NoError(t, err)
			require.Equal(t, want, outcome(done), "a dry run tells what would happen")
			require.Zero(t, commit)
			require.Equal(t, before, h.eventCount(), "and does nothing")

			done, commit, err = h.BatchKeys(h.ctx, a, NewBatch{Action: action, IDs: ids})
			require.NoError(t, err)
			require.Equal(t, want, outcome(done))
			require.NotZero(t, commit.Revision)
			changed := 0
			for i, item := range done.Items {
				require.Equal(t, ids[i], item.ID)
				if item.Refused == nil {
					changed++
				}
				require.Equal(t, item.Refused == nil && action != "delete", item.Key != nil)
			}
			if action != "enable" && action != "enable_here" { // which they are already
				require.Equal(t, before+changed, h.eventCount(), "one event for each key that changed, none for those refused")
			}
		})
	}
}

// alone is the code by which the single operation refuses, on a copy of the
// world: it is rolled back.
func (h *house) alone(a Actor, action, id string) string {
	h.Helper()
	_, err := h.update(h.ctx, a, func(o *op) error {
		if _, err := batchActions[action].do(o, id); err != nil {
			return err
		}
		return errDryRun
	})
	if err == errDryRun {
		return ""
	}
	var refused *Error
	require.ErrorAs(h, err, &refused)
	return refused.Code
}

func TestABatchOfEachActionHasItsEffect(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b := h.key("a", keystore.RoleReadOnly), h.key("b", keystore.RoleReadOnly)
	external := h.external("c", keystore.RoleReadOnly)
	lock := func() {
		for range 3 {
			_, err := h.store.Count(h.ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: a.ID}})
			require.NoError(t, err)
		}
	}
	state := func(id string) string {
		k, err := h.GetKey(h.ctx, local, id)
		require.NoError(t, err)
		return k.State
	}
	do := func(action string, ids ...string) Batch {
		done, _, err := h.BatchKeys(h.ctx, local, NewBatch{Action: action, IDs: ids})
		require.NoError(t, err)
		for _, item := range done.Items {
			require.Nil(t, item.Refused)
		}
		return done
	}
	do("disable", a.ID, b.ID)
	require.Equal(t, []string{"disabled", "disabled"}, []string{state(a.ID), state(b.ID)})
	require.Equal(t, []string{"key.update a", "key.update b"}, h.events(2))
	shown := do("enable", a.ID, b.ID)
	require.Equal(t, []string{"active", "active"}, []string{shown.Items[0].Key.State, state(b.ID)})
	lock()
	require.Equal(t, "locked", state(a.ID))
	do("unlock", a.ID)
	require.Equal(t, "active", state(a.ID))
	do("disable_here", external)
	require.Equal(t, "disabled", state(external))
	do("enable_here", external)
	require.Equal(t, "active", state(external))
	do("end_sessions", a.ID, external)
	require.Equal(t, []string{"key.end_sessions a", "key.end_sessions c"}, h.events(2))
	do("delete", a.ID, b.ID)
	_, err := h.GetKey(h.ctx, local, b.ID)
	requireRefused(t, err, NotFound, CodeNotFound, "")
}

func TestABatchNamesEachKeyOnceAndAnActionThereIs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	many := make([]string, MaxBatch+1)
	for i := range many {
		many[i] = fmt.Sprintf("key_%d", i)
	}
	for _, c := range []struct {
		in          NewBatch
		field, code string
	}{
		{NewBatch{IDs: []string{"key_1"}}, "action", FieldRequired},
		{NewBatch{Action: "explode", IDs: []string{"key_1"}}, "action", FieldFormat},
		{NewBatch{Action: "disable"}, "ids", FieldRequired},
		{NewBatch{Action: "disable", IDs: many}, "ids", FieldTooMany},
		{NewBatch{Action: "disable", IDs: []string{"key_1", "key_2", "key_1"}}, "ids[2]", FieldConflict},
		{NewBatch{Action: "disable", IDs: []string{"key_1", ""}}, "ids[1]", FieldFormat},
		{NewBatch{Action: "disable", IDs: []string{"../x"}}, "ids[0]", FieldFormat},
	} {
		for _, dry := range []bool{false, true} {
			c.in.DryRun = dry
			_, _, err := h.BatchKeys(h.ctx, local, c.in)
			requireInvalid(t, err, c.field, c.code)
		}
	}
	done, _, err := h.BatchKeys(h.ctx, local, NewBatch{Action: "disable", IDs: many[:MaxBatch]})
	require.NoError(t, err)
	require.Len(t, done.Items, MaxBatch)
}

func TestWhoMayNotDoAThingMayNotDoItInBulk(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	k := h.key("k", keystore.RoleReadOnly)
	reader := h.actor("reader", h.role("Reader", policy.Permissions{"keyreeve/*": policy.View}))
	for action := range batchActions {
		for _, actor := range []Actor{reader, Local("l", true)} {
			for _, dry := range []bool{false, true} {
				_, _, err := h.BatchKeys(h.ctx, actor, NewBatch{Action: action, IDs: []string{k.ID}, DryRun: dry})
				requireRefused(t, err, Forbidden, CodePermissionDenied, "")
			}
		}
	}
	unlocker := h.actor("unlocker", h.role("Unlocker", policy.Permissions{"keyreeve/locks": policy.Full}))
	done, _, err := h.BatchKeys(h.ctx, unlocker, NewBatch{Action: "unlock", IDs: []string{k.ID}})
	require.NoError(t, err)
	require.Nil(t, done.Items[0].Key, "who may not read keys is shown none")
	require.Nil(t, done.Items[0].Refused)
}

func TestManyKeysAreShownInTheOrderAskedForAsFarAsTheyAreTheActors(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b := h.key("a", keystore.RoleReadOnly), h.key("b", keystore.RoleReadOnly)
	_, _, err := h.CreateCustomer(h.ctx, local, NewCustomer{ID: "elsewhere", Name: "Elsewhere"})
	require.NoError(t, err)
	theirs, _, err := h.CreateKey(h.ctx, local, NewKey{Name: "theirs", RoleID: keystore.RoleReadOnly, CustomerID: "elsewhere"})
	require.NoError(t, err)
	reader := h.actor("reader", h.role("Reader", policy.Permissions{"keyreeve/keys": policy.View}))
	found, err := h.GetKeys(h.ctx, reader, []string{b.ID, theirs.ID, "nobody", a.ID})
	require.NoError(t, err)
	require.Equal(t, []Key{b.Key, a.Key}, found)
	_, err = h.GetKeys(h.ctx, h.actor("stranger", h.role("Stranger", policy.Permissions{"keyreeve/locks": policy.View})), []string{a.ID})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
}
