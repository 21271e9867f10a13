package sqlstore

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// Tombstones are written with the change that they tell of, where the dialect has
// History. They are rows of their own, as the record may be gone, and say how it
// stands: a record has one at most, and one that nobody changed lately has none.

// mark is the stamp of this transaction's revision.
func (t *tx) mark() keystore.Stamp {
	if t.stamp == 0 {
		t.stamp = keystore.Stamp(1 + rand.Int64N(math.MaxInt64))
	}
	return t.stamp
}

// tomb notes how a record stands from this revision on.
func (t *tx) tomb(ctx context.Context, s keystore.Tombstone) error {
	if !t.dialect.History || t.beside {
		return nil
	}
	return t.later(ctx, `INSERT INTO tombstones (kind, parent, id, gone, bounds, rev, stamp, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, id, parent) DO UPDATE SET gone = excluded.gone, bounds = excluded.bounds,
			rev = excluded.rev, stamp = excluded.stamp, at = excluded.at`,
		s.Kind, s.Parent, s.ID, s.Gone, s.Bounds, t.revision(), t.mark(), millis(t.now.Wall))
}

// retomb is tomb where the record has one already: an id that comes back.
func (t *tx) retomb(ctx context.Context, s keystore.Tombstone) error {
	if !t.dialect.History || t.beside {
		return nil
	}
	return t.later(ctx, "UPDATE tombstones SET gone = ?, bounds = ?, rev = ?, stamp = ?, at = ? WHERE kind = ? AND parent = ? AND id = ?",
		s.Gone, s.Bounds, t.revision(), t.mark(), millis(t.now.Wall), s.Kind, s.Parent, s.ID)
}

// storedKey is what a key may be accepted for before it is put anew.
type storedKey struct {
	clientID string
	bounds   string
	secrets  map[string]secretEnd // by id
}

type secretEnd struct {
	bounds string
	ends   time.Time
}

// storedKey reads that, nil for a key that is not there.
func (t *tx) storedKey(ctx context.Context, id string) (*storedKey, error) {
	if !t.dialect.History {
		clientID, err := t.clientID(ctx, id)
		if errors.Is(err, keystore.ErrNotFound) {
			return nil, nil
		}
		return &storedKey{clientID: clientID}, err
	}
	var key *keystore.Key
	var stored storedKey
	_, err := list(ctx, &t.reader, func(scan scanner) (struct{}, error) {
		var k keystore.Key
		var s keystore.Secret
		var expires, secretExpires, retired int64
		var cidrs string
		err := scan(&k.ClientID, &k.Enabled, &k.DisabledHere, &k.CustomerID, &k.MicrotenantID, &k.RoleID, &expires, &cidrs, &k.Generation,
			&s.ID, &secretExpires, &retired)
		if err != nil {
			return struct{}{}, err
		}
		if key == nil {
			k.ExpiresAt = fromMillis(expires)
			if k.AllowedCIDRs, err = decodeCIDRs(cidrs); err != nil {
				return struct{}{}, err
			}
			key = &k
		}
		if s.ID != "" {
			if stored.secrets == nil {
				stored.secrets = make(map[string]secretEnd, 2)
			}
			s.Expires, s.Retired = fromMillis(secretExpires), fromMillis(retired)
			stored.secrets[s.ID] = secretEnd{bounds: keystore.SecretBounds(&s), ends: s.End()}
		}
		return struct{}{}, nil
	}, `SELECT k.client_id, k.enabled, k.disabled_here, k.customer_id, k.microtenant_id, k.role_id, k.expires_at, k.allowed_cidrs, k.generation,
			coalesce(s.id, ''), coalesce(s.expires, 0), coalesce(s.retired, 0)
		FROM keys k LEFT JOIN secrets s ON s.key_id = k.id WHERE k.id = ?`, id)
	if err != nil || key == nil {
		return nil, err
	}
	stored.clientID, stored.bounds = key.ClientID, keystore.KeyBounds(key)
	return &stored, nil
}

// tombKey notes what putting k changed of what it may be accepted for.
func (t *tx) tombKey(ctx context.Context, before *storedKey, k *keystore.Key) error {
	if !t.dialect.History {
		return nil
	}
	var err error
	bounds := keystore.KeyBounds(k)
	switch stone := (keystore.Tombstone{Kind: keystore.TombKey, ID: k.ID, Bounds: bounds}); {
	case before == nil:
		before = &storedKey{}
		err = t.retomb(ctx, stone)
	case before.bounds != bounds:
		err = t.tomb(ctx, stone)
	}
	if err != nil {
		return err
	}
	for i := range k.Secrets {
		s := &k.Secrets[i]
		stone := keystore.Tombstone{Kind: keystore.TombSecret, Parent: k.ID, ID: s.ID, Bounds: keystore.SecretBounds(s)}
		was, there := before.secrets[s.ID]
		delete(before.secrets, s.ID)
		switch {
		case !there:
			err = t.retomb(ctx, stone)
		case was.bounds != stone.Bounds:
			err = t.tomb(ctx, stone)
		}
		if err != nil {
			return err
		}
	}
	for id, was := range before.secrets { // those that are there no more
		if !was.ends.IsZero() && !was.ends.After(t.now.Wall) {
			continue // over by itself, or told when it was retired
		}
		if err := t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombSecret, Parent: k.ID, ID: id, Gone: true}); err != nil {
			return err
		}
	}
	return nil
}

const selectTombstone = "SELECT kind, parent, id, gone, bounds, rev, stamp, at FROM tombstones "

func scanTombstone(scan scanner) (keystore.Tombstone, error) {
	var s keystore.Tombstone
	var at int64
	err := scan(&s.Kind, &s.Parent, &s.ID, &s.Gone, &s.Bounds, &s.Revision, &s.Stamp, &at)
	s.At = fromMillis(at)
	return s, err
}

// Tombstones visits those written past a revision.
func (r *reader) Tombstones(ctx context.Context, after keystore.Revision, visit func(keystore.Tombstone)) error {
	if !r.dialect.History {
		return nil
	}
	_, err := list(ctx, r, func(scan scanner) (struct{}, error) {
		s, err := scanTombstone(scan)
		if err == nil {
			visit(s)
		}
		return struct{}{}, err
	}, selectTombstone+"WHERE rev > ? ORDER BY rev, kind, id, parent", after)
	return err
}

// trimTombstones bounds how many one transaction forgets.
const trimTombstones = 10 * trimStep

// planTombstones finds out whether the oldest is old enough to be forgotten. The rows are
// in the order of their time as far as the clock was never set.
func (r *reader) planTombstones(ctx context.Context, p *trimPlan) error {
	if !r.dialect.History {
		return nil
	}
	p.stonesBefore = millis(r.now.Wall.Add(-keystore.TombstoneMemory))
	var oldest int64
	err := r.row(ctx, []any{&oldest}, "SELECT at FROM tombstones ORDER BY rev LIMIT 1")
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	p.stones = err == nil && oldest < p.stonesBefore
	p.more = p.more || p.stones // of which a transaction forgets some
	return err
}

// trimStones forgets the oldest.
func (t *tx) trimStones(ctx context.Context, before int64) error {
	err := t.exec(ctx, `DELETE FROM tombstones WHERE at < ?1 AND rev IN (SELECT rev FROM tombstones ORDER BY rev LIMIT ?2)`, before, trimTombstones)
	if err != nil {
		return err
	}
	return t.exec(ctx, "DELETE FROM replayed WHERE at < ?", before)
}
