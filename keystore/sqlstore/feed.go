package sqlstore

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

// changesPerCall bounds one answer of Changes, but for a revision that is longer.
const changesPerCall = 1000

// Head is the newest revision.
func (s *Store) Head(ctx context.Context) (keystore.Revision, error) {
	head, _, err := s.StampedHead(ctx)
	return head, err
}

// StampedHead is the newest revision and its mark, 0 where revisions have none.
func (s *Store) StampedHead(ctx context.Context) (head keystore.Revision, stamp keystore.Stamp, err error) {
	for try := range maxTries {
		err = s.inEra(ctx, func() (err error) {
			head, stamp, err = s.headOnce(ctx)
			return err
		})
		if !again(ctx, err, try) {
			break
		}
	}
	return head, stamp, err
}

func (s *Store) headOnce(ctx context.Context) (head keystore.Revision, stamp keystore.Stamp, err error) {
	if err := s.Enter(); err != nil {
		return 0, 0, err
	}
	defer s.Leave()
	c, err := s.db.Acquire(ctx, Lookup)
	if err != nil {
		return 0, 0, err
	}
	defer s.db.Release(c)
	r := s.reader(c)
	if s.keeper == nil {
		head, err = r.Head(ctx)
		return head, 0, err
	}
	return s.timedHead(ctx, r)
}

// timedHead reads the clock in the same statement: whoever follows the log watches it.
func (s *Store) timedHead(ctx context.Context, r *reader) (head keystore.Revision, stamp keystore.Stamp, err error) {
	sent, at := s.clock.Now(), Time{}
	if err := r.row(ctx, []any{&head, &stamp, &at.Now, &at.Era, &at.Began}, "SELECT head, stamp, "+s.dialect.Time+" FROM state"); err != nil {
		return 0, 0, err
	}
	if r.observe(sent, s.clock.Now(), at); r.frame == nil {
		return 0, 0, errEra
	}
	return head, stamp, nil
}

func scanChange(scan scanner) (keystore.Change, error) {
	var c keystore.Change
	err := scan(&c.Revision, &c.Kind, &c.ID, &c.ClientID, &c.CustomerID)
	return c, err
}

// Changes lists changes after a position, about changesPerCall of them.
func (s *Store) Changes(ctx context.Context, after keystore.Revision) (changes []keystore.Change, err error) {
	err = s.view(ctx, func(r *reader) (err error) {
		changes, err = r.changes(ctx, after)
		return err
	})
	return changes, err
}

func (r *reader) changes(ctx context.Context, after keystore.Revision) ([]keystore.Change, error) {
	const selectChanges = "SELECT rev, kind, id, client_id, customer_id FROM changes "
	var head, trimmed keystore.Revision
	if err := r.row(ctx, []any{&head, &trimmed}, "SELECT head, trimmed FROM state"); err != nil {
		return nil, err
	}
	if after < trimmed || after > head {
		return nil, keystore.ErrBehind
	}
	changes, err := list(ctx, r, scanChange, selectChanges+"WHERE rev > ? ORDER BY rev, n LIMIT ?", after, changesPerCall+1)
	if err != nil || len(changes) <= changesPerCall {
		return changes, err
	}
	// More remain: stop where a revision ends.
	last := changes[len(changes)-1].Revision
	if changes[0].Revision == last {
		return list(ctx, r, scanChange, selectChanges+"WHERE rev = ? ORDER BY n", last)
	}
	for changes[len(changes)-1].Revision == last {
		changes = changes[:len(changes)-1]
	}
	return changes, nil
}
