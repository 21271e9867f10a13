package keystore

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// AuditRoot is the count of the events of all chains. A chain that is gone as a
// whole, or that was put back to one of its own older heads, agrees with itself;
// it does not agree with this.
type AuditRoot struct {
	// Appended is the Number of the newest event, Trimmed how many were forgotten.
	Appended, Trimmed int64
	// Unchained is how many events there are from before the chains, UnchainedID the
	// ID of the newest of them. None is added.
	Unchained, UnchainedID int64
	// Since is when counting began: a customer that was made later has events.
	Since       time.Time
	MAC         [sha256.Size]byte
	MasterKeyID string
}

// Digest is what the root's MAC is of.
func (r *AuditRoot) Digest() [sha256.Size]byte {
	return digestParts([]byte("keyreeve audit root v1"), decimal(r.Appended), decimal(r.Trimmed),
		decimal(r.Unchained), decimal(r.UnchainedID), decimal(r.Since.UnixMilli()))
}

// AuditTotals is what there is of the whole trail, in one snapshot.
type AuditTotals struct {
	// Root is what there should be, nil where it is gone.
	Root *AuditRoot
	// Chained is how many events have a place in a chain, Numbers how many Numbers
	// they have, and Newest the highest.
	Chained, Numbers, Newest int64
	// Heads is how many chains have a head.
	Heads int64
	// Unchained is how many events have none, UnchainedID the ID of the newest of them.
	Unchained, UnchainedID int64
}

// Begun reports whether an event was ever written to a chain, by what there is.
func (t AuditTotals) Begun() bool {
	return t.Chained != 0 || t.Heads != 0 || t.Root != nil && (t.Root.Appended != 0 || t.Root.MasterKeyID != "")
}

// Problem is what is wrong with the trail as a whole, nil for nothing. Each
// chain is still to be checked by itself.
func (t AuditTotals) Problem(by AuditSealer) *AuditProblem {
	r := t.Root
	if r == nil {
		return &AuditProblem{Code: AuditForgedRoot, Detail: "the count of all events is gone"}
	}
	if t.Begun() {
		ok, known := by.Check(SealRoot, r.Digest(), r.MAC, r.MasterKeyID)
		switch {
		case r.MasterKeyID == "":
			return &AuditProblem{Code: AuditForgedRoot, Detail: "the count of all events has no seal: something was wrong before it was written already"}
		case known && !ok:
			return &AuditProblem{Code: AuditForgedRoot, Detail: "the MAC of the count of all events is not by the master key it names"}
		}
		if p := t.counted(); p != nil {
			return p
		}
		if !known {
			return &AuditProblem{Code: AuditUnknownKey,
				Detail: fmt.Sprintf("the count of all events is sealed under the master key %q, which is not held here; give it beside the current one", r.MasterKeyID)}
		}
		return nil
	}
	return t.counted() // nothing was ever written, so nothing was sealed
}

// counted holds what there is against what there should be.
func (t AuditTotals) counted() *AuditProblem {
	r := t.Root
	if kept := r.Appended - r.Trimmed; t.Chained != kept || t.Numbers != kept || t.Newest != r.Appended {
		return &AuditProblem{Code: AuditRootMismatch, Detail: fmt.Sprintf(
			"there should be %d events in all, the newest numbered %d; there are %d with %d numbers, the newest %d", kept, r.Appended, t.Chained, t.Numbers, t.Newest)}
	}
	if t.Unchained != r.Unchained || t.UnchainedID > r.UnchainedID {
		return &AuditProblem{Code: AuditUnchained, Detail: fmt.Sprintf(
			"there should be %d events from before the trail was chained; there are %d outside the chains", r.Unchained, t.Unchained)}
	}
	return nil
}
