package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// FollowFrom is what follows on a revision, of one snapshot: that it follows on the one
// that was seen, and not on another of its number, is certain of all of it.
func (s *Store) FollowFrom(ctx context.Context, after keystore.Revision, seen keystore.Stamp) (news keystore.News, err error) {
	err = s.view(ctx, func(r *reader) error {
		switch stamp, err := r.StampAt(ctx, after); {
		case errors.Is(err, keystore.ErrNotFound):
			return keystore.ErrParted
		case err != nil:
			return err
		case stamp != seen:
			return keystore.ErrParted
		}
		news = keystore.News{Stamp: seen}
		if news.Changes, err = r.changes(ctx, after); err != nil || len(news.Changes) == 0 {
			return err
		}
		news.Stamp, err = r.StampAt(ctx, news.Changes[len(news.Changes)-1].Revision)
		if err != nil {
			return err
		}
		return r.Tombstones(ctx, after, func(stone keystore.Tombstone) { news.Tombstones = append(news.Tombstones, stone) })
	})
	return news, err
}

// StampAt is the mark of a revision. Trimming leaves that of the newest it takes.
func (r *reader) StampAt(ctx context.Context, rev keystore.Revision) (keystore.Stamp, error) {
	var head keystore.Revision
	var stamp keystore.Stamp
	err := r.row(ctx, []any{&head, &stamp},
		"SELECT head, coalesce((SELECT stamp FROM changes WHERE rev = ? ORDER BY n LIMIT 1), 0) FROM state", rev)
	switch {
	case err != nil:
		return 0, err
	case rev > head:
		return 0, keystore.ErrNotFound
	case rev > 0 && stamp == 0: // each has one while it has changes
		return 0, keystore.ErrBehind
	}
	return stamp, nil
}

// StampAt is the same, and costs nothing for the revision that the transaction began at:
// whoever follows closely asks for that one.
func (t *tx) StampAt(ctx context.Context, rev keystore.Revision) (keystore.Stamp, error) {
	if !t.beside && rev > 0 && rev == t.head && t.headStamp != 0 {
		return t.headStamp, t.usable()
	}
	return t.reader.StampAt(ctx, rev)
}

// Stamps visits every revision whose mark is known, some of them twice.
func (r *reader) Stamps(ctx context.Context, visit func(keystore.Revision, keystore.Stamp)) error {
	if !r.dialect.History {
		return nil
	}
	_, err := list(ctx, r, func(scan scanner) (struct{}, error) {
		var rev keystore.Revision
		var stamp keystore.Stamp
		err := scan(&rev, &stamp)
		if err == nil {
			visit(rev, stamp)
		}
		return struct{}{}, err
	}, "SELECT rev, stamp FROM changes UNION SELECT rev, stamp FROM tombstones")
	return err
}

// Replayed reports which tombstones of histories that are gone hold already.
func (r *reader) Replayed(ctx context.Context, stones []keystore.Tombstone) ([]bool, error) {
	done := make([]bool, len(stones))
	if !r.dialect.History || len(stones) == 0 {
		return done, nil
	}
	type name struct {
		stamp            keystore.Stamp
		kind, id, parent string
	}
	all := make(map[name]bool)
	_, err := list(ctx, r, func(scan scanner) (struct{}, error) {
		var n name
		err := scan(&n.stamp, &n.kind, &n.id, &n.parent)
		all[n] = true
		return struct{}{}, err
	}, "SELECT stamp, kind, id, parent FROM replayed")
	for i, s := range stones {
		done[i] = all[name{s.Stamp, s.Kind, s.ID, s.Parent}]
	}
	return done, err
}

// Replay records that tombstones of a history that is gone hold in this one.
func (t *tx) Replay(ctx context.Context, stones, absent []keystore.Tombstone) error {
	if t.beside {
		t.outOfTurn()
		return errTurn
	}
	for _, s := range stones {
		err := t.later(ctx, "INSERT INTO replayed (stamp, kind, id, parent, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			s.Stamp, s.Kind, s.ID, s.Parent, millis(t.now.Wall))
		if err != nil {
			return err
		}
	}
	for _, s := range absent {
		err := t.later(ctx, `INSERT INTO tombstones (kind, parent, id, gone, bounds, rev, stamp, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (kind, id, parent) DO NOTHING`, s.Kind, s.Parent, s.ID, s.Gone, s.Bounds, t.revision(), t.mark(), millis(t.now.Wall))
		if err != nil {
			return err
		}
	}
	t.log(keystore.Change{Kind: keystore.KindRestore})
	return nil
}

// NoteRestore asks for an operator.
func (t *tx) NoteRestore(ctx context.Context, from keystore.Revision, replayed int, lease time.Duration) error {
	if t.beside {
		t.outOfTurn()
		return errTurn
	}
	// Each time, and not where no operator is asked yet alone: this state may be from after
	// the last time, with what it says of nodes as old as any.
	for _, text := range t.dialect.Distrust {
		if err := t.later(ctx, text, int64(lease)); err != nil {
			return err
		}
	}
	if t.dialect.Moved != "" {
		if err := t.later(ctx, t.dialect.Moved); err != nil {
			return err
		}
	}
	t.restored = max(1, millis(t.now.Wall))
	t.log(keystore.Change{Kind: keystore.KindRestore})
	return t.exec(ctx, `UPDATE state SET
			restored_from = CASE WHEN restored = 0 OR restored_from < ?1 THEN ?1 ELSE restored_from END,
			restored_to = CASE WHEN restored = 0 THEN ?2 ELSE restored_to END,
			restored_replayed = CASE WHEN restored = 0 THEN ?3 ELSE restored_replayed + ?3 END,
			restored = CASE WHEN restored = 0 THEN ?4 ELSE restored END`,
		from, t.head, replayed, t.restored)
}

// Restored is what no operator has accepted yet.
func (r *reader) Restored(ctx context.Context) (*keystore.Restore, error) {
	if !r.dialect.History {
		return nil, nil
	}
	var noticed int64
	var found keystore.Restore
	err := r.row(ctx, []any{&noticed, &found.From, &found.To, &found.Replayed}, "SELECT restored, restored_from, restored_to, restored_replayed FROM state")
	if err != nil || noticed == 0 {
		return nil, err
	}
	found.Noticed = fromMillis(noticed)
	return &found, nil
}

// Restored is the same, asked for in every administrative write.
func (t *tx) Restored(ctx context.Context) (*keystore.Restore, error) {
	if t.restored == 0 && !t.beside {
		return nil, t.usable()
	}
	return t.reader.Restored(ctx)
}

// AcceptRestore ends that state.
func (t *tx) AcceptRestore(ctx context.Context) (*keystore.Restore, error) {
	found, err := t.Restored(ctx)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, keystore.ErrNotFound
	}
	if err := t.exec(ctx, "UPDATE state SET restored = 0, restored_from = 0, restored_to = 0, restored_replayed = 0"); err != nil {
		return nil, err
	}
	t.restored = 0
	t.log(keystore.Change{Kind: keystore.KindRestore})
	return found, nil
}
