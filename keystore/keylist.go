package keystore

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The states a key is listed under, by KeyQuery.State. A key has exactly one.
const (
	StateActive   = "active"
	StateDisabled = "disabled"
	StateLocked   = "locked"
	StateExpired  = "expired"
)

// State is the state a key is listed under: what an administrator must mend
// first. Disabled goes before expired, expired before locked, since unlocking
// helps neither of the former.
func (k *Key) State(locked bool, now time.Time) string {
	switch {
	case !k.Active():
		return StateDisabled
	case k.Expired(now):
		return StateExpired
	case locked:
		return StateLocked
	}
	return StateActive
}

// The fields keys are sorted by, for KeyQuery.Sort. What is null in the API sorts
// as the least: a key never used before one that was.
const (
	SortName        = "name"
	SortClientID    = "client_id"
	SortCreated     = "created_at"
	SortModified    = "modified_at"
	SortLastUsed    = "last_used_at"
	SortExpires     = "expires_at"
	SortEnabled     = "enabled"
	SortValidity    = "session_validity_seconds"
	SortRole        = "role_id"
	SortSource      = "source"
	SortMicrotenant = "microtenant_id"
)

// MaxSortFields bounds an order; more fields than that decide nothing.
const MaxSortFields = 4

// keySorts gives a key's value for each field, in a text that the store takes back.
var keySorts = map[string]func(*Key) string{
	SortName:        func(k *Key) string { return k.Name },
	SortClientID:    func(k *Key) string { return k.ClientID },
	SortCreated:     func(k *Key) string { return cursorTime(k.Created) },
	SortModified:    func(k *Key) string { return cursorTime(k.Modified) },
	SortLastUsed:    func(k *Key) string { return cursorTime(k.LastUsed) },
	SortExpires:     func(k *Key) string { return cursorTime(k.ExpiresAt) },
	SortEnabled:     func(k *Key) string { return cursorBool(k.Active()) },
	SortValidity:    func(k *Key) string { return strconv.FormatInt(int64(k.SessionValidity), 10) },
	SortRole:        func(k *Key) string { return k.RoleID },
	SortSource:      func(k *Key) string { return k.Source },
	SortMicrotenant: func(k *Key) string { return k.MicrotenantID },
}

// KeySortFields lists what keys can be sorted by.
func KeySortFields() []string { return slices.Sorted(maps.Keys(keySorts)) }

// Order is the complete order of the query, the default spelt out; an error
// where a field is unknown, stands twice, or there are too many.
func (q KeyQuery) Order() ([]SortField, error) {
	if len(q.Sort) == 0 {
		return []SortField{{Field: SortName}}, nil
	}
	if len(q.Sort) > MaxSortFields {
		return nil, fmt.Errorf("%d sort fields, at most %d are allowed", len(q.Sort), MaxSortFields)
	}
	for i, f := range q.Sort {
		if keySorts[f.Field] == nil {
			return nil, fmt.Errorf("unknown sort field %q, expected %s", f.Field, strings.Join(KeySortFields(), ", "))
		}
		if slices.ContainsFunc(q.Sort[:i], func(s SortField) bool { return s.Field == f.Field }) {
			return nil, fmt.Errorf("sort field %s stands twice", f.Field)
		}
	}
	return q.Sort, nil
}

// Cursor is the place of a key in the list in the query's order. Times are given
// in Unix milliseconds, the precision they are stored in.
func (q KeyQuery) Cursor(k *Key) (Cursor, error) {
	order, err := q.Order()
	if err != nil {
		return Cursor{}, err
	}
	c := Cursor{ID: k.ID}
	for _, f := range order {
		c.Values = append(c.Values, keySorts[f.Field](k))
	}
	return c, nil
}

// cursorTime is 0 for the zero time, as stored.
func cursorTime(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func cursorBool(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
