package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// TrimAudit forgets old events, chain by chain and in steps, so that writers do
// not wait long for it. A chain is cut in its own order: where the clock was set
// back, an older event behind a younger one stays until that goes.
//
// It forgets only what it could verify. Where an event does not add up, that
// chain stays as it is from there on, for `audit verify` to tell of; the others
// are trimmed all the same.
func (s *Store) TrimAudit(ctx context.Context, keep time.Duration) error {
	var heads []keystore.AuditHead
	var before int64
	err := s.view(ctx, func(r *reader) (err error) {
		before = millis(r.now.Wall.Add(-keep))
		heads, err = r.AuditHeads(ctx, "", true)
		return err
	})
	if err != nil {
		return fmt.Errorf("trimming the audit trail: %w", err)
	}
	errs := []error{s.trimUnchained(ctx, before)}
	for _, h := range heads {
		err := s.trimChain(ctx, h.CustomerID, before)
		if err != nil {
			err = fmt.Errorf("chain of customer %q: %w", h.CustomerID, err)
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("trimming the audit trail: %w", err)
	}
	return nil
}

// trimUnchained forgets events from before there was a chain.
func (s *Store) trimUnchained(ctx context.Context, before int64) error {
	// Behind the newest that there was when the chains began none belongs: it stays to be told of.
	const old = "SELECT id FROM audit WHERE seq <= 0 AND at < ? AND id <= (SELECT unchained_id FROM audit_root) LIMIT ?"
	for {
		var found bool
		err := s.view(ctx, func(r *reader) (err error) {
			found, err = r.exists(ctx, old, before, 1)
			return err
		})
		if err != nil || !found {
			return err
		}
		_, err = s.update(ctx, func(t *tx) error {
			root, err := t.auditState(ctx)
			if err != nil {
				return err
			}
			n, err := t.affect(ctx, "DELETE FROM audit WHERE id IN ("+old+")", before, trimStep)
			root.Unchained, root.changed = root.Unchained-n, true
			return err
		})
		if err != nil {
			return err
		}
	}
}

// trimChain forgets the old events of one chain.
func (s *Store) trimChain(ctx context.Context, customerID string, before int64) error {
	for {
		var old []*keystore.Audit
		err := s.view(ctx, func(r *reader) (err error) {
			old, err = r.oldest(ctx, customerID, before)
			return err
		})
		if err != nil || len(old) == 0 {
			return err
		}
		var broken error
		_, err = s.update(ctx, func(t *tx) (err error) {
			broken, err = t.trimEvents(ctx, customerID, old)
			return err
		})
		if err = errors.Join(err, broken); err != nil || len(old) < trimStep {
			return err
		}
	}
}

// oldest lists the events at the beginning of a chain that are older than a
// time, but for the newest of all.
func (r *reader) oldest(ctx context.Context, customerID string, before int64) ([]*keystore.Audit, error) {
	events, err := list(ctx, r, scanAudit, "SELECT "+auditColumns+` FROM audit a WHERE a.customer_id = ?1 AND a.seq > 0
		AND a.seq < (SELECT max(seq) FROM audit WHERE customer_id = ?1 AND seq > 0) ORDER BY a.seq LIMIT ?2`, customerID, trimStep)
	for i, e := range events {
		if millis(e.At) >= before {
			return events[:i], err
		}
	}
	return events, err
}

// trimEvents forgets events that follow on what was forgotten before, up to the
// first that does not add up, which it tells of.
func (t *tx) trimEvents(ctx context.Context, customerID string, old []*keystore.Audit) (broken, err error) {
	if t.sealer == nil {
		return nil, errUnsealed
	}
	heads, err := t.AuditHeads(ctx, customerID, false)
	if err != nil {
		return nil, err
	}
	if len(heads) == 0 {
		return errors.New("it has events and no head; nothing was trimmed"), nil
	}
	h := heads[0]
	if h.TrimmedSeq > 0 && !begins(h, t.sealer) {
		return errors.New("where it begins is not sealed by a master key that is held; nothing was trimmed"), nil
	}
	kept := h.TrimmedSeq
	check := keystore.NewAuditCheck(customerID, t.sealer)
	check.From(h)
	for _, e := range old {
		if e.Seq <= kept {
			continue // another process was faster
		}
		if check.Add(e); check.Broken() {
			p := check.Problem()
			broken = fmt.Errorf("event %d does not verify (%s): %s; it and what follows was kept", p.Seq, p.Code, p.Detail)
			break
		}
		h.TrimmedSeq, h.TrimmedHash = check.Seq(), check.Hash()
	}
	if h.TrimmedSeq == kept {
		return broken, nil
	}
	root, err := t.auditState(ctx)
	if err != nil {
		return nil, err
	}
	root.Trimmed, root.changed = root.Trimmed+h.TrimmedSeq-kept, true
	if err := t.exec(ctx, "DELETE FROM audit WHERE customer_id = ? AND seq > 0 AND seq <= ?", customerID, h.TrimmedSeq); err != nil {
		return nil, err
	}
	return broken, t.sealTrimmed(ctx, h, t.sealer)
}

// sealTrimmed stores where a chain begins, under a new seal.
func (t *tx) sealTrimmed(ctx context.Context, h keystore.AuditHead, by keystore.AuditSealer) error {
	mac, masterKeyID := by.Seal(keystore.SealTrimmed, h.TrimmedDigest())
	return t.exec(ctx, "UPDATE audit_heads SET trimmed_seq = ?, trimmed_hash = ?, trimmed_mac = ?, trimmed_master_key_id = ? WHERE customer_id = ?",
		h.TrimmedSeq, h.TrimmedHash[:], mac[:], masterKeyID, h.CustomerID)
}
