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

// stoneName is what a tombstone is of.
type stoneName struct{ kind, parent, id string }

// noted is a tombstone of this transaction: "" for a record that is gone. Anew is one
// whose record may have had none.
type noted struct {
	bounds string
	anew   bool
}

// tomb notes how a record stands from this revision on.
func (t *tx) tomb(ctx context.Context, s keystore.Tombstone) error { return t.noteStone(s, true) }

// retomb is tomb where the record has one already: an id that comes back.
func (t *tx) retomb(ctx context.Context, s keystore.Tombstone) error { return t.noteStone(s, false) }

func (t *tx) noteStone(s keystore.Tombstone, anew bool) error {
	if !t.dialect.History || t.beside {
		return nil
	}
	if t.stones == nil {
		t.stones = make(map[stoneName]noted)
	}
	name := stoneName{s.Kind, s.Parent, s.ID}
	t.stones[name] = noted{s.Bounds, anew || t.stones[name].anew}
	return nil
}

// stonesAtOnce bounds how many tombstones one statement writes.
const stonesAtOnce = 5000

// Lists of text as rows: a source's list may narrow a hundred thousand keys at once.
const (
	stoneRows = "unnest(CAST(?1 AS TEXT[]), CAST(?2 AS TEXT[]), CAST(?3 AS TEXT[]), CAST(?4 AS TEXT[])) AS s (kind, parent, id, bounds)"
	putStones = `INSERT INTO tombstones (kind, parent, id, gone, bounds, rev, stamp, at)
		SELECT s.kind, s.parent, s.id, s.bounds = '', s.bounds, CAST(?5 AS BIGINT), CAST(?6 AS BIGINT), CAST(?7 AS BIGINT) FROM ` + stoneRows + `
		ON CONFLICT (kind, id, parent) DO UPDATE SET gone = excluded.gone, bounds = excluded.bounds,
			rev = excluded.rev, stamp = excluded.stamp, at = excluded.at`
	renewStones = `UPDATE tombstones t SET gone = s.bounds = '', bounds = s.bounds, rev = ?5, stamp = ?6, at = ?7
		FROM ` + stoneRows + ` WHERE t.kind = s.kind AND t.parent = s.parent AND t.id = s.id`
)

// storeStones writes what was noted.
func (t *tx) storeStones(ctx context.Context) error {
	for _, anew := range []bool{true, false} {
		text := renewStones
		if anew {
			text = putStones
		}
		var columns [4][]string
		flush := func() error {
			if len(columns[0]) == 0 {
				return nil
			}
			var args []any
			for _, column := range columns {
				list, err := t.dialect.List(column)
				if err != nil {
					return err
				}
				args = append(args, list)
			}
			columns = [4][]string{}
			return t.later(ctx, text, append(args, t.revision(), t.mark(), millis(t.now.Wall))...)
		}
		for name, n := range t.stones {
			if n.anew != anew {
				continue
			}
			for i, value := range []string{name.kind, name.parent, name.id, n.bounds} {
				columns[i] = append(columns[i], value)
			}
			if len(columns[0]) == stonesAtOnce {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
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
