package sqlstore

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// Use records uses: of each key and secret the latest of the batch, unless the
// store has heard of a later one; and adds calls.
func (s *Store) Use(ctx context.Context, uses []keystore.Use, calls ...keystore.Calls) error {
	if len(uses)+len(calls) == 0 {
		return nil
	}
	keys, secrets, tried := latestUses(uses)
	_, err := s.beside(ctx, usedKeys(uses, calls), func(t *tx) error {
		inner := ctx
		if t.dialect.Local { // watching ctx through a statement would cost more than it does
			inner = context.WithoutCancel(ctx)
		}
		for _, u := range keys {
			err := t.later(inner, "UPDATE keys SET last_used = ?1, last_used_address = ?2, last_used_route = ?3 WHERE id = ?4 AND last_used < ?1",
				millis(u.At), u.Address, u.Route, u.KeyID)
			if err != nil {
				return err
			}
		}
		for _, u := range secrets {
			err := t.later(inner, "UPDATE secrets SET last_used = ?1, last_used_address = ?2 WHERE id = ?3 AND key_id = ?4 AND last_used < ?1",
				millis(u.At), u.Address, u.SecretID, u.KeyID)
			if err != nil {
				return err
			}
		}
		for _, u := range tried {
			err := t.later(inner, "UPDATE secrets SET tried = ?1, tried_address = ?2 WHERE id = ?3 AND key_id = ?4 AND tried < ?1",
				millis(u.At), u.Address, u.SecretID, u.KeyID)
			if err != nil {
				return err
			}
		}
		if err := t.addCalls(inner, calls); err != nil {
			return err
		}
		return ctx.Err()
	})
	return err
}

func usedKeys(uses []keystore.Use, calls []keystore.Calls) []string {
	ids := make([]string, 0, len(uses)+len(calls))
	for _, u := range uses {
		ids = append(ids, u.KeyID)
	}
	for _, c := range calls {
		ids = append(ids, c.KeyID)
	}
	return ids
}

// latestUses are the latest use of each key, the latest of each secret, and the
// latest of each secret that was no longer good.
func latestUses(uses []keystore.Use) (keys, secrets, tried map[[2]string]keystore.Use) {
	keys, secrets, tried = map[[2]string]keystore.Use{}, map[[2]string]keystore.Use{}, map[[2]string]keystore.Use{}
	note := func(latest map[[2]string]keystore.Use, id [2]string, u keystore.Use) {
		if known, ok := latest[id]; !ok || !u.At.Before(known.At) {
			latest[id] = u
		}
	}
	for _, u := range uses {
		secret := [2]string{u.KeyID, u.SecretID}
		switch {
		case u.Retired:
			note(tried, secret, u)
			continue // it was refused, so the key was not used
		case u.SecretID != "":
			note(secrets, secret, u)
		}
		note(keys, [2]string{u.KeyID}, u)
	}
	return keys, secrets, tried
}
