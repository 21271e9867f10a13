package sqlite

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// plan is how SQLite goes about a statement, a line a step. Without statistics,
// which this store does not gather, it does not depend on what is stored.
func plan(t *testing.T, s *Store, text string, args ...any) string {
	t.Helper()
	var steps []string
	require.NoError(t, s.view(t.Context(), s.readers, func(r *reader) error {
		rows, err := r.conn.c.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			return err
		}
		steps, err = drain(t.Context(), r, rows, func(scan scanner) (string, error) {
			var id, parent, unused int
			var step string
			return step, scan(&id, &parent, &unused, &step)
		})
		return err
	}))
	return strings.Join(steps, "\n")
}

// keyList is the listing of a query of customer c.
func keyList(t *testing.T, s *Store, q keystore.KeyQuery) (l listing) {
	t.Helper()
	q.CustomerID = "c"
	require.NoError(t, s.view(t.Context(), s.readers, func(r *reader) (err error) {
		l, err = r.keyList(t.Context(), q)
		return err
	}))
	return l
}

// placeOf is where a key of customer c stands in a list.
func placeOf(t *testing.T, s *Store, q keystore.KeyQuery, id string) (c keystore.Cursor) {
	t.Helper()
	require.NoError(t, s.view(t.Context(), s.readers, func(r *reader) (err error) {
		c, err = r.KeyCursor(t.Context(), q, id)
		return err
	}))
	return c
}

func TestAPageIsReadInTheOrderOfAnIndexOrSortedFromOneAlone(t *testing.T) {
	s := newStore(t)
	putKeys(t, s, 1, 1)
	indexed := map[string]string{
		keystore.SortName: "keys_of_customer_by_name", keystore.SortClientID: "keys_of_customer_by_client_id", keystore.SortCreated: "keys_of_customer_by_created",
		keystore.SortModified: "keys_of_customer_by_modified", keystore.SortLastUsed: "keys_of_customer_by_use",
	}
	for _, field := range keystore.KeySortFields() {
		for _, desc := range []bool{false, true} {
			q := keystore.KeyQuery{Sort: []keystore.SortField{{Field: field, Desc: desc}}}
			l := keyList(t, s, q)
			steps := plan(t, s, l.text(false), l.pageArgs(50, 0)...)
			after := placeOf(t, s, q, testKey(1).ID)
			require.NoError(t, l.match.behind(l.order, &after))
			next := plan(t, s, l.text(false), l.pageArgs(50, 0)...)
			// The page itself, 50 records, is put in order once more.
			if index, ok := indexed[field]; ok {
				require.Contains(t, steps, "COVERING INDEX "+index+" ", field)
				require.Equal(t, 1, strings.Count(steps, "TEMP B-TREE"), "%s: no sort\n%s", field, steps)
				require.Contains(t, next, index+" (customer_id=? AND ", "begins at the place\n%s", next)
				require.Equal(t, 1, strings.Count(next, "TEMP B-TREE"), next)
				continue
			}
			if field == keystore.SortCustomer || field == keystore.SortSecrets { // any index has the customer, and the id
				require.Contains(t, steps, "COVERING INDEX keys_", steps)
				require.Contains(t, next, "COVERING INDEX keys_", next)
				continue
			}
			require.Contains(t, steps, "COVERING INDEX keys_counted", "%s: sorts what one index says\n%s", field, steps)
			if field == keystore.SortMicrotenantID { // the unique names begin with it
				require.Contains(t, next, "microtenant_id"+map[bool]string{false: ">", true: "<"}[desc], next)
				continue
			}
			require.Contains(t, next, "COVERING INDEX keys_counted", "%s\n%s", field, next)
		}
	}
}

func TestFilteredKeysAreCountedFromOneIndex(t *testing.T) {
	s := newStore(t)
	value := "ops"
	for name, q := range map[string]keystore.KeyQuery{
		"all":         {},
		"role":        {RoleID: keystore.RoleReadOnly},
		"active":      {State: keystore.StateActive},
		"disabled":    {State: keystore.StateDisabled},
		"text":        {Text: "x"},
		"a label":     {Labels: []keystore.LabelFilter{{Name: "team", Value: &value}}},
		"many":        {RoleID: keystore.RoleReadOnly, State: keystore.StateActive, Text: "x", OwnOnly: true, CustomerLevel: true},
		"microtenant": {MicrotenantID: "lab", RoleID: keystore.RoleReadOnly},
		"never used":  {NeverUsed: new(bool)},
	} {
		l := keyList(t, s, q)
		steps := plan(t, s, l.countText(), l.match.args...)
		require.Contains(t, steps, "COVERING INDEX", "%s\n%s", name, steps)
	}
}

func TestAuditEventsAreFoundByIndex(t *testing.T) {
	s := newStore(t)
	for where, index := range map[string]string{
		"a.customer_id = 'c'":                                               "audit_by_customer",
		"a.customer_id = 'c' AND a.target_id = 'x'":                         "audit_by_target",
		"a.customer_id = 'c' AND a.actor_id = 'x'":                          "audit_by_actor",
		"a.customer_id = 'c' AND a.request_id = 'x' AND a.request_id <> ''": "audit_by_request",
	} {
		steps := plan(t, s, "SELECT "+auditColumns+" FROM audit a WHERE "+where+" ORDER BY a.id DESC LIMIT 50")
		require.Contains(t, steps, index, where)
		require.NotContains(t, steps, "TEMP B-TREE", where)
	}
}

func TestOldCallsAreFoundAndForgottenByIndex(t *testing.T) {
	s := newStore(t)
	steps := plan(t, s, forgetOldCalls, 1, 2)
	require.Contains(t, steps, "COVERING INDEX key_calls_by_hour (hour<?)", "%s", steps)
	require.NotContains(t, steps, "SCAN key_calls", steps)
	steps = plan(t, s, "SELECT key_id, hour, calls FROM key_calls WHERE key_id = ? AND hour >= ? ORDER BY hour", "k", 1)
	require.Equal(t, "SEARCH key_calls USING PRIMARY KEY (key_id=? AND hour>?)", steps)
}
