package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var auditCases = []testCase{
	{"an event is read back as it was put, sealed, and is not in the change log", auditRoundTrip},
	{"each customer's events are a chain of their own, sealed at its end", auditChains},
	{"a transaction that is not stored leaves no trace in the chain", auditRollback},
	{"writers of several stores at one time make one chain", auditParallel},
	{"without a seal nothing with an audit event is written", auditUnsealed},
	{"an event that cannot be stored takes the whole transaction with it", auditInvalid},
	{"a lock that a count makes is an event of the key's tenant", auditLock},
	{"events are selected by each filter, in both directions", auditFilters},
	{"paging through events misses and repeats nothing while others are added", auditPages},
	{"an audit query must name a customer, all or none, and a place there is", auditErrors},
	{"old events go, the chain goes on from a sealed beginning", auditTrim},
	{"a chain is trimmed in its own order, whatever the clock did, never to nothing", auditTrimOrder},
	{"a long chain is trimmed whole", auditTrimLong},
	{"all events are numbered and counted under one seal", auditRoot},
	{"under a master key that is not held nothing is written", auditUnheld},
	{"ends sealed by an older master key are sealed anew, so that it may go", auditReseal},
}

// event is an event of a customer, at the clock's time. Not stored yet.
func (f *fixture) event(customerID string, n int) *keystore.Audit {
	return &keystore.Audit{At: f.clock.Now().Wall, CustomerID: customerID, ActorKind: "key", ActorID: "key_1", ActorName: "Key 1", Action: "key.update",
		TargetKind: "key", TargetID: fmt.Sprintf("key_%d", n), After: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))}
}

func (f *fixture) add(t testing.TB, events ...*keystore.Audit) {
	t.Helper()
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		for _, e := range events {
			if err := tx.AddAudit(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *fixture) events(t testing.TB, q keystore.AuditQuery) (events []*keystore.Audit, total int) {
	t.Helper()
	f.view(t, func(ctx context.Context, r keystore.Reader) (err error) {
		events, total, err = r.AuditEvents(ctx, q)
		return err
	})
	return events, total
}

// verify asserts that a customer's chain holds from its beginning to its end,
// and counts the events that it has.
func (f *fixture) verify(t testing.TB, by keystore.AuditSealer, customerID string) int {
	t.Helper()
	var head keystore.AuditHead
	var events []*keystore.Audit
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		heads, err := r.AuditHeads(ctx, customerID, false)
		require.NoError(t, err)
		require.Len(t, heads, 1)
		head = heads[0]
		events, _, err = r.AuditEvents(ctx, keystore.AuditQuery{CustomerID: customerID, NoCustomer: customerID == "", Oldest: true, Limit: 10_000})
		return err
	})
	good := func(purpose string, digest, mac [32]byte, id string) {
		ok, known := by.Check(purpose, digest, mac, id)
		require.True(t, ok && known, "%s of %q", purpose, customerID)
	}
	require.Equal(t, customerID, head.CustomerID)
	seq, hash := head.TrimmedSeq, head.TrimmedHash
	if seq > 0 {
		good(keystore.SealTrimmed, head.TrimmedDigest(), head.TrimmedMAC, head.TrimmedMasterKeyID)
	} else {
		require.Zero(t, head.TrimmedHash)
	}
	for _, e := range events {
		seq++
		require.Equal(t, seq, e.Seq)
		link, err := e.Link(hash)
		require.NoError(t, err)
		require.Equal(t, link, e.Hash)
		if ok, known := by.Check(keystore.SealEvent, e.Hash, e.MAC, e.MasterKeyID); known {
			require.True(t, ok, "event %d", e.Seq)
		}
		hash = e.Hash
	}
	require.Equal(t, seq, head.Seq)
	require.Equal(t, hash, head.Hash)
	good(keystore.SealHead, head.HeadDigest(), head.MAC, head.MasterKeyID)
	return len(events)
}

var mk1 = NewSealer("mk1")

func auditRoundTrip(t *testing.T, f *fixture) {
	before := f.head(t)
	event := &keystore.Audit{At: f.clock.Now().Wall.Add(123 * time.Nanosecond), CustomerID: acme, MicrotenantID: lab, ActorKind: "key", ActorID: "key_1",
		ActorName: hostile[0], Address: "192.0.2.1", RequestID: "req", Action: "key.update", TargetKind: "key", TargetID: "key_2", TargetName: hostile[5],
		Before: json.RawMessage(`{"enabled": true, "a":1.50}`), After: json.RawMessage(`{"enabled":false,"n":12345678901234567890}`)}
	bare := &keystore.Audit{At: f.clock.Now().Wall, CustomerID: globex, ActorKind: "local", Action: "key.create"}
	rev := f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		if err := tx.AddAudit(ctx, event); err != nil {
			return err
		}
		return tx.AddAudit(ctx, bare)
	})
	require.Equal(t, before, rev)
	require.Positive(t, event.ID)
	require.Greater(t, bare.ID, event.ID)
	require.EqualValues(t, 1, event.Seq)
	require.Equal(t, "mk1", event.MasterKeyID)
	all, total := f.events(t, keystore.AuditQuery{AllCustomers: true, Limit: 10})
	require.Equal(t, []*keystore.Audit{bare, event}, all)
	require.Equal(t, 2, total)
	require.Equal(t, `{"enabled": true, "a":1.50}`, string(all[1].Before), "the text itself")
	link, err := all[1].Link([32]byte{})
	require.NoError(t, err)
	require.Equal(t, link, event.Hash)
	require.Equal(t, 1, f.verify(t, mk1, acme))
	require.Equal(t, 1, f.verify(t, mk1, globex))
	for i, text := range hostile {
		e := f.event(acme, i)
		e.ActorID, e.RequestID, e.Address, e.Action, e.TargetID, e.TargetKind = text, text, text, text, text, text
		after, err := json.Marshal(map[string]string{text: text})
		require.NoError(t, err)
		e.After = after
		f.add(t, e)
	}
	require.Equal(t, 1+len(hostile), f.verify(t, mk1, acme))
}

func auditChains(t *testing.T, f *fixture) {
	for n := range 3 {
		f.add(t, f.event(acme, n), f.event("", n), f.event(acme, n+10))
	}
	f.add(t, f.event(globex, 0))
	require.Equal(t, 6, f.verify(t, mk1, acme))
	require.Equal(t, 3, f.verify(t, mk1, ""))
	require.Equal(t, 1, f.verify(t, mk1, globex))
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		heads, err := r.AuditHeads(ctx, "", true)
		require.NoError(t, err)
		var names []string
		for _, h := range heads {
			names = append(names, fmt.Sprint(h.CustomerID, " ", h.Seq))
		}
		require.Equal(t, []string{" 3", acme + " 6", globex + " 1"}, names)
		none, err := r.AuditHeads(ctx, "cust_none", false)
		require.Empty(t, none)
		return err
	})
}

func auditRollback(t *testing.T, f *fixture) {
	f.add(t, f.event(acme, 1))
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		require.NoError(t, tx.AddAudit(ctx, f.event(acme, 2)))
		require.NoError(t, tx.AddAudit(ctx, f.event(globex, 2)))
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	f.add(t, f.event(acme, 3))
	require.Equal(t, 2, f.verify(t, mk1, acme))
	_, total := f.events(t, keystore.AuditQuery{CustomerID: globex})
	require.Zero(t, total)
}

func auditParallel(t *testing.T, f *fixture) {
	const writers, each = 4, 10
	other := f.open(t, f.clock)
	var wg sync.WaitGroup
	for w := range writers {
		store := f.Store
		if w%2 == 1 {
			store = other
		}
		wg.Go(func() {
			for n := range each {
				_, err := store.Update(t.Context(), func(tx keystore.Tx) error { return tx.AddAudit(t.Context(), f.event(acme, w*each+n)) })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, writers*each, f.verify(t, mk1, acme))
}

func auditUnsealed(t *testing.T, f *fixture) {
	f.put(t, f.key(1))
	f.SealAudit(nil)
	before := f.head(t)
	_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
		if err := tx.PutKey(ctx, f.key(2)); err != nil {
			return err
		}
		_ = tx.AddAudit(ctx, f.event(acme, 1))
		return nil
	})
	require.Error(t, err, "although the function did not mind")
	require.Equal(t, before, f.head(t))
	failures := make([]keystore.Proof, strict().Attempts)
	for i := range failures {
		failures[i] = keystore.Proof{KeyID: "key_0001", Fingerprint: uint64(i)}
	}
	_, err = f.Count(t.Context(), strict(), failures)
	require.Error(t, err)
	f.put(t, f.key(3)) // has no event of its own
	f.SealAudit(mk1)
	_, err = f.Count(t.Context(), strict(), failures)
	require.NoError(t, err)
	require.Equal(t, 1, f.verify(t, mk1, acme))
}

func auditInvalid(t *testing.T, f *fixture) {
	for name, text := range map[string]string{"not JSON": `{"a":`, "empty": ``} {
		before := f.head(t)
		_, err := f.try(t, func(ctx context.Context, tx keystore.Tx) error {
			if err := tx.PutKey(ctx, f.key(1)); err != nil {
				return err
			}
			e := f.event(acme, 1)
			e.After = json.RawMessage(text)
			_ = tx.AddAudit(ctx, e)
			return nil
		})
		require.Error(t, err, name)
		require.Equal(t, before, f.head(t), name)
	}
}

func auditLock(t *testing.T, f *fixture) {
	k := f.key(1)
	k.MicrotenantID = lab
	f.put(t, k)
	f.lockOut(t, k.ID, "")
	events, _ := f.events(t, keystore.AuditQuery{CustomerID: acme, MicrotenantID: lab, Limit: 10})
	require.Len(t, events, 1)
	require.Equal(t, []string{"key.lock", "system", "key", k.ID, k.Name},
		[]string{events[0].Action, events[0].ActorKind, events[0].TargetKind, events[0].TargetID, events[0].TargetName})
	require.Equal(t, 1, f.verify(t, mk1, acme))
}

func auditFilters(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	all := []*keystore.Audit{f.event(acme, 0), f.event(acme, 1), f.event(globex, 2), f.event("", 3), f.event(acme, 4), f.event(acme, 5)}
	all[1].MicrotenantID, all[1].Action, all[1].ActorID = lab, "key.create", "key_9"
	all[4].Action, all[4].TargetKind, all[4].RequestID = "keyring.make", "keyring", "req-4"
	all[5].Action, all[5].TargetID = "key%.odd", "key_1"
	all[3].ActorKind, all[3].ActorID, all[3].ActorName = keystore.ActorSystem, "", ""
	for i, e := range all {
		e.At = now.Add(time.Duration(i) * time.Millisecond)
	}
	f.add(t, all...)
	const half = time.Millisecond / 2
	for name, c := range map[string]struct {
		q    keystore.AuditQuery
		want []int
	}{
		"a customer":        {keystore.AuditQuery{CustomerID: acme}, []int{5, 4, 1, 0}},
		"all":               {keystore.AuditQuery{AllCustomers: true}, []int{5, 4, 3, 2, 1, 0}},
		"no customer":       {keystore.AuditQuery{NoCustomer: true}, []int{3}},
		"a microtenant":     {keystore.AuditQuery{CustomerID: acme, MicrotenantID: lab}, []int{1}},
		"an actor":          {keystore.AuditQuery{AllCustomers: true, ActorID: "key_9"}, []int{1}},
		"Keyreeve itself":   {keystore.AuditQuery{AllCustomers: true, ActorID: keystore.ActorSystem}, []int{3}},
		"an action":         {keystore.AuditQuery{AllCustomers: true, Action: "key.update"}, []int{3, 2, 0}},
		"a group of them":   {keystore.AuditQuery{CustomerID: acme, Action: "key."}, []int{1, 0}},
		"another group":     {keystore.AuditQuery{CustomerID: acme, Action: "key%."}, []int{5}},
		"not part of a one": {keystore.AuditQuery{CustomerID: acme, Action: "key"}, nil},
		"a kind":            {keystore.AuditQuery{CustomerID: acme, TargetKind: "keyring"}, []int{4}},
		"a target":          {keystore.AuditQuery{CustomerID: acme, TargetID: "key_1"}, []int{5, 1}},
		"a request":         {keystore.AuditQuery{CustomerID: acme, RequestID: "req-4"}, []int{4}},
		"since":             {keystore.AuditQuery{AllCustomers: true, Since: all[4].At}, []int{5, 4}},
		"since a half":      {keystore.AuditQuery{AllCustomers: true, Since: all[4].At.Add(half)}, []int{5}},
		"until":             {keystore.AuditQuery{AllCustomers: true, Until: all[1].At}, []int{0}},
		"until a half":      {keystore.AuditQuery{AllCustomers: true, Until: all[1].At.Add(half)}, []int{1, 0}},
		"oldest first":      {keystore.AuditQuery{CustomerID: acme, Oldest: true}, []int{0, 1, 4, 5}},
	} {
		c.q.Limit = 10
		var want []*keystore.Audit
		for _, i := range c.want {
			want = append(want, all[i])
		}
		got, total := f.events(t, c.q)
		require.Equal(t, want, got, name)
		require.Equal(t, len(want), total, name)
		c.q.Uncounted = true
		got, _ = f.events(t, c.q)
		require.Equal(t, want, got, name)
	}
}

func auditPages(t *testing.T, f *fixture) {
	for _, oldest := range []bool{false, true} {
		for n := range 5 {
			f.add(t, f.event(acme, n), f.event(globex, n))
		}
		q := keystore.AuditQuery{CustomerID: acme, Oldest: oldest, Limit: 100}
		want, total := f.events(t, q)
		require.Len(t, want, total)
		var got []*keystore.Audit
		for q.Limit = 2; len(got) < len(want); {
			page, _ := f.events(t, q)
			require.NotEmpty(t, page)
			got = append(got, page...)
			after := page[len(page)-1].Cursor()
			q.After, q.Offset = &after, 1 // a cursor needs no offset
			f.add(t, f.event(globex, 100))
			if !oldest {
				f.add(t, f.event(acme, 100))
			}
		}
		require.Equal(t, want, got)
	}
	some, _ := f.events(t, keystore.AuditQuery{CustomerID: acme, Oldest: true, Offset: 2, Limit: 1})
	require.EqualValues(t, 3, some[0].Seq)
	none, total := f.events(t, keystore.AuditQuery{CustomerID: acme})
	require.Empty(t, none, "limit 0 only counts")
	require.Positive(t, total)
}

func auditErrors(t *testing.T, f *fixture) {
	f.add(t, f.event(acme, 1))
	for name, q := range map[string]keystore.AuditQuery{
		"no customer":         {},
		"a customer and none": {CustomerID: acme, NoCustomer: true},
		"cursor":              {CustomerID: acme, After: &keystore.Cursor{ID: "yesterday"}},
		"cursor with a value": {CustomerID: acme, After: &keystore.Cursor{ID: "1", Values: []string{"1"}}},
	} {
		q.Limit = 10
		require.Error(t, f.View(t.Context(), func(r keystore.Reader) error {
			_, _, err := r.AuditEvents(t.Context(), q)
			return err
		}), name)
	}
}
