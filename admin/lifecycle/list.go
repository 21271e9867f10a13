package lifecycle

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
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
	err    error
}

func (p Paging) place(bad *FieldErrors, o *op, scope string) place {
	at := place{size: DefaultPageSize}
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

// KeyFilter selects and orders keys; empty fields do not filter.
type KeyFilter struct {
	// Text is found in name, description or client ID, whatever the case.
	Text string
	// State is active, disabled, locked or expired.
	State         string
	RoleID        string
	Source        string
	CustomerID    string
	MicrotenantID string
	// Sort is fields of keystore.KeySortFields, separated by commas, each with a -
	// before it for descending; "" is name.
	Sort string
	Paging
}

// ListKeys lists the keys that the actor may see. A filter for another tenant
// than the actor's finds nothing.
func (s *Service) ListKeys(ctx context.Context, a Actor, f KeyFilter) (Page[Key], error) {
	var out Page[Key]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceKeys, policy.Read); err != nil {
			return err
		}
		var bad FieldErrors
		q := f.query(&bad)
		scope := o.scope(keyCursor, []string{f.Text, f.State, f.RoleID, f.Source, f.CustomerID, f.MicrotenantID, f.Sort})
		at, err := f.Paging.check(o, scope, bad)
		if err != nil {
			return err
		}
		out = Page[Key]{Items: []Key{}}
		t, some := o.bound(tenant{customerID: q.CustomerID, microtenantID: q.MicrotenantID})
		if !some {
			return nil
		}
		q.CustomerID, q.MicrotenantID, q.AllCustomers = t.customerID, t.microtenantID, t.all
		q.After, q.Offset, q.Limit = at.after, at.offset, at.size+1
		return o.fillKeys(&out, q, at.size, scope)
	})
	return out, err
}

// query is the filter as the store takes it, not yet bounded to the actor.
func (f KeyFilter) query(bad *FieldErrors) keystore.KeyQuery {
	q := keystore.KeyQuery{Text: f.Text, State: f.State, RoleID: f.RoleID, Source: f.Source,
		CustomerID: f.CustomerID, MicrotenantID: f.MicrotenantID}
	if f.Sort != "" {
		for _, field := range strings.Split(f.Sort, ",") {
			name, desc := strings.CutPrefix(field, "-")
			q.Sort = append(q.Sort, keystore.SortField{Field: name, Desc: desc})
		}
	}
	if _, err := q.Order(); err != nil {
		bad.Add("sort", FieldFormat, "%s; put a - before a field for descending", truncate(err.Error()))
	}
	switch f.State {
	case "", keystore.StateActive, keystore.StateDisabled, keystore.StateLocked, keystore.StateExpired:
	default:
		bad.Add("state", FieldFormat, "must be active, disabled, locked or expired")
	}
	if !utf8.ValidString(f.Text) || utf8.RuneCountInString(f.Text) > maxText {
		bad.Add("q", FieldRange, "must be at most %d characters of UTF-8", maxText)
	}
	return q
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

// fillKeys reads one key more than a page holds, to know whether there are more.
func (o *op) fillKeys(page *Page[Key], q keystore.KeyQuery, size int, scope string) error {
	keys, total, err := o.r.Keys(o.ctx, q)
	if err != nil {
		return err
	}
	page.Total = total
	more := len(keys) > size
	if more {
		keys = keys[:size]
	}
	for _, k := range keys {
		v, err := o.show(k)
		if err != nil {
			return err
		}
		page.Items = append(page.Items, v)
	}
	if !more {
		return nil
	}
	next, err := q.Cursor(keys[len(keys)-1])
	if err != nil {
		return err
	}
	page.NextCursor = optional(o.sealCursor(scope, next))
	return nil
}
