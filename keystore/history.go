package keystore

import "context"

// Stamp marks a revision: drawn at random as it is committed, so that two histories of
// a database that parted have different ones from there on. 0 is none.
type Stamp int64

// Historian is a Store that remembers what was revoked apart from the records, and can
// be told from one that went back: a backup that was restored, a failover with a loss.
type Historian interface {
	// StampAt is the mark of a revision: ErrNotFound above the head, ErrBehind where the
	// change log does not reach back to it.
	StampAt(ctx context.Context, r Revision) (Stamp, error)
	// Tombstones lists what the revisions past one revoked, or gave back, oldest first.
	Tombstones(ctx context.Context, after Revision) ([]Tombstone, error)
}

// Tombstone is one thing that must not be accepted any more.
type Tombstone struct {
	// Kind is what was revoked, see the constants Tomb….
	Kind string
	// ID is of the key, secret, session, customer or microtenant.
	ID string
	// Value is the least generation that is still good, for TombGeneration.
	Value int64
	// Lifted: it was given back, as by enabling a key again.
	Lifted bool
	// Revision did so.
	Revision Revision
}
