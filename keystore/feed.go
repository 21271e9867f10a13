package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// ErrUnseen: a write is stored, but this node could not make sure to see it.
var ErrUnseen = errors.New("stored, but not yet seen by this node")

// followLog applies changes until the log's head. See catchUp.
func (c *Cached) followLog(ctx context.Context) error {
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	err := c.followLocked(ctx)
	if errors.Is(err, ErrParted) {
		return c.mend(err)
	}
	return err
}

func (c *Cached) followLocked(ctx context.Context) error {
	sent := c.clock.Now()
	head, err := c.probe(ctx)
	if err != nil {
		return err
	}
	if c.beginning {
		if done, err := c.meet(); done || err != nil {
			return err
		}
	}
	c.answers.Store(true)
	for c.position != head {
		news, err := c.askNews(ctx)
		if errors.Is(err, ErrBehind) {
			c.logger.Warn("the change log does not reach back to this node's position; loading anew",
				zap.Int64("position", int64(c.position)), zap.Int64("head", int64(head)))
			within, cancel := context.WithTimeout(c.running, resyncTimeout)
			defer cancel()
			return c.resync(within, asSeen)
		}
		if err != nil {
			return err
		}
		if len(news.Changes) == 0 {
			return fmt.Errorf("change log ends at revision %d, expected %d", c.position, head)
		}
		if err := c.apply(ctx, news); err != nil {
			return err
		}
		// A log that grew while it was read is followed to where it ends now.
		head = max(head, c.position)
	}
	if err := c.applyTallies(ctx); err != nil {
		return err
	}
	c.noteSynced(&syncState{at: sent, position: c.position})
	return nil
}

// apply makes changes visible. Keys are only marked as changed, to be read again
// when they are asked for; the directory is replaced as one.
func (c *Cached) apply(ctx context.Context, news News) error {
	changes := news.Changes
	position := changes[len(changes)-1].Revision
	var clients, sessions []string
	var directory, unlocks []Change
	for _, ch := range changes {
		switch ch.Kind {
		case KindKey:
			clients = append(clients, ch.ClientID)
		case KindSession:
			sessions = append(sessions, ch.ID)
		case KindUnlock:
			unlocks = append(unlocks, ch)
		case KindRole, KindCustomer, KindMicrotenant, KindSigningKey:
			directory = append(directory, ch)
		}
	}
	next := c.directory.Load()
	if len(directory)+len(sessions) > 0 {
		err := c.store.View(ctx, func(r Reader) (err error) {
			if err = c.sameHistory(ctx, r, position, news.Stamp); err != nil {
				return err
			}
			if err = c.applyEnded(ctx, r, sessions); err == nil {
				next, err = next.with(ctx, r, directory)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := c.applyUnlocks(ctx, unlocks); err != nil {
		return err
	}
	var tick int64
	c.show(next, position, func() { tick = c.keys.invalidate(clients) })
	c.history.at(position, news.Stamp)
	c.journal.applied(news, clients, tick, c.endedOf(sessions), next)
	c.keys.forget(clients)
	return nil
}

// show makes a picture visible as one: the directory, and the keys as of a
// position. Readers wait meanwhile, so it does no more than it must.
func (c *Cached) show(d *Directory, position Revision, invalidate func()) {
	c.turn.Add(1)
	c.directory.Store(d)
	invalidate()
	c.position = position
	c.seen.Store(int64(position))
	c.turn.Add(1)
}

// applyEnded remembers sessions that were ended early.
func (c *Cached) applyEnded(ctx context.Context, r Reader, ids []string) error {
	for _, id := range ids {
		s, err := r.Session(ctx, id)
		if errors.Is(err, ErrNotFound) {
			continue // gone with its key, which is looked up on every request
		}
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		c.remember(s)
	}
	return nil
}

func (c *Cached) remember(s *Session) {
	c.history.session(s)
	c.journal.sessionEnded(s)
	until := s.Expires.Add(endedMemory)
	if s.EndReason == EndPushedOut {
		until = s.Expires.Add(pushedOutMemory)
	}
	c.ended.change(s.ID, func(time.Time, bool) (time.Time, bool) { return until, !s.Ended.IsZero() })
}

// applyTallies fetches counts and locks that others changed. They are not in the
// change log: a storm of failures must not fill it.
func (c *Cached) applyTallies(ctx context.Context) error {
	changed, err := c.store.Tallies(ctx, c.tallySeq)
	if err != nil {
		return err
	}
	if len(changed) == 0 {
		return nil
	}
	c.counter.table.apply(c.clock.Now(), changed...)
	for _, t := range changed {
		c.tallySeq = max(c.tallySeq, t.Seq)
	}
	return nil
}

// applyUnlocks clears what administrators unlocked, and takes over what was counted since.
func (c *Cached) applyUnlocks(ctx context.Context, unlocks []Change) error {
	for _, ch := range unlocks {
		c.counter.unlocked(ch.ID, ch.Unlocked, c.tallySeq)
	}
	if len(unlocks) == 0 {
		return nil
	}
	return c.applyTallies(ctx)
}

// resync takes everything anew. Called with feedMu held.
func (c *Cached) resync(ctx context.Context, how adoption) error {
	sent := c.clock.Now()
	err := c.store.View(ctx, func(r Reader) error {
		head, err := r.Head(ctx)
		if err != nil {
			return err
		}
		stamp, err := c.adopt(ctx, r, head, how)
		if err != nil {
			return err
		}
		d, err := loadDirectory(ctx, r)
		if err != nil {
			return err
		}
		ended, err := r.EndedSessions(ctx)
		if err != nil {
			return fmt.Errorf("ended sessions: %w", err)
		}
		for _, s := range ended {
			c.remember(s)
		}
		if head < c.position || how == asReplayed {
			c.counter.table.startOver(sent)
		}
		c.journal.startOver(head) // before anything is seen that is not in it
		c.show(d, head, c.keys.invalidateAll)
		c.history.at(head, stamp)
		return nil
	})
	if err != nil {
		return err
	}
	c.tallySeq = allTallies
	if err := c.applyTallies(ctx); err != nil {
		return err
	}
	c.noteSynced(&syncState{at: sent, position: c.position})
	return nil
}

// allTallies is the position before the first count. Not 0, which would leave
// out a count that was cleared, and is held here from before.
const allTallies = -1

func (c *Cached) noteSynced(s *syncState) {
	var was *syncState
	for {
		if was = c.synced.Load(); was != nil { // a renewal is no matter of the log
			s.leased, s.tenure = was.leased, was.tenure
		}
		if c.synced.CompareAndSwap(was, s) {
			break
		}
	}
	c.journal.followed(s)
	c.confirmSoon()
	if was != nil && was.lost {
		c.logger.Info("the key store is followed again", zap.Int64("revision", int64(c.position)))
	}
}
