package lifecycle

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/keystore"
)

// Bounds of a list.
const (
	DefaultPageSize = 20
	MaxPageSize     = 500
	// MaxPage bounds how far a jump goes; cursors reach any depth.
	MaxPage = 1_000_000
	// maxText bounds a search text, in characters.
	maxText = 200
)

// Page is one page of a list.
type Page[T any] struct {
	Items []T `json:"items" nullable:"false"`
	// NextCursor continues behind the last item; nil at the end.
	NextCursor *string `json:"next_cursor" nullable:"true" doc:"Gives the page behind this one; null at the end."`
	// Total is how many match, on all pages.
	Total int `json:"total" doc:"How many match, on all pages."`
}

// Paging says which page. At most one of Number and Cursor may be given.
type Paging struct {
	// Size left out is DefaultPageSize; at most MaxPageSize.
	Size Optional[int]
	// Number jumps to a page, counted from 1.
	Number Optional[int]
	// Cursor is a NextCursor of the same list.
	Cursor string
}

// place is where a page begins and how long it is. err is set for a cursor that
// is none of ours.
type place struct {
	size   int
	offset int
	after  *keystore.Cursor
	// scope is what cursors of the list are bound to.
	scope string
	err   error
}

// limit is one record more than the page holds, to know whether there are more.
func (p place) limit() int { return p.size + 1 }

func (p Paging) place(bad *FieldErrors, o *op, scope string) place {
	at := place{size: DefaultPageSize, scope: scope}
	if p.Size.Has() {
		at.size = p.Size.Value
		if at.size < 1 || at.size > MaxPageSize {
			bad.Add("page_size", FieldRange, "must be a whole number from 1 to %d", MaxPageSize)
		}
	}
	if p.Number.Has() {
		if p.Number.Value < 1 || p.Number.Value > MaxPage {
			bad.Add("page", FieldRange, "must be a whole number from 1 to %d; use cursor to go further", MaxPage)
		}
		at.offset = (p.Number.Value - 1) * at.size
	}
	if p.Cursor == "" {
		return at
	}
	if p.Number.Has() {
		bad.Add("page", FieldConflict, "cannot be combined with cursor")
	}
	at.after, at.err = o.openCursor(scope, p.Cursor)
	return at
}

// check is place once everything else of the request is checked too; bad is
// what was found wrong so far.
func (p Paging) check(o *op, scope string, bad FieldErrors) (place, error) {
	at := p.place(&bad, o, scope)
	if err := bad.Err(); err != nil {
		return at, err
	}
	return at, at.err
}

// pageOf is the page at a place, of the records found there (at.limit of them at
// most) and how many match in all.
func pageOf[R, V any](o *op, at place, found []R, total int, cursor func(R) (keystore.Cursor, error), show func(R) (V, error)) (Page[V], error) {
	page := Page[V]{Items: make([]V, 0, min(len(found), at.size)), Total: total}
	more := len(found) > at.size
	if more {
		found = found[:at.size]
	}
	for _, r := range found {
		v, err := show(r)
		if err != nil {
			return Page[V]{}, err
		}
		page.Items = append(page.Items, v)
	}
	if more {
		next, err := cursor(found[len(found)-1])
		if err != nil {
			return Page[V]{}, err
		}
		page.NextCursor = optional(o.sealCursor(at.scope, next))
	}
	return page, nil
}

// sure is a cursor that cannot fail, as pageOf takes it.
func sure[R any](cursor func(R) keystore.Cursor) func(R) (keystore.Cursor, error) {
	return func(r R) (keystore.Cursor, error) { return cursor(r), nil }
}

// cut is what stands at a place (at.limit of them at most) in a list so short that
// it is read whole. Sorts all by their cursors.
func cut[R any](at place, all []R, desc bool, cursor func(R) keystore.Cursor) []R {
	order := func(r R, c keystore.Cursor) int {
		own := cursor(r)
		d := cmp.Or(slices.Compare(own.Values, c.Values), strings.Compare(own.ID, c.ID))
		if desc {
			return -d
		}
		return d
	}
	slices.SortFunc(all, func(a, b R) int { return order(a, cursor(b)) })
	start := min(at.offset, len(all))
	if at.after != nil {
		start, _ = slices.BinarySearchFunc(all, *at.after, func(r R, c keystore.Cursor) int {
			if order(r, c) <= 0 {
				return -1
			}
			return 1
		})
	}
	return all[start:min(start+at.limit(), len(all))]
}

// sortOf reads a sort parameter of one field with a - before it for descending;
// the first of the fields is the default.
func sortOf(bad *FieldErrors, sort string, fields ...string) keystore.SortField {
	field, desc := strings.CutPrefix(cmp.Or(sort, fields[0]), "-")
	if !slices.Contains(fields, field) {
		bad.Add("sort", FieldFormat, "must be %s, or one with a - before it for descending", strings.Join(fields, " or "))
	}
	return keystore.SortField{Field: field, Desc: desc}
}

// checkText bounds a search text.
func checkText(bad *FieldErrors, text string) {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxText {
		bad.Add("q", FieldRange, "must be at most %d characters of UTF-8", maxText)
	}
}

// tenant is the part of the tenants that a list is about.
type tenant struct {
	customerID, microtenantID string
	// all: of every customer.
	all bool
}

// bound narrows what was asked for to what the actor sees; false if that leaves
// nothing.
func (o *op) bound(asked tenant) (tenant, bool) {
	if o.actor.AllCustomers {
		asked.all = asked.customerID == ""
		return asked, true
	}
	if asked.customerID != "" && asked.customerID != o.actor.CustomerID {
		return tenant{}, false
	}
	asked.customerID = o.actor.CustomerID
	if own := o.actor.MicrotenantID; own != "" {
		if asked.microtenantID != "" && asked.microtenantID != own {
			return tenant{}, false
		}
		asked.microtenantID = own
	}
	return asked, true
}
