package sqlstore

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
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

// Changes lists changes after a position, about changesPerCall of them.
func (s *Store) Changes(ctx context.Context, after keystore.Revision) (changes []keystore.Change, err error) {
	err = s.view(ctx, func(r *reader) (err error) {
		changes, err = r.changes(ctx, after)
		return err
	})
	return changes, err
}

// changes lists changes after a position, those of each revision together.
func (r *reader) changes(ctx context.Context, after keystore.Revision) ([]keystore.Change, error) {
	changes, err := r.changesOnly(ctx, after)
	if err != nil {
		return nil, err
	}
	return changes, r.unlocks(ctx, changes)
}

// unlocks sets what is to be known of the unlocks among changes.
func (r *reader) unlocks(ctx context.Context, changes []keystore.Change) error {
	var ids []string
	for _, c := range changes {
		if c.Kind == keystore.KindUnlock {
			ids = append(ids, c.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	tallies, err := r.Tallies(ctx, ids...)
	if err != nil {
		return err
	}
	counted := make(map[string][]string)
	for _, c := range tallies {
		counted[c.KeyID] = append(counted[c.KeyID], c.Source)
	}
	for i := range changes {
		if u := changes[i].Unlocked; u != nil {
			u.Counted = counted[changes[i].ID]
		}
	}
	return nil
}

// agoOn is an instant of this machine, as long ago as that time of day is in the database.
func (r *reader) agoOn(at time.Time) policy.Instant {
	i := r.now
	ago := max(0, i.Wall.Sub(at)) // and never to come
	i.Since, i.Wall = i.Since-ago, i.Wall.Add(-ago)
	c := keystore.Tally{Tally: policy.Tally{Last: i}}
	r.out(&c)
	return c.Last
}

func (r *reader) changesOnly(ctx context.Context, after keystore.Revision) ([]keystore.Change, error) {
	const selectChanges = "SELECT rev, kind, id, client_id, customer_id, at FROM changes "
	scanChange := func(scan scanner) (c keystore.Change, err error) {
		var at int64
		err = scan(&c.Revision, &c.Kind, &c.ID, &c.ClientID, &c.CustomerID, &at)
		if c.Kind == keystore.KindUnlock {
			c.Unlocked = &keystore.Unlocked{At: r.agoOn(fromMillis(at))}
		}
		return c, err
	}
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
