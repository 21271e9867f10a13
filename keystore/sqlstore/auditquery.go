package sqlstore

import (
	"context"
	"errors"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

const auditColumns = `a.id, a.seq, a.number, a.at, a.customer_id, a.microtenant_id, a.actor_kind, a.actor_id, a.actor_name, a.address, a.request_id,
	a.action, a.target_kind, a.target_id, a.target_name, a.before, a.after, a.hash, a.mac, a.master_key_id`

func scanAudit(scan scanner) (*keystore.Audit, error) {
	var e keystore.Audit
	var at int64
	var before, after, hash, mac []byte
	err := scan(&e.ID, &e.Seq, &e.Number, &at, &e.CustomerID, &e.MicrotenantID, &e.ActorKind, &e.ActorID, &e.ActorName, &e.Address, &e.RequestID,
		&e.Action, &e.TargetKind, &e.TargetID, &e.TargetName, &before, &after, &hash, &mac, &e.MasterKeyID)
	if err != nil {
		return nil, err
	}
	e.At, e.Before, e.After = fromMillis(at), before, after
	copy(e.Hash[:], hash)
	copy(e.MAC[:], mac)
	return &e, nil
}

// AuditEvents lists one page of the matching events and counts them all, unless
// that is not wanted.
func (r *reader) AuditEvents(ctx context.Context, q keystore.AuditQuery) ([]*keystore.Audit, int, error) {
	var c conditions
	switch {
	case q.NoCustomer && q.CustomerID != "":
		return nil, 0, errors.New("an audit query names a customer and asks for events of none")
	case q.NoCustomer:
		c.add("a.customer_id = ''")
	case q.CustomerID == "" && !q.AllCustomers:
		return nil, 0, errors.New("an audit query must name its customer, or ask for all or for none")
	}
	c.equal("a.customer_id", q.CustomerID)
	c.equal("a.microtenant_id", q.MicrotenantID)
	if q.ActorID == keystore.ActorSystem { // which has no id of its own
		c.add("a.actor_id = '' AND a.actor_kind = ?", keystore.ActorSystem)
	} else {
		c.equal("a.actor_id", q.ActorID)
	}
	c.equal("a.target_kind", q.TargetKind)
	c.equal("a.target_id", q.TargetID)
	if q.RequestID != "" {
		c.add("a.request_id = ? AND a.request_id <> ''", q.RequestID) // the second says that the partial index will do
	}
	if strings.HasSuffix(q.Action, ".") {
		c.add("substr(a.action, 1, length(?)) = ?", q.Action, q.Action)
	} else {
		c.equal("a.action", q.Action)
	}
	if !q.Since.IsZero() {
		c.add("a.at >= ?", millisUp(q.Since))
	}
	if !q.Until.IsZero() {
		c.add("a.at < ?", millisUp(q.Until))
	}
	return page(ctx, r, listing{columns: auditColumns, from: "audit a", match: c, order: []orderColumn{{column: "a.id", desc: !q.Oldest, number: true}}},
		place{after: q.After, offset: q.Offset, limit: q.Limit, uncounted: q.Uncounted}, scanAudit)
}

const selectHead = `SELECT customer_id, seq, hash, mac, master_key_id, trimmed_seq, trimmed_hash, trimmed_mac, trimmed_master_key_id FROM audit_heads `

func scanHead(scan scanner) (keystore.AuditHead, error) {
	var h keystore.AuditHead
	var hash, mac, trimmedHash, trimmedMAC []byte
	err := scan(&h.CustomerID, &h.Seq, &hash, &mac, &h.MasterKeyID, &h.TrimmedSeq, &trimmedHash, &trimmedMAC, &h.TrimmedMasterKeyID)
	copy(h.Hash[:], hash)
	copy(h.MAC[:], mac)
	copy(h.TrimmedHash[:], trimmedHash)
	copy(h.TrimmedMAC[:], trimmedMAC)
	return h, err
}

// AuditHeads lists the ends of one customer's chain, or of all chains by customer.
func (r *reader) AuditHeads(ctx context.Context, customerID string, all bool) ([]keystore.AuditHead, error) {
	if all {
		return list(ctx, r, scanHead, selectHead+"ORDER BY customer_id")
	}
	return list(ctx, r, scanHead, selectHead+"WHERE customer_id = ?", customerID)
}
