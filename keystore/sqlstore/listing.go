package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// conditions collects what a query asks for; values are bound, never part of the text.
type conditions struct {
	terms []string
	args  []any
	// ranges are the terms that bound an indexed column, by their places.
	ranges map[int]string
}

func (c *conditions) add(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

// bound is add for a term that begins with a column, and bounds it.
func (c *conditions) bound(column, rest string, args ...any) {
	if c.ranges == nil {
		c.ranges = map[int]string{}
	}
	c.ranges[len(c.terms)] = column
	c.add(column+rest, args...)
}

// loosen has no index looked up by a bound, unless it is that of the order: where many
// match, a page is rather found on the way along the order than by sorting them all.
func (c *conditions) loosen(d *Dialect, order string) {
	for i, column := range c.ranges {
		if column != order {
			c.terms[i] = d.Unindexed + strings.TrimPrefix(c.terms[i], d.Unindexed)
		}
	}
}

// equal asks for a value in a column unless the value is "".
func (c *conditions) equal(column, value string) {
	if value != "" {
		c.add(column+" = ?", value)
	}
}

func (c *conditions) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// listing is a list that is given page by page: what is read, from where, which
// records, and in which order.
type listing struct {
	// given is for the page; what matches does not need it.
	given         given
	columns, from string
	// row names a record of the one table that is read; where it is set, the page is
	// found first and only its records are read whole.
	row   string
	match conditions
	// rare: what matches may be few among many, and all in one place of the order.
	rare bool
	// order ends with what makes it complete, the columns of the id.
	order []orderColumn
}

// fewRecords is how many matching records are rather sorted than looked for in the
// order of an index, where each that does not match costs a lookup.
const fewRecords = 5000

// orderColumn is a column that a list is sorted by.
type orderColumn struct {
	column string
	desc   bool
	// number: its values are integers, not text.
	number bool
}

// place is a place in a list and how long a page begins there.
type place struct {
	after         *keystore.Cursor
	offset, limit int
	// uncounted: only the page is wanted.
	uncounted bool
}

// page reads one page of a list and counts all of it. The texts of the
// statements vary with the query, so they are not kept prepared.
func page[T any](ctx context.Context, r *reader, l listing, at place, read func(scanner) (T, error)) ([]T, int, error) {
	if err := r.ready(ctx); err != nil {
		return nil, 0, err
	}
	total := 0
	if !at.uncounted {
		var err error
		if total, err = r.count(ctx, l); err != nil {
			return nil, 0, err
		}
	}
	if at.limit <= 0 || total == 0 && !at.uncounted {
		return nil, total, l.match.behind(l.order, at.after)
	}
	if total > fewRecords {
		l.match.loosen(r.dialect, l.order[0].column)
	}
	if err := l.match.behind(l.order, at.after); err != nil {
		return nil, 0, err
	}
	offset := max(0, at.offset)
	if at.after != nil {
		offset = 0
	}
	rows, err := r.conn.QueryOnce(ctx, l.text(r.dialect, l.rare && total <= fewRecords), l.pageArgs(at.limit, offset)...)
	if err != nil {
		return nil, 0, r.failed(ctx, err)
	}
	records, err := drain(ctx, r, rows, read)
	return records, total, err
}

// text reads a page; the limit and the offset are bound last. With sort it keeps
// to what finds the records, whatever index there is in the order.
func (l *listing) text(d *Dialect, sort bool) string {
	if l.row == "" {
		return l.given.text + "SELECT " + l.columns + " FROM " + l.from + l.match.where() + orderBy(l.order, "") + " LIMIT ? OFFSET ?"
	}
	prefix := ""
	if sort {
		prefix = d.Unindexed
	}
	return l.given.text + "SELECT " + l.columns + " FROM " + l.from + " WHERE " + l.row + " IN (SELECT " + l.row + " FROM " + l.from + l.match.where() +
		orderBy(l.order, prefix) + " LIMIT ? OFFSET ?)" + orderBy(l.order, "")
}

// pageArgs are what text binds.
func (l *listing) pageArgs(limit, offset int) []any {
	return slices.Concat(l.given.args, l.match.args, []any{limit, offset})
}

func (l *listing) countText() string { return "SELECT count(*) FROM " + l.from + l.match.where() }

func (r *reader) count(ctx context.Context, l listing) (total int, err error) {
	rows, err := r.conn.QueryOnce(ctx, l.countText(), l.match.args...)
	if err != nil {
		return 0, r.failed(ctx, err)
	}
	_, err = drain(ctx, r, rows, func(scan scanner) (struct{}, error) { return struct{}{}, scan(&total) })
	return total, err
}

func orderBy(order []orderColumn, prefix string) string {
	terms := make([]string, len(order))
	for i, o := range order {
		terms[i] = prefix + o.column
		if o.desc {
			terms[i] += " DESC"
		}
	}
	return " ORDER BY " + strings.Join(terms, ", ")
}

// behind asks for what lies behind a place in the order; nil asks for nothing.
func (c *conditions) behind(order []orderColumn, at *keystore.Cursor) error {
	if at == nil {
		return nil
	}
	values, err := cursorValues(order, at)
	if err != nil {
		return err
	}
	oneWay := true
	columns := make([]string, len(order))
	for i, o := range order {
		columns[i] = o.column
		oneWay = oneWay && o.desc == order[0].desc
	}
	if oneWay {
		// A row value (SQL:1999, 7.1), which an index in this order serves.
		c.add("("+strings.Join(columns, ", ")+") "+order[0].beyond()+" (?"+strings.Repeat(", ?", len(order)-1)+")", values...)
		return nil
	}
	// Equal in the first i columns and beyond in the next, for each i. The first
	// term follows from the others, and is what an index can begin at.
	var either []string
	var args []any
	for i, o := range order {
		term := ""
		for j := range i {
			term += columns[j] + " = ? AND "
			args = append(args, values[j])
		}
		either = append(either, "("+term+columns[i]+" "+o.beyond()+" ?)")
		args = append(args, values[i])
	}
	c.add(columns[0]+" "+order[0].beyond()+"= ?", values[0])
	c.add("("+strings.Join(either, " OR ")+")", args...)
	return nil
}

func (o orderColumn) beyond() string {
	if o.desc {
		return "<"
	}
	return ">"
}

// cursorValues are a cursor's values and id in the types of their columns.
func cursorValues(order []orderColumn, at *keystore.Cursor) ([]any, error) {
	if len(at.Values)+1 != len(order) {
		return nil, fmt.Errorf("cursor of a list with %d sort values, expected %d", len(at.Values), len(order)-1)
	}
	values := make([]any, len(order))
	for i, o := range order {
		text := at.ID
		if i < len(at.Values) {
			text = at.Values[i]
		}
		values[i] = text
		if !o.number {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cursor of a list sorted by %s: expected an integer, got %q", o.column, text)
		}
		values[i] = n
	}
	return values, nil
}
