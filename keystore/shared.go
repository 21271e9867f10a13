package keystore

import (
	"context"
	"time"
)

// What a store that many processes write to may be besides, so that they are not in
// each other's way, and what it must be for a write to be proven to have reached them.

// As finds what a store is besides being a Store, under whatever is wrapped around it:
// a wrapper has `Unwrap() Store`, nil while there is nothing in it.
func As[T any](s Store) (found T, ok bool) {
	for s != nil {
		if found, ok = s.(T); ok {
			return found, true
		}
		w, wrapped := s.(interface{ Unwrap() Store })
		if !wrapped {
			break
		}
		s = w.Unwrap()
	}
	return found, false
}

// Waker is a Store that tells of changes sooner than a poll finds them.
type Waker interface {
	// Wake receives soon after changes were committed, by whoever it was: once for
	// several, and not for each. Polling is what is relied on.
	Wake() <-chan struct{}
}

// KeyUpdater is a Store in which what concerns one key, and mostly is no change, need
// not wait for changes.
type KeyUpdater interface {
	// UpdateKey runs fn as Update does, with that one key held against others who do so:
	// two see each other's writes about it. fn must not write about other keys. Where it
	// writes what is in the change log, or an audit event, it is run once more as by
	// Update; so it must assign what it returns and never accumulate. The revision is
	// that of the changes; 0, or the head, where there are none.
	UpdateKey(ctx context.Context, keyID string, fn func(Tx) error) (Revision, error)
}

// Registry is a Store that knows which nodes follow it. Times are by its own clock.
type Registry interface {
	// Renew records durably that a node is there: it may serve for n.Lease from now,
	// whatever commits meanwhile. A node that is not registered becomes so. What commits
	// after Renew finds the node; so a node may serve by it only once it has followed the
	// log to a head that it asked for after Renew returned.
	Renew(ctx context.Context, n Registration) error
	// Confirm records that every decision of a node that begins from now on sees a
	// revision, whose mark is seen: see Historian. It may be lost with the store's latest
	// moments, and does nothing where the node is not registered or confirmed more
	// already, or where the revision has another mark.
	Confirm(ctx context.Context, nodeID string, r Revision, seen Stamp) error
	// Nodes lists those that are registered, by id.
	Nodes(ctx context.Context) ([]Registered, error)
	// Leave takes a node out that decides no more and cannot begin again without the store.
	Leave(ctx context.Context, nodeID string) error
	// LongestLease is the longest lease of any node that this process has found in the
	// registry, as it renewed or listed them; 0 before it has.
	LongestLease() time.Duration
}

// RegistryTx is a Tx of a Registry.
type RegistryTx interface {
	// ForgetNode takes a node out that will not come back. ErrNotFound if it is not
	// registered, ErrInUse, with the node as it stands, while it may still serve.
	ForgetNode(ctx context.Context, nodeID string) (Registered, error)
}

// Registration is what a node says of itself.
type Registration struct {
	// ID is the process's, or that of the snapshot it may be started from again.
	ID string
	// Name is the machine's.
	Name    string
	Version string
	Started time.Time
	// Position is what it has confirmed.
	Position Revision
	// MaxStale is how long it serves what it knows with the store out of reach.
	MaxStale time.Duration
	// Lease is how long it may serve after a renewal that reached the store: MaxStale and
	// what passes between two renewals.
	Lease time.Duration
	// Stopped: the process has ended, and may begin again from its snapshot.
	Stopped bool
	// Boot names the boot of the machine in which the process keeps, or may come to keep,
	// a snapshot, under a lock that ends with it; "" is none. Who goes on from that
	// snapshot in the same boot knows by the lock that the process has ended.
	Boot string
}

// Registered is a node as the store knows it.
type Registered struct {
	Registration
	// Former: what is left of a process whose place another has taken, under the id that
	// this one's begins with, without proof that it has ended. Nobody renews it.
	Former bool
	// Renewed is when it renewed last.
	Renewed time.Time
	// Until is when it stops to serve unless it renews, a margin for clocks included, and
	// Left how far off that is: not above 0 is fenced. It then serves nothing it knows
	// before it has followed the store again.
	Until time.Time
	Left  time.Duration
	// Own: the row is of the process that reads it.
	Own bool
}

// Fenced reports whether a node serves nothing of what it knows until it has followed
// the store again.
func (n *Registered) Fenced() bool { return n.Left <= 0 }

// UpdateKey is for what concerns one key and mostly is no change, as a sign-in is: see
// KeyUpdater. Where it is a change after all, it is seen as one of Update is.
func (c *Cached) UpdateKey(ctx context.Context, keyID string, fn func(Tx) error) (Revision, error) {
	rev, err := c.guard.UpdateKey(ctx, keyID, fn)
	if err != nil || rev <= c.Position() {
		return rev, err
	}
	return rev, c.see(ctx, rev)
}
