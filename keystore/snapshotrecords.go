package keystore

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// The records of a snapshot and its journal. The first byte of each says what it is; a
// record that is read later replaces what an earlier one said of the same thing, but for
// keys, which ticks put in order: see keyCache. A version that writes another form of
// them must raise sealedVersion.
const (
	recordHeading = 'h' // SnapshotHead
	recordKeys    = 'k' // packed keys with their ticks
	recordApplied = 'a' // applied
	recordTallies = 't' // []tallyRecord
	recordBeat    = 'b' // heartbeat
	recordEnd     = 'e' // the snapshot is whole; what follows is the journal
)

// applied is what a change that was applied did to what this node knows.
type applied struct {
	// Position was reached by it, 0 for none: more of it follows, or it is no change but
	// a part of the snapshot.
	Position Revision `json:",omitempty"`
	// Stamp is the mark of that position.
	Stamp Stamp `json:",omitempty"`
	// Tick is when Clients changed: what was read before it is not good any more.
	Tick    int64    `json:",omitempty"`
	Clients []string `json:",omitempty"`
	// Ended are sessions that ended early, and until when that is remembered.
	Ended map[string]time.Time `json:",omitempty"`
	// Stones are tombstones that came with it.
	Stones    []Tombstone    `json:",omitempty"`
	Directory *directoryPart `json:",omitempty"`
}

// directoryPart is some of a Directory.
type directoryPart struct {
	Roles        []*Role        `json:",omitempty"`
	Customers    []*Customer    `json:",omitempty"`
	Microtenants []*Microtenant `json:",omitempty"`
	// Gone are ids of what is not there any more; GoneMicrotenants with their customer.
	GoneRoles        []string    `json:",omitempty"`
	GoneCustomers    []string    `json:",omitempty"`
	GoneMicrotenants [][2]string `json:",omitempty"`
	// SigningKeys are all of them, where AllSigningKeys is set.
	SigningKeys    []*SigningKey `json:",omitempty"`
	AllSigningKeys bool          `json:",omitempty"`
}

// partOf is how what changes name stands in a directory.
func partOf(d *Directory, changes []Change) *directoryPart {
	var part directoryPart
	for _, ch := range changes {
		switch ch.Kind {
		case KindRole:
			if role := d.roles[ch.ID]; role != nil {
				part.Roles = append(part.Roles, role)
			} else {
				part.GoneRoles = append(part.GoneRoles, ch.ID)
			}
		case KindCustomer:
			if customer := d.customers[ch.ID]; customer != nil {
				part.Customers = append(part.Customers, customer)
			} else {
				part.GoneCustomers = append(part.GoneCustomers, ch.ID)
			}
		case KindMicrotenant:
			if m := d.microtenants[tenant{ch.CustomerID, ch.ID}]; m != nil {
				part.Microtenants = append(part.Microtenants, m)
			} else {
				part.GoneMicrotenants = append(part.GoneMicrotenants, [2]string{ch.CustomerID, ch.ID})
			}
		case KindSigningKey:
			part.SigningKeys, part.AllSigningKeys = d.signingKeys, true
		}
	}
	return &part
}

// put makes the part one of d, whose maps are the caller's own.
func (p *directoryPart) put(d *Directory) {
	for _, role := range p.Roles {
		d.roles[role.ID] = role
	}
	for _, customer := range p.Customers {
		d.customers[customer.ID] = customer
	}
	for _, m := range p.Microtenants {
		d.microtenants[tenant{m.CustomerID, m.ID}] = m
	}
	for _, id := range p.GoneRoles {
		delete(d.roles, id)
	}
	for _, id := range p.GoneCustomers {
		delete(d.customers, id)
	}
	for _, id := range p.GoneMicrotenants {
		delete(d.microtenants, tenant{id[0], id[1]})
	}
	if p.AllSigningKeys {
		d.signingKeys = p.SigningKeys
	}
}

// tallyRecord is the counts of one key: as the store has them, and what the store has not
// heard of. Of proofs under way to it nobody can tell, so they are in it: one that it did
// count counts twice after a crash, never not at all.
type tallyRecord struct {
	KeyID   string
	Gone    bool          `json:",omitempty"`
	Whole   Tally         `json:",omitzero"`
	Sources []Tally       `json:",omitempty"`
	Pending []proofRecord `json:",omitempty"`
}

// proofRecord is a pendingProof.
type proofRecord struct {
	Proof
	Lockout policy.Lockout
	Network netip.Prefix
}

func recordOf(keyID string, ts *tallies) tallyRecord {
	if ts == nil {
		return tallyRecord{KeyID: keyID, Gone: true}
	}
	r := tallyRecord{KeyID: keyID, Whole: ts.whole}
	for _, s := range ts.sources {
		r.Sources = append(r.Sources, s)
	}
	for _, p := range ts.pending {
		r.Pending = append(r.Pending, proofRecord{p.owed(), p.lockout, p.source})
	}
	return r
}

// tallies are the counts again, in the boot of now.
func (r *tallyRecord) tallies(now policy.Instant) *tallies {
	ts := &tallies{keyID: r.KeyID, whole: r.Whole, touched: now.Since}
	ts.whole.Tally, _ = ts.whole.Rebase(now)
	for _, s := range r.Sources {
		source, err := netip.ParsePrefix(s.Source)
		if err != nil {
			continue // as the table itself does
		}
		if ts.sources == nil {
			ts.sources = make(map[netip.Prefix]Tally, len(r.Sources))
		}
		s.Tally, _ = s.Rebase(now)
		ts.sources[source] = s
	}
	for _, p := range r.Pending {
		p.At = shownAt(p.Proof, now)
		proof := &pendingProof{Proof: p.Proof, lockout: p.Lockout, source: p.Network, stored: make(chan struct{})}
		proof.release() // nobody waits for it any more
		ts.pending = append(ts.pending, proof)
	}
	ts.count()
	return ts
}

// shownAt is when a proof was shown, as an instant of the boot of now. Over a boot only
// the time of day tells, and that may have been set: a failure counts, and locks, from
// the latest time it can have been, as policy.Tally.Rebase has it for locks; a success
// clears nothing that may have come behind it.
func shownAt(p Proof, now policy.Instant) policy.Instant {
	if p.At.Boot == now.Boot {
		return p.At
	}
	ago := now.Elapsed(p.At)
	if !p.Success {
		lock := policy.Tally{LockedAt: p.At, LockedFor: math.MaxInt64}
		ago = lock.LockedFor - lock.Remaining(now)
	}
	return policy.Instant{Wall: p.At.Wall, Boot: now.Boot, Since: now.Since - ago}
}

// encode is a record whose text is JSON.
func encode(kind byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append([]byte{kind}, text...), nil
}

// appendCached packs a key with the tick that it was read at.
func appendCached(b []byte, v *cachedKey) []byte {
	return appendKey(binary.AppendVarint(b, v.tick), v.key)
}

// chunks are slices of at most n of s: no record may outgrow its bound.
func chunks[T any](s []T, n int) [][]T { return slices.Collect(slices.Chunk(s, n)) }
