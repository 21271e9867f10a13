package keystore

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The states a session is listed under, by SessionQuery.State. A session has
// exactly one.
const (
	SessionActive  = "active"
	SessionEnded   = "ended"
	SessionExpired = "expired"
)

// SessionID is the id of a session: its random part, the generation of sessions
// it belongs to and the secret that was shown, so that ending all sessions of a
// tenant, a key or a secret is one write, however many there are.
func SessionID(random string, generation int64, secretID string) string {
	return random + "." + strconv.FormatInt(generation, 36) + "." + secretID
}

// SessionOrigin is the generation and the secret that a session's id names; -1,
// which no key has, for what is no id of ours.
func SessionOrigin(id string) (generation int64, secretID string) {
	_, rest, _ := strings.Cut(id, ".")
	g, secretID, found := strings.Cut(rest, ".")
	generation, err := strconv.ParseInt(g, 36, 64)
	if err != nil || !found || generation < 0 {
		return -1, ""
	}
	return generation, secretID
}

// EndPushedOut is the reason of a session that ended because its key opened more
// than it may have.
const EndPushedOut = "max_per_key"

// SessionGeneration is the generation that sessions of a key are issued with and
// must have: raising any of the three ends all sessions under it, in one write.
// microtenant is nil for a key at customer level. Generations never fall, and a key
// never changes its tenant, so that no sum comes twice.
func SessionGeneration(k *Key, c *Customer, m *Microtenant) int64 {
	g := k.Generation + c.Generation
	if m != nil {
		g += m.Generation
	}
	return g
}

// State is the state a session of key k is listed under; generation is the
// SessionGeneration of k. What the key is else (disabled, locked, expired) can be
// undone and then the session goes on, so it is not the session's state.
func (s *Session) State(k *Key, generation int64, now time.Time) string {
	switch {
	case !s.Ended.IsZero():
		return SessionEnded
	case !now.Before(s.Expires):
		return SessionExpired
	case !s.Current(k, generation, now):
		return SessionEnded
	}
	return SessionActive
}

// Current reports whether the session is of the present generation and of a
// secret that is still good.
func (s *Session) Current(k *Key, generation int64, now time.Time) bool {
	origin, _ := SessionOrigin(s.ID)
	secret := k.SecretByID(s.SecretID)
	return origin == generation && secret != nil && secret.Live(now)
}

// SessionRecord is what the audit trail keeps of a session that is ended, before
// and after: what it was, and how it ended.
type SessionRecord struct {
	KeyID     string     `json:"key_id"`
	ClientID  string     `json:"client_id"`
	SecretID  string     `json:"secret_id"`
	Address   string     `json:"address"`
	IssuedAt  time.Time  `json:"issued_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	EndedAt   *time.Time `json:"ended_at"`
	EndReason *string    `json:"end_reason"`
}

// Record is the session of key k as it is now.
func (s *Session) Record(k *Key) SessionRecord {
	r := SessionRecord{KeyID: k.ID, ClientID: k.ClientID, SecretID: s.SecretID, Address: s.Address, IssuedAt: s.Issued.UTC(), ExpiresAt: s.Expires.UTC()}
	if !s.Ended.IsZero() {
		ended, reason := s.Ended.UTC(), s.EndReason
		r.EndedAt, r.EndReason = &ended, &reason
	}
	return r
}

// SessionQuery selects sessions, newest first. Zero fields do not filter.
type SessionQuery struct {
	CustomerID    string
	MicrotenantID string
	// AllCustomers must be set for a query that names no customer.
	AllCustomers bool
	KeyID        string
	// State is SessionActive, SessionEnded or SessionExpired.
	State string
	// After continues behind this place; nil starts at the newest.
	After *Cursor
	// Offset skips; used instead of After.
	Offset int
	// Limit is the most sessions to list; 0 only counts.
	Limit int
}

// Cursor is the place of a session in the list.
func (s *Session) Cursor() Cursor { return Cursor{Values: []string{cursorTime(s.Issued)}, ID: s.ID} }

// CheckSessionState refuses a state that no session has.
func CheckSessionState(state string) error {
	switch state {
	case "", SessionActive, SessionEnded, SessionExpired:
		return nil
	}
	return fmt.Errorf("unknown session state %q, expected %s, %s or %s", state, SessionActive, SessionEnded, SessionExpired)
}
