package keystore

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// askEvery is the least that passes between two readings of the registry, and
	// askTimeout bounds one.
	askEvery   = 10 * time.Millisecond
	askTimeout = time.Second
	// ownWait is how long, at least, the node that wrote waits for itself.
	ownWait = 100 * time.Millisecond
)

// RevokingWait is how long a write that takes something away waits, at most, for all nodes
// to have it.
const RevokingWait = 2 * time.Second

// PropagationHeader is the header by which answers to writes say how far they have got.
const PropagationHeader = "Keyreeve-Propagation"

// PropagationText is its value.
func PropagationText(confirmed, pending int) string {
	return fmt.Sprintf("confirmed=%d; pending=%d", confirmed, pending)
}

// Propagation is how far a write has got over the nodes of a store.
type Propagation struct {
	// Confirmed counts the nodes whose decisions see it, or that are fenced.
	Confirmed int
	// Pending are the others, by id. One without an id stands for all that may be there
	// where the registry could not be read.
	Pending []PendingNode
}

// PendingNode is a node that may still decide as before a write.
type PendingNode struct {
	ID, Name string
	// AcceptsUntil is when it stops to, unless it follows the store sooner. Zero is not
	// known.
	AcceptsUntil time.Time
}

// Propagate tells how far a revision has got that was committed before it is called,
// having waited until it is confirmed by all, but no longer than that. However short the
// wait, it reads the registry once; and this node, which has applied what it wrote, is
// pending only while decisions from before are under way here, or its disk is slow, and not
// because its row says so later.
func (c *Cached) Propagate(ctx context.Context, r Revision, wait time.Duration) Propagation {
	if !c.hasRegistry() {
		return Propagation{Confirmed: 1} // this process is all there is
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	own := c.Position() >= r && c.settledSoon(ctx)
	asking := ctx
	// Nobody who cannot be asked is known to have it.
	p := Propagation{Pending: []PendingNode{{}}}
	for {
		if nodes, err := c.asked.read(asking, c.Nodes); err == nil {
			if own {
				nodes = ownAt(nodes, r)
			}
			if p = propagated(nodes, r); len(p.Pending) == 0 {
				return p
			}
		}
		asking = waiting
		select {
		case <-waiting.Done():
			return p
		case <-time.After(askEvery):
		}
	}
}

func (c *Cached) settledSoon(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, ownWait)
	defer cancel()
	return c.settled(ctx) == nil
}

// ownAt is nodes, which others read too, with the row of this process as it will be.
func ownAt(nodes []Registered, r Revision) []Registered {
	nodes = slices.Clone(nodes)
	for i := range nodes {
		if n := &nodes[i]; n.Own {
			n.Position = max(n.Position, r)
		}
	}
	return nodes
}

// Nodes lists the nodes that are registered, by id: none where the store has no registry.
func (c *Cached) Nodes(ctx context.Context) ([]Registered, error) {
	if !c.hasRegistry() {
		return nil, nil
	}
	if err := c.refused(); err != nil {
		return nil, err
	}
	registry, ok := As[Registry](c.store)
	if !ok {
		return nil, ErrUnavailable
	}
	nodes, err := registry.Nodes(ctx)
	return nodes, c.guard.met(err)
}

// nodeReads are readings of the registry, shared by all who wait for one: there is one at
// a time, and who comes while it is under way gets the next. A reading that began before
// a write was committed proves nothing of it.
type nodeReads struct {
	rounds rounds
	last   time.Time // when the latest began; of one round at a time
	found  atomic.Pointer[[]Registered]
}

// read is what a reading found that began after read was called, or a later one.
func (a *nodeReads) read(ctx context.Context, ask func(context.Context) ([]Registered, error)) ([]Registered, error) {
	err := a.rounds.join(ctx, func() error {
		if early := askEvery - time.Since(a.last); early > 0 {
			time.Sleep(early)
		}
		a.last = time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		nodes, err := ask(ctx)
		if err == nil {
			a.found.Store(&nodes)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return *a.found.Load(), nil
}
