package sqlstore

import (
	"context"
	"encoding/json"

	"github.com/keyreeve/keyreeve/keystore"
)

// Idempotency is what was done under a name within keystore.IdempotencyMemory.
func (r *reader) Idempotency(ctx context.Context, owner, key string) (*keystore.Idempotency, error) {
	i := keystore.Idempotency{Owner: owner, Key: key}
	var fingerprint, result []byte
	var created int64
	err := r.row(ctx, []any{&fingerprint, &result, &i.Revision, &created},
		"SELECT fingerprint, result, revision, created FROM idempotency WHERE owner = ? AND key = ? AND created > ?",
		owner, key, millis(r.now.Wall.Add(-keystore.IdempotencyMemory)))
	if err != nil {
		return nil, err
	}
	copy(i.Fingerprint[:], fingerprint)
	i.Result, i.Created = json.RawMessage(result), fromMillis(created)
	return &i, nil
}

// PutIdempotency remembers a request. One past its memory that was not trimmed
// yet is in nobody's way. It is not in the change log.
func (t *tx) PutIdempotency(ctx context.Context, i *keystore.Idempotency) error {
	if i.Key == "" {
		return missing("key")
	}
	err := t.refuse(ctx, keystore.ErrConflict, "key", "SELECT 1 FROM idempotency WHERE owner = ? AND key = ? AND created > ?",
		i.Owner, i.Key, millis(t.now.Wall.Add(-keystore.IdempotencyMemory)))
	if err != nil {
		return err
	}
	round(&i.Created)
	return t.exec(ctx, `INSERT INTO idempotency (owner, key, fingerprint, result, revision, created) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (owner, key) DO UPDATE SET fingerprint = excluded.fingerprint, result = excluded.result,
			revision = excluded.revision, created = excluded.created`,
		i.Owner, i.Key, i.Fingerprint[:], string(i.Result), i.Revision, millis(i.Created))
}
