package keystore

import "fmt"

// FieldError says which field of a record a constraint was about. It unwraps to
// the sentinel: ErrConflict, ErrNotFound or ErrInUse.
type FieldError struct {
	// Field is the record's field, such as client_id, name or role_id; for
	// ErrInUse it is what still refers to the record: keys, roles or microtenants.
	Field string
	Err   error
}

// Error names the field and what is wrong with it, never the value.
func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }

// Unwrap is the sentinel.
func (e *FieldError) Unwrap() error { return e.Err }
