package keystore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Kinds of actor.
const (
	// ActorKey signed in with an API key.
	ActorKey = "key"
	// ActorSession signed in at the page, on behalf of an API key.
	ActorSession = "session"
	// ActorLocal is whoever may reach Caddy's local admin endpoint or the store's file.
	ActorLocal = "local"
	// ActorSystem is Keyreeve itself.
	ActorSystem = "system"
)

// Audit is one event of the audit trail. The events of a customer (and those of
// none) are a chain: each is bound to the one before, so that none can be
// changed, left out or put in unnoticed. The store makes the chain as it appends.
type Audit struct {
	// ID grows with each event of the store.
	ID int64
	// Seq numbers the customer's events without gaps, from 1. Set by the store.
	Seq int64
	// Number numbers the events of all chains without gaps, from 1. Set by the store.
	Number     int64
	At         time.Time
	CustomerID string
	// MicrotenantID is the target's, "" at customer level.
	MicrotenantID string
	// ActorKind is one of the kinds of actor; ActorID and ActorName say which.
	ActorKind string
	ActorID   string
	ActorName string
	// Address is where it came from; of a lock, the failure that locked. "" for
	// local, and for what the system does by itself.
	Address   string
	RequestID string
	// Action is a dotted verb such as key.create or key.lock.
	Action     string
	TargetKind string
	TargetID   string
	TargetName string
	// Before and After are JSON objects without secrets; nil where there is none.
	Before json.RawMessage
	After  json.RawMessage
	// Hash covers the event and the Hash of the one before; MAC, under the master
	// key MasterKeyID, proves that it was made here. Set by the store.
	Hash        [32]byte
	MAC         [32]byte
	MasterKeyID string
}

// AuditHead is where a customer's chain ends, and where it begins since older
// events were forgotten. Both ends carry a MAC of their own, so that events
// missing at either end are noticed.
type AuditHead struct {
	CustomerID string
	// Seq and Hash are the newest event's; 0 and zero before the first.
	Seq         int64
	Hash        [32]byte
	MAC         [32]byte
	MasterKeyID string
	// TrimmedSeq and TrimmedHash are the newest forgotten event's; 0 if none was.
	TrimmedSeq         int64
	TrimmedHash        [32]byte
	TrimmedMAC         [32]byte
	TrimmedMasterKeyID string
}

// What a MAC of the audit trail says, so that none passes for another.
const (
	SealEvent   = "event"
	SealHead    = "head"
	SealTrimmed = "trimmed"
	SealRoot    = "root"
	SealExport  = "export"
)

// AuditSealer makes and checks the MACs of the audit trail with a key that is
// outside the store.
type AuditSealer interface {
	// Seal is under the current master key.
	Seal(purpose string, hash [32]byte) (mac [32]byte, masterKeyID string)
	// Check is known=false for a master key that is not held.
	Check(purpose string, hash, mac [32]byte, masterKeyID string) (ok, known bool)
}

// AuditQuery selects audit events, newest first. Zero fields do not filter.
type AuditQuery struct {
	CustomerID    string
	MicrotenantID string
	// AllCustomers must be set for a query that names no customer.
	AllCustomers bool
	// NoCustomer selects the events that belong to no customer.
	NoCustomer bool
	// ActorID is an actor's id; ActorSystem stands for what Keyreeve itself did.
	ActorID string
	// Action is one, or a group of them such as `key.` with the dot at its end.
	Action     string
	TargetKind string
	TargetID   string
	RequestID  string
	// Since and Until bound At: at or after, and before.
	Since, Until time.Time
	// Oldest lists the oldest first.
	Oldest bool
	// After continues behind this place, by ID; nil starts at the beginning.
	After *Cursor
	// Offset skips; used instead of After.
	Offset int
	// Limit is the most events to list; 0 only counts.
	Limit int
	// Uncounted: the total is not wanted, which for whoever walks a whole chain
	// would cost as much as the walk each time.
	Uncounted bool
}

// Link is the event's Hash, given that of the one before it in its chain (zero
// for the first): SHA-256 over every field, each with its length, so that no two
// events have one input. Before and After count by what they say, whatever their
// spacing and the order of their members, so that an exported event that another
// program has formatted anew keeps its hash.
func (e *Audit) Link(previous [sha256.Size]byte) ([sha256.Size]byte, error) {
	before, err := CanonicalJSON(e.Before)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("before: %w", err)
	}
	after, err := CanonicalJSON(e.After)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("after: %w", err)
	}
	return digestParts(
		[]byte("keyreeve audit v1"), previous[:], decimal(e.Seq), decimal(e.Number), decimal(e.At.UnixMilli()),
		[]byte(e.CustomerID), []byte(e.MicrotenantID), []byte(e.ActorKind), []byte(e.ActorID), []byte(e.ActorName),
		[]byte(e.Address), []byte(e.RequestID), []byte(e.Action), []byte(e.TargetKind), []byte(e.TargetID), []byte(e.TargetName),
		before, after,
	), nil
}

// Cursor is the event's place in a list.
func (e *Audit) Cursor() Cursor { return Cursor{ID: strconv.FormatInt(e.ID, 10)} }

// HeadDigest is what the head's MAC is of: whose chain it is, and the newest
// event's number and hash.
func (h AuditHead) HeadDigest() [sha256.Size]byte { return h.digest(h.Seq, h.Hash) }

// TrimmedDigest is the same of the newest forgotten event.
func (h AuditHead) TrimmedDigest() [sha256.Size]byte { return h.digest(h.TrimmedSeq, h.TrimmedHash) }

func (h AuditHead) digest(seq int64, hash [sha256.Size]byte) [sha256.Size]byte {
	return digestParts([]byte("keyreeve audit end v1"), []byte(h.CustomerID), decimal(seq), hash[:])
}

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// digestParts hashes parts each with its length, so that what one loses cannot
// be made good by the next.
func digestParts(parts ...[]byte) [sha256.Size]byte {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
