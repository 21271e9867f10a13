package page

import (
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// listQuery is the state of a room's list: these filters, the order and the place.
// What is empty or unknown is dropped.
func listQuery(path string, given url.Values, filters ...string) query {
	q := query{only(given, filters), path, filters}
	for _, name := range append([]string{paramSort, paramSize}, placeParams...) {
		if value := given.Get(name); value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// listed is a page of a room's list, with what moves through it. Wrong filters
// stand in the form.
type listed[T any] struct {
	*Form
	Query query
	Items []T
	Total int
	Pager *pager
	// Empty: there is nothing at all, whatever is filtered.
	Empty bool
	// Clear is the list without filters.
	Clear string
}

// readList is the page of a list at q. target is the selector of what htmx swaps
// when the page is turned. read asks lifecycle; what it refuses of the filters goes
// into the form.
func readList[T any](v *visit, f *Form, q query, target string, read func(lifecycle.Paging) (lifecycle.Page[T], error)) (*listed[T], error) {
	prefs, err := v.keyPrefs()
	if err != nil {
		return nil, err
	}
	size := q.size(prefs.PageSize)
	page, err := readPage(f, q, size, read)
	if err != nil {
		return nil, err
	}
	d := &listed[T]{Form: f, Query: q, Items: page.Items, Total: page.Total, Clear: q.unfiltered(),
		Empty: page.Total == 0 && !q.filtered() && !f.Failed()}
	d.Pager = newPager(q, q.number(), size, len(d.Items), page.Total, page.NextCursor, target)
	return d, nil
}

// readPage asks for a page. A cursor of another list gives way to the number of its
// page.
func readPage[T any](f *Form, q query, size int, read func(lifecycle.Paging) (lifecycle.Page[T], error)) (lifecycle.Page[T], error) {
	if f.Failed() {
		f.Summary = "Some of these filters cannot be understood."
		return lifecycle.Page[T]{}, nil
	}
	at := lifecycle.Paging{Size: lifecycle.Some(size), Cursor: q.Get(paramCursor)}
	byNumber := func() {
		at.Cursor = ""
		if n := q.number(); n > 1 {
			at.Number = lifecycle.Some(n)
		}
	}
	if at.Cursor == "" {
		byNumber()
	}
	page, err := read(at)
	if codeOf(err) == lifecycle.CodeInvalidCursor {
		byNumber()
		page, err = read(at)
	}
	if refusedAs(err, lifecycle.Invalid) {
		_, err = f.refuse(err)
	}
	return page, err
}
