package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// historyEvery is how often loading what the database remembers is tried.
const historyEvery = time.Second

// A node that follows a Historian holds the mark of its position against the
// database's before it takes over anything: in the statement that reads the head, in
// the snapshot that changes are read from, and in those that records are read from. A
// database that is exchanged between two of these is found out by the second. So what
// an older state says is never made part of the picture that decisions go by, but
// through a replay.

// askHead is the store's head. ErrParted where that, or its mark, shows that the
// database went back.
func (c *Cached) askHead(ctx context.Context) (Revision, error) {
	h, ok := As[Historian](c.store)
	if !ok {
		return c.store.Head(ctx)
	}
	head, stamp, err := h.HeadStamp(ctx)
	switch {
	case err != nil:
		return 0, err
	case c.history.stamp == 0: // nothing was followed yet
	case head < c.position, head == c.position && stamp != c.history.stamp:
		return head, ErrParted
	}
	return head, nil
}

// askNews is what follows on the position.
func (c *Cached) askNews(ctx context.Context) (News, error) {
	h, ok := As[Historian](c.store)
	if !ok {
		changes, err := c.store.Changes(ctx, c.position)
		return News{Changes: changes}, err
	}
	news, err := h.Follow(ctx, c.position, c.history.stamp)
	if err == nil && len(news.Changes) > 0 {
		// Noted before the changes are seen: whoever sees them finds this too.
		c.history.note(news.Tombstones...)
	}
	return news, err
}

// shown is a revision that decisions see, and its mark.
func (c *Cached) shown() (Revision, Stamp) {
	if m := c.history.mark.Load(); m != nil {
		return m.revision, m.stamp
	}
	return c.Position(), 0
}

// historyOf is what r says of its history, nil where the store keeps none.
func (c *Cached) historyOf(r Reader) HistoryReader {
	if _, ok := As[Historian](c.store); !ok {
		return nil
	}
	h, _ := r.(HistoryReader)
	return h
}

// sameHistory refuses a snapshot in which a revision has not the mark that was seen.
func (c *Cached) sameHistory(ctx context.Context, r Reader, at Revision, seen Stamp) error {
	h := c.historyOf(r)
	if h == nil {
		return nil
	}
	switch stamp, err := h.StampAt(ctx, at); {
	case errors.Is(err, ErrNotFound), err == nil && stamp != seen:
		return ErrParted
	case errors.Is(err, ErrBehind):
		return nil // trimmed since the changes were read: nothing has parted there
	default:
		return err
	}
}

// continues refuses a transaction in a database that went back, before the follower has
// noticed: what it wrote would stand on what was lost, and no operator has been asked yet.
// With the turn to write nothing can be seen that it does not hold.
func (c *Cached) continues(ctx context.Context, tx Tx) error {
	at, seen := c.shown()
	if seen == 0 {
		return nil
	}
	err := c.sameHistory(ctx, tx, at, seen)
	if errors.Is(err, ErrParted) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// adoption is how a snapshot is taken over whole.
type adoption int

const (
	// asSeen: it must be of the history that was followed.
	asSeen adoption = iota
	// asReplayed: it is of another one, into which what was seen was brought.
	asReplayed
)

// adopt takes over the history of a snapshot that is loaded whole, and answers its mark.
func (c *Cached) adopt(ctx context.Context, r Reader, head Revision, how adoption) (Stamp, error) {
	h := c.historyOf(r)
	if h == nil {
		return 0, nil
	}
	m := &c.history
	storeID, err := r.StoreID(ctx)
	if err != nil {
		return 0, err
	}
	if known := c.storeID(); known != "" && storeID != known {
		return 0, errForeign
	}
	unmarked := c.position > 0 && m.stamp == 0 // a snapshot told no more
	var theirs []Tombstone
	known := how == asSeen && c.position > 0
	if known || how == asReplayed {
		if err := h.Tombstones(ctx, 0, func(s Tombstone) { theirs = append(theirs, s) }); err != nil {
			return 0, err
		}
	}
	if known {
		switch stamp, err := h.StampAt(ctx, c.position); {
		case errors.Is(err, ErrBehind), err == nil && unmarked:
			if !m.sameAs(theirs, c.position, r.Now().Wall) {
				return 0, ErrParted
			}
		case errors.Is(err, ErrNotFound), err == nil && stamp != m.stamp:
			return 0, ErrParted
		case err != nil:
			return 0, err
		}
	}
	stamp, err := h.StampAt(ctx, head)
	if err != nil {
		return 0, fmt.Errorf("mark of revision %d: %w", head, err)
	}
	if how == asReplayed {
		m.replace(theirs)
	} else {
		m.note(theirs...)
	}
	return stamp, nil
}

// errForeign: under the name of the store there is another one.
var errForeign = fmt.Errorf("%w: it is another store, with an id of its own", ErrParted)

// learnHistory loads what the database remembers from before this node followed it,
// behind the first requests: it matters once the database goes back.
func (c *Cached) learnHistory(ctx context.Context) {
	every := time.NewTicker(historyEvery)
	defer every.Stop()
	for failed := false; ; {
		done, err := c.learnOnce(ctx)
		if done || ctx.Err() != nil {
			return
		}
		if err != nil && !failed {
			failed = true
			c.logger.Warn("what was revoked lately could not be loaded; it is tried again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// learnOnce tries; done where there is nothing to load any more.
func (c *Cached) learnOnce(ctx context.Context) (done bool, err error) {
	if _, ok := As[Historian](c.store); !ok {
		// A store that cannot be asked yet may turn out to be one.
		w, wrapped := c.store.(interface{ Unwrap() Store })
		return !wrapped || w.Unwrap() != nil, nil
	}
	if c.refused() != nil {
		return false, nil
	}
	c.feedMu.Lock()
	position, stamp, parted := c.position, c.history.stamp, c.history.parted.Load()
	c.feedMu.Unlock()
	if position == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resyncTimeout)
	defer cancel()
	var stones []Tombstone
	err = c.store.View(ctx, func(r Reader) error {
		h := c.historyOf(r)
		if h == nil {
			return nil
		}
		if err := c.sameHistory(ctx, r, position, stamp); err != nil {
			return err
		}
		return h.Tombstones(ctx, 0, func(s Tombstone) { stones = append(stones, s) })
	})
	if err != nil {
		return false, err
	}
	// What was followed since is newer, and a replay since has put in place all there is:
	// its revisions may be lower.
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	if c.history.parted.Load() == parted {
		c.history.note(stones...)
		c.journal.writeAnew()
	}
	return true, nil
}
