package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// revokingWait is how long a write that takes something away waits for all nodes to
	// have it, otherWait any other write.
	revokingWait = keystore.RevokingWait
	otherWait    = 250 * time.Millisecond
)

// Propagation is how far a write has got.
type Propagation struct {
	// Confirmed counts the nodes whose decisions see it, or that decide nothing without it.
	Confirmed int
	// Pending are those that may still decide as before.
	Pending []PendingNode
}

// PendingNode is a node that may still decide as before a write.
type PendingNode struct {
	Node         string     `json:"node,omitempty" doc:"Its name. Left out for those who do not hold keyreeve/nodes: view."`
	NodeID       string     `json:"node_id,omitempty" doc:"Left out as its name is."`
	AcceptsUntil *time.Time `json:"accepts_until" nullable:"true" doc:"When it stops to accept, unless it has the write sooner; null is not known."`
}

// Commit is a write that is stored.
type Commit struct {
	// Revision is the write's place in the change log, or the head if it changed nothing.
	Revision keystore.Revision
	Propagation
	// Unconfirmed: the write takes something away that a pending node may still give.
	// Whoever is told that it is done must be told of that.
	Unconfirmed bool
	// Replayed: the request was done before, under the same name; nothing was written.
	Replayed bool
}

// revoke notes that the write takes something away from a time on. Asking again for
// what was taken away already counts too: the answer says that it is so everywhere.
func (o *op) revoke(from time.Time) {
	if o.revokes.IsZero() || from.Before(o.revokes) {
		o.revokes = from
	}
}

// revokeNow notes that the write takes something away at once.
func (o *op) revokeNow() { o.revoke(o.now.Wall) }

// revokeBy notes what a change takes away from a key.
func (o *op) revokeBy(before, next *keystore.Key) {
	now := o.now.Wall
	if before.Active() && !next.Active() || before.Generation != next.Generation || before.RoleID != next.RoleID ||
		before.CustomerID != next.CustomerID || before.MicrotenantID != next.MicrotenantID ||
		!covered(before.AllowedCIDRs, next.AllowedCIDRs) || shortens(before.SessionValidity, next.SessionValidity) {
		o.revokeNow()
	}
	if outlives(before.ExpiresAt, next.ExpiresAt) {
		o.revoke(latest(now, next.ExpiresAt))
	}
	for i := range before.Secrets {
		was := &before.Secrets[i]
		if !was.Live(now) {
			continue
		}
		if is := next.SecretByID(was.ID); is == nil {
			o.revokeNow()
		} else if outlives(was.End(), is.End()) {
			o.revoke(latest(now, is.End()))
		}
	}
}

// shortens reports that tokens may be good for less long than before; 0 is the
// default of each node's configuration, which may be anything.
func shortens(before, next time.Duration) bool {
	return before != next && (before == 0 || next < before)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// revokes reports that a patch names what can take something away, so that asking for
// it once more, when nothing is left to change, waits as the first time did.
func (p *KeyPatch) revokes() bool {
	return p.Enabled.Has() && !p.Enabled.Value || p.DisabledHere.Has() && p.DisabledHere.Value ||
		p.RoleID.Set || p.ExpiresAt.Set || p.AllowedCIDRs.Set || p.SessionValiditySeconds.Set
}

// revokes reports that a patch takes the tenant away from its keys.
func (p *TenantPatch) revokes() bool { return p.Enabled.Has() && !p.Enabled.Value }

// revoking is made by a request that may have taken something away: its replay says
// again that it is so everywhere.
type revoking interface{ revoking() }

func (*RotatedSecret) revoking() {}
func (*Batch) revoking()         {}

// propagated waits for the nodes to have a write, once for all that it consists of.
func (s *Service) propagated(ctx context.Context, a Actor, done *op, r keystore.Revision) Commit {
	out := Commit{Revision: r}
	wait := time.Duration(0) // what is kept for people alone concerns no decision
	switch {
	case !done.revokes.IsZero():
		wait = revokingWait
	case len(done.events) > 0:
		wait = otherWait
	}
	if a.Wait.Has() {
		wait = min(revokingWait, max(0, a.Wait.Value))
	}
	got := s.cfg.Propagation(ctx, r, wait)
	out.Confirmed = got.Confirmed
	mayName := done.need(ResourceNodes, policy.Read) == nil
	for _, n := range got.Pending {
		pending := PendingNode{AcceptsUntil: optional(n.AcceptsUntil.UTC().Truncate(timePrecision))}
		if mayName {
			pending.Node, pending.NodeID = n.Name, n.ID
		}
		out.Pending = append(out.Pending, pending)
		// A node that is sure to have stopped before the end that was set, such as that of
		// a secret's overlap, gives nothing that this takes away.
		if !done.revokes.IsZero() && (n.AcceptsUntil.IsZero() || n.AcceptsUntil.After(done.revokes)) {
			out.Unconfirmed = true
		}
	}
	return out
}

// Until is when the last of the pending nodes stops to accept, nil where that is not known.
func (p Propagation) Until() *time.Time {
	var last *time.Time
	for _, n := range p.Pending {
		if n.AcceptsUntil == nil {
			return nil
		}
		if last == nil || n.AcceptsUntil.After(*last) {
			last = n.AcceptsUntil
		}
	}
	return last
}

// Names are those of the pending nodes, by name, as far as the actor may know them.
func (p Propagation) Names() []string {
	var names []string
	for _, n := range p.Pending {
		if n.Node != "" {
			names = append(names, n.Node)
		}
	}
	slices.Sort(names)
	return names
}

// refuseRestored refuses to change a database that went back before an operator has
// said that it is the one to go on with: what is written now would be lost with it, or
// stand on what was lost.
func (o *op) refuseRestored() error {
	found, err := o.restored()
	if err != nil || found == nil {
		return err
	}
	return &Error{Kind: Unavailable, Code: CodeStoreRestored, Detail: "the key store went back to an earlier state, as a restored backup does, and nothing can be changed until an operator accepts that: " +
		"see `keyreeve node accept-restore`, or POST /v1/nodes/accept-restore. What was revoked stays revoked, and callers are served"}
}

// restored is that the database went back and nobody has accepted it yet, nil for not.
func (o *op) restored() (*keystore.Restore, error) {
	r, is := o.r.(keystore.RestoreReader)
	if !is {
		return nil, nil
	}
	return r.Restored(o.ctx)
}

// isUnseen reports that a write is stored and this node cannot see it. To say that it
// failed would invite a second try. The node refuses every decision until it has seen
// the write, so it gives nothing that was taken away.
func isUnseen(err error) bool { return errors.Is(err, keystore.ErrUnseen) }
