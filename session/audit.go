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

// end ends a session at its client's wish and records it, in one transaction.
func end(ctx context.Context, tx keystore.Tx, s *keystore.Session, by Ending) error {
	key, err := tx.Key(ctx, s.KeyID)
	if err != nil {
		return err
	}
	event := endEvent(tx, key, s)
	event.ActorKind, event.ActorID, event.ActorName = keystore.ActorKey, key.ID, key.Name
	event.Address, event.RequestID = by.Address, by.RequestID
	if event.Before, err = json.Marshal(s.Record(key)); err != nil {
		return err
	}
	s.Ended, s.EndReason = tx.Now().Wall, by.Reason
	if err := tx.PutSession(ctx, s); err != nil {
		return err
	}
	if event.After, err = json.Marshal(s.Record(key)); err != nil {
		return err
	}
	return addAudit(ctx, tx, &event)
}

// endEvent is what every end of a session has in common.
func endEvent(tx keystore.Tx, key *keystore.Key, s *keystore.Session) keystore.Audit {
	return keystore.Audit{
		At: tx.Now().Wall, CustomerID: key.CustomerID, MicrotenantID: key.MicrotenantID, ActorKind: keystore.ActorSystem,
		Action: "session.end", TargetKind: string(keystore.KindSession), TargetID: s.ID, TargetName: key.Name,
	}
}

// pushedEvery is how often the sessions of one key that newer ones push out are
// told of in the audit trail: any client that signs in all the time would fill it.
const pushedEvery = time.Minute

// pushedRecord is the record of one such session, and how many more there were.
type pushedRecord struct {
	keystore.SessionRecord
	// AlsoEnded counts those that were pushed out since the event before this one and
	// have none of their own. The sessions themselves are listed as any that ended.
	AlsoEnded int `json:"also_ended,omitempty"`
}

// pushOut ends a key's oldest sessions, to make room. The first of each minute of
// the clock is recorded.
func pushOut(ctx context.Context, tx keystore.Tx, key *keystore.Key, old []*keystore.Session) error {
	if len(old) == 0 {
		return nil
	}
	now := tx.Now().Wall
	event, err := pushedEvent(ctx, tx, key, old[0], now)
	if err != nil {
		return err
	}
	for _, s := range old {
		s.Ended, s.EndReason = now, keystore.EndPushedOut
		if err := tx.PutSession(ctx, s); err != nil {
			return err
		}
	}
	if event == nil {
		return nil
	}
	return addAudit(ctx, tx, event)
}

// pushedEvent is the event of the first session that is about to be pushed out,
// nil where this minute has one.
func pushedEvent(ctx context.Context, tx keystore.Tx, key *keystore.Key, s *keystore.Session, now time.Time) (*keystore.Audit, error) {
	minute := now.Truncate(pushedEvery)
	last, err := tx.LastEnded(ctx, key.ID, keystore.EndPushedOut, minute.Add(pushedEvery))
	if err != nil || !last.Before(minute) {
		return nil, err
	}
	var record pushedRecord
	if !last.IsZero() {
		n, err := tx.CountEnded(ctx, key.ID, keystore.EndPushedOut, last.Truncate(pushedEvery), minute)
		if err != nil {
			return nil, err
		}
		record.AlsoEnded = n - 1
	}
	event := endEvent(tx, key, s)
	if event.Before, err = json.Marshal(s.Record(key)); err != nil {
		return nil, err
	}
	ended := *s
	ended.Ended, ended.EndReason = now, keystore.EndPushedOut
	record.SessionRecord = ended.Record(key)
	event.After, err = json.Marshal(record)
	return &event, err
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
	event := keystore.Audit{At: tx.Now().Wall, ActorKind: keystore.ActorSystem, Action: action, TargetKind: string(keystore.KindSigningKey), TargetID: after.ID}
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
