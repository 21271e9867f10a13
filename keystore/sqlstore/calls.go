package sqlstore

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// forgetCalls bounds how many old hours of keys one transaction forgets, so that
// other writers are not kept waiting for all: more than it adds.
const forgetCalls = 2000

const forgetOldCalls = `DELETE FROM key_calls WHERE (key_id, hour) IN
	(SELECT key_id, hour FROM key_calls WHERE hour < ?1 ORDER BY hour LIMIT ?2)`

// addCalls adds calls to what is there. Those of keys that are gone are passed over.
func (t *tx) addCalls(ctx context.Context, calls []keystore.Calls) error {
	if len(calls) == 0 {
		return nil
	}
	for _, c := range calls {
		err := t.later(ctx, `INSERT INTO key_calls (key_id, hour, calls) SELECT id, CAST(?2 AS BIGINT), CAST(?3 AS BIGINT) FROM keys WHERE id = ?1
			ON CONFLICT (key_id, hour) DO UPDATE SET calls = key_calls.calls + excluded.calls`, c.KeyID, millis(c.Hour), c.Calls)
		if err != nil {
			return err
		}
	}
	return t.later(ctx, forgetOldCalls, millis(t.now.Wall.Add(-keystore.CallMemory)), forgetCalls)
}

// Calls lists the hours in which a key was called.
func (r *reader) Calls(ctx context.Context, keyID string, from time.Time) ([]keystore.Calls, error) {
	return list(ctx, r, func(scan scanner) (c keystore.Calls, err error) {
		var hour int64
		err = scan(&c.KeyID, &hour, &c.Calls)
		c.Hour = fromMillis(hour)
		return c, err
	}, "SELECT key_id, hour, calls FROM key_calls WHERE key_id = ? AND hour >= ? ORDER BY hour", keyID, millisUp(from))
}
