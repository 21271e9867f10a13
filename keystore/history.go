package keystore

import (
	"context"
	"errors"
	"time"
)

// Stamp marks a revision: drawn at random as it is committed, so that two histories of
// a database that parted have different ones from there on. 0 is none.
type Stamp int64

// ErrParted: the database is not the one that was followed: it went back, by a backup
// that was restored or a failover with a loss, or is another store.
var ErrParted = errors.New("the store went back to an older state")

// Historian is a Store that remembers what was revoked apart from the records, and can
// be told from one that went back: a backup that was restored, a failover with a loss.
type Historian interface {
	// HeadStamp is Head and the mark of that revision.
	HeadStamp(ctx context.Context) (Revision, Stamp, error)
	// Follow is Changes after a revision for whoever saw its mark, and what they revoked
	// or gave back; all of one snapshot. ErrParted where that revision has another mark,
	// or is above the head; ErrBehind where the change log does not reach back to it.
	Follow(ctx context.Context, after Revision, seen Stamp) (News, error)
}

// News is what follows on a revision, see Historian.
type News struct {
	Changes []Change
	// Stamp is the mark of the newest of these changes.
	Stamp Stamp
	// Tombstones are those that these revisions, or newer ones, wrote.
	Tombstones []Tombstone
}

// HistoryReader is a Reader of a Historian.
type HistoryReader interface {
	// StampAt is the mark of a revision: ErrNotFound above the head, ErrBehind where the
	// change log does not reach back to it.
	StampAt(ctx context.Context, r Revision) (Stamp, error)
	// Tombstones visits those that the revisions past one wrote, oldest first.
	Tombstones(ctx context.Context, after Revision, visit func(Tombstone)) error
	// Stamps visits the revisions whose mark is still known, in no order.
	Stamps(ctx context.Context, visit func(Revision, Stamp)) error
	// Replayed reports whether a node has made sure of this tombstone, of a history that
	// is gone, in this one.
	Replayed(ctx context.Context, stones []Tombstone) ([]bool, error)
}

// HistoryTx is a Tx of a Historian.
type HistoryTx interface {
	HistoryReader
	// Replay records that these tombstones of a history that is gone hold in this one. It
	// is a change. Of absent, some of them, there is no record in this one: they become
	// tombstones of it, should there be one again. Of the others there is one, and it has
	// a tombstone as of this transaction, or from when it was limited as much before.
	Replay(ctx context.Context, stones, absent []Tombstone) error
	// NoteRestore asks for an operator (see RestoreReader), and adds to what one is asked
	// about already. From then on each node there is, and one that stands for those that
	// the database does not know, is taken for serving: for as long as lease, or the
	// longest in the registry, if that is longer.
	NoteRestore(ctx context.Context, from Revision, replayed int, lease time.Duration) error
}

// What a Tombstone is of.
const (
	TombKey         = "key"
	TombSecret      = "secret"
	TombSession     = "session"
	TombRole        = "role"
	TombCustomer    = "customer"
	TombMicrotenant = "microtenant"
	// TombPosition stands for all that a node had seen when the database went back: that
	// it was brought into that, whatever it was.
	TombPosition = "position"
)

// TombstoneMemory is how long a tombstone is kept: from a backup older than that, what
// was revoked before may come back.
const TombstoneMemory = 30 * 24 * time.Hour

// Tombstone is what one record may be accepted for, as of the revision that changed that
// last: it must be no more once the database has gone back behind it. It says how the
// record stands, not what was taken away, so that what was given back later is no
// matter of its own.
type Tombstone struct {
	// Kind is that of the record, a constant Tomb….
	Kind string
	// ID is the record's; Parent the key of a secret or session, and the customer of a
	// microtenant.
	ID, Parent string
	// Gone: the record was deleted.
	Gone bool
	// Bounds is what it may be accepted for, in words of package keystore: see KeyBounds
	// and those beside it. Equal bounds are equal text.
	Bounds string
	// Revision wrote it, Stamp is its mark and At its time.
	Revision Revision
	Stamp    Stamp
	At       time.Time
}

// Restore is that a database went back and what was revoked was revoked in it again.
type Restore struct {
	// Noticed is when a node first found it, by the store's clock.
	Noticed time.Time
	// From is the newest revision that was seen of the history that is gone, and To where
	// the database stood when that was noticed. To is above From where it had been
	// written to meanwhile.
	From, To Revision
	// Replayed is how many things were revoked again, by all nodes.
	Replayed int
}

// RestoreReader is a Reader, and a Tx, of a Historian.
type RestoreReader interface {
	// Restored is what no operator has accepted yet, nil for nothing. It is asked for in
	// every administrative write: a Tx that reads its head anyway reads it with that.
	Restored(ctx context.Context) (*Restore, error)
}

// RestoreTx is a Tx of a Historian.
type RestoreTx interface {
	RestoreReader
	// AcceptRestore ends that state: the database is the one to go on with, without what
	// it lost. It is what was accepted; ErrNotFound if nothing is to be.
	AcceptRestore(ctx context.Context) (*Restore, error)
}
