package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	keyColumns = `k.id, k.client_id, k.name, k.description, k.customer_id, k.microtenant_id, k.role_id, k.enabled,
		k.session_validity_ns, k.expires_at, k.allowed_cidrs, k.labels, k.source, k.disabled_here, k.generation,
		k.last_used, k.last_used_address, k.last_used_route, k.created, k.created_by, k.modified, k.modified_by, k.revision`
	secretColumns = `s.key_id, s.id, s.verifier, s.master_key_id, s.hint, s.created, s.expires, s.retired,
		s.last_used, s.last_used_address, s.tried, s.tried_address`

	selectKey = "SELECT " + keyColumns + `,
			coalesce(s.key_id, ''), coalesce(s.id, ''), s.verifier, coalesce(s.master_key_id, ''), coalesce(s.hint, ''),
			coalesce(s.created, 0), coalesce(s.expires, 0), coalesce(s.retired, 0),
			coalesce(s.last_used, 0), coalesce(s.last_used_address, ''), coalesce(s.tried, 0), coalesce(s.tried_address, '')
		FROM keys k LEFT JOIN secrets s ON s.key_id = k.id `
	keyByClientID = selectKey + "WHERE k.client_id = ? ORDER BY s.pos"
	keyByID       = selectKey + "WHERE k.id = ? ORDER BY s.pos"
)

// keyRow receives the columns of a key.
type keyRow struct {
	key               keystore.Key
	validity          int64
	expires, used     int64
	created, modified int64
	cidrs, labels     string
	dest              [23]any
}

func (k *keyRow) into() []any {
	k.dest = [...]any{&k.key.ID, &k.key.ClientID, &k.key.Name, &k.key.Description, &k.key.CustomerID, &k.key.MicrotenantID, &k.key.RoleID,
		&k.key.Enabled, &k.validity, &k.expires, &k.cidrs, &k.labels, &k.key.Source, &k.key.DisabledHere, &k.key.Generation,
		&k.used, &k.key.LastUsedAddress, &k.key.LastUsedRoute, &k.created, &k.key.CreatedBy, &k.modified, &k.key.ModifiedBy, &k.key.Revision}
	return k.dest[:]
}

// read is the key of the columns received, without its secrets.
func (k *keyRow) read() (*keystore.Key, error) {
	key := k.key
	key.SessionValidity = time.Duration(k.validity)
	key.ExpiresAt, key.LastUsed = fromMillis(k.expires), fromMillis(k.used)
	key.Created, key.Modified = fromMillis(k.created), fromMillis(k.modified)
	var err error
	if key.AllowedCIDRs, err = decodeCIDRs(k.cidrs); err != nil {
		return nil, fmt.Errorf("key %s: %w", key.ID, err)
	}
	if key.Labels, err = decodeLabels(k.labels); err != nil {
		return nil, fmt.Errorf("key %s: %w", key.ID, err)
	}
	return &key, nil
}

func scanKey(scan scanner) (*keystore.Key, error) {
	var k keyRow
	if err := scan(k.into()...); err != nil {
		return nil, err
	}
	return k.read()
}

// secretRow receives the columns of a secret.
type secretRow struct {
	keyID                     string
	secret                    keystore.Secret
	verifier                  []byte
	created, expires, retired int64
	used, tried               int64
	dest                      [12]any
}

func (s *secretRow) into() []any {
	s.dest = [...]any{&s.keyID, &s.secret.ID, &s.verifier, &s.secret.MasterKeyID, &s.secret.Hint,
		&s.created, &s.expires, &s.retired, &s.used, &s.secret.LastUsedAddress, &s.tried, &s.secret.TriedAddress}
	return s.dest[:]
}

func (s *secretRow) read() keystore.Secret {
	secret := s.secret
	copy(secret.Verifier[:], s.verifier)
	secret.Created, secret.Expires = fromMillis(s.created), fromMillis(s.expires)
	secret.Retired, secret.LastUsed, secret.Tried = fromMillis(s.retired), fromMillis(s.used), fromMillis(s.tried)
	return secret
}

// inOrder puts live secrets first, newest first, and leaves out those that are
// neither live nor remembered.
func inOrder(secrets []keystore.Secret, now time.Time) []keystore.Secret {
	secrets = slices.DeleteFunc(secrets, func(s keystore.Secret) bool { return !s.Live(now) && !s.Remembered(now) })
	if len(secrets) == 0 {
		return nil
	}
	slices.SortStableFunc(secrets, func(a, b keystore.Secret) int {
		if la, lb := a.Live(now), b.Live(now); la != lb {
			if la {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Created.UnixMilli(), a.Created.UnixMilli())
	})
	return secrets
}

// Key is the key with that id.
func (r *reader) Key(ctx context.Context, id string) (*keystore.Key, error) {
	return r.oneKey(ctx, keyByID, id)
}

// KeyByClientID is the key of a client ID, compared byte for byte.
func (r *reader) KeyByClientID(ctx context.Context, clientID string) (*keystore.Key, error) {
	return r.oneKey(ctx, keyByClientID, clientID)
}

func (r *reader) oneKey(ctx context.Context, text, arg string) (*keystore.Key, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	rows, err := r.conn.Query(ctx, text, arg)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	// Not by list: this is the way of every request that no cache answers.
	row := r.conn.Keeps().lookup()
	var secrets []keystore.Secret
	found := false
	for err == nil && rows.Next() {
		found = true
		if err = rows.Scan(row.dest...); err == nil && row.secret.keyID != "" { // else a key without secrets
			secrets = append(secrets, row.secret.read())
		}
	}
	if err = errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return nil, r.failed(ctx, err)
	}
	if !found {
		return nil, keystore.ErrNotFound
	}
	key, err := row.key.read()
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	key.Secrets = inOrder(secrets, r.now.Wall)
	return key, nil
}

// lookupRow receives a key and one of its secrets.
type lookupRow struct {
	key    keyRow
	secret secretRow
	dest   []any
}

// lookup is the connection's place to receive a key in, made once: a lookup
// then allocates little but the key itself.
func (s *Scratch) lookup() *lookupRow {
	if s.row == nil {
		s.row = new(lookupRow)
		s.row.dest = slices.Concat(s.row.key.into(), s.row.secret.into())
	}
	return s.row
}

// addSecrets reads the secrets of many keys at once.
func (r *reader) addSecrets(ctx context.Context, keys []*keystore.Key) error {
	if len(keys) == 0 {
		return nil
	}
	byID := make(map[string]*keystore.Key, len(keys))
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i], byID[k.ID] = k.ID, k
	}
	wanted, err := r.dialect.List(ids)
	if err != nil {
		return err
	}
	var row secretRow
	dest := row.into()
	_, err = list(ctx, r, func(scan scanner) (struct{}, error) {
		err := scan(dest...)
		if k := byID[row.keyID]; err == nil && k != nil {
			k.Secrets = append(k.Secrets, row.read())
		}
		return struct{}{}, err
	}, "SELECT "+secretColumns+" FROM secrets s WHERE s.key_id IN ("+r.dialect.Each+") ORDER BY s.key_id, s.pos", wanted)
	if err != nil {
		return err
	}
	for _, k := range keys {
		k.Secrets = inOrder(k.Secrets, r.now.Wall)
	}
	return nil
}
