package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

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

// chainEnd is where a customer's chain ends.
type chainEnd struct {
	head keystore.AuditHead
	// stored: the head has a row.
	stored bool
	// sound: the head is genuine and the newest event is the one it names. Only
	// then may it be sealed again.
	sound bool
}

// begins reports whether where the chain begins is genuine, where events were forgotten.
func begins(h keystore.AuditHead, by keystore.AuditSealer) bool {
	ok, known := by.Check(keystore.SealTrimmed, h.TrimmedDigest(), h.TrimmedMAC, h.TrimmedMasterKeyID)
	return ok && known
}

// chainEnd reads where a chain ends. Where the events say otherwise than the
// head, it is where they do. The error is that the head's master key is not held.
func (r *reader) chainEnd(ctx context.Context, by keystore.AuditSealer, customerID string) (*chainEnd, error) {
	heads, err := r.AuditHeads(ctx, customerID, false)
	if err != nil {
		return nil, err
	}
	var newest int64
	var hash []byte
	err = r.row(ctx, []any{&newest, &hash}, "SELECT seq, hash FROM audit WHERE customer_id = ? AND seq > 0 ORDER BY seq DESC LIMIT 1", customerID)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) { // no event yet, or all are gone
		return nil, err
	}
	e := &chainEnd{stored: len(heads) > 0, sound: newest == 0, head: keystore.AuditHead{CustomerID: customerID}}
	if e.stored {
		e.head = heads[0]
		ok, known := by.Check(keystore.SealHead, e.head.HeadDigest(), e.head.MAC, e.head.MasterKeyID)
		if !known && e.head.MasterKeyID != "" {
			return nil, unheld(fmt.Sprintf("the audit trail of customer %q", customerID), e.head.MasterKeyID)
		}
		e.sound = ok && known && newest == e.head.Seq && bytes.Equal(hash, e.head.Hash[:])
	}
	e.head.Seq, e.head.Hash = newest, [32]byte{}
	copy(e.head.Hash[:], hash)
	return e, nil
}

// endOf is chainEnd as this transaction leaves it.
func (t *tx) endOf(ctx context.Context, customerID string) (*chainEnd, error) {
	if e := t.trail.ends[customerID]; e != nil {
		return e, nil
	}
	e, err := t.chainEnd(ctx, t.sealer, customerID)
	if err != nil {
		return nil, err
	}
	if t.trail.ends == nil {
		t.trail.ends = make(map[string]*chainEnd)
	}
	t.trail.ends[customerID] = e
	t.trail.order = append(t.trail.order, e)
	return e, nil
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
	if t.beside {
		return errTurn
	}
	if t.sealer == nil {
		return errUnsealed
	}
	root, err := t.auditState(ctx)
	if err != nil {
		return err
	}
	end, err := t.endOf(ctx, e.CustomerID)
	if err != nil {
		return err
	}
	e.Seq, e.Number = end.head.Seq+1, root.Appended+1
	round(&e.At)
	if e.Hash, err = e.Link(end.head.Hash); err != nil {
		return err
	}
	e.MAC, e.MasterKeyID = t.sealer.Seal(keystore.SealEvent, e.Hash)
	if err := t.insertAudit(ctx, e); err != nil {
		return err
	}
	end.head.Seq, end.head.Hash = e.Seq, e.Hash
	root.Appended, root.changed = e.Number, true
	return nil
}

func (t *tx) insertAudit(ctx context.Context, e *keystore.Audit) error {
	return t.row(ctx, []any{&e.ID}, `INSERT INTO audit (seq, number, at, customer_id, microtenant_id, actor_kind, actor_id, actor_name, address, request_id,
			action, target_kind, target_id, target_name, before, after, hash, mac, master_key_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		e.Seq, e.Number, millis(e.At), e.CustomerID, e.MicrotenantID, e.ActorKind, e.ActorID, e.ActorName, e.Address, e.RequestID,
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
	var root *keystore.AuditRoot
	err := s.view(ctx, func(r *reader) (err error) {
		if root, err = r.auditRoot(ctx); err != nil {
			return err
		}
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
	if err == nil && root != nil && root.MasterKeyID != current && (root.MasterKeyID != "" || root.Appended == 0) {
		_, err = s.update(ctx, func(t *tx) error { return t.resealRoot(ctx) })
	}
	return err
}

// resealRoot seals the count of all events anew, and for the first time.
func (t *tx) resealRoot(ctx context.Context) error {
	root, err := t.auditState(ctx)
	if errors.Is(err, errUnheld) {
		return nil // that of whoever holds it
	}
	if err != nil || !root.intact {
		return err
	}
	root.changed = true
	return nil
}

// reseal seals both ends of one chain anew, as they are by now.
func (t *tx) reseal(ctx context.Context, by keystore.AuditSealer, customerID string) error {
	end, err := t.chainEnd(ctx, by, customerID)
	if errors.Is(err, errUnheld) {
		return nil // that of whoever holds it
	}
	if err != nil || !end.stored {
		return err
	}
	if end.sound {
		mac, id := by.Seal(keystore.SealHead, end.head.HeadDigest())
		if err := t.exec(ctx, "UPDATE audit_heads SET mac = ?, master_key_id = ? WHERE customer_id = ?", mac[:], id, customerID); err != nil {
			return err
		}
	}
	if begins(end.head, by) {
		return t.sealTrimmed(ctx, end.head, by)
	}
	return nil
}
