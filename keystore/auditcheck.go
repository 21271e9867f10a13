package keystore

import (
	"crypto/sha256"
	"fmt"
)

// What can be wrong with a chain of audit events.
const (
	// AuditMissing: events were left out, put in, or stand in another order.
	AuditMissing = "missing_events"
	// AuditChanged: an event is not what it was when it was linked.
	AuditChanged = "changed_event"
	// AuditForged: an event was not made by whoever holds the master key.
	AuditForged = "forged_event"
	// AuditHeadMismatch: the chain does not end where its head says.
	AuditHeadMismatch = "head_mismatch"
	// AuditForgedHead and AuditForgedStart: an end was not made by whoever holds
	// the master key.
	AuditForgedHead  = "forged_head"
	AuditForgedStart = "forged_start"
	// AuditPinMismatch: the chain is not the one whose head was noted before.
	AuditPinMismatch = "published_head_mismatch"
	// AuditPinForgotten: what was noted before is older than what is kept.
	AuditPinForgotten = "published_head_forgotten"
	// AuditForgedRoot: the count of all events was not made by whoever holds the
	// master key.
	AuditForgedRoot = "forged_root"
	// AuditRootMismatch: there are fewer events in all, or more, than were written:
	// a chain is gone, was put back or is not one.
	AuditRootMismatch = "root_mismatch"
	// AuditUnchained: there are events outside the chains that were not there when
	// the chains began.
	AuditUnchained = "unchained_events"
	// AuditUnknownKey: sealed under a master key that is not held, so that it can
	// be neither proved nor disproved.
	AuditUnknownKey = "unknown_master_key"
)

// AuditProblem is what is wrong with a chain, and with which of its events.
type AuditProblem struct {
	Seq    int64
	Code   string
	Detail string
}

// AuditCheck follows one chain from its beginning to its head. The first problem
// stands; one that only means that nothing is proved gives way to one that
// disproves.
type AuditCheck struct {
	customerID string
	sealer     AuditSealer
	// begun: where the chain begins is known, or the first event was seen.
	begun bool
	first *Audit // held back until the beginning is known
	seq   int64
	hash  [sha256.Size]byte
	pins  map[int64][sha256.Size]byte
	found *AuditProblem

	// Events is how many were seen, FirstSeq the number of the first. ByHead is how
	// many of them are sealed under a master key that is not held: they are proved by
	// the links from them to the head, if that is.
	Events, FirstSeq, ByHead int64
}

// NewAuditCheck checks a customer's chain, that of no customer for "". sealer
// may be nil: then only what the events say of one another is checked.
func NewAuditCheck(customerID string, sealer AuditSealer) *AuditCheck {
	return &AuditCheck{customerID: customerID, sealer: sealer, pins: make(map[int64][sha256.Size]byte)}
}

// Pin requires that the chain has an event of this number and hash: a head that
// was noted elsewhere. Before the first event only.
func (c *AuditCheck) Pin(seq int64, hash [sha256.Size]byte) {
	if known, twice := c.pins[seq]; twice && known != hash {
		c.broken(seq, AuditPinMismatch, "two different heads were given for this number")
	}
	c.pins[seq] = hash
}

// From says where the chain begins, which else is taken from the head at the End.
func (c *AuditCheck) From(h AuditHead) { c.begun, c.seq, c.hash = true, h.TrimmedSeq, h.TrimmedHash }

// CustomerID is whose chain it is.
func (c *AuditCheck) CustomerID() string { return c.customerID }

// Seq is the number of the newest event seen, or of the one before the first.
func (c *AuditCheck) Seq() int64 { return c.seq }

// Hash is that event's.
func (c *AuditCheck) Hash() [sha256.Size]byte { return c.hash }

// Add takes the next event. After a problem it does nothing.
func (c *AuditCheck) Add(e *Audit) {
	if c.Broken() {
		return
	}
	c.Events++
	if c.Events == 1 {
		c.FirstSeq = e.Seq
	}
	switch {
	case e.CustomerID != c.customerID:
		c.broken(e.Seq, AuditChanged, "belongs to another customer")
	case !c.begun:
		c.first = e
	case e.Seq != c.seq+1:
		c.broken(c.seq+1, AuditMissing, fmt.Sprintf("event %d is followed by event %d", c.seq, e.Seq))
	default:
		c.link(e)
	}
	c.begun, c.seq, c.hash = true, e.Seq, e.Hash
	if !c.Broken() {
		c.eventSealed(e)
		c.pinned()
	}
}

func (c *AuditCheck) link(e *Audit) {
	hash, err := e.Link(c.hash)
	if err != nil {
		c.broken(e.Seq, AuditChanged, "cannot be read: "+err.Error())
		return
	}
	if hash != e.Hash {
		c.broken(e.Seq, AuditChanged, "this event or the one before it was changed")
	}
}

// pinned holds the newest event against what was noted of it.
func (c *AuditCheck) pinned() {
	if want, ok := c.pins[c.seq]; ok {
		if want != c.hash {
			c.broken(c.seq, AuditPinMismatch, "the event of this number is not the one that was noted")
		}
		delete(c.pins, c.seq)
	}
}

// End takes the head, once all events were added.
func (c *AuditCheck) End(h AuditHead) {
	if c.Broken() {
		return
	}
	if !c.begun {
		c.From(h)
	}
	if c.first != nil {
		c.beginning(h)
	}
	if h.TrimmedSeq > 0 {
		c.sealed(SealTrimmed, AuditForgedStart, h.TrimmedSeq, h.TrimmedDigest(), h.TrimmedMAC, h.TrimmedMasterKeyID)
	}
	if c.seq != h.Seq || c.hash != h.Hash {
		c.broken(h.Seq, AuditHeadMismatch, fmt.Sprintf("the head is event %d, and the newest one there is is %d", h.Seq, c.seq))
	}
	c.sealed(SealHead, AuditForgedHead, h.Seq, h.HeadDigest(), h.MAC, h.MasterKeyID)
	c.leftPins(h)
}

// beginning holds the first event against where the head says the chain begins.
func (c *AuditCheck) beginning(h AuditHead) {
	if c.first.Seq != h.TrimmedSeq+1 {
		c.broken(h.TrimmedSeq+1, AuditMissing, fmt.Sprintf("the chain begins with event %d, and the first one there is is %d", h.TrimmedSeq+1, c.first.Seq))
		return
	}
	hash, err := c.first.Link(h.TrimmedHash)
	if err != nil || hash != c.first.Hash {
		c.broken(c.first.Seq, AuditChanged, "this event was changed, or it is not the first one")
	}
}

// leftPins are those of events that were not seen.
func (c *AuditCheck) leftPins(h AuditHead) {
	for seq, hash := range c.pins {
		switch {
		case seq == h.TrimmedSeq && hash == h.TrimmedHash:
		case seq < h.TrimmedSeq:
			c.unproved(seq, AuditPinForgotten, "the noted event is older than what is kept")
		case seq == h.TrimmedSeq:
			c.broken(seq, AuditPinMismatch, "the event of this number was not the one that was noted")
		default:
			c.broken(seq, AuditPinMismatch, fmt.Sprintf("the noted event is not there; the newest one is %d", h.Seq))
		}
	}
}

func (c *AuditCheck) eventSealed(e *Audit) {
	if c.sealer == nil {
		return
	}
	if _, known := c.sealer.Check(SealEvent, e.Hash, e.MAC, e.MasterKeyID); !known && e.MasterKeyID != "" {
		c.ByHead++
		return
	}
	c.sealed(SealEvent, AuditForged, e.Seq, e.Hash, e.MAC, e.MasterKeyID)
}

// Absent says that the customer has no events though it must have: that of its
// being made is never forgotten before another one follows.
func (c *AuditCheck) Absent() {
	c.broken(1, AuditMissing, "there is no event of this customer, not even of its being made")
}

func (c *AuditCheck) sealed(purpose, code string, seq int64, hash, mac [sha256.Size]byte, masterKeyID string) {
	if c.sealer == nil {
		return
	}
	ok, known := c.sealer.Check(purpose, hash, mac, masterKeyID)
	switch {
	case masterKeyID == "": // a store seals no head on top of an end that did not add up
		c.broken(seq, code, "it has no seal: something was wrong before it was written already")
	case !known:
		c.unproved(seq, AuditUnknownKey, fmt.Sprintf("sealed under the master key %q, which is not held here; give it beside the current one", masterKeyID))
	case known && !ok:
		c.broken(seq, code, "its MAC is not by the master key it names")
	}
}

func (c *AuditCheck) broken(seq int64, code, detail string) {
	if !c.Broken() {
		c.found = &AuditProblem{Seq: seq, Code: code, Detail: detail}
	}
}

func (c *AuditCheck) unproved(seq int64, code, detail string) {
	if c.found == nil {
		c.found = &AuditProblem{Seq: seq, Code: code, Detail: detail}
	}
}

// Broken reports whether the chain is disproved.
func (c *AuditCheck) Broken() bool {
	return c.found != nil && c.found.Code != AuditUnknownKey && c.found.Code != AuditPinForgotten
}

// Problem is what was found, nil if all is proved.
func (c *AuditCheck) Problem() *AuditProblem { return c.found }
