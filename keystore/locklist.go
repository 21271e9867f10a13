package keystore

import (
	"cmp"
	"slices"
	"strings"
)

// Lock is a lock in force, of a whole client or of one source of it, and the
// key that it locks.
type Lock struct {
	Tally
	KeyName       string
	ClientID      string
	CustomerID    string
	MicrotenantID string
}

// LockQuery selects locks in force, by name of the key; the whole client's goes
// before those of its sources. Zero fields do not filter.
type LockQuery struct {
	CustomerID    string
	MicrotenantID string
	// AllCustomers must be set for a query that names no customer.
	AllCustomers bool
	// After continues behind this place; nil starts at the beginning.
	After *Cursor
	// Offset skips; used instead of After.
	Offset int
	// Limit is the most locks to list; 0 only counts.
	Limit int
}

// Cursor is the place of a lock in the list. No id holds a space, so sources
// sort within their key.
func (l *Lock) Cursor() Cursor {
	return Cursor{Values: []string{l.KeyName}, ID: l.KeyID + " " + l.Source}
}

// Behind reports whether the lock stands behind a place in the list.
func (l *Lock) Behind(at Cursor) bool {
	c := l.Cursor()
	return cmp.Or(slices.Compare(c.Values, at.Values), strings.Compare(c.ID, at.ID)) > 0
}
