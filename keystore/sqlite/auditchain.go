package sqlite

import (
	"context"
	"errors"

	"github.com/keyreeve/keyreeve/keystore"
)

// errUnsealed answers a write with an audit event before SealAudit.
var errUnsealed = errors.New("the audit trail has no master key to be sealed with; nothing was written")

// SealAudit names what audit events are sealed with from now on; nil for nothing.
func (s *Store) SealAudit(sealer keystore.AuditSealer) { s.sealer.Store(&sealer) }

// auditSealer is what SealAudit named, nil before.
func (s *Store) auditSealer() keystore.AuditSealer {
	if p := s.sealer.Load(); p != nil {
		return *p
	}
	return nil
}

// chainEnd is where a customer's chain ends, by its head and by its newest event.
type chainEnd struct {
	head keystore.AuditHead
	// newest and newestHash are those of the event; 0 and zero where there is none.
	newest     int64
	newestHash [32]byte
	// stored: the head has a row.
	stored bool
}

// intact reports whether the head is genuine and the events reach it.
func (e *chainEnd) intact(by keystore.AuditSealer) bool {
	if !e.stored {
		return e.newest == 0
	}
	ok, known := by.Check(keystore.SealHead, e.head.HeadDigest(), e.head.MAC, e.head.MasterKeyID)
	return ok && known && e.newest == e.head.Seq && e.newestHash == e.head.Hash
}

func (r *reader) chainEnd(ctx context.Context, customerID string) (chainEnd, error) {
	e := chainEnd{head: keystore.AuditHead{CustomerID: customerID}}
	var hash, mac, newestHash []byte
	err := r.row(ctx, []any{&e.stored, &e.head.Seq, &hash, &mac, &e.head.MasterKeyID, &e.newest, &newestHash},
		`SELECT h.seq IS NOT NULL, coalesce(h.seq, 0), h.hash, h.mac, coalesce(h.master_key_id, ''), coalesce(a.seq, 0), a.hash
		FROM (SELECT ? AS id) c
		LEFT JOIN audit_heads h ON h.customer_id = c.id
		LEFT JOIN audit a ON a.customer_id = c.id AND a.seq > 0
			AND a.seq = (SELECT max(seq) FROM audit WHERE customer_id = c.id AND seq > 0)`, customerID)
	copy(e.head.Hash[:], hash)
	copy(e.head.MAC[:], mac)
	copy(e.newestHash[:], newestHash)
	return e, err
}

// AddAudit appends an event to its customer's chain. Nothing a decision depends
// on changes by it, so it is not in the change log. Where it cannot be stored,
// the whole transaction fails, whatever the caller does about the error.
//
// A chain whose end does not add up goes on from its newest event, but its head
// gets no seal any more: one would hide what was done to it.
func (t *tx) AddAudit(ctx context.Context, e *keystore.Audit) error {
	err := t.addAudit(ctx, e)
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}

func (t *tx) addAudit(ctx context.Context, e *keystore.Audit) error {
	if t.sealer == nil {
		return errUnsealed
	}
	end, err := t.chainEnd(ctx, e.CustomerID)
	if err != nil {
		return err
	}
	previous := end.newestHash
	e.Seq = end.newest + 1
	round(&e.At)
	if e.Hash, err = e.Link(previous); err != nil {
		return err
	}
	e.MAC, e.MasterKeyID = t.sealer.Seal(keystore.SealEvent, e.Hash)
	head := keystore.AuditHead{CustomerID: e.CustomerID, Seq: e.Seq, Hash: e.Hash}
	if end.intact(t.sealer) {
		head.MAC, head.MasterKeyID = t.sealer.Seal(keystore.SealHead, head.HeadDigest())
	}
	if err := t.insertAudit(ctx, e); err != nil {
		return err
	}
	return t.exec(ctx, `INSERT INTO audit_heads (customer_id, seq, hash, mac, master_key_id) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (customer_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, mac = excluded.mac, master_key_id = excluded.master_key_id`,
		head.CustomerID, head.Seq, head.Hash[:], head.MAC[:], head.MasterKeyID)
}

func (t *tx) insertAudit(ctx context.Context, e *keystore.Audit) error {
	return t.row(ctx, []any{&e.ID}, `INSERT INTO audit (seq, at, customer_id, microtenant_id, actor_kind, actor_id, actor_name, address, request_id,
			action, target_kind, target_id, target_name, before, after, hash, mac, master_key_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		e.Seq, millis(e.At), e.CustomerID, e.MicrotenantID, e.ActorKind, e.ActorID, e.ActorName, e.Address, e.RequestID,
		e.Action, e.TargetKind, e.TargetID, e.TargetName, jsonText(e.Before), jsonText(e.After), e.Hash[:], e.MAC[:], e.MasterKeyID)
}

// resealAudit seals the ends of chains under the current master key where an
// older one did, so that the older one may be taken away: events are proved by
// what follows on them. An end that does not verify stays as it is.
func (s *Store) resealAudit(ctx context.Context) error {
	by := s.auditSealer()
	if by == nil {
		return nil
	}
	_, current := by.Seal(keystore.SealHead, [32]byte{})
	const older = "WHERE master_key_id NOT IN ('', ?1) OR trimmed_master_key_id NOT IN ('', ?1) "
	var heads []keystore.AuditHead
	err := s.view(ctx, s.readers, func(r *reader) (err error) {
		heads, err = list(ctx, r, scanHead, selectHead+older+"ORDER BY customer_id", current)
		return err
	})
	for ; err == nil && len(heads) > 0; heads = heads[min(trimStep, len(heads)):] {
		_, err = s.update(ctx, func(t *tx) error {
			for _, h := range heads[:min(trimStep, len(heads))] {
				if err := t.reseal(ctx, by, h.CustomerID); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}

// reseal seals both ends of one chain anew, as they are by now.
func (t *tx) reseal(ctx context.Context, by keystore.AuditSealer, customerID string) error {
	end, err := t.chainEnd(ctx, customerID)
	if err != nil {
		return err
	}
	if end.intact(by) {
		mac, id := by.Seal(keystore.SealHead, end.head.HeadDigest())
		if err := t.exec(ctx, "UPDATE audit_heads SET mac = ?, master_key_id = ? WHERE customer_id = ?", mac[:], id, customerID); err != nil {
			return err
		}
	}
	heads, err := t.AuditHeads(ctx, customerID, false)
	if err != nil || len(heads) == 0 {
		return err
	}
	h := heads[0]
	if ok, known := by.Check(keystore.SealTrimmed, h.TrimmedDigest(), h.TrimmedMAC, h.TrimmedMasterKeyID); ok && known {
		return t.sealTrimmed(ctx, h, by)
	}
	return nil
}
