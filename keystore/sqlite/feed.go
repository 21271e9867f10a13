package sqlite

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// changesPerCall bounds one answer of Changes, but for a revision that is longer.
const changesPerCall = 1000

// Head is the newest revision. While no other connection has committed, SQLite
// says so from shared memory and the answer of last time stands.
func (s *Store) Head(ctx context.Context) (head keystore.Revision, err error) {
	err = s.onFeed(ctx, func(ctx context.Context, r *reader, version int64) error {
		last := &r.conn.head
		if !last.known || last.version != version {
			// Read after the version: what is committed between the two makes the
			// next version differ, and the head is read again.
			read, err := r.Head(ctx)
			if err != nil {
				return err
			}
			*last = headReading{known: true, version: version, head: read}
		}
		head = last.head
		return nil
	})
	return head, err
}

// DataVersion is a number that differs from the last answer if anything was
// committed since, by this or another process. It says nothing about a store
// that was opened anew.
func (s *Store) DataVersion(ctx context.Context) (version int64, err error) {
	err = s.onFeed(ctx, func(_ context.Context, _ *reader, v int64) error {
		version = v
		return nil
	})
	return version, err
}

// onFeed runs fn on the feed's connection with its current data version.
func (s *Store) onFeed(ctx context.Context, fn func(context.Context, *reader, int64) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.using.Done()
	c, err := s.feed.get(ctx)
	if err != nil {
		return err
	}
	defer s.feed.put(c)
	// As in KeyByClientID: too short to be worth watching ctx.
	ctx = context.WithoutCancel(ctx)
	r := &reader{conn: c}
	var version int64
	if err := r.row(ctx, []any{&version}, "PRAGMA data_version"); err != nil {
		return err
	}
	return fn(ctx, r, version)
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
