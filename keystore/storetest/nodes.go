package storetest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// Nodes is a store of one node that says of itself what a test wants of a registry: for
// what stands in front of a store, and must tell of nodes that no test of it starts.
type Nodes struct {
	keystore.Store

	mu       sync.Mutex
	all      map[string]keystore.Registered
	restored *keystore.Restore
	waits    []time.Duration
}

// WithNodes makes a store tell of nodes; there are none at first.
func WithNodes(s keystore.Store) *Nodes {
	return &Nodes{Store: s, all: map[string]keystore.Registered{}}
}

// Unwrap is the store itself.
func (n *Nodes) Unwrap() keystore.Store { return n.Store }

// Put registers nodes, or changes them.
func (n *Nodes) Put(all ...keystore.Registered) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range all {
		n.all[one.ID] = one
	}
}

// Restore has the store be one that went back.
func (n *Nodes) Restore(r keystore.Restore) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.restored = &r
}

// Waits is how long each write so far would have waited, for nodes that never catch up.
func (n *Nodes) Waits() []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.waits)
}

// List lists the nodes, by id.
func (n *Nodes) List() []keystore.Registered {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Values(n.all), func(a, b keystore.Registered) int { return cmp.Compare(a.ID, b.ID) })
}

// Propagate tells how far a revision has got, without waiting for it.
func (n *Nodes) Propagate(_ context.Context, r keystore.Revision, wait time.Duration) keystore.Propagation {
	n.mu.Lock()
	n.waits = append(n.waits, wait)
	n.mu.Unlock()
	var out keystore.Propagation
	for _, one := range n.List() {
		if one.Position >= r || one.Fenced() {
			out.Confirmed++
		} else {
			out.Pending = append(out.Pending, keystore.PendingNode{ID: one.ID, Name: one.Name, AcceptsUntil: one.Until})
		}
	}
	return out
}

// View is a snapshot that knows whether the store went back.
func (n *Nodes) View(ctx context.Context, fn func(keystore.Reader) error) error {
	return n.Store.View(ctx, func(r keystore.Reader) error { return fn(nodesReader{r, n}) })
}

// Update is a transaction that can forget nodes, and accept that the store went back.
func (n *Nodes) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	return n.Store.Update(ctx, func(tx keystore.Tx) error { return fn(nodesTx{tx, n}) })
}

type nodesReader struct {
	keystore.Reader
	n *Nodes
}

func (r nodesReader) Restored(context.Context) (*keystore.Restore, error) { return r.n.found(false) }

type nodesTx struct {
	keystore.Tx
	n *Nodes
}

func (tx nodesTx) Restored(context.Context) (*keystore.Restore, error) { return tx.n.found(false) }

func (tx nodesTx) AcceptRestore(context.Context) (*keystore.Restore, error) {
	found, err := tx.n.found(true)
	if found == nil && err == nil {
		err = keystore.ErrNotFound
	}
	return found, err
}

func (tx nodesTx) ForgetNode(_ context.Context, id string) (keystore.Registered, error) {
	tx.n.mu.Lock()
	defer tx.n.mu.Unlock()
	one, there := tx.n.all[id]
	switch {
	case !there:
		return one, keystore.ErrNotFound
	case !one.Fenced():
		return one, keystore.ErrInUse
	}
	delete(tx.n.all, id)
	return one, nil
}

// found is that the store went back; taken ends it.
func (n *Nodes) found(taken bool) (*keystore.Restore, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.restored
	if taken {
		n.restored = nil
	}
	return found, nil
}

// Interface guards
var (
	_ keystore.RestoreReader = nodesReader{}
	_ keystore.RestoreTx     = nodesTx{}
	_ keystore.RegistryTx    = nodesTx{}
)
