package keystore

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// ErrUnseen: a write is stored, but this node could not make sure to see it.
var ErrUnseen = errors.New("stored, but not yet seen by this node")

// catchUp applies changes until the log's head, at least up to `until`.
func (c *Cached) catchUp(ctx context.Context, until Revision) error {
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	sent := c.clock.Now()
	head, err := c.store.Head(ctx)
	if err != nil {
		return err
	}
	for head = max(head, until); c.position != head; {
		changes, err := c.store.Changes(ctx, c.position)
		if errors.Is(err, ErrBehind) {
			c.logger.Warn("the change log does not reach back to this node's position; loading anew",
				zap.Int64("position", int64(c.position)), zap.Int64("head", int64(head)))
			return c.resyncLocked(ctx)
		}
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return fmt.Errorf("change log ends at revision %d, expected %d", c.position, head)
		}
		if err := c.apply(ctx, changes); err != nil {
			return err
		}
		// A log that grew while it was read is followed to where it ends now.
		head = max(head, c.position)
	}
	if err := c.counter.settle(ctx); err != nil {
		return err
	}
	if err := c.applyTallies(ctx); err != nil {
		return err
	}
	c.noteSynced(&syncState{at: sent})
	return nil
}

// apply makes changes visible. Keys are only marked as changed, to be read again
// when they are asked for; the directory is replaced as one.
func (c *Cached) apply(ctx context.Context, changes []Change) error {
	var clients []string
	var directory []Change
	for _, ch := range changes {
		switch ch.Kind {
		case KindKey:
			clients = append(clients, ch.ClientID)
		case KindRole, KindCustomer, KindMicrotenant:
			directory = append(directory, ch)
		}
	}
	if len(directory) > 0 {
		err := c.store.View(ctx, func(r Reader) error {
			next, err := c.directory.Load().with(ctx, r, directory)
			if err == nil {
				c.directory.Store(next)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(clients) > 0 {
		c.keys.invalidate(clients...)
	}
	c.position = changes[len(changes)-1].Revision
	return nil
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

// resync takes everything anew.
func (c *Cached) resync(ctx context.Context) error {
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	return c.resyncLocked(ctx)
}

func (c *Cached) resyncLocked(ctx context.Context) error {
	sent := c.clock.Now()
	err := c.store.View(ctx, func(r Reader) error {
		head, err := r.Head(ctx)
		if err != nil {
			return err
		}
		d, err := loadDirectory(ctx, r)
		if err != nil {
			return err
		}
		c.directory.Store(d)
		c.keys.invalidateAll()
		c.position = head
		return nil
	})
	if err != nil {
		return err
	}
	c.tallySeq = 0
	if err := c.applyTallies(ctx); err != nil {
		return err
	}
	c.noteSynced(&syncState{at: sent})
	return nil
}

func (c *Cached) noteSynced(s *syncState) {
	if was := c.synced.Swap(s); was != nil && was.lost {
		c.logger.Info("the key store is followed again", zap.Int64("revision", int64(c.position)))
	}
}
