package lifecycle

import (
	"context"

	"github.com/keyreeve/keyreeve/policy"
)

// GetLock shows where a key stands with the lockout policy.
func (s *Service) GetLock(ctx context.Context, a Actor, keyID string) (Lock, error) {
	var out Lock
	err := s.view(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceLocks, policy.Read)
		if err != nil {
			return err
		}
		out, err = o.lock(k.ID)
		return err
	})
	return out, err
}

// Unlock clears every count and lock of a key, one of an external source too.
// Unlocking one that is not locked is no error. It gives the key nothing it did
// not have before, so the subset rule does not apply.
func (s *Service) Unlock(ctx context.Context, a Actor, keyID string) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		k, err := o.key(keyID, ResourceLocks, policy.Delete)
		if err != nil {
			return err
		}
		before, err := o.lock(k.ID)
		if err != nil {
			return err
		}
		if err := o.tx.Unlock(ctx, k.ID); err != nil {
			return refusal(err, "key")
		}
		return o.audit("key.unlock", keyTarget(k), before, Lock{})
	})
}
