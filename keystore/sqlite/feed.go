package sqlite

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// changesPerCall bounds one answer of Changes, but for a revision that is longer.
const changesPerCall = 1000

// Head is the newest revision. While no other connection has committed, SQLite
// says so from shared memory and the answer of last time stands.
func (s *Store) Head(ctx context.Context) (keystore.Revision, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.using.Done()
	if err := s.inPlace(); err != nil {
		return 0, err
	}
	c, err := s.feed.get(ctx)
	if err != nil {
		return 0, err
	}
	defer s.feed.put(c)
	// As in KeyByClientID: too short to be worth watching ctx.
	ctx = context.WithoutCancel(ctx)
	r := &reader{conn: c}
	var version int64
	if err := r.row(ctx, []any{&version}, "PRAGMA data_version"); err != nil {
		return 0, err
	}
	if c.head.known && c.head.version == version {
		return c.head.head, nil
	}
	// Read after the version: what is committed between the two makes the next
	// version differ, and the head is read again.
	head, err := r.Head(ctx)
	if err != nil {
		return 0, err
	}
	c.head = headReading{known: true, version: version, head: head}
	return head, nil
}

func scanChange(scan scanner) (keystore.Change, error) {
	var c keystore.Change
	err := scan(&c.Revision, &c.Kind, &c.ID, &c.ClientID, &c.CustomerID)
	return c, err
}

// Changes lists changes after a position, about changesPerCall of them.
func (s *Store) Changes(ctx context.Context, after keystore.Revision) (changes []keystore.Change, err error) {
	const selectChanges = "SELECT rev, kind, id, client_id, customer_id FROM changes "
	err = s.view(ctx, s.readers, func(r *reader) error {
		var head, trimmed keystore.Revision
		if err := r.row(ctx, []any{&head, &trimmed}, "SELECT head, trimmed FROM state"); err != nil {
			return err
		}
		if after < trimmed || after > head {
			return keystore.ErrBehind
		}
		changes, err = list(ctx, r, scanChange, selectChanges+"WHERE rev > ? ORDER BY rev, n LIMIT ?", after, changesPerCall+1)
		if err != nil || len(changes) <= changesPerCall {
			return err
		}
		// More remain: stop where a revision ends.
		last := changes[len(changes)-1].Revision
		if changes[0].Revision == last {
			changes, err = list(ctx, r, scanChange, selectChanges+"WHERE rev = ? ORDER BY n", last)
			return err
		}
		for changes[len(changes)-1].Revision == last {
			changes = changes[:len(changes)-1]
		}
		return nil
	})
	return changes, err
}
