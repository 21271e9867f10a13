package session

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// Ending is why a session is ended at its client's wish, and where that came from.
type Ending struct {
	// Reason is a word such as sign_out.
	Reason string
	// Address is the caller's, "" where there is none.
	Address   string
	RequestID string
}

// sessionRecord is what the audit trail keeps of a session: what it was, and how
// it ended.
type sessionRecord struct {
	ClientID  string     `json:"client_id"`
	SecretID  string     `json:"secret_id"`
	Address   string     `json:"address"`
	IssuedAt  time.Time  `json:"issued_at"`
	ExpiresAt time.Time  `json:"expires_at"`
	EndedAt   *time.Time `json:"ended_at"`
	EndReason *string    `json:"end_reason"`
}

// end ends a session and records it, in one transaction: by its client, or by
// Keyreeve itself where by is nil.
func end(ctx context.Context, tx keystore.Tx, s *keystore.Session, reason string, by *Ending) error {
	key, err := tx.Key(ctx, s.KeyID)
	if err != nil {
		return err
	}
	record := sessionRecord{ClientID: key.ClientID, SecretID: s.SecretID, Address: s.Address, IssuedAt: s.Issued.UTC(), ExpiresAt: s.Expires.UTC()}
	event := keystore.Audit{
		At: tx.Now().Wall, CustomerID: key.CustomerID, MicrotenantID: key.MicrotenantID, ActorKind: "system",
		Action: "session.end", TargetKind: string(keystore.KindSession), TargetID: s.ID, TargetName: key.Name,
	}
	if by != nil {
		event.ActorKind, event.ActorID, event.ActorName = "key", key.ID, key.Name
		event.Address, event.RequestID = by.Address, by.RequestID
	}
	if event.Before, err = json.Marshal(record); err != nil {
		return err
	}
	s.Ended, s.EndReason = tx.Now().Wall, reason
	if err := tx.PutSession(ctx, s); err != nil {
		return err
	}
	ended := s.Ended.UTC()
	record.EndedAt, record.EndReason = &ended, &reason
	if event.After, err = json.Marshal(record); err != nil {
		return err
	}
	return addAudit(ctx, tx, &event)
}

// signingKeyRecord is what the audit trail keeps of a signing key: no half of it.
type signingKeyRecord struct {
	Algorithm   string    `json:"algorithm"`
	SignFrom    time.Time `json:"sign_from"`
	SignUntil   time.Time `json:"sign_until"`
	ExpiresAt   time.Time `json:"expires_at"`
	MasterKeyID string    `json:"master_key_id"`
}

// recordSigningKey records that Keyreeve itself made a signing key, or sealed it
// anew. Signing keys belong to no customer.
func recordSigningKey(ctx context.Context, tx keystore.Tx, action string, before, after *keystore.SigningKey) error {
	event := keystore.Audit{At: tx.Now().Wall, ActorKind: "system", Action: action, TargetKind: string(keystore.KindSigningKey), TargetID: after.ID}
	for record, into := range map[*keystore.SigningKey]*json.RawMessage{before: &event.Before, after: &event.After} {
		if record == nil {
			continue
		}
		text, err := json.Marshal(signingKeyRecord{Algorithm: record.Algorithm, SignFrom: record.SignFrom.UTC(), SignUntil: record.SignUntil.UTC(),
			ExpiresAt: record.Expires.UTC(), MasterKeyID: record.MasterKeyID})
		if err != nil {
			return err
		}
		*into = text
	}
	return addAudit(ctx, tx, &event)
}

func addAudit(ctx context.Context, tx keystore.Tx, e *keystore.Audit) error {
	if err := tx.AddAudit(ctx, e); err != nil {
		return fmt.Errorf("audit event %s not stored: %w", e.Action, err)
	}
	return nil
}
