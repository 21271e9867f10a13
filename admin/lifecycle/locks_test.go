package lifecycle

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestInGuardModeALockedSourceIsNotALockedKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	guard := policy.DefaultLockout()
	guard.Mode = policy.Guard
	h.Service = New(Config{Store: h.store, Keyring: h.cfg.Keyring, Lockout: func() policy.Lockout { return guard }})
	k := h.key("k", keystore.RoleReadOnly)
	for i := range 3 {
		_, err := h.store.Count(h.ctx, guard, []keystore.Proof{{KeyID: k.ID, Source: "192.0.2.9/32", Fingerprint: uint64(i)}})
		require.NoError(t, err)
	}
	lock, err := h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, Lock{FailedAttempts: 3}, lock.Lock)
	h.clock.Advance(guard.ResetAfter / 50) // the level falls by ceiling/50 = 2
	lock, err = h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, 1, lock.FailedAttempts)

	for i := range guard.Ceiling {
		source := fmt.Sprintf("198.51.100.%d/32", i) // none of them twice
		_, err := h.store.Count(h.ctx, guard, []keystore.Proof{{KeyID: k.ID, Source: source}})
		require.NoError(t, err)
	}
	lock, err = h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.True(t, lock.Locked)
	require.Equal(t, guard.Ceiling, lock.FailedAttempts)
	require.Equal(t, h.clock.Now().Wall.Add(guard.Duration), *lock.LockedUntil)

	_, err = h.Unlock(h.ctx, local, k.ID, "", nil)
	require.NoError(t, err)
	lock, err = h.GetLock(h.ctx, local, k.ID)
	require.NoError(t, err)
	require.Equal(t, Lock{}, lock.Lock)
}
