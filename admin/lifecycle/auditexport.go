package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// exportPage is how many events an export reads in one transaction, so that
// neither memory nor writers depend on how many there are.
const exportPage = 500

// AuditTrailer ends an export: without it the export was cut off.
type AuditTrailer struct {
	End bool `json:"end" enum:"true"`
	// Count is how many events stand before it.
	Count int64 `json:"count"`
	// Complete: nothing was filtered out, and Chains says where each chain that was
	// exported begins and ends, so that the export can be verified by itself.
	Complete bool        `json:"complete"`
	Chains   []AuditEnds `json:"chains" nullable:"false"`
	// At is when the export was opened: it has what there was by then.
	At time.Time `json:"at"`
	// Filter is what was asked for, but for what is not filtered.
	Filter map[string]string `json:"filter" nullable:"false" doc:"The parameters that selected the events."`
	// Problem: the trail was not what was written already when it was exported.
	Problem *AuditProblem `json:"problem" doc:"What was wrong with the trail as a whole when the export began; null if nothing."`
	// MAC keeps chains from being left out of the export, and of this, together.
	MAC         string `json:"mac" doc:"Of all other members, in hex, under the master key."`
	MasterKeyID string `json:"master_key_id"`
}

// digest is what the MAC is of.
func (t AuditTrailer) digest() ([32]byte, error) {
	t.MAC, t.MasterKeyID = "", ""
	text, err := json.Marshal(t)
	if err != nil {
		return [32]byte{}, err
	}
	if text, err = keystore.CanonicalJSON(text); err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(append([]byte("keyreeve audit export v1\x00"), text...)), nil
}

// AuditExport reads the events that there were when it was opened, oldest first.
// It holds nothing open between reads.
type AuditExport struct {
	svc    *Service
	actor  Actor
	filter AuditFilter
	query  keystore.AuditQuery // as it was bounded when opened
	heads  map[string]keystore.AuditHead
	seen   map[string]int64 // newest Seq by customer, of a complete export
	last   int64            // ID of the newest event to export
	done   bool
	end    AuditTrailer
}

// ExportAudit opens an export of what ListAudit would list.
func (s *Service) ExportAudit(ctx context.Context, a Actor, f AuditFilter) (*AuditExport, error) {
	x := &AuditExport{svc: s, actor: a, filter: f}
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceAudit, policy.Read); err != nil {
			return err
		}
		var bad FieldErrors
		if f.check(&bad); bad.Err() != nil {
			return bad.Err()
		}
		x.end = AuditTrailer{End: true, Chains: []AuditEnds{}, At: o.r.Now().Wall.UTC().Truncate(timePrecision), Filter: f.named()}
		var some bool
		var err error
		if x.end.Problem, err = o.wholeTrail(); err != nil {
			return err
		}
		if x.query, some, err = o.auditQuery(f); err != nil || !some {
			x.done = true
			return err
		}
		return x.open(o)
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// open notes where the export ends: at the newest event there is now.
func (x *AuditExport) open(o *op) error {
	q := x.query
	q.Limit, q.Uncounted = 1, true
	newest, _, err := o.r.AuditEvents(o.ctx, q)
	if err != nil {
		return err
	}
	if x.done = len(newest) == 0; !x.done {
		x.last = newest[0].ID
	}
	if x.end.Complete = x.filter.whole() && x.query.MicrotenantID == ""; !x.end.Complete {
		return nil
	}
	heads, err := o.r.AuditHeads(o.ctx, x.query.CustomerID, x.query.AllCustomers)
	if err != nil {
		return err
	}
	x.heads, x.seen = make(map[string]keystore.AuditHead), make(map[string]int64)
	for _, h := range heads {
		x.heads[h.CustomerID], x.seen[h.CustomerID] = h, h.TrimmedSeq
		x.end.Chains = append(x.end.Chains, showEnds(h))
	}
	return nil
}

// Next is the next events; none at the end. The actor's rights are those it has
// by then: one that lost them gets no more.
func (x *AuditExport) Next(ctx context.Context) ([]AuditEvent, error) {
	var out []AuditEvent
	for len(out) == 0 && !x.done {
		var found []*keystore.Audit
		err := x.svc.view(ctx, x.actor, func(o *op) (err error) {
			found, err = x.read(o)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			out = append(out, showAudit(e))
		}
	}
	x.end.Count += int64(len(out))
	return out, nil
}

// read reads one page and moves on behind it.
func (x *AuditExport) read(o *op) ([]*keystore.Audit, error) {
	if err := o.need(ResourceAudit, policy.Read); err != nil {
		return nil, err
	}
	now, some, err := o.auditQuery(x.filter)
	if err != nil {
		return nil, err
	}
	before := x.query
	before.After = nil
	if !some || now != before {
		return nil, &Error{Kind: Forbidden, Code: CodePermissionDenied, Detail: "the rights of the exporting key changed meanwhile"}
	}
	q := x.query
	q.Oldest, q.Limit, q.Uncounted = true, exportPage, true
	found, _, err := o.r.AuditEvents(o.ctx, q)
	if err != nil {
		return nil, err
	}
	x.done = len(found) < exportPage || found[len(found)-1].ID >= x.last
	if len(found) > 0 {
		c := found[len(found)-1].Cursor()
		x.query.After = &c
	}
	found = slices.DeleteFunc(found, func(e *keystore.Audit) bool { return e.ID > x.last || !x.wants(e) })
	return found, x.overtaken(o, found)
}

// wants leaves out of a complete export what is behind the heads it names, or from
// before there was a chain.
func (x *AuditExport) wants(e *keystore.Audit) bool {
	if !x.end.Complete {
		return true
	}
	h, known := x.heads[e.CustomerID]
	return known && e.Seq > 0 && e.Seq <= h.Seq
}

// overtaken refuses to leave out what was forgotten since the export began. Any
// other gap is exported as it is: verifying it must find it.
func (x *AuditExport) overtaken(o *op, found []*keystore.Audit) error {
	for _, e := range found {
		seen, chained := x.seen[e.CustomerID]
		if !chained {
			continue
		}
		if e.Seq != seen+1 {
			if err := x.forgotten(o, e.CustomerID); err != nil {
				return err
			}
		}
		x.seen[e.CustomerID] = e.Seq
	}
	if !x.done {
		return nil
	}
	for id, h := range x.heads {
		if x.seen[id] < h.Seq {
			if err := x.forgotten(o, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgotten is an error where a chain begins later by now than was read.
func (x *AuditExport) forgotten(o *op, customerID string) error {
	heads, err := o.r.AuditHeads(o.ctx, customerID, false)
	if err == nil && len(heads) > 0 && heads[0].TrimmedSeq > x.seen[customerID] {
		return overtaken("events were forgotten while they were exported; export again")
	}
	return err
}

// Trailer ends the export, once Next returned none.
func (x *AuditExport) Trailer() (AuditTrailer, error) {
	end := x.end
	digest, err := end.digest()
	if err != nil {
		return AuditTrailer{}, err
	}
	mac, masterKeyID := x.svc.cfg.Keyring.Seal(keystore.SealExport, digest)
	end.MAC, end.MasterKeyID = hex.EncodeToString(mac[:]), masterKeyID
	return end, nil
}
