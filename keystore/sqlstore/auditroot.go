package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/keystore"
)

// trail is what is known of the audit trail in one write transaction: each end
// is read once and written and sealed once, however many events there are.
type trail struct {
	root  *rootState
	ends  map[string]*chainEnd // by customer
	order []*chainEnd
}

// rootState is the count of all events.
type rootState struct {
	keystore.AuditRoot
	// intact: it was genuine and the newest event has its number.
	intact  bool
	changed bool
}

// errUnheld is that an end of the trail is sealed under a master key that is not
// held. To write on would be to take the seal away, or to vouch for what nobody
// could look at.
var errUnheld = errors.New("which is not held here, so nothing was written: name that key in master_key_file too, and reload")

func unheld(what, masterKeyID string) error {
	return fmt.Errorf("%s is sealed under the master key %s, %w", what, masterKeyID, errUnheld)
}

const selectRoot = "SELECT appended, trimmed, unchained, unchained_id, since, mac, master_key_id FROM audit_root"

// auditRoot is the stored count of all events, nil where it is gone.
func (r *reader) auditRoot(ctx context.Context) (*keystore.AuditRoot, error) {
	var root keystore.AuditRoot
	var since int64
	var mac []byte
	err := r.row(ctx, []any{&root.Appended, &root.Trimmed, &root.Unchained, &root.UnchainedID, &since, &mac, &root.MasterKeyID}, selectRoot)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, nil
	}
	root.Since = fromMillis(since)
	copy(root.MAC[:], mac)
	return &root, err
}

// AuditTotals counts by the indexes of the numbers and of what has none.
func (r *reader) AuditTotals(ctx context.Context) (t keystore.AuditTotals, err error) {
	if t.Root, err = r.auditRoot(ctx); err != nil {
		return t, err
	}
	err = r.row(ctx, []any{&t.Chained, &t.Numbers, &t.Newest, &t.Heads},
		"SELECT count(*), count(DISTINCT number), coalesce(max(number), 0), (SELECT count(*) FROM audit_heads) FROM audit WHERE seq > 0")
	if err != nil {
		return t, err
	}
	// Below 0 the schema has none, but for who went around it.
	err = r.row(ctx, []any{&t.Unchained, &t.UnchainedID}, "SELECT count(*), coalesce(max(id), 0) FROM audit WHERE seq <= 0")
	return t, err
}

// AuditCustomers walks an index from each customer to the next.
func (r *reader) AuditCustomers(ctx context.Context) ([]string, error) {
	return list(ctx, r, func(scan scanner) (id string, err error) { return id, scan(&id) }, `
		WITH RECURSIVE known (id) AS (
			SELECT min(customer_id) FROM audit
			UNION ALL
			SELECT (SELECT min(customer_id) FROM audit WHERE customer_id > known.id) FROM known WHERE known.id IS NOT NULL
		)
		SELECT id FROM known WHERE id IS NOT NULL`)
}

// beginTrail makes the count of all events, once: where events were counted
// before, one that is gone stays gone.
func (t *tx) beginTrail(ctx context.Context) error {
	totals, err := t.AuditTotals(ctx)
	if err != nil || totals.Root != nil || totals.Begun() {
		return err
	}
	t.trail.root = &rootState{AuditRoot: keystore.AuditRoot{Unchained: totals.Unchained, UnchainedID: totals.UnchainedID, Since: t.now.Wall}}
	return t.storeRoot(ctx)
}

// auditState is the count of all events as this transaction leaves it.
func (t *tx) auditState(ctx context.Context) (*rootState, error) {
	if t.trail.root != nil {
		return t.trail.root, nil
	}
	if t.sealer == nil {
		return nil, errUnsealed
	}
	stored, err := t.auditRoot(ctx)
	if err != nil {
		return nil, err
	}
	var newest int64
	if err := t.row(ctx, []any{&newest}, "SELECT coalesce(max(number), 0) FROM audit WHERE seq > 0"); err != nil {
		return nil, err
	}
	s := &rootState{AuditRoot: keystore.AuditRoot{Since: t.now.Wall}}
	if stored != nil {
		s.AuditRoot = *stored
		ok, known := t.sealer.Check(keystore.SealRoot, s.Digest(), s.MAC, s.MasterKeyID)
		if !known && s.MasterKeyID != "" {
			return nil, unheld("the count of all audit events", s.MasterKeyID)
		}
		if s.intact = ok && known && newest == s.Appended; s.MasterKeyID == "" && s.Appended == 0 && newest == 0 {
			begun, err := t.exists(ctx, "SELECT 1 FROM audit_heads LIMIT 1")
			if err != nil {
				return nil, err
			}
			s.intact = !begun // it was made, and nothing was written since
		}
	}
	s.Appended = max(s.Appended, newest)
	t.trail.root = s
	return s, nil
}

// storeTrail writes what the events of this transaction changed besides.
func (t *tx) storeTrail(ctx context.Context) error {
	for _, end := range t.trail.order {
		h := &end.head
		h.MAC, h.MasterKeyID = [32]byte{}, ""
		if end.sound {
			h.MAC, h.MasterKeyID = t.sealer.Seal(keystore.SealHead, h.HeadDigest())
		}
		err := t.exec(ctx, `INSERT INTO audit_heads (customer_id, seq, hash, mac, master_key_id) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (customer_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, mac = excluded.mac, master_key_id = excluded.master_key_id`,
			h.CustomerID, h.Seq, h.Hash[:], h.MAC[:], h.MasterKeyID)
		if err != nil {
			return err
		}
	}
	t.trail.ends, t.trail.order = nil, nil
	if s := t.trail.root; s != nil && s.changed {
		s.MAC, s.MasterKeyID, s.changed = [32]byte{}, "", false
		if s.intact {
			s.MAC, s.MasterKeyID = t.sealer.Seal(keystore.SealRoot, s.Digest())
		}
		return t.storeRoot(ctx)
	}
	return nil
}

func (t *tx) storeRoot(ctx context.Context) error {
	r := &t.trail.root.AuditRoot
	return t.exec(ctx, `INSERT INTO audit_root (one, appended, trimmed, unchained, unchained_id, since, mac, master_key_id) VALUES (1, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (one) DO UPDATE SET appended = excluded.appended, trimmed = excluded.trimmed, unchained = excluded.unchained,
			unchained_id = excluded.unchained_id, since = excluded.since, mac = excluded.mac, master_key_id = excluded.master_key_id`,
		r.Appended, r.Trimmed, r.Unchained, r.UnchainedID, millis(r.Since), r.MAC[:], r.MasterKeyID)
}

// AuditHeads is that of the reader, with what this transaction appended.
func (t *tx) AuditHeads(ctx context.Context, customerID string, all bool) ([]keystore.AuditHead, error) {
	if err := t.storeTrail(ctx); err != nil {
		return nil, err
	}
	return t.reader.AuditHeads(ctx, customerID, all)
}

// AuditTotals likewise.
func (t *tx) AuditTotals(ctx context.Context) (keystore.AuditTotals, error) {
	if err := t.storeTrail(ctx); err != nil {
		return keystore.AuditTotals{}, err
	}
	return t.reader.AuditTotals(ctx)
}
