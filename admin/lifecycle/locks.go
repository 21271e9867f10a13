package lifecycle

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// LockedKey is a lock in force and the key that it locks.
type LockedKey struct {
	KeyID         string    `json:"key_id"`
	KeyName       string    `json:"key_name"`
	ClientID      string    `json:"client_id"`
	CustomerID    string    `json:"customer_id"`
	MicrotenantID *string   `json:"microtenant_id" nullable:"true" doc:"null is a key at customer level."`
	Source        *string   `json:"source" nullable:"true" doc:"Network that alone is locked out (guard mode); null is the whole client."`
	LockedAt      time.Time `json:"locked_at"`
	LockedUntil   time.Time `json:"locked_until"`
}

// LockFilter selects locks; empty fields do not filter.
type LockFilter struct {
	CustomerID    string
	MicrotenantID string
	Paging
}

// ListLocks lists the locks in force of the keys that the actor may see, by name.
func (s *Service) ListLocks(ctx context.Context, a Actor, f LockFilter) (Page[LockedKey], error) {
	var out Page[LockedKey]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceLocks, policy.Read); err != nil {
			return err
		}
		scope := o.scope(lockCursor, []string{f.CustomerID, f.MicrotenantID})
		at, err := f.Paging.check(o, scope, nil)
		if err != nil {
			return err
		}
		out = Page[LockedKey]{Items: []LockedKey{}}
		t, some := o.bound(tenant{customerID: f.CustomerID, microtenantID: f.MicrotenantID})
		if !some {
			return nil
		}
		locks, total, err := o.r.Locks(ctx, keystore.LockQuery{CustomerID: t.customerID, MicrotenantID: t.microtenantID, AllCustomers: t.all,
			After: at.after, Offset: at.offset, Limit: at.limit()})
		if err != nil {
			return err
		}
		out, err = pageOf(o, at, locks, total, sure(func(l keystore.Lock) keystore.Cursor { return l.Cursor() }),
			func(l keystore.Lock) (LockedKey, error) { return o.showLock(&l), nil })
		return err
	})
	return out, err
}

func (o *op) showLock(l *keystore.Lock) LockedKey {
	until := o.now.Wall.Add(l.Remaining(o.now))
	return LockedKey{
		KeyID: l.KeyID, KeyName: l.KeyName, ClientID: l.ClientID, CustomerID: l.CustomerID, MicrotenantID: optional(l.MicrotenantID),
		Source: optional(l.Source), LockedAt: l.LockedAt.Wall.UTC().Truncate(timePrecision), LockedUntil: until.UTC().Truncate(timePrecision),
	}
}

// KeyLock is where a key stands with the lockout policy.
type KeyLock struct {
	Lock
	// RecentFailures are the latest wrong secrets that were counted, newest first.
	RecentFailures []FailedTry `json:"recent_failures" nullable:"false" doc:"The latest wrong secrets that were counted, newest first: at most 10, of the last 24 hours and since the key was last unlocked."`
	// Revision is the key's, which unlocking it may be conditioned on.
	Revision keystore.Revision `json:"-"`
}

// GetLock shows where a key stands with the lockout policy.
func (s *Service) GetLock(ctx context.Context, a Actor, keyID string) (KeyLock, error) {
	var out KeyLock
	err := s.view(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceLocks, policy.Read)
		if err != nil {
			return err
		}
		out.Revision = k.Revision
		if out.Lock, err = o.lock(k.ID); err != nil {
			return err
		}
		tries, err := o.r.Tries(o.ctx, k.ID)
		out.RecentFailures = showTries(tries)
		return err
	})
	return out, err
}

// Unlock clears every count and lock of a key, one of an external source too.
// Unlocking one that is not locked is no error. It gives the key nothing it did
// not have before, so the subset rule does not apply.
// The audit event keeps the reason, "" for none given.
func (s *Service) Unlock(ctx context.Context, a Actor, keyID, reason string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error { return o.unlock(keyID, reason, cond) })
}

func (o *op) unlock(keyID, reason string, cond Condition) error {
	k, err := o.keyAt(keyID, ResourceLocks, policy.Delete, cond)
	if err != nil {
		return err
	}
	var bad FieldErrors
	reason = cleanText(&bad, "reason", reason, 0, MaxReason, "\n\t")
	if err := bad.Err(); err != nil {
		return err
	}
	before, err := o.lock(k.ID)
	if err != nil {
		return err
	}
	if err := o.tx.Unlock(o.ctx, k.ID); err != nil {
		return refusal(err, "key")
	}
	return o.audit("key.unlock", keyTarget(k), before, unlockRecord{Reason: reason})
}

// unlockRecord is what the audit trail keeps of a key that was unlocked.
type unlockRecord struct {
	Lock
	Reason string `json:"reason,omitempty"`
}
