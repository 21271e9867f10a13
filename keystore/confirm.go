package keystore

import (
	"context"
	"time"
)

const (
	// confirmEvery is the least that passes between two confirmations, so that a burst
	// of writes costs the store few of them; the first is sent at once.
	confirmEvery = 20 * time.Millisecond
	// confirmTimeout bounds one: it is tried again with the next poll.
	confirmTimeout = 2 * time.Second
)

// confirmSoon has what this node sees confirmed, if it is not.
func (c *Cached) confirmSoon() {
	if !c.member.joined.Load() {
		return
	}
	select {
	case c.member.wake <- struct{}{}:
	default:
	}
}

// confirmations tells the others what this node's decisions see, until ctx ends.
func (c *Cached) confirmations(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.member.wake:
		}
		_ = c.confirm(ctx) // the next poll wakes it again
		pause.Reset(confirmEvery)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// confirm tells the registry what this node sees, unless it has been told. In this order:
// what is visible to decisions that begin now is read; those that began before are waited
// for; what the node would start again from has it durably; then it is said.
func (c *Cached) confirm(ctx context.Context) error {
	m := &c.member
	shown, stamp := c.shown()
	repeat := m.repeat.Swap(false)
	if shown == Revision(m.confirmed.Load()) && !repeat {
		return nil
	}
	err := c.confirmShown(ctx, shown, stamp)
	if err != nil {
		m.repeat.Store(true)
	}
	return err
}

func (c *Cached) confirmShown(ctx context.Context, shown Revision, stamp Stamp) error {
	registry, ok := As[Registry](c.store)
	if !ok {
		return ErrUnavailable
	}
	if err := c.refused(); err != nil {
		return err
	}
	if err := c.settled(ctx); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	n, _ := c.renewal()
	if err := registry.Confirm(within, n.ID, shown, stamp); err != nil {
		return err
	}
	c.member.confirmed.Store(int64(shown))
	return nil
}

// settled returns once this node itself is done with what was before the position that
// decisions see as settled is called: those that began before are over, and what the node
// would start again from has it durably.
func (c *Cached) settled(ctx context.Context) error { return c.settling.join(ctx, c.settle) }

func (c *Cached) settle() error {
	shown := c.Position()
	// However long that takes: to give up and wait anew, for those that began meanwhile
	// too, would never end while decisions that take as long overlap.
	if err := c.deciding.drain(c.running); err != nil {
		return err
	}
	return c.journal.durable(shown)
}
