package keystore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
)

// While the store cannot be followed nothing else is asked of it: whoever would is
// refused at once, and the follower alone tries, ever more rarely. One round that went
// well lets all through again. So a loss costs each request that is under way when it
// happens its own time-out, and no later one anything; and a store that comes back is
// met by one connection of each node, not by what piled up meanwhile.

const (
	// probeEvery is how often, at first, a store is tried that was lost or cannot be opened,
	// and probeAtMost the longest that is waited between two tries; both less by up to a
	// half, drawn anew each time, so that many nodes do not try in step.
	probeEvery  = pollEvery
	probeAtMost = 2 * time.Second
	// hintEvery is how often, at most, hints that the store was lost or is back make the
	// follower look sooner.
	hintEvery = 50 * time.Millisecond
)

// Interrupter is a Store that can let go of whoever waits for its answer.
type Interrupter interface {
	// Interrupt ends calls under way and gives up the connections they wait on, and
	// those that lie idle. A commit under way is given a little longer. Later calls are
	// none of its concern.
	Interrupt()
}

// outage is why nothing is asked of the store. What its follower met is told to
// people, but is no answer to whoever asks something else: it unwraps to
// ErrUnavailable, and to ErrFull, which is what a write would have been told.
type outage struct {
	since time.Time
	cause error
}

func (o *outage) Error() string {
	return fmt.Sprintf("the key store cannot be followed since %s, and is asked nothing until it can: %v", o.since.UTC().Format(time.RFC3339), o.cause)
}

func (o *outage) Unwrap() []error {
	if errors.Is(o.cause, ErrFull) {
		return []error{ErrUnavailable, ErrFull}
	}
	return []error{ErrUnavailable}
}

// refused is why the store is not asked now, nil while it is followed.
func (c *Cached) refused() error {
	s := c.synced.Load()
	if s == nil || !s.lost {
		return nil
	}
	return s.outage
}

// refusedKey is refused for reading a key. That may go on as soon as the store answers
// the follower, which is then about to take keys from the cache that were changed in the
// meantime: who is known must not be turned away between the two.
func (c *Cached) refusedKey() error {
	if c.answers.Load() {
		return nil
	}
	return c.refused()
}

// lose notes that the store could not be followed.
func (c *Cached) lose(cause error) {
	// Who waits for an answer that the follower did not get in time waits in vain, and a
	// connection on which nothing came is not tried again.
	if i, ok := As[Interrupter](c.store); ok && errors.Is(cause, context.DeadlineExceeded) {
		i.Interrupt()
	}
	c.answers.Store(false)
	if c.synced.Load() == nil {
		return
	}
	lost := &outage{since: c.clock.Now().Wall, cause: cause}
	// Rounds are one after the other: none that began later has gone well.
	if now := c.moveSync(func(s *syncState) {
		if !s.lost {
			s.lost, s.outage = true, lost
		}
	}); now.outage == lost {
		c.logger.Error("the key store cannot be followed; known keys are served until max_stale", zap.Error(cause))
	}
}

// guarded is the store for everything but following it.
type guarded struct {
	Store
	// refused and refusedKey are Cached's.
	refused, refusedKey func() error
	// position is Cached.Position, and contradicts that of historyMemory.
	position    func() Revision
	contradicts func(*Key, Revision) bool
	// continues refuses to write to a database that is not the one that was followed.
	continues func(context.Context, Tx) error
	// doubt receives when a call failed as it would if the store were lost: the follower
	// then looks at once.
	doubt chan struct{}
}

func newGuarded(store Store) *guarded {
	open := func() error { return nil }
	return &guarded{Store: store, refused: open, refusedKey: open,
		position: func() Revision { return 0 }, contradicts: func(*Key, Revision) bool { return false },
		continues: func(context.Context, Tx) error { return nil }, doubt: make(chan struct{}, 1)}
}

// Unwrap is the store itself.
func (g *guarded) Unwrap() Store { return g.Store }

// met passes on what a call met.
func (g *guarded) met(err error) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		select {
		case g.doubt <- struct{}{}:
		default:
		}
	}
	return err
}

func (g *guarded) KeyByClientID(ctx context.Context, clientID string) (*Key, error) {
	if err := g.refusedKey(); err != nil {
		return nil, err
	}
	seen := g.position() // before the store is read
	k, err := g.Store.KeyByClientID(ctx, clientID)
	if err == nil && g.contradicts(k, seen) {
		return nil, g.met(fmt.Errorf("%w: %w", ErrUnavailable, ErrParted))
	}
	return k, g.met(err)
}

func (g *guarded) View(ctx context.Context, fn func(Reader) error) error {
	if err := g.refused(); err != nil {
		return err
	}
	return g.met(g.Store.View(ctx, fn))
}

func (g *guarded) Update(ctx context.Context, fn func(Tx) error) (Revision, error) {
	if err := g.refused(); err != nil {
		return 0, err
	}
	rev, err := g.Store.Update(ctx, func(tx Tx) error {
		if err := g.continues(ctx, tx); err != nil {
			return err
		}
		return fn(tx)
	})
	return rev, g.met(err)
}

func (g *guarded) UpdateKey(ctx context.Context, keyID string, fn func(Tx) error) (Revision, error) {
	u, ok := As[KeyUpdater](g.Store)
	if !ok {
		return g.Update(ctx, fn)
	}
	if err := g.refused(); err != nil {
		return 0, err
	}
	rev, err := u.UpdateKey(ctx, keyID, fn)
	return rev, g.met(err)
}

func (g *guarded) Count(ctx context.Context, l policy.Lockout, proofs []Proof) ([]CountResult, error) {
	if err := g.refused(); err != nil {
		return nil, err
	}
	results, err := g.Store.Count(ctx, l, proofs)
	return results, g.met(err)
}

func (g *guarded) Use(ctx context.Context, uses []Use, calls ...Calls) error {
	if err := g.refused(); err != nil {
		return err
	}
	return g.met(g.Store.Use(ctx, uses, calls...))
}

func (g *guarded) Trim(ctx context.Context, l policy.Lockout, keep time.Duration) error {
	if err := g.refused(); err != nil {
		return err
	}
	return g.met(g.Store.Trim(ctx, l, keep))
}

func (g *guarded) TrimAudit(ctx context.Context, keep time.Duration) error {
	if err := g.refused(); err != nil {
		return err
	}
	return g.met(g.Store.TrimAudit(ctx, keep))
}

// backoff is what was waited last, less what was drawn, before the store was tried again.
type backoff time.Duration

// next is how long to wait before the next try.
func (b *backoff) next() time.Duration {
	*b = min(backoff(probeAtMost), max(backoff(probeEvery), 2**b))
	return time.Duration(*b/2 + rand.N(*b/2+1))
}

// rhythm is when the follower looks next.
type rhythm struct {
	backoff backoff   // 0 while the store is in reach
	last    time.Time // when it looked last
	due     time.Time // when it looks next
}

// next is how long to wait after a look that ended so.
func (p *rhythm) next(lost bool) time.Duration {
	wait := pollEvery
	if lost {
		wait = p.backoff.next()
	} else {
		p.backoff = 0
	}
	p.last = time.Now()
	p.due = p.last.Add(wait)
	return wait
}

// hint is how long to wait after being told that something may have changed: not at
// all while the store is in reach and was not just looked at, and as long as at first
// where it is lost.
func (p *rhythm) hint() time.Duration {
	least := hintEvery
	if p.backoff > 0 {
		least = probeEvery/2 + rand.N(probeEvery/2)
	}
	if at := p.last.Add(least); at.Before(p.due) {
		p.due = at
	}
	return max(0, time.Until(p.due))
}

// follow polls the change log until ctx ends, sooner where the store wakes it.
func (c *Cached) follow(ctx context.Context) {
	var p rhythm
	timer := time.NewTimer(p.next(c.refused() != nil))
	defer timer.Stop()
	for {
		var woken <-chan struct{} // nil, which never receives, where the store does not
		if w, ok := As[Waker](c.store); ok {
			woken = w.Wake()
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-woken:
			if p.backoff > 0 {
				timer.Reset(p.hint())
				continue
			}
		case <-c.guard.doubt:
			timer.Reset(p.hint())
			continue
		}
		_ = c.Poll(ctx) // logged where it is met, and tried again
		timer.Reset(p.next(c.refused() != nil))
	}
}
