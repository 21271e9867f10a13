package lifecycle

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// MaxOnceKey is the longest name of a request, in bytes.
const MaxOnceKey = 255

// onceInfo names the key that fingerprints are kept under, one per master key.
const onceInfo = "keyreeve idempotency v1"

// Once is a caller's name for a request that makes something, so that a retry of
// it makes nothing more: what HTTP calls an Idempotency-Key.
type Once struct {
	// Key is the caller's own; two actors' never meet.
	Key string
	// Fingerprint is of all that was asked for.
	Fingerprint [32]byte
}

// made is what a create operation returns: a view of a record.
type made interface {
	// at is where the view keeps the record's revision.
	at() *keystore.Revision
	// redact takes out what is shown only once.
	redact()
}

// create runs fn in one transaction, or, where the request was done before under
// the same name, returns what that made, without secrets. fn is not run then, so
// it must hold every check of the actor's rights that `may` does not.
func create[T any, P interface {
	*T
	made
}](ctx context.Context, s *Service, a Actor, may func(*op) error, fn func(*op) (T, error)) (T, Commit, error) {
	var out T
	replayed := false
	commit, err := s.update(ctx, a, func(o *op) (err error) {
		if err := may(o); err != nil {
			return err
		}
		if replayed, err = replay(o, P(&out)); err != nil || replayed {
			if _, is := any(P(&out)).(revoking); is {
				o.revokeNow()
			}
			return err
		}
		if out, err = fn(o); err != nil {
			return err
		}
		kept := out
		return remember(o, P(&kept))
	})
	if err != nil {
		var none T
		return none, Commit{}, err
	}
	commit.Replayed = replayed
	return out, commit, nil
}

// replay fills out from what the request made before; false if it was not done.
func replay(o *op, out made) (bool, error) {
	once := o.actor.Once
	if once == nil {
		return false, nil
	}
	done, err := o.r.Idempotency(o.ctx, o.actor.label(), once.Key)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case !o.sameRequest(done, once):
		return false, &Error{Kind: Unprocessable, Code: CodeIdempotencyReused,
			Detail: "this Idempotency-Key was used for another request; use a new one for each"}
	}
	if err := json.Unmarshal(done.Result, out); err != nil {
		return false, fmt.Errorf("what was answered before: %w", err)
	}
	if r, is := out.(placed); is {
		if customerID, microtenantID := r.place(); customerID != "" && !o.actor.sees(customerID, microtenantID) {
			return false, notFound("record: what this request made is out of the acting key's reach now")
		}
	}
	*out.at() = done.Revision
	return true, nil
}

// placed is made, of a customer or microtenant: "" is of all.
type placed interface {
	place() (customerID, microtenantID string)
}

// sealOnce is a fingerprint as stored: keyed, since a request may hold the digest
// of an imported secret, and whoever reads the store must not test guesses at it.
func (o *op) sealOnce(masterKeyID string, fingerprint [32]byte) [32]byte {
	key, _ := o.cfg.Keyring.Derive(masterKeyID, onceInfo)
	h := hmac.New(sha256.New, key[:])
	h.Write(fingerprint[:])
	return [32]byte(h.Sum(nil))
}

// sameRequest tries every master key held: the current one may have changed since.
func (o *op) sameRequest(done *keystore.Idempotency, once *Once) bool {
	return slices.ContainsFunc(o.cfg.Keyring.IDs(), func(id string) bool {
		return credential.Equal(done.Fingerprint, o.sealOnce(id, once.Fingerprint))
	})
}

// remember keeps what was made for a retry. kept is the caller's own copy.
func remember(o *op, kept made) error {
	once := o.actor.Once
	if once == nil {
		return nil
	}
	kept.redact()
	result, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	err = o.tx.PutIdempotency(o.ctx, &keystore.Idempotency{Owner: o.actor.label(), Key: once.Key, Created: o.stamp(),
		Fingerprint: o.sealOnce(o.cfg.Keyring.CurrentID(), once.Fingerprint),
		Result:      result, Revision: *kept.at()})
	if errors.Is(err, keystore.ErrConflict) { // another node was faster
		return &Error{Kind: Conflict, Code: CodeIdempotencyInProgress, Detail: "a request with this Idempotency-Key is being done; try again in a moment"}
	}
	return err
}

func (k *Key) at() *keystore.Revision         { return &k.Revision }
func (k *Key) redact()                        {}
func (k *CreatedKey) redact()                 { k.ClientSecret = "" }
func (r *Role) at() *keystore.Revision        { return &r.Revision }
func (*Role) redact()                         {}
func (c *Customer) at() *keystore.Revision    { return &c.Revision }
func (*Customer) redact()                     {}
func (m *Microtenant) at() *keystore.Revision { return &m.Revision }
func (*Microtenant) redact()                  {}

func (k *Key) place() (customerID, microtenantID string) {
	return k.CustomerID, orZero(k.MicrotenantID)
}
func (r *Role) place() (customerID, microtenantID string)        { return orZero(r.CustomerID), "" }
func (c *Customer) place() (customerID, microtenantID string)    { return c.ID, "" }
func (m *Microtenant) place() (customerID, microtenantID string) { return m.CustomerID, m.ID }
func (s *Source) place() (customerID, microtenantID string)      { return s.CustomerID, "" }

// orZero is the value of an optional member.
func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
