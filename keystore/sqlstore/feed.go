package sqlstore

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// changesPerCall bounds one answer of Changes, but for a revision that is longer.
const changesPerCall = 1000

// Head is the newest revision.
func (s *Store) Head(ctx context.Context) (head keystore.Revision, err error) {
	for try := range maxTries {
		if head, err = s.headOnce(ctx); !again(ctx, err, try) {
			break
		}
	}
	return head, err
}

func (s *Store) headOnce(ctx context.Context) (keystore.Revision, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	c, err := s.db.Acquire(ctx, Lookup)
	if err != nil {
		return 0, err
	}
	defer s.db.Release(c)
	return s.reader(c).Head(ctx)
}

func scanChange(scan scanner) (keystore.Change, error) {
	var c keystore.Change
	err := scan(&c.Revision, &c.Kind, &c.ID, &c.ClientID, &c.CustomerID)
	return c, err
}

// Changes lists changes after a position, about changesPerCall of them.
func (s *Store) Changes(ctx context.Context, after keystore.Revision) (changes []keystore.Change, err error) {
	const selectChanges = "SELECT rev, kind, id, client_id, customer_id FROM changes "
	err = s.view(ctx, func(r *reader) error {
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
