package sqlstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// sortColumns are what keys are listed by. What is not a column of theirs is looked
// up for each key that matches; the two that depend on the clock read what asOf
// puts before the statement.
var sortColumns = map[string]orderColumn{
	keystore.SortName:     {column: "k.name"},
	keystore.SortClientID: {column: "k.client_id"},
	keystore.SortCreated:  {column: "k.created", number: true},
	keystore.SortModified: {column: "k.modified", number: true},
	keystore.SortLastUsed: {column: "k.last_used", number: true},
	keystore.SortExpires:  {column: "k.expires_at", number: true},
	keystore.SortEnabled:  {column: "(CASE WHEN " + activeKey + " THEN 1 ELSE 0 END)", number: true},
	keystore.SortState: {column: "(CASE WHEN NOT " + activeKey + " THEN 'disabled'" +
		" WHEN k.expires_at > 0 AND k.expires_at <= (SELECT now FROM as_of) THEN 'expired'" +
		" WHEN k.id IN (SELECT id FROM locked_then) THEN 'locked' ELSE 'active' END)"},
	keystore.SortValidity: {column: "k.session_validity_ns", number: true},
	keystore.SortSecrets: {column: "(SELECT count(*) FROM secrets s WHERE s.key_id = k.id AND s.retired = 0" +
		" AND (s.expires = 0 OR s.expires > (SELECT now FROM as_of)))", number: true},
	keystore.SortLabels:        {column: fmt.Sprintf("substr(k.labels, 1, %d)", keystore.LabelOrder)},
	keystore.SortRole:          {column: "(SELECT r.name FROM roles r WHERE r.id = k.role_id)"},
	keystore.SortCustomer:      {column: "(SELECT c.name FROM customers c WHERE c.id = k.customer_id)"},
	keystore.SortMicrotenant:   {column: "coalesce((SELECT m.name FROM microtenants m WHERE m.customer_id = k.customer_id AND m.id = k.microtenant_id), '')"},
	keystore.SortRoleID:        {column: "k.role_id"},
	keystore.SortMicrotenantID: {column: "k.microtenant_id"},
	keystore.SortSource:        {column: "k.source"},
}

// keyOrder is the order of a query. The id goes the way of the field before it,
// so that one index serves both.
func keyOrder(q keystore.KeyQuery) ([]orderColumn, error) {
	fields, err := q.Order()
	if err != nil {
		return nil, err
	}
	var order []orderColumn
	for _, f := range fields {
		column, ok := sortColumns[f.Field]
		if !ok {
			return nil, fmt.Errorf("keys cannot be sorted by %s", f.Field)
		}
		column.desc = f.Desc
		order = append(order, column)
	}
	return append(order, orderColumn{column: "k.id", desc: fields[len(fields)-1].Desc}), nil
}

// given stands before a statement: what it reads as if it were a table.
type given struct {
	text string
	args []any
}

// asOf gives what the order of a query needs to know of its time, if anything.
func (r *reader) asOf(ctx context.Context, q keystore.KeyQuery) (given, error) {
	at := q.AsOf(r.now.Wall)
	if at.IsZero() {
		return given{}, nil
	}
	then := r.now // as the clocks stood then
	then.Wall, then.Since = at, r.now.Since-r.now.Wall.Sub(at)
	locked, err := r.lockedKeys(ctx, then)
	return given{"WITH as_of (now) AS (SELECT CAST(? AS BIGINT)), locked_then (id) AS (" + r.dialect.Each + ") ", []any{millis(at), locked}}, err
}

// KeyCursor is the place of a key in a list.
func (r *reader) KeyCursor(ctx context.Context, q keystore.KeyQuery, id string) (keystore.Cursor, error) {
	c := keystore.Cursor{ID: id, AsOf: q.AsOf(r.now.Wall)}
	if err := r.ready(ctx); err != nil {
		return c, err
	}
	order, err := keyOrder(q)
	if err != nil {
		return c, err
	}
	given, err := r.asOf(ctx, q)
	if err != nil {
		return c, err
	}
	order = order[:len(order)-1]
	columns := make([]string, len(order))
	for i, o := range order {
		columns[i] = "CAST(" + o.column + " AS TEXT)"
	}
	rows, err := r.conn.QueryOnce(ctx, given.text+"SELECT "+strings.Join(columns, ", ")+" FROM keys k WHERE k.id = ?", append(given.args, id)...)
	if err != nil {
		return c, r.failed(ctx, err)
	}
	found, err := drain(ctx, r, rows, func(scan scanner) ([]string, error) {
		values, into := make([]string, len(order)), make([]any, len(order))
		for i := range values {
			into[i] = &values[i]
		}
		return values, scan(into...)
	})
	if err == nil && len(found) == 0 {
		err = keystore.ErrNotFound
	}
	if err != nil {
		return c, err
	}
	c.Values = found[0]
	return c, nil
}
