package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// sortColumns are the columns that keys are listed by.
var sortColumns = map[string]string{
	"":                    "k.name",
	keystore.SortName:     "k.name",
	keystore.SortClientID: "k.client_id",
	keystore.SortCreated:  "k.created",
	keystore.SortModified: "k.modified",
}

// conditions collects what a query asks for; values are bound, never part of the text.
type conditions struct {
	terms []string
	args  []any
}

func (c *conditions) add(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// Keys lists one page of the matching keys and counts them all.
func (r *reader) Keys(ctx context.Context, q keystore.KeyQuery) ([]*keystore.Key, int, error) {
	column, ok := sortColumns[q.Sort]
	if !ok {
		_, err := q.Cursor(&keystore.Key{})
		return nil, 0, err
	}
	match, err := r.keyConditions(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	if err := r.usable(); err != nil {
		return nil, 0, err
	}
	var total int
	rows, err := r.conn.c.QueryContext(ctx, "SELECT count(*) FROM keys k"+match.where(), match.args...)
	if err != nil {
		return nil, 0, r.failed(ctx, err)
	}
	if _, err := drain(ctx, r, rows, func(scan scanner) (struct{}, error) { return struct{}{}, scan(&total) }); err != nil {
		return nil, 0, err
	}
	if q.Limit <= 0 || total == 0 {
		return nil, total, nil
	}
	keys, err := r.keyPage(ctx, q, column, match)
	if err != nil {
		return nil, 0, err
	}
	return keys, total, nil
}

// keyPage reads the keys behind q.After, or past q.Offset. The text of the
// statement varies with the query, so it is not kept prepared.
func (r *reader) keyPage(ctx context.Context, q keystore.KeyQuery, column string, match conditions) ([]*keystore.Key, error) {
	direction, beyond := "", ">"
	if q.Desc {
		direction, beyond = " DESC", "<"
	}
	offset := max(0, q.Offset)
	if q.After != nil {
		value, err := cursorValue(column, q.After.Value)
		if err != nil {
			return nil, err
		}
		match.add("("+column+", k.id) "+beyond+" (?, ?)", value, q.After.ID)
		offset = 0
	}
	text := "SELECT " + keyColumns + " FROM keys k" + match.where() +
		" ORDER BY " + column + direction + ", k.id" + direction + " LIMIT ? OFFSET ?"
	rows, err := r.conn.c.QueryContext(ctx, text, append(match.args, q.Limit, offset)...)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	keys, err := drain(ctx, r, rows, func(scan scanner) (*keystore.Key, error) {
		var k keyRow
		if err := scan(k.into()...); err != nil {
			return nil, err
		}
		return k.read()
	})
	if err != nil {
		return nil, err
	}
	return keys, r.addSecrets(ctx, keys)
}

// cursorValue is a cursor's value in the type of its column.
func cursorValue(column, value string) (any, error) {
	if column != "k.created" && column != "k.modified" {
		return value, nil
	}
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("cursor of a list sorted by time: expected Unix milliseconds, got %q", value)
	}
	return ms, nil
}

func (r *reader) keyConditions(ctx context.Context, q keystore.KeyQuery) (conditions, error) {
	var c conditions
	if q.CustomerID == "" && !q.AllCustomers {
		return c, errors.New("a key query must name its customer or ask for all")
	}
	for _, f := range []struct{ column, value string }{
		{"customer_id", q.CustomerID}, {"microtenant_id", q.MicrotenantID}, {"role_id", q.RoleID}, {"source", q.Source}, {"name", q.Name},
	} {
		if f.value != "" {
			c.add("k."+f.column+" = ?", f.value)
		}
	}
	if q.Text != "" {
		// Not LIKE: that would read % and _ as wildcards and fold ASCII only.
		c.add("instr(k.search, ?) > 0", fold(q.Text))
	}
	if q.State == "" {
		return c, nil
	}
	now := millis(r.now.Wall)
	const unexpired = "(k.expires_at = 0 OR k.expires_at > ?)"
	switch q.State {
	case keystore.StateDisabled:
		c.add("k.enabled = 0")
	case keystore.StateExpired:
		c.add("k.enabled = 1 AND NOT "+unexpired, now)
	case keystore.StateLocked, keystore.StateActive:
		locked, err := r.lockedKeys(ctx)
		if err != nil {
			return c, err
		}
		not := ""
		if q.State == keystore.StateActive {
			not = "NOT "
		}
		c.add("k.enabled = 1 AND "+unexpired+" AND k.id "+not+"IN (SELECT value FROM json_each(?))", now, locked)
	default:
		return c, fmt.Errorf("unknown key state %q, expected active, disabled, locked or expired", q.State)
	}
	return c, nil
}

// lockedKeys is a JSON list of the keys whose whole client is locked now. How
// long a lock lasts over boots is for package policy to say, not for SQL.
func (r *reader) lockedKeys(ctx context.Context) (string, error) {
	locks, err := list(ctx, r, scanTally, "SELECT "+tallyColumns+" FROM tallies WHERE locked_for_ns > 0 AND source = ''")
	if err != nil {
		return "", err
	}
	ids := []string{}
	for _, t := range locks {
		if t.Remaining(r.now) > 0 {
			ids = append(ids, t.KeyID)
		}
	}
	data, err := json.Marshal(ids)
	return string(data), err
}
