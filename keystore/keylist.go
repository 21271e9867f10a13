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
// as the least: a key never used before one that was. Text is compared byte for
// byte.
const (
	SortName     = "name"
	SortClientID = "client_id"
	SortCreated  = "created_at"
	SortModified = "modified_at"
	SortLastUsed = "last_used_at"
	SortExpires  = "expires_at"
	SortEnabled  = "enabled"
	// SortState is by the word: active, disabled, expired, locked.
	SortState    = "state"
	SortValidity = "session_validity_seconds"
	// SortSecrets is by how many secrets are live.
	SortSecrets = "secrets"
	// SortLabels is by the labels as JSON, which has their names in order: by its
	// first LabelOrder characters, so that a cursor stays short.
	SortLabels = "labels"
	// SortRole, SortCustomer and SortMicrotenant are by name; the others by id.
	SortRole          = "role"
	SortCustomer      = "customer"
	SortMicrotenant   = "microtenant"
	SortRoleID        = "role_id"
	SortMicrotenantID = "microtenant_id"
	SortSource        = "source"
)

// MaxSortFields bounds an order; more fields than that decide nothing.
const MaxSortFields = 4

// LabelOrder is how many characters of the labels decide their order.
const LabelOrder = 100

// keySorts are the fields, and whether a key's value depends on the clock.
var keySorts = map[string]bool{
	SortName: false, SortClientID: false, SortCreated: false, SortModified: false, SortLastUsed: false, SortExpires: false,
	SortEnabled: false, SortState: true, SortValidity: false, SortSecrets: true, SortLabels: false, SortRole: false, SortCustomer: false,
	SortMicrotenant: false, SortRoleID: false, SortMicrotenantID: false, SortSource: false,
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
		if _, known := keySorts[f.Field]; !known {
			return nil, fmt.Errorf("unknown sort field %q, expected %s", f.Field, strings.Join(KeySortFields(), ", "))
		}
		if slices.ContainsFunc(q.Sort[:i], func(s SortField) bool { return s.Field == f.Field }) {
			return nil, fmt.Errorf("sort field %s stands twice", f.Field)
		}
	}
	return q.Sort, nil
}

// AsOf is the time that the order of the query is of, zero where it depends on none.
// All pages behind a cursor have that of the first, so that no key changes its place
// because time passes while somebody walks along: what was active stays among the
// active though it expires meanwhile, or its lock ends. A key that is written to
// moves, as one does that is renamed in a list by name.
func (q KeyQuery) AsOf(now time.Time) time.Time {
	for _, f := range q.Sort {
		switch {
		case !keySorts[f.Field]:
		case q.After != nil && !q.After.AsOf.IsZero():
			return q.After.AsOf
		default:
			return now.Truncate(time.Millisecond) // as a cursor keeps it
		}
	}
	return time.Time{}
}

// cursorTime is 0 for the zero time, as stored.
func cursorTime(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}
