package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// ErrorKind is the class of a refusal; a door turns it into its own terms (an
// HTTP status, an exit code).
type ErrorKind uint8

// The kinds of refusal.
const (
	// Invalid: the request itself is wrong; Fields says where.
	Invalid ErrorKind = iota + 1
	// Unauthorized: the actor is no longer who it was when it signed in.
	Unauthorized
	// Forbidden: the actor's rights do not reach.
	Forbidden
	// NotFound: there is none, or none that this actor may know of.
	NotFound
	// Conflict: it contradicts what is stored.
	Conflict
	// Precondition: the record changed since the caller read it.
	Precondition
	// Unprocessable: an earlier request of the same name asked for something else.
	Unprocessable
	// Unavailable: nothing can be changed at present, whoever asks.
	Unavailable
)

// Codes that doors and clients test for. Field errors have codes of their own.
const (
	CodeValidation       = "validation_failed"
	CodeInvalidCursor    = "invalid_cursor"
	CodeClientInactive   = "client_inactive"
	CodeSourceNotAllowed = "source_not_allowed"
	CodePermissionDenied = "permission_denied"
	CodeExceedsRights    = "exceeds_own_rights"
	CodeNotFound         = "not_found"
	CodeConflict         = "conflict"
	CodeNameTaken        = "name_taken"
	CodeClientIDTaken    = "client_id_taken"
	CodeIDTaken          = "id_taken"
	CodeInUse            = "in_use"
	CodeManaged          = "managed_externally"
	CodePredefined       = "predefined"
	CodeOwnTenant        = "own_tenant"
	CodeTooMany          = "too_many"
	CodeRevisionMismatch = "revision_mismatch"

	CodeIdempotencyReused     = "idempotency_key_reused"
	CodeIdempotencyInProgress = "idempotency_in_progress"
	CodeTooManySecrets        = "too_many_secrets"
	CodeSecretInUse           = "secret_in_use"
	CodeTooManyRemovals       = "too_many_removals"
	CodePushInProgress        = "push_in_progress"
	CodeAuditOvertaken        = "audit_overtaken"
	CodeStoreRestored         = "store_restored"
	CodeNotRestored           = "not_restored"
	CodeNodeNotFenced         = "node_not_fenced"
)

// Codes of a FieldError.
const (
	FieldRequired = "required"
	FieldUnknown  = "unknown_field"
	FieldType     = "invalid_type"
	FieldFormat   = "invalid_format"
	FieldRange    = "out_of_range"
	FieldTooMany  = "too_many"
	FieldReserved = "reserved"
	FieldNotFound = "not_found"
	FieldConflict = "conflict"
	FieldExceeds  = "exceeds_own_rights"
	// FieldBeyondSource: more than the source may give.
	FieldBeyondSource = "exceeds_max_role"
)

// Error is a refusal. Anything else that an operation returns is a failure of
// the store (errors.Is with the keystore's sentinels) and nothing was written.
type Error struct {
	Kind ErrorKind
	// Code is stable and machine-readable.
	Code string
	// Detail says what is wrong and what to do; it never holds a secret.
	Detail string
	// Fields names the members of the request at fault, if any are.
	Fields []FieldError
	// Until is when a node stops to accept, for CodeNodeNotFenced; nil otherwise.
	Until *time.Time
}

// FieldError is what is wrong with one member of a request.
type FieldError struct {
	// Field is a JSON path such as name or allowed_cidrs[3].
	Field string `json:"field" doc:"JSON path of the member, or name of the query parameter." example:"allowed_cidrs[3]"`
	// Code is stable and machine-readable.
	Code string `json:"code" doc:"Stable machine-readable reason." example:"invalid_format"`
	// Detail is for people.
	Detail string `json:"detail" doc:"What is wrong and what was expected."`
}

// Error is the code, the detail and the fields.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Field, f.Detail)
	}
	return b.String()
}

// MaxFaults is how many faults of a request an answer names: a short request can
// have very many.
const MaxFaults = 100

// FieldErrors collects what is wrong with a request, so that one answer names it
// all. Those beyond MaxFaults are only counted.
type FieldErrors []FieldError

// Add notes one fault.
func (f *FieldErrors) Add(field, code, format string, args ...any) {
	one := FieldError{Code: code}
	if len(*f) < MaxFaults {
		one.Field, one.Detail = field, fmt.Sprintf(format, args...)
	}
	*f = append(*f, one)
}

// Err is the Invalid error of all faults, nil if there are none.
func (f FieldErrors) Err() error {
	if len(f) == 0 {
		return nil
	}
	for _, one := range f {
		if one.Code != FieldUnknown {
			return f.refuse(Invalid, CodeValidation, "the request has invalid fields")
		}
	}
	return f.refuse(Invalid, FieldUnknown, "the request has fields that do not exist here or cannot be set")
}

// refuse is the error of these faults, of which the first MaxFaults are named.
func (f FieldErrors) refuse(kind ErrorKind, code, detail string) *Error {
	if more := len(f) - MaxFaults; more > 0 {
		f = f[:MaxFaults]
		detail += fmt.Sprintf("; the first %d faults are named, and %d more were found", MaxFaults, more)
	}
	return &Error{Kind: kind, Code: code, Detail: detail, Fields: f}
}

func notFound(what string) error {
	return &Error{Kind: NotFound, Code: CodeNotFound, Detail: "there is no such " + what}
}

// stale is that a record is not at the revision that the caller knows.
func stale(what string) error {
	return &Error{Kind: Precondition, Code: CodeRevisionMismatch, Detail: "the " + what + " changed since it was read; read it again"}
}

func exceeds(field, detail string) error {
	return &Error{Kind: Forbidden, Code: CodeExceedsRights, Detail: detail,
		Fields: []FieldError{{Field: field, Code: FieldExceeds, Detail: detail}}}
}

// taken is the code for a value that another record has, by the record's field.
var taken = map[string]string{"name": CodeNameTaken, "client_id": CodeClientIDTaken, "id": CodeIDTaken}

// refusal turns what a store says about one record into an Error and leaves
// outages as they are.
func refusal(err error, what string) error {
	var at *keystore.FieldError
	named := errors.As(err, &at)
	switch {
	case errors.Is(err, keystore.ErrNotFound) && named:
		return FieldErrors{{Field: at.Field, Code: FieldNotFound, Detail: "there is none with this id"}}.Err()
	case errors.Is(err, keystore.ErrNotFound):
		return notFound(what)
	case errors.Is(err, keystore.ErrConflict) && named:
		e := &Error{Kind: Conflict, Code: cmp.Or(taken[at.Field], CodeConflict), Detail: "another " + what + " has this " + at.Field}
		e.Fields = []FieldError{{Field: at.Field, Code: FieldConflict, Detail: e.Detail}}
		return e
	case errors.Is(err, keystore.ErrConflict):
		return &Error{Kind: Conflict, Code: CodeConflict, Detail: "there is such a " + what + " already"}
	case errors.Is(err, keystore.ErrInUse):
		e := &Error{Kind: Conflict, Code: CodeInUse, Detail: "the " + what + " is in use"}
		if named {
			e.Detail += " by " + at.Field
		}
		return e
	}
	return err
}

// refield is err with the fields that a refusal is about called as the caller of
// another operation knows them.
func refield(err error, name func(string) string) error {
	var refused *Error
	if !errors.As(err, &refused) {
		return err
	}
	named := *refused
	named.Fields = make([]FieldError, len(refused.Fields))
	for i, f := range refused.Fields {
		f.Field = name(f.Field)
		named.Fields[i] = f
	}
	return &named
}
