package lifecycle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// cursorInfo names the key that cursors are signed with, one per master key.
const cursorInfo = "keyreeve cursor v1"

// maxCursor bounds a cursor from outside, in bytes; four names of 50 characters of
// four bytes each and an id take half of it.
const maxCursor = 3072

// Kinds of list that a cursor belongs to.
const (
	keyCursor     = "keys"
	roleCursor    = "roles"
	lockCursor    = "locks"
	sessionCursor = "sessions"
	auditCursor   = "audit events"
	nodeCursor    = "nodes"

	customerCursor    = "customers"
	microtenantCursor = "microtenants"
	viewCursor        = "views"
	sourceCursor      = "sources"
)

// sealed is what a cursor holds, beside its MAC.
type sealed struct {
	MasterKeyID string   `json:"k"`
	Values      []string `json:"v"`
	ID          string   `json:"i"`
	// AsOf is in Unix milliseconds, 0 for none.
	AsOf int64 `json:"t,omitempty"`
}

// scope is what a cursor is bound to: the list, its filters and order, and how
// far the actor sees. A cursor of another scope is refused, since it would
// start this list in a place that means nothing in it.
func (o *op) scope(list string, filters []string) string {
	// JSON keeps the parts apart whatever they contain.
	text, err := json.Marshal([]any{list, filters, o.actor.CustomerID, o.actor.MicrotenantID, o.actor.AllCustomers})
	if err != nil {
		panic(fmt.Sprintf("strings and booleans not written as JSON: %v", err))
	}
	return string(text)
}

func (o *op) sealCursor(scope string, c keystore.Cursor) string {
	s := sealed{MasterKeyID: o.cfg.Keyring.CurrentID(), Values: c.Values, ID: c.ID}
	if !c.AsOf.IsZero() {
		s.AsOf = c.AsOf.UnixMilli()
	}
	payload, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("strings not written as JSON: %v", err))
	}
	mac, _ := o.cursorMAC(s.MasterKeyID, scope, payload)
	return base64.RawURLEncoding.EncodeToString(append(mac, payload...))
}

func (o *op) openCursor(scope, cursor string) (*keystore.Cursor, error) {
	invalid := &Error{Kind: Invalid, Code: CodeInvalidCursor,
		Detail: "the cursor is not one of this list with these filters; start again without it",
		Fields: []FieldError{{Field: "cursor", Code: CodeInvalidCursor, Detail: "is not a cursor of this list with these filters"}}}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(cursor) > maxCursor || len(raw) <= sha256.Size {
		return nil, invalid
	}
	mac, payload := raw[:sha256.Size], raw[sha256.Size:]
	var s sealed
	if json.Unmarshal(payload, &s) != nil {
		return nil, invalid
	}
	want, ok := o.cursorMAC(s.MasterKeyID, scope, payload)
	if !ok || !hmac.Equal(mac, want) {
		return nil, invalid
	}
	c := &keystore.Cursor{Values: s.Values, ID: s.ID}
	if s.AsOf != 0 {
		c.AsOf = time.UnixMilli(s.AsOf).UTC()
	}
	return c, nil
}

// cursorMAC is false for a master key that is not held.
func (o *op) cursorMAC(masterKeyID, scope string, payload []byte) ([]byte, bool) {
	key, ok := o.cfg.Keyring.Derive(masterKeyID, cursorInfo)
	if !ok {
		return nil, false
	}
	h := hmac.New(sha256.New, key[:])
	// The scope's digest has a fixed length, so that no scope runs into a payload.
	sum := sha256.Sum256([]byte(scope))
	h.Write(sum[:])
	h.Write(payload)
	return h.Sum(nil), true
}
