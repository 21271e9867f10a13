package lifecycle

import (
	"bytes"
	"encoding/json"
)

// Optional tells apart a member that was left out, one that is null and one
// with a value: what a merge-patch (RFC 7396) needs. The zero value is left out.
type Optional[T any] struct {
	// Set is whether the member was there at all.
	Set bool
	// Null is whether it was null; Value is then the zero value.
	Null bool
	// Value is meaningful when Set and not Null.
	Value T
}

// Some is a member with a value.
func Some[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: v} }

// Null is a member that is null.
func Null[T any]() Optional[T] { return Optional[T]{Set: true, Null: true} }

// Has reports a value.
func (o Optional[T]) Has() bool { return o.Set && !o.Null }

// UnmarshalJSON is called for null too, since Optional is no pointer.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	*o = Optional[T]{Set: true}
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(data, &o.Value)
}

// MarshalJSON writes the value or null.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Has() {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// IsZero makes `omitzero` leave out what was left out.
func (o Optional[T]) IsZero() bool { return !o.Set }
