package sqlite

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// plan is how SQLite goes about a statement, a line a step. Without statistics,
// which this store does not gather, it does not depend on what is stored.
func plan(t *testing.T, s *Store, a sqlstore.Statement) string {
	t.Helper()
	c, err := s.readers.get(t.Context())
	require.NoError(t, err)
	defer s.readers.put(c)
	rows, err := c.QueryOnce(t.Context(), "EXPLAIN QUERY PLAN "+a.Text, a.Args...)
	require.NoError(t, err)
	defer rows.Close()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return strings.Join(steps, "\n")
}

// placeOf is where a key stands in a list.
func placeOf(t *testing.T, s *Store, q keystore.KeyQuery, id string) (c keystore.Cursor) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(r keystore.Reader) (err error) {
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
			steps := plan(t, s, keyPage(t, s, q))
			after := placeOf(t, s, q, testKey(1).ID)
			q.After = &after
			next := plan(t, s, keyPage(t, s, q))
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

func TestAPageOfManyFromATimeOnIsFoundOnTheWayAlongTheOrder(t *testing.T) {
	s := newStore(t)
	q := keystore.KeyQuery{CreatedAfter: time.UnixMilli(1)}
	put := func(first, n int) {
		_, err := s.Update(t.Context(), func(tx keystore.Tx) error {
			for i := range n {
				k := testKey(first + i)
				k.Created, k.Secrets = tx.Now().Wall, nil
				if err := tx.PutKey(t.Context(), k); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
	}
	put(0, 1)
	require.Contains(t, plan(t, s, keyPage(t, s, q)), "keys_of_customer_by_created (customer_id=? AND created>?)", "few are looked up and sorted")
	put(1, 5000)
	require.Contains(t, plan(t, s, keyPage(t, s, q)), "keys_of_customer_by_name (customer_id=?)", "many are not")
	q.Sort = []keystore.SortField{{Field: keystore.SortCreated}}
	require.Contains(t, plan(t, s, keyPage(t, s, q)), "keys_of_customer_by_created (customer_id=? AND created>?)", "its own order begins at the time")
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
		steps := plan(t, s, keyCount(t, s, q))
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
		steps := plan(t, s, sqlstore.Statement{Text: "SELECT a.* FROM audit a WHERE " + where + " ORDER BY a.id DESC LIMIT 50"})
		require.Contains(t, steps, index, where)
		require.NotContains(t, steps, "TEMP B-TREE", where)
	}
}

func TestOldCallsAreFoundAndForgottenByIndex(t *testing.T) {
	s := newStore(t)
	use := func(s *sqlstore.Store) error { return s.Use(t.Context(), nil, keystore.Calls{KeyID: "k"}) }
	steps := plan(t, s, asked(t, s, "DELETE FROM key_calls", use))
	require.Contains(t, steps, "COVERING INDEX key_calls_by_hour (hour<?)", "%s", steps)
	require.NotContains(t, steps, "SCAN key_calls", steps)
	steps = plan(t, s, asked(t, s, "FROM key_calls", func(s *sqlstore.Store) error {
		return s.View(t.Context(), func(r keystore.Reader) error {
			_, err := r.Calls(t.Context(), "k", time.Time{})
			return err
		})
	}))
	require.Equal(t, "SEARCH key_calls USING PRIMARY KEY (key_id=? AND hour>?)", steps)
}
