package sqlstore

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

const selectSession = "SELECT id, key_id, secret_id, address, issued, expires, ended, end_reason FROM sessions "

func scanSession(scan scanner) (*keystore.Session, error) {
	var s keystore.Session
	var issued, expires, ended int64
	if err := scan(&s.ID, &s.KeyID, &s.SecretID, &s.Address, &issued, &expires, &ended, &s.EndReason); err != nil {
		return nil, err
	}
	s.Issued, s.Expires, s.Ended = fromMillis(issued), fromMillis(expires), fromMillis(ended)
	return &s, nil
}

// Session is the session with that id.
func (r *reader) Session(ctx context.Context, id string) (*keystore.Session, error) {
	return first(list(ctx, r, scanSession, selectSession+"WHERE id = ?", id))
}

// EndedSessions lists what a token may not be accepted for although it has not expired.
func (r *reader) EndedSessions(ctx context.Context) ([]*keystore.Session, error) {
	return list(ctx, r, scanSession, selectSession+"WHERE ended > 0 AND expires > ? ORDER BY id", millis(r.now.Wall))
}

// SessionsBeyond lists a key's running sessions but for the newest ones.
func (r *reader) SessionsBeyond(ctx context.Context, keyID string, keep int) ([]*keystore.Session, error) {
	return list(ctx, r, scanSession, selectSession+"WHERE key_id = ? AND expires > ? AND ended = 0 ORDER BY issued DESC, id DESC LIMIT 9223372036854775807 OFFSET ?",
		keyID, millis(r.now.Wall), max(0, keep))
}

// LastEnded is when a session of the key was last ended for that reason.
func (r *reader) LastEnded(ctx context.Context, keyID, reason string, before time.Time) (time.Time, error) {
	var last int64
	err := r.row(ctx, []any{&last}, "SELECT coalesce(max(ended), 0) FROM sessions WHERE key_id = ? AND end_reason = ? AND ended > 0 AND ended < ?",
		keyID, reason, millis(before))
	return fromMillis(last), err
}

// CountEnded is how many sessions of the key were ended for that reason.
func (r *reader) CountEnded(ctx context.Context, keyID, reason string, from, before time.Time) (n int, err error) {
	err = r.row(ctx, []any{&n}, "SELECT count(*) FROM sessions WHERE key_id = ? AND end_reason = ? AND ended > 0 AND ended >= ? AND ended < ?",
		keyID, reason, millis(from), millis(before))
	return n, err
}

// Preferences lists an owner's values, by name.
func (r *reader) Preferences(ctx context.Context, owner string) ([]keystore.Preference, error) {
	return list(ctx, r, func(scan scanner) (keystore.Preference, error) {
		p := keystore.Preference{Owner: owner}
		var value []byte
		err := scan(&p.Name, &value)
		p.Value = value
		return p, err
	}, "SELECT name, value FROM preferences WHERE owner = ? ORDER BY name", owner)
}

// PutSession stores a session of a key that exists.
func (t *tx) PutSession(ctx context.Context, s *keystore.Session) error {
	if s.ID == "" {
		return missing("id")
	}
	clientID, err := t.clientID(ctx, s.KeyID)
	if err != nil {
		return field("key_id", err)
	}
	round(&s.Issued, &s.Expires, &s.Ended)
	generation, _ := keystore.SessionOrigin(s.ID)
	err = t.exec(ctx, `INSERT INTO sessions (id, key_id, secret_id, generation, address, issued, expires, ended, end_reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET key_id = excluded.key_id, secret_id = excluded.secret_id, address = excluded.address,
			issued = excluded.issued, expires = excluded.expires, ended = excluded.ended, end_reason = excluded.end_reason`,
		s.ID, s.KeyID, s.SecretID, generation, s.Address, millis(s.Issued), millis(s.Expires), millis(s.Ended), s.EndReason)
	if err != nil {
		return err
	}
	if !s.Ended.IsZero() {
		t.log(keystore.Change{Kind: keystore.KindSession, ID: s.ID, ClientID: clientID})
	}
	return nil
}

// jsonText is a JSON value as text, NULL for none.
func jsonText(value json.RawMessage) any {
	if value == nil {
		return nil
	}
	return string(value)
}

// PutPreference stores or removes a value. It is not in the change log.
func (t *tx) PutPreference(ctx context.Context, p keystore.Preference) error {
	if p.Value == nil {
		return t.exec(ctx, "DELETE FROM preferences WHERE owner = ? AND name = ?", p.Owner, p.Name)
	}
	return t.exec(ctx, `INSERT INTO preferences (owner, name, value) VALUES (?, ?, ?)
		ON CONFLICT (owner, name) DO UPDATE SET value = excluded.value`, p.Owner, p.Name, string(p.Value))
}
