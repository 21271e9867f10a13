package sqlstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
)

// PutKey stores a key and exactly its secrets.
func (t *tx) PutKey(ctx context.Context, k *keystore.Key) error {
	before, err := t.checkKey(ctx, k)
	if err != nil {
		return err
	}
	cidrs, err := encodeCIDRs(k.AllowedCIDRs)
	if err != nil {
		return err
	}
	labels, err := encodeLabels(k.Labels)
	if err != nil {
		return err
	}
	normaliseKey(k)
	k.Revision = t.revision()
	err = t.later(ctx, `INSERT INTO keys (id, client_id, name, description, customer_id, microtenant_id, role_id, enabled,
			session_validity_ns, expires_at, allowed_cidrs, labels, source, disabled_here, generation,
			last_used, last_used_address, last_used_route, created, created_by, modified, modified_by, revision, search)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET client_id = excluded.client_id, name = excluded.name, description = excluded.description,
			customer_id = excluded.customer_id, microtenant_id = excluded.microtenant_id, role_id = excluded.role_id,
			enabled = excluded.enabled, session_validity_ns = excluded.session_validity_ns, expires_at = excluded.expires_at,
			allowed_cidrs = excluded.allowed_cidrs, labels = excluded.labels, source = excluded.source,
			disabled_here = excluded.disabled_here, generation = excluded.generation, last_used = excluded.last_used,
			last_used_address = excluded.last_used_address, last_used_route = excluded.last_used_route, created = excluded.created, created_by = excluded.created_by,
			modified = excluded.modified, modified_by = excluded.modified_by, revision = excluded.revision, search = excluded.search`,
		k.ID, k.ClientID, k.Name, k.Description, k.CustomerID, k.MicrotenantID, k.RoleID, k.Enabled,
		int64(k.SessionValidity), millis(k.ExpiresAt), cidrs, labels, k.Source, k.DisabledHere, k.Generation,
		millis(k.LastUsed), k.LastUsedAddress, k.LastUsedRoute, millis(k.Created), k.CreatedBy, millis(k.Modified), k.ModifiedBy, k.Revision,
		fold(k.Name)+"\n"+fold(k.Description)+"\n"+fold(k.ClientID))
	if err != nil {
		return err
	}
	if err := t.putSecrets(ctx, k, before == nil); err != nil {
		return err
	}
	if before != nil && before.clientID != k.ClientID {
		t.log(keystore.Change{Kind: keystore.KindKey, ID: k.ID, ClientID: before.clientID})
	}
	t.log(keystore.Change{Kind: keystore.KindKey, ID: k.ID, ClientID: k.ClientID})
	return t.tombKey(ctx, before, k)
}

// normaliseKey makes a key what it will be when read back.
func normaliseKey(k *keystore.Key) {
	round(&k.ExpiresAt, &k.LastUsed, &k.Created, &k.Modified)
	for i := range k.Secrets {
		s := &k.Secrets[i]
		round(&s.Created, &s.Expires, &s.Retired, &s.LastUsed, &s.Tried)
	}
	if len(k.AllowedCIDRs) == 0 {
		k.AllowedCIDRs = nil
	}
	if len(k.Labels) == 0 {
		k.Labels = nil
	}
	if len(k.Secrets) == 0 {
		k.Secrets = nil
	}
}

// checkKey answers what stands against storing k, and the key as it was, nil for a
// new one.
func (t *tx) checkKey(ctx context.Context, k *keystore.Key) (before *storedKey, err error) {
	switch {
	case k.ID == "":
		return nil, missing("id")
	case k.ClientID == "":
		return nil, missing("client_id")
	}
	if before, err = t.storedKey(ctx, k.ID); err != nil {
		return nil, err
	}
	if err := t.refer(ctx, "customer_id", "SELECT 1 FROM customers WHERE id = ?", k.CustomerID); err != nil {
		return nil, err
	}
	if k.MicrotenantID != "" {
		err := t.refer(ctx, "microtenant_id", "SELECT 1 FROM microtenants WHERE customer_id = ? AND id = ?", k.CustomerID, k.MicrotenantID)
		if err != nil {
			return nil, err
		}
	}
	// A role of another customer is as good as none.
	if err := t.refer(ctx, "role_id", "SELECT 1 FROM roles WHERE id = ? AND customer_id IN ('', ?)", k.RoleID, k.CustomerID); err != nil {
		return nil, err
	}
	if k.Source != "" {
		if err := t.refer(ctx, "source", "SELECT 1 FROM sources WHERE customer_id = ? AND name = ?", k.CustomerID, k.Source); err != nil {
			return nil, err
		}
	}
	if err := t.refuse(ctx, keystore.ErrConflict, "client_id", "SELECT 1 FROM keys WHERE client_id = ? AND id <> ?", k.ClientID, k.ID); err != nil {
		return nil, err
	}
	err = t.refuse(ctx, keystore.ErrConflict, "name", "SELECT 1 FROM keys WHERE customer_id = ? AND microtenant_id = ? AND name = ? AND id <> ?",
		k.CustomerID, k.MicrotenantID, k.Name, k.ID)
	if err != nil {
		return nil, err
	}
	return before, t.checkSecrets(ctx, k)
}

func (t *tx) checkSecrets(ctx context.Context, k *keystore.Key) error {
	live := 0
	for i, s := range k.Secrets {
		if s.Live(t.now.Wall) {
			live++
		}
		if s.ID == "" {
			return missing("secret id")
		}
		if slices.ContainsFunc(k.Secrets[:i], func(o keystore.Secret) bool { return o.ID == s.ID }) {
			return field("secrets", keystore.ErrConflict)
		}
		if err := t.refuse(ctx, keystore.ErrConflict, "secrets", "SELECT 1 FROM secrets WHERE id = ? AND key_id <> ?", s.ID, k.ID); err != nil {
			return err
		}
	}
	if live > keystore.MaxLiveSecrets {
		return t.checkAdded(ctx, k, live)
	}
	return nil
}

// checkAdded refuses a live secret beyond the bound, unless it is stored as it
// is: a clock that was set back brings some to life, and the key must still be
// there to be changed.
func (t *tx) checkAdded(ctx context.Context, k *keystore.Key, live int) error {
	for _, s := range k.Secrets {
		if !s.Live(t.now.Wall) {
			continue
		}
		stored, err := t.exists(ctx, "SELECT 1 FROM secrets WHERE id = ? AND key_id = ? AND retired = 0", s.ID, k.ID)
		if err != nil {
			return err
		}
		if !stored {
			return fmt.Errorf("key with %d live secrets, at most %d are allowed", live, keystore.MaxLiveSecrets)
		}
	}
	return nil
}

// putSecrets stores exactly the secrets of k, of which a new key has none yet.
func (t *tx) putSecrets(ctx context.Context, k *keystore.Key, isNew bool) error {
	if !isNew {
		if err := t.later(ctx, "DELETE FROM secrets WHERE key_id = ?", k.ID); err != nil {
			return err
		}
	}
	for pos, s := range k.Secrets {
		err := t.later(ctx, `INSERT INTO secrets (key_id, pos, id, verifier, master_key_id, hint, created, expires, retired, ends,
				last_used, last_used_address, tried, tried_address)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			k.ID, pos, s.ID, s.Verifier[:], s.MasterKeyID, s.Hint, millis(s.Created), millis(s.Expires), millis(s.Retired), millis(s.End()),
			millis(s.LastUsed), s.LastUsedAddress, millis(s.Tried), s.TriedAddress)
		if err != nil {
			return err
		}
	}
	if len(k.Secrets) > 0 {
		return t.noteMasterKey(ctx, k.Secrets[0].MasterKeyID) // the newest
	}
	return nil
}

// noteMasterKey remembers the master key used last: opening the store without it
// is a mistake even when no secret of it is left.
func (t *tx) noteMasterKey(ctx context.Context, id string) error {
	if t.masterKeyID == id || id == "" {
		return nil
	}
	if err := t.exec(ctx, "UPDATE state SET master_key_id = ?", id); err != nil {
		return err
	}
	t.masterKeyID = id
	return nil
}

// DeleteKey removes a key and all that hangs on it: secrets, sessions, counts.
func (t *tx) DeleteKey(ctx context.Context, id string) error {
	clientID, err := t.clientID(ctx, id)
	if err != nil {
		return err
	}
	for _, text := range []string{
		"DELETE FROM tallies WHERE key_id = ?",
		"DELETE FROM sessions WHERE key_id = ?",
		"DELETE FROM secrets WHERE key_id = ?",
		"DELETE FROM keys WHERE id = ?",
	} {
		if err := t.later(ctx, text, id); err != nil {
			return err
		}
	}
	t.log(keystore.Change{Kind: keystore.KindKey, ID: id, ClientID: clientID})
	return t.tomb(ctx, keystore.Tombstone{Kind: keystore.TombKey, ID: id, Gone: true})
}

// Rewrap replaces a verifier by the same secret's under another master key.
func (t *tx) Rewrap(ctx context.Context, secretID string, verifier [32]byte, masterKeyID string) error {
	var keyID, clientID string
	err := t.row(ctx, []any{&keyID, &clientID}, "SELECT k.id, k.client_id FROM secrets s JOIN keys k ON k.id = s.key_id WHERE s.id = ?", secretID)
	if err != nil {
		return err
	}
	if err := t.exec(ctx, "UPDATE secrets SET verifier = ?, master_key_id = ? WHERE id = ?", verifier[:], masterKeyID, secretID); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindKey, ID: keyID, ClientID: clientID})
	return t.noteMasterKey(ctx, masterKeyID)
}
