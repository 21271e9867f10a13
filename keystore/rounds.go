package keystore

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// headTimeout bounds how long the store may take to say where it stands. One that
	// does not within this is lost, however much of pollTimeout is left.
	headTimeout = 2 * time.Second
	// resyncTimeout bounds loading anew what is held whole.
	resyncTimeout = 30 * time.Second
)

// rounds are the catchings-up with the change log, one after the other. Whoever needs
// one that begins from now on shares the next with all others who do: a thousand
// requests that wait for a revision cost the store one or two, and while it does not
// answer they wait together, not in a row.
type rounds struct {
	mu sync.Mutex
	// under is the one under way, next the one behind it once somebody waits for it.
	under, next *round
	closed      bool
}

type round struct {
	done chan struct{} // closed once err is known
	err  error
}

// join returns how a round ended that began after join was called. The round is on no
// caller's behalf: one that gives up fails none of the others.
func (r *rounds) join(ctx context.Context, follow func() error) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return ErrClosed
	}
	mine := r.next
	switch {
	case mine != nil:
	case r.under != nil:
		mine = &round{done: make(chan struct{})}
		r.next = mine
	default:
		mine = &round{done: make(chan struct{})}
		r.under = mine
		go r.run(mine, follow)
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run follows until nobody waits for another round.
func (r *rounds) run(mine *round, follow func() error) {
	for mine != nil {
		mine.err = follow()
		r.mu.Lock()
		close(mine.done)
		mine, r.next = r.next, nil
		r.under = mine
		r.mu.Unlock()
	}
}

// close lets nobody join any more and waits for those under way.
func (r *rounds) close() {
	for {
		r.mu.Lock()
		r.closed = true
		under := r.under
		r.mu.Unlock()
		if under == nil {
			return
		}
		<-under.done
	}
}

// catchUp returns once decisions on this node see all that the store had when it was
// called, and at least a revision that was committed by then.
func (c *Cached) catchUp(ctx context.Context, until Revision) error {
	if err := c.rounds.join(ctx, c.followOnce); err != nil {
		return err
	}
	if seen := c.Position(); seen < until {
		return fmt.Errorf("change log ends at revision %d, expected %d", seen, until)
	}
	return nil
}

// catchUpFor is catchUp on a request's behalf: not while the store is lost, and no
// longer than the follower itself waits for it.
func (c *Cached) catchUpFor(ctx context.Context, until Revision) error {
	if err := c.refusedKey(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return c.catchUp(ctx, until)
}

// followOnce is one round. However it was asked for, what it meets decides whether the
// store is in reach.
func (c *Cached) followOnce() error {
	ctx, cancel := context.WithTimeout(c.running, pollTimeout)
	defer cancel()
	err := c.followLog(ctx)
	if err != nil && c.running.Err() == nil {
		c.lose(err)
	}
	return err
}

// probe is the store's head, soon or not at all.
func (c *Cached) probe(ctx context.Context) (Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	return c.askHead(ctx)
}

// blind makes this node refuse everything until the log was followed again, as it
// could not see what it wrote.
func (c *Cached) blind(cause error) {
	// Under the lock no round is under way: any that began before the write has ended,
	// so that it cannot end the refusal, and one that begins from now on sees the write.
	c.feedMu.Lock()
	defer c.feedMu.Unlock()
	c.answers.Store(false)
	c.journal.followed(c.moveSync(func(s *syncState) {
		if !s.lost {
			s.outage = &outage{since: c.clock.Now().Wall, cause: cause}
		}
		s.lost, s.unseen = true, true
	}))
}
