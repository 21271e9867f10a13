package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// States of a node.
const (
	// NodeServing follows the key store.
	NodeServing = "serving"
	// NodeLagging cannot follow it at present and serves what it knows.
	NodeLagging = "lagging"
	// NodeRefusing has been cut off past max_stale, or from a write of its own, and
	// answers 503.
	NodeRefusing = "refusing"
	// NodeStopped has ended, and may begin again from its snapshot.
	NodeStopped = "stopped"
)

// lagWait is how long a node may take to have what others have: it is far more than one
// that follows the key store takes.
const lagWait = 250 * time.Millisecond

// Node is a process that decides on requests.
type Node struct {
	ID              string            `json:"id" doc:"Kept over restarts by a node that has a snapshot; drawn anew by any other."`
	Name            string            `json:"name" doc:"What its environment calls it in KEYREEVE_NODE_NAME, or else the machine's host name."`
	Self            bool              `json:"self" doc:"The node that answers."`
	State           string            `json:"state" enum:"serving,lagging,refusing,stopped" doc:"serving follows the key store; lagging cannot, or is behind, and serves what it knows; refusing has been cut off past max_stale; stopped has ended in order."`
	Position        keystore.Revision `json:"position" doc:"The newest revision that its decisions see."`
	AppliedAt       time.Time         `json:"applied_at" doc:"When it last asked the key store for changes and had them all; of another node than the one that answers, when it last said so."`
	StartedAt       time.Time         `json:"started_at"`
	Version         string            `json:"version" doc:"Of this module; empty if the build does not tell."`
	Store           string            `json:"store" doc:"The kind of key store that it uses."`
	Former          bool              `json:"former" doc:"What is left of a process whose place, and whose id up to the ~, another has taken, without proof that it has ended: it may serve until accepts_until, and leaves the list then."`
	MaxStaleSeconds int64             `json:"max_stale_seconds" doc:"How long it serves known keys while the key store is out of reach."`
	RenewedAt       *time.Time        `json:"renewed_at" nullable:"true" doc:"When it last renewed its place in the registry, by the key store's clock; null where there is no registry."`
	LeaseSeconds    *float64          `json:"lease_seconds" nullable:"true" doc:"How long it may serve after that without another renewal."`
	Fenced          bool              `json:"fenced" doc:"Sure to accept nothing by what it knew: no write waits for it, and it may be forgotten."`
	AcceptsUntil    *time.Time        `json:"accepts_until" nullable:"true" doc:"When it is sure to have stopped to accept by what it knows, unless it renews; a margin for clocks is in it. In the past for one that is refusing."`
}

// RegisteredNode is a node as its registry has it. Whether it is behind is not looked at.
func RegisteredNode(r *keystore.Registered, store string) Node {
	lease := r.Lease.Seconds()
	n := Node{ID: r.ID, Name: r.Name, State: NodeServing, Position: r.Position, AppliedAt: r.Renewed.UTC().Truncate(timePrecision),
		StartedAt: r.Started.UTC().Truncate(timePrecision), Version: r.Version, Store: store, Former: r.Former, MaxStaleSeconds: int64(r.MaxStale / time.Second),
		RenewedAt: optional(r.Renewed.UTC().Truncate(timePrecision)), LeaseSeconds: &lease, Fenced: r.Fenced(), AcceptsUntil: optional(r.Until.UTC().Truncate(timePrecision))}
	switch {
	case r.Stopped:
		n.State = NodeStopped
	case r.Fenced():
		n.State = NodeRefusing
	case r.Lags() || r.Former:
		n.State = NodeLagging
	}
	return n
}

// AddRegistered adds a node of the registry. Of one that is listed already, as the
// process that answers is, only its place in the registry is taken: the process itself
// knows better how it is.
func AddRegistered(all []Node, r *keystore.Registered, store string) []Node {
	n := RegisteredNode(r, store)
	for i := range all {
		if known := &all[i]; known.ID == n.ID {
			known.RenewedAt, known.LeaseSeconds, known.Fenced, known.AcceptsUntil = n.RenewedAt, n.LeaseSeconds, n.Fenced, n.AcceptsUntil
			return all
		}
	}
	return append(all, n)
}

// StoreRestored is that the database was found to have gone back to an earlier state.
type StoreRestored struct {
	NoticedAt time.Time         `json:"noticed_at"`
	From      keystore.Revision `json:"from" doc:"The newest revision that was seen of what is lost."`
	To        keystore.Revision `json:"to" doc:"Where the database stood when that was noticed."`
	Replayed  int               `json:"replayed" doc:"How many things that had been revoked were revoked again."`
}

func showRestored(r *keystore.Restore) *StoreRestored {
	if r == nil {
		return nil
	}
	return &StoreRestored{NoticedAt: r.Noticed.UTC().Truncate(timePrecision), From: r.From, To: r.To, Replayed: r.Replayed}
}

// Nodes is a page of nodes and what they follow.
type Nodes struct {
	Page[Node]
	Head     keystore.Revision `json:"head" doc:"The newest revision of the key store."`
	Restored *StoreRestored    `json:"restored,omitempty" doc:"There only if the key store went back to an earlier state, and nothing can be changed until that is accepted by POST /v1/nodes/accept-restore."`
}

// NodeFilter selects nodes.
type NodeFilter struct{ Paging }

// ListNodes lists the nodes by name. They belong to no tenant, so the permission
// alone decides who sees them.
func (s *Service) ListNodes(ctx context.Context, a Actor, f NodeFilter) (Nodes, error) {
	var head keystore.Revision
	err := s.view(ctx, a, func(o *op) (err error) {
		if err = o.need(ResourceNodes, policy.Read); err == nil {
			head, err = o.r.Head(ctx)
		}
		return err
	})
	if err != nil {
		return Nodes{}, err
	}
	// Not within the snapshot, which would be held for as long as a node is behind.
	all, err := s.nodesAt(ctx, head)
	if err != nil {
		return Nodes{}, err
	}
	out := Nodes{Head: head}
	err = s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceNodes, policy.Read); err != nil {
			return err
		}
		at, err := f.check(o, o.scope(nodeCursor, nil), nil)
		if err != nil {
			return err
		}
		restored, err := o.restored()
		if err != nil {
			return err
		}
		out.Restored = showRestored(restored)
		cursor := func(n Node) keystore.Cursor { return keystore.Cursor{Values: []string{n.Name}, ID: n.ID} }
		out.Page, err = pageOf(o, at, cut(at, all, false, cursor), len(all),
			func(n Node) (keystore.Cursor, error) { return cursor(n), nil }, func(n Node) (Node, error) { return n, nil })
		return err
	})
	return out, err
}

// nodesAt lists the nodes. One that does not have what was the head a while ago is
// lagging, however often it renews.
func (s *Service) nodesAt(ctx context.Context, head keystore.Revision) ([]Node, error) {
	if s.cfg.Nodes == nil {
		return nil, nil
	}
	behind := map[string]bool{}
	for _, n := range s.cfg.Propagation(ctx, head, lagWait).Pending {
		behind[n.ID] = true
	}
	all, err := s.cfg.Nodes(ctx)
	all = slices.Clone(all) // the caller's own
	for i := range all {
		if n := &all[i]; n.State == NodeServing && n.Position < head && behind[n.ID] {
			n.State = NodeLagging
		}
	}
	return all, err
}

// nodeRecord is what the audit trail keeps of a node that was forgotten.
type nodeRecord struct {
	Name      string            `json:"name"`
	Version   string            `json:"version,omitempty"`
	Position  keystore.Revision `json:"position"`
	StartedAt time.Time         `json:"started_at"`
	RenewedAt time.Time         `json:"renewed_at"`
}

// ForgetNode takes a node that will not come back out of the registry. One that may
// still serve is refused: it would be forgotten while it accepts what was revoked.
// A node that does come back registers anew.
func (s *Service) ForgetNode(ctx context.Context, a Actor, id string) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		if err := o.need(ResourceNodes, policy.Delete); err != nil {
			return err
		}
		registry, is := o.tx.(keystore.RegistryTx)
		if !is {
			return notFound("node")
		}
		gone, err := registry.ForgetNode(ctx, id)
		if errors.Is(err, keystore.ErrInUse) {
			until := gone.Until.UTC().Truncate(timePrecision)
			return &Error{Kind: Conflict, Code: CodeNodeNotFenced, Until: &until, Detail: "the node may still serve, until " + until.Format(time.RFC3339) +
				" unless it renews; stop it, and try again then"}
		}
		if err != nil {
			return refusal(err, "node")
		}
		return o.audit("node.forget", target{kind: targetNode, id: gone.ID, name: gone.Name}, nodeRecord{Name: gone.Name, Version: gone.Version,
			Position: gone.Position, StartedAt: gone.Started.UTC().Truncate(timePrecision), RenewedAt: gone.Renewed.UTC().Truncate(timePrecision)}, nil)
	})
}

// Kinds of what an audit event is about, besides those of records.
const (
	targetNode  = "node"
	targetStore = "store"
)

// AcceptRestore says that a database which went back is the one to go on with. Until
// then nothing can be changed.
func (s *Service) AcceptRestore(ctx context.Context, a Actor) (StoreRestored, Commit, error) {
	var out StoreRestored
	commit, err := s.updateEven(ctx, a, func(o *op) error {
		if err := o.need(ResourceNodes, policy.Update); err != nil {
			return err
		}
		none := &Error{Kind: Conflict, Code: CodeNotRestored, Detail: "the key store did not go back, or that was accepted already: there is nothing to accept"}
		tx, is := o.tx.(keystore.RestoreTx)
		if !is {
			return none
		}
		accepted, err := tx.AcceptRestore(ctx)
		if errors.Is(err, keystore.ErrNotFound) {
			return none
		}
		if err != nil {
			return err
		}
		out = *showRestored(accepted)
		id, err := o.r.StoreID(ctx)
		if err != nil {
			return err
		}
		return o.audit("store.accept_restore", target{kind: targetStore, id: id, name: "key store"}, nil, out)
	})
	return out, commit, err
}
