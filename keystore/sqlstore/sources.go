package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

const selectSource = "SELECT customer_id, name, owner, rule, max_role_id, created, modified, synced, synced_by, revision FROM sources "

func scanSource(scan scanner) (*keystore.Source, error) {
	var s keystore.Source
	var created, modified, synced int64
	if err := scan(&s.CustomerID, &s.Name, &s.Owner, &s.Rule, &s.MaxRoleID, &created, &modified, &synced, &s.SyncedBy, &s.Revision); err != nil {
		return nil, err
	}
	s.Created, s.Modified, s.Synced = fromMillis(created), fromMillis(modified), fromMillis(synced)
	return &s, nil
}

// Source is the source of that name in that customer.
func (r *reader) Source(ctx context.Context, customerID, name string) (*keystore.Source, error) {
	return first(list(ctx, r, scanSource, selectSource+"WHERE customer_id = ? AND name = ?", customerID, name))
}

// Sources lists a customer's sources, by name.
func (r *reader) Sources(ctx context.Context, customerID string) ([]*keystore.Source, error) {
	if customerID == "" {
		return list(ctx, r, scanSource, selectSource+"ORDER BY name, customer_id")
	}
	return list(ctx, r, scanSource, selectSource+"WHERE customer_id = ? ORDER BY name", customerID)
}

// PutSource stores a source of a customer that exists, bounded by a role that
// the customer may use.
func (t *tx) PutSource(ctx context.Context, s *keystore.Source) error {
	if s.Name == "" {
		return missing("name")
	}
	if s.Rule != keystore.SourceReadOnly && s.Rule != keystore.SourceLocked {
		return fmt.Errorf("unknown rule %q of a source, expected %s or %s", s.Rule, keystore.SourceReadOnly, keystore.SourceLocked)
	}
	if err := t.require(ctx, "customer_id", "SELECT 1 FROM customers WHERE id = ?", s.CustomerID); err != nil {
		return err
	}
	err := t.require(ctx, "max_role_id", "SELECT 1 FROM roles WHERE id = ? AND customer_id IN ('', ?)", s.MaxRoleID, s.CustomerID)
	if err != nil {
		return err
	}
	round(&s.Created, &s.Modified, &s.Synced)
	s.Revision = t.revision()
	err = t.exec(ctx, `INSERT INTO sources (customer_id, name, owner, rule, max_role_id, created, modified, synced, synced_by, revision)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (customer_id, name) DO UPDATE SET owner = excluded.owner, rule = excluded.rule, max_role_id = excluded.max_role_id,
			created = excluded.created, modified = excluded.modified, synced = excluded.synced, synced_by = excluded.synced_by,
			revision = excluded.revision`,
		s.CustomerID, s.Name, s.Owner, s.Rule, s.MaxRoleID, millis(s.Created), millis(s.Modified), millis(s.Synced), s.SyncedBy, s.Revision)
	if err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindSource, ID: s.Name, CustomerID: s.CustomerID})
	return nil
}

// TouchSource records a push that changed nothing.
func (t *tx) TouchSource(ctx context.Context, customerID, name string, at time.Time, by string) error {
	return t.one(ctx, "UPDATE sources SET synced = ?, synced_by = ? WHERE customer_id = ? AND name = ?", millis(at), by, customerID, name)
}

// DeleteSource removes a source that owns no key any more.
func (t *tx) DeleteSource(ctx context.Context, customerID, name string) error {
	if name == "" { // stands for Keyreeve itself in keys
		return keystore.ErrNotFound
	}
	err := t.refuse(ctx, keystore.ErrInUse, "keys", "SELECT 1 FROM keys WHERE customer_id = ? AND source = ? AND source <> ''", customerID, name)
	if err != nil {
		return err
	}
	if err := t.one(ctx, "DELETE FROM sources WHERE customer_id = ? AND name = ?", customerID, name); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindSource, ID: name, CustomerID: customerID})
	return nil
}
