package keystore

import (
	"fmt"
	"strconv"
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
	case !k.Enabled:
		return StateDisabled
	case k.Expired(now):
		return StateExpired
	case locked:
		return StateLocked
	}
	return StateActive
}

// The fields keys are sorted by, for KeyQuery.Sort.
const (
	SortName     = "name"
	SortCreated  = "created_at"
	SortModified = "modified_at"
	SortClientID = "client_id"
)

// Cursor is the place of a key in the list sorted by q.Sort. Times are given in
// Unix milliseconds, the precision they are stored in.
func (q KeyQuery) Cursor(k *Key) (KeyCursor, error) {
	c := KeyCursor{ID: k.ID}
	switch q.Sort {
	case "", SortName:
		c.Value = k.Name
	case SortCreated:
		c.Value = cursorTime(k.Created)
	case SortModified:
		c.Value = cursorTime(k.Modified)
	case SortClientID:
		c.Value = k.ClientID
	default:
		return c, fmt.Errorf("unknown sort field %q, expected %s, %s, %s or %s", q.Sort, SortName, SortCreated, SortModified, SortClientID)
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
