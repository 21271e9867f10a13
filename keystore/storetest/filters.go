package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

var filterCases = []testCase{
	{"keys are selected by what their API fields say", filterFields},
	{"labels are matched literally, by name and by value", filterLabels},
	{"times are compared exactly, the instant itself excluded", filterTimes},
	{"a key is disabled by its owner or here, and listed under that state", filterDisabledHere},
	{"locked keys are selected whatever else is wrong with them", filterLocked},
	{"customers and microtenants are listed by text, page by page in both orders", tenantLists},
	{"a tenant query must name its customer or ask for all, a sort and a cursor there is", tenantListErrors},
	{"keys are counted by role, in all, in a customer and in a microtenant", keysByRole},
	{"keys and microtenants are counted by tenant, of all and of one customer", byTenant},
}

func filterFields(t *testing.T, f *fixture) {
	plain, inside, pushed, used := f.key(1), f.key(2), f.key(3), f.key(4)
	inside.MicrotenantID = lab
	pushed.Source = directory
	used.LastUsed = f.clock.Now().Wall
	f.put(t, plain, inside, pushed, used)
	yes, no := true, false
	for name, c := range map[string]struct {
		q    keystore.KeyQuery
		want []string
	}{
		"in no microtenant":            {keystore.KeyQuery{CustomerLevel: true}, []string{plain.ID, pushed.ID, used.ID}},
		"in a microtenant and in none": {keystore.KeyQuery{CustomerLevel: true, MicrotenantID: lab}, nil},
		"of no source":                 {keystore.KeyQuery{OwnOnly: true}, []string{plain.ID, inside.ID, used.ID}},
		"of a source":                  {keystore.KeyQuery{Source: directory}, []string{pushed.ID}},
		"of an id":                     {keystore.KeyQuery{ID: pushed.ID}, []string{pushed.ID}},
		"of a client id":               {keystore.KeyQuery{ClientID: used.ClientID}, []string{used.ID}},
		"of another's client id":       {keystore.KeyQuery{ID: pushed.ID, ClientID: used.ClientID}, nil},
		"of part of a client id":       {keystore.KeyQuery{ClientID: "client"}, nil},
		"never used":                   {keystore.KeyQuery{NeverUsed: &yes}, []string{plain.ID, inside.ID, pushed.ID}},
		"used":                         {keystore.KeyQuery{NeverUsed: &no}, []string{used.ID}},
	} {
		c.q.Limit = 10
		ids, total := f.keys(t, c.q)
		require.Equal(t, c.want, ids, name)
		require.Equal(t, len(c.want), total, name)
	}
}

func filterLabels(t *testing.T, f *fixture) {
	value := func(s string) *string { return &s }
	label := func(name string, value *string) keystore.LabelFilter {
		return keystore.LabelFilter{Name: name, Value: value}
	}
	var keys []*keystore.Key
	for i, text := range hostile {
		k := f.key(i)
		k.Labels = map[string]string{text: "v" + text, "team": text}
		keys = append(keys, k)
	}
	bare, empty := f.key(100), f.key(101)
	empty.Labels = map[string]string{"": ""}
	f.put(t, append(keys, bare, empty)...)
	matching := func(labels ...keystore.LabelFilter) []string {
		ids, total := f.keys(t, keystore.KeyQuery{Labels: labels, Sort: by(keystore.SortClientID), Limit: 500})
		require.Len(t, ids, total)
		return ids
	}
	for i, text := range hostile {
		want := []string{keys[i].ID}
		require.Equal(t, want, matching(label(text, nil)), "%q", text)
		require.Equal(t, want, matching(label(text, value("v"+text))), "%q", text)
		require.Equal(t, want, matching(label("team", value(text))), "%q", text)
		require.Equal(t, want, matching(label("team", value(text)), label(text, nil)), "%q", text)
		require.Empty(t, matching(label(text, value(text))), "%q", text)
		require.Empty(t, matching(label("team", value(text)), label("other", nil)), "%q: all must match", text)
	}
	require.Len(t, matching(label("team", nil)), len(hostile))
	require.Empty(t, matching(label("Team", nil)))
	require.Equal(t, []string{empty.ID}, matching(label("", value(""))))
}

func filterTimes(t *testing.T, f *fixture) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	before, same, after, never := f.key(1), f.key(2), f.key(3), f.key(4)
	for k, off := range map[*keystore.Key]time.Duration{before: -time.Millisecond, same: 0, after: time.Millisecond} {
		k.Created, k.ExpiresAt = at.Add(off), at.Add(off)
	}
	never.Created = at.Add(-time.Hour)
	f.put(t, before, same, after, never)
	const half = time.Millisecond / 2
	for name, c := range map[string]struct {
		q    keystore.KeyQuery
		want []string
	}{
		"created after":           {keystore.KeyQuery{CreatedAfter: at}, []string{after.ID}},
		"created after a half":    {keystore.KeyQuery{CreatedAfter: at.Add(-half)}, []string{same.ID, after.ID}},
		"created before":          {keystore.KeyQuery{CreatedBefore: at}, []string{before.ID, never.ID}},
		"created before a half":   {keystore.KeyQuery{CreatedBefore: at.Add(half)}, []string{before.ID, same.ID, never.ID}},
		"created between":         {keystore.KeyQuery{CreatedAfter: at.Add(-time.Millisecond), CreatedBefore: at.Add(time.Millisecond)}, []string{same.ID}},
		"expires before":          {keystore.KeyQuery{ExpiresBefore: at}, []string{before.ID}},
		"expires before a half":   {keystore.KeyQuery{ExpiresBefore: at.Add(half)}, []string{before.ID, same.ID}},
		"expires before far off":  {keystore.KeyQuery{ExpiresBefore: at.AddDate(100, 0, 0)}, []string{before.ID, same.ID, after.ID}},
		"expires before anything": {keystore.KeyQuery{ExpiresBefore: time.Unix(0, 0)}, nil},
	} {
		c.q.Limit = 10
		ids, total := f.keys(t, c.q)
		require.Equal(t, c.want, ids, name)
		require.Equal(t, len(c.want), total, name)
	}
}

func filterDisabledHere(t *testing.T, f *fixture) {
	on, there, here, both := f.key(1), f.key(2), f.key(3), f.key(4)
	there.Enabled = false
	here.DisabledHere = true
	both.Enabled, both.DisabledHere = false, true
	f.put(t, on, there, here, both)
	ids, _ := f.keys(t, keystore.KeyQuery{State: keystore.StateDisabled, Limit: 10})
	require.Equal(t, []string{there.ID, here.ID, both.ID}, ids)
	ids, _ = f.keys(t, keystore.KeyQuery{State: keystore.StateActive, Limit: 10})
	require.Equal(t, []string{on.ID}, ids)
	require.True(t, f.get(t, here.ID).DisabledHere)
	require.True(t, f.get(t, here.ID).Enabled)
	here.DisabledHere = false
	f.put(t, here)
	ids, _ = f.keys(t, keystore.KeyQuery{State: keystore.StateActive, Limit: 10})
	require.Equal(t, []string{on.ID, here.ID}, ids)
}

func filterLocked(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	free, locked, off, expired := f.key(1), f.key(2), f.key(3), f.key(4)
	off.DisabledHere = true
	expired.ExpiresAt = now
	f.put(t, free, locked, off, expired)
	for _, k := range []*keystore.Key{locked, off, expired} {
		f.lockOut(t, k.ID, "")
	}
	f.lockOut(t, free.ID, "192.0.2.1/32")
	yes, no := true, false
	for name, c := range map[string]struct {
		q    keystore.KeyQuery
		want []string
	}{
		"locked":              {keystore.KeyQuery{Locked: &yes}, []string{locked.ID, off.ID, expired.ID}},
		"not locked":          {keystore.KeyQuery{Locked: &no}, []string{free.ID}},
		"locked and disabled": {keystore.KeyQuery{Locked: &yes, State: keystore.StateDisabled}, []string{off.ID}},
		"state and locked":    {keystore.KeyQuery{Locked: &yes, State: keystore.StateLocked}, []string{locked.ID}},
		"active and locked":   {keystore.KeyQuery{Locked: &yes, State: keystore.StateActive}, nil},
		"locked and not":      {keystore.KeyQuery{Locked: &no, State: keystore.StateLocked}, nil},
	} {
		c.q.Limit = 10
		ids, total := f.keys(t, c.q)
		require.Equal(t, c.want, ids, name)
		require.Equal(t, len(c.want), total, name)
	}
	f.clock.Advance(strict().Duration)
	ids, _ := f.keys(t, keystore.KeyQuery{Locked: &yes, Limit: 10})
	require.Empty(t, ids, "a lock that has ended is none")
}

// tenantPages walks a list of microtenants, or of customers, two at a time.
func (f *fixture) tenantPages(t testing.TB, customers bool, q keystore.TenantQuery) (ids []string) {
	t.Helper()
	for q.Limit = 2; ; {
		var page []string
		var total int
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			if customers {
				list, n, err := r.ListCustomers(ctx, q)
				for _, c := range list {
					at := q.CustomerCursor(c)
					page, q.After = append(page, c.ID), &at
				}
				total = n
				return err
			}
			list, n, err := r.ListMicrotenants(ctx, q)
			for _, m := range list {
				at := q.MicrotenantCursor(m)
				page, q.After = append(page, m.CustomerID+"/"+m.ID), &at
			}
			total = n
			return err
		})
		if len(page) == 0 {
			require.Len(t, ids, total)
			return ids
		}
		ids = append(ids, page...)
	}
}

func tenantLists(t *testing.T, f *fixture) {
	now := f.clock.Now().Wall
	f.update(t, func(ctx context.Context, tx keystore.Tx) error {
		for i, name := range []string{"Éclair", "Beta_50%", "alpha"} {
			c := &keystore.Customer{ID: "cust_" + string(rune('a'+i)), Name: name, Created: now.Add(time.Duration(i%2+1) * time.Second)}
			if err := tx.PutCustomer(ctx, c); err != nil {
				return err
			}
			for _, id := range []string{"mt_1", "mt_2"} { // the same in each customer, names and ids
				m := &keystore.Microtenant{CustomerID: c.ID, ID: id, Name: "Unit " + id, Created: c.Created}
				if err := tx.PutMicrotenant(ctx, m); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for name, c := range map[string]struct {
		customers bool
		q         keystore.TenantQuery
		want      []string
	}{
		"customers by name":      {true, keystore.TenantQuery{AllCustomers: true}, []string{acme, "cust_b", globex, "cust_c", "cust_a"}},
		"customers by time back": {true, keystore.TenantQuery{AllCustomers: true, Sort: keystore.SortField{Field: keystore.SortCreated, Desc: true}}, []string{"cust_b", "cust_c", "cust_a", globex, acme}},
		"by a name in any case":  {true, keystore.TenantQuery{AllCustomers: true, Text: "éCL"}, []string{"cust_a"}},
		"by an id":               {true, keystore.TenantQuery{AllCustomers: true, Text: "UST_b"}, []string{"cust_b"}},
		"without wildcards":      {true, keystore.TenantQuery{AllCustomers: true, Text: "_50%"}, []string{"cust_b"}},
		"not across name and id": {true, keystore.TenantQuery{AllCustomers: true, Text: "alphacust"}, nil},
		"one customer":           {true, keystore.TenantQuery{CustomerID: globex}, []string{globex}},
		"microtenants":           {false, keystore.TenantQuery{AllCustomers: true}, []string{acme + "/" + lab, "cust_a/mt_1", "cust_b/mt_1", "cust_c/mt_1", "cust_a/mt_2", "cust_b/mt_2", "cust_c/mt_2"}},
		"microtenants back":      {false, keystore.TenantQuery{AllCustomers: true, Sort: keystore.SortField{Desc: true}}, []string{"cust_c/mt_2", "cust_b/mt_2", "cust_a/mt_2", "cust_c/mt_1", "cust_b/mt_1", "cust_a/mt_1", acme + "/" + lab}},
		"of one customer":        {false, keystore.TenantQuery{CustomerID: "cust_b"}, []string{"cust_b/mt_1", "cust_b/mt_2"}},
		"one microtenant":        {false, keystore.TenantQuery{CustomerID: "cust_b", ID: "mt_2"}, []string{"cust_b/mt_2"}},
		"microtenants by text":   {false, keystore.TenantQuery{AllCustomers: true, Text: "LA"}, []string{acme + "/" + lab}},
	} {
		require.Equal(t, c.want, f.tenantPages(t, c.customers, c.q), name)
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		some, total, err := r.ListCustomers(ctx, keystore.TenantQuery{AllCustomers: true, Offset: 3, Limit: 1})
		require.NoError(t, err)
		require.Equal(t, "cust_c", some[0].ID)
		require.Equal(t, 5, total)
		none, total, err := r.ListMicrotenants(ctx, keystore.TenantQuery{AllCustomers: true})
		require.Empty(t, none, "limit 0 only counts")
		require.Equal(t, 7, total)
		return err
	})
}

func tenantListErrors(t *testing.T, f *fixture) {
	for name, q := range map[string]keystore.TenantQuery{
		"no customer": {}, "sort": {AllCustomers: true, Sort: keystore.SortField{Field: keystore.SortModified}},
		"cursor of none": {AllCustomers: true, After: &keystore.Cursor{ID: "x y"}},
		"cursor":         {AllCustomers: true, Sort: keystore.SortField{Field: keystore.SortCreated}, After: &keystore.Cursor{Values: []string{"x"}, ID: "x y"}},
	} {
		q.Limit = 10
		f.view(t, func(ctx context.Context, r keystore.Reader) error {
			_, _, err := r.ListCustomers(ctx, q)
			require.Error(t, err, name)
			_, _, err = r.ListMicrotenants(ctx, q)
			require.Error(t, err, name)
			return nil
		})
	}
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		_, _, err := r.ListMicrotenants(ctx, keystore.TenantQuery{AllCustomers: true, Limit: 10, After: &keystore.Cursor{Values: []string{"x"}, ID: "y"}})
		require.Error(t, err, "a microtenant's place names its customer")
		return nil
	})
}

func keysByRole(t *testing.T, f *fixture) {
	a, b, c, other := f.key(1), f.key(2), f.key(3), f.key(4)
	b.MicrotenantID, b.RoleID = lab, auditor
	c.MicrotenantID = lab
	other.CustomerID = globex
	f.put(t, a, b, c, other)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		for _, c := range []struct {
			customerID, microtenantID string
			want                      map[string]int
		}{
			{"", "", map[string]int{keystore.RoleReadOnly: 3, auditor: 1}},
			{acme, "", map[string]int{keystore.RoleReadOnly: 2, auditor: 1}},
			{acme, lab, map[string]int{keystore.RoleReadOnly: 1, auditor: 1}},
			{globex, "", map[string]int{keystore.RoleReadOnly: 1}},
			{globex, lab, map[string]int{}},
			{"cust_none", "", map[string]int{}},
		} {
			got, err := r.KeysByRole(ctx, c.customerID, c.microtenantID)
			require.NoError(t, err)
			require.Equal(t, c.want, got, "%s/%s", c.customerID, c.microtenantID)
		}
		_, err := r.KeysByRole(ctx, "", lab)
		require.Error(t, err, "a microtenant of which customer?")
		return nil
	})
}

func byTenant(t *testing.T, f *fixture) {
	a, b, c, other := f.key(1), f.key(2), f.key(3), f.key(4)
	b.MicrotenantID, c.MicrotenantID = lab, lab
	other.CustomerID = globex
	f.put(t, a, b, c, other)
	f.view(t, func(ctx context.Context, r keystore.Reader) error {
		ofAcme := map[string]int{"": 1, lab: 2}
		for customerID, want := range map[string]map[string]map[string]int{
			"":          {acme: ofAcme, globex: {"": 1}},
			acme:        {acme: ofAcme},
			globex:      {globex: {"": 1}},
			"cust_none": {},
		} {
			got, err := r.KeysByTenant(ctx, customerID)
			require.NoError(t, err)
			require.Equal(t, want, got, customerID)
		}
		for _, customerID := range []string{"", acme, globex, "cust_none"} {
			want := map[string]int{}
			all, err := r.Microtenants(ctx, customerID)
			require.NoError(t, err)
			for _, m := range all {
				want[m.CustomerID]++
			}
			got, err := r.MicrotenantsByCustomer(ctx, customerID)
			require.NoError(t, err)
			require.Equal(t, want, got, customerID)
		}
		return nil
	})
}
