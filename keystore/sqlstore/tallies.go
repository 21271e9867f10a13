package sqlstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// maxSources bounds the sources counted for one key (guard), whatever number of
// networks guess at it.
const maxSources = 256

const tallyColumns = `key_id, source, failures, last_wall_ns, last_boot, last_since_ns,
	lock_wall_ns, lock_boot, lock_since_ns, locked_for_ns, seen, trusted_ns, seq`

func scanTally(scan scanner) (keystore.Tally, error) {
	var t keystore.Tally
	var lastWall, lastSince, lockWall, lockSince, lockedFor, trusted int64
	var lastBoot, lockBoot string
	var seen []byte
	err := scan(&t.KeyID, &t.Source, &t.Failures, &lastWall, &lastBoot, &lastSince,
		&lockWall, &lockBoot, &lockSince, &lockedFor, &seen, &trusted, &t.Seq)
	if err != nil {
		return t, err
	}
	t.Last, t.LockedAt = instant(lastWall, lastBoot, lastSince), instant(lockWall, lockBoot, lockSince)
	t.LockedFor, t.Seen, t.TrustedAt = time.Duration(lockedFor), decodeSeen(seen), fromNanos(trusted)
	return t, nil
}

// tally is the stored count of a key and source, an empty one where there is none.
func (r *reader) tally(ctx context.Context, keyID, source string) (keystore.Tally, error) {
	found, err := list(ctx, r, scanTally, "SELECT "+tallyColumns+" FROM tallies WHERE key_id = ? AND source = ?", keyID, source)
	if err != nil || len(found) == 0 {
		return keystore.Tally{KeyID: keyID, Source: source}, err
	}
	return found[0], nil
}

// putTally stores a count under the next seq.
func (t *tx) putTally(ctx context.Context, c *keystore.Tally) (err error) {
	if c.Seq, err = t.nextSeq(ctx); err != nil {
		return err
	}
	return t.writeTally(ctx, *c, nil)
}

// writeTally stores a count under the seq it has, and these tries beside it;
// without any it keeps those that are there.
func (t *tx) writeTally(ctx context.Context, c keystore.Tally, tries []keystore.Try) error {
	var kept any // NULL
	if len(tries) > 0 {
		kept = keystore.EncodeTries(tries)
	}
	return t.later(ctx, `INSERT INTO tallies (`+tallyColumns+`, at, tries) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (key_id, source) DO UPDATE SET failures = excluded.failures,
			last_wall_ns = excluded.last_wall_ns, last_boot = excluded.last_boot, last_since_ns = excluded.last_since_ns,
			lock_wall_ns = excluded.lock_wall_ns, lock_boot = excluded.lock_boot, lock_since_ns = excluded.lock_since_ns,
			locked_for_ns = excluded.locked_for_ns, seen = excluded.seen, trusted_ns = excluded.trusted_ns,
			seq = excluded.seq, at = excluded.at, tries = coalesce(excluded.tries, tallies.tries)`+t.dialect.TallyStamp,
		c.KeyID, c.Source, c.Failures, nanos(c.Last.Wall), c.Last.Boot, int64(c.Last.Since),
		nanos(c.LockedAt.Wall), c.LockedAt.Boot, int64(c.LockedAt.Since), int64(c.LockedFor),
		encodeSeen(c.Seen), nanos(c.TrustedAt), c.Seq, millis(t.now.Wall), kept)
}

// tries are those kept beside the count of a whole client, however old.
func (r *reader) tries(ctx context.Context, keyID string) ([]keystore.Try, error) {
	var data []byte
	err := r.row(ctx, []any{&data}, "SELECT tries FROM tallies WHERE key_id = ? AND source = ''", keyID)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, nil
	}
	return keystore.DecodeTries(data), err
}

// Tries lists the latest tries that failed.
func (r *reader) Tries(ctx context.Context, keyID string) ([]keystore.Try, error) {
	tries, err := r.tries(ctx, keyID)
	return keystore.RecentTries(tries, r.now.Wall), err
}

// settled is a count as listed: a lock that has ended takes its failures along.
func settled(c keystore.Tally, now policy.Instant) keystore.Tally {
	if c.LockedFor > 0 && c.Remaining(now) == 0 {
		c.Tally = policy.Tally{TrustedAt: c.TrustedAt}
	}
	return c
}

// blank reports that nothing is recorded.
func blank(c keystore.Tally) bool {
	return c.Failures == 0 && c.LockedFor == 0 && len(c.Seen) == 0 && c.TrustedAt.IsZero()
}

func sameTally(a, b policy.Tally) bool {
	return a.Failures == b.Failures && a.Last == b.Last && a.LockedAt == b.LockedAt && a.LockedFor == b.LockedFor &&
		slices.Equal(a.Seen, b.Seen) && a.TrustedAt.Equal(b.TrustedAt)
}

// Tallies lists the counts of some keys in one statement, a page of a list's at once.
func (r *reader) Tallies(ctx context.Context, keyIDs ...string) ([]keystore.Tally, error) {
	wanted, err := r.dialect.List(keyIDs)
	if err != nil {
		return nil, err
	}
	return r.tallies(ctx, true, "SELECT "+tallyColumns+" FROM tallies WHERE key_id IN ("+r.dialect.Each+") ORDER BY key_id, source", wanted)
}

func (r *reader) tallies(ctx context.Context, leaveOutBlank bool, text string, args ...any) ([]keystore.Tally, error) {
	all, err := list(ctx, r, scanTally, text, args...)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i] = settled(all[i], r.now)
	}
	if leaveOutBlank {
		all = recorded(all)
	}
	return all, nil
}

// recorded are those that say something.
func recorded(all []keystore.Tally) []keystore.Tally { return slices.DeleteFunc(all, blank) }

// Unlock clears every count and lock of a key and its tries. That a source had succeeded
// before is neither and stays known.
func (t *tx) Unlock(ctx context.Context, keyID string) error {
	clientID, err := t.clientID(ctx, keyID)
	if err != nil {
		return err
	}
	if err := t.lockKeys(ctx, keyID); err != nil {
		return err
	}
	all, err := list(ctx, &t.reader, scanTally, "SELECT "+tallyColumns+" FROM tallies WHERE key_id = ?", keyID)
	if err != nil {
		return err
	}
	for _, c := range all {
		cleared := policy.Tally{TrustedAt: c.TrustedAt}
		if sameTally(c.Tally, cleared) {
			continue
		}
		c.Tally = cleared
		if err := t.putTally(ctx, &c); err != nil {
			return err
		}
	}
	if err := t.exec(ctx, "UPDATE tallies SET tries = NULL WHERE key_id = ? AND tries IS NOT NULL", keyID); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindUnlock, ID: keyID, ClientID: clientID})
	return nil
}

// rebase carries locks of earlier boots, or eras, into the running one (see
// policy.Tally.Rebase), the clock having been set forward meanwhile by no more than that.
func (t *tx) rebase(ctx context.Context, forward time.Duration) error {
	const earlier = "SELECT " + tallyColumns + " FROM tallies WHERE locked_for_ns > 0 AND lock_boot <> ? ORDER BY seq"
	locks, err := list(ctx, &t.reader, scanTally, earlier, t.now.Boot)
	if err != nil || len(locks) == 0 {
		return err
	}
	if t.dialect.LockKeys != "" { // as they are once nobody else counts
		ids := make([]string, len(locks))
		for i, c := range locks {
			ids[i] = c.KeyID
		}
		if err := t.lockKeys(ctx, ids...); err != nil {
			return err
		}
		if locks, err = list(ctx, &t.reader, scanTally, earlier, t.now.Boot); err != nil {
			return err
		}
	}
	t.seqs.expected = len(locks)
	for _, c := range locks {
		c.LockedAt.Wall = c.LockedAt.Wall.Add(forward)
		rebased, changed := c.Rebase(t.now)
		if !changed {
			continue
		}
		c.Tally = rebased
		if err := t.putTally(ctx, &c); err != nil {
			return err
		}
	}
	return nil
}

// capSources drops sources of a key past maxSources: those that say nothing
// first, then the unlocked and unknown ones, then the unlocked; the oldest of
// each first, what was counted just now (seq past fresh) last.
func (t *tx) capSources(ctx context.Context, l policy.Lockout, keyID string, fresh int64) error {
	all, err := list(ctx, &t.reader, scanTally, "SELECT "+tallyColumns+" FROM tallies WHERE key_id = ? AND source <> '' ORDER BY seq", keyID)
	if err != nil || len(all) <= maxSources {
		return err
	}
	worth := func(c keystore.Tally) int {
		w := 0
		switch {
		case c.Remaining(t.now) > 0:
			w = 3
		case c.Trusted(t.now):
			w = 2
		case !c.Empty(l, t.now):
			w = 1
		}
		if c.Seq > fresh {
			w += 4
		}
		return w
	}
	slices.SortStableFunc(all, func(a, b keystore.Tally) int { return worth(a) - worth(b) })
	for _, c := range all[:len(all)-maxSources] {
		if err := t.exec(ctx, "DELETE FROM tallies WHERE key_id = ? AND source = ?", keyID, c.Source); err != nil {
			return err
		}
	}
	return nil
}
