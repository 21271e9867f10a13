package sqlstore

import (
	"context"

	"github.com/keyreeve/keyreeve/keystore"
)

func scanSigningKey(scan scanner) (*keystore.SigningKey, error) {
	var k keystore.SigningKey
	var created, from, until, expires int64
	if err := scan(&k.ID, &k.Algorithm, &k.Public, &k.Sealed, &k.MasterKeyID, &created, &from, &until, &expires); err != nil {
		return nil, err
	}
	k.Created, k.SignFrom, k.SignUntil, k.Expires = fromMillis(created), fromMillis(from), fromMillis(until), fromMillis(expires)
	return &k, nil
}

// SigningKeys lists the keys whose tokens may still be good.
func (r *reader) SigningKeys(ctx context.Context) ([]*keystore.SigningKey, error) {
	return list(ctx, r, scanSigningKey, `SELECT id, algorithm, public, sealed, master_key_id, created, sign_from, sign_until, expires
		FROM signing_keys WHERE expires > ? ORDER BY id`, millis(r.now.Wall))
}

// StoreID is the random name that the first migration gave the store.
func (r *reader) StoreID(ctx context.Context) (id string, err error) {
	err = r.row(ctx, []any{&id}, "SELECT store_id FROM state")
	return id, err
}

// PutSigningKey stores a signing key.
func (t *tx) PutSigningKey(ctx context.Context, k *keystore.SigningKey) error {
	if k.ID == "" {
		return missing("id")
	}
	round(&k.Created, &k.SignFrom, &k.SignUntil, &k.Expires)
	err := t.exec(ctx, `INSERT INTO signing_keys (id, algorithm, public, sealed, master_key_id, created, sign_from, sign_until, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, master_key_id = excluded.master_key_id,
			sign_from = excluded.sign_from, sign_until = excluded.sign_until, expires = excluded.expires`,
		k.ID, k.Algorithm, string(k.Public), k.Sealed, k.MasterKeyID, millis(k.Created), millis(k.SignFrom), millis(k.SignUntil), millis(k.Expires))
	if err != nil {
		return err
	}
	if err := t.noteMasterKey(ctx, k.MasterKeyID); err != nil {
		return err
	}
	t.log(keystore.Change{Kind: keystore.KindSigningKey, ID: k.ID})
	return nil
}
