package authn

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
)

// rewrapTimeout bounds the write of one rewrapped verifier.
const rewrapTimeout = 10 * time.Second

// rewrapper moves verifiers to the current master key as their secrets are used:
// only then is what they are made of at hand.
type rewrapper struct {
	keys    *keystore.Cached
	keyring *credential.Keyring
	busy    sync.Mutex
	done    sync.Map // secret ids seen to, so that each is written once
}

func newRewrapper(keys *keystore.Cached, keyring *credential.Keyring) *rewrapper {
	return &rewrapper{keys: keys, keyring: keyring}
}

// note rewraps a just proven secret behind the request, if it needs it. One at a
// time: the others come again with their next use.
func (w *rewrapper) note(s *keystore.Secret, digest [32]byte) {
	current := w.keyring.CurrentID()
	if s.MasterKeyID == current || !w.busy.TryLock() {
		return
	}
	if _, seen := w.done.LoadOrStore(s.ID, struct{}{}); seen {
		w.busy.Unlock()
		return
	}
	go func() {
		defer w.busy.Unlock()
		verifier, ok := w.keyring.Verifier(current, digest)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), rewrapTimeout)
		defer cancel()
		_, err := w.keys.Update(ctx, func(tx keystore.Tx) error {
			return tx.Rewrap(ctx, s.ID, verifier, current)
		})
		if err != nil {
			w.done.Delete(s.ID)
			w.keys.Logger().Warn("a secret could not be moved to the current master key; the older one is still needed",
				zap.String("secret_id", s.ID), zap.String("master_key_id", s.MasterKeyID), zap.Error(err))
		}
	}()
}
