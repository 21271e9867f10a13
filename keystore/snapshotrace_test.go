package keystore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// TestWhatIsDurableIsInTheFileWhateverIsWrittenMeanwhile reads the snapshot of a node at
// work after each revocation that is durable, while keys are read, failures counted, and
// the snapshot written anew over and over, beside its journal and instead of it.
func TestWhatIsDurableIsInTheFileWhateverIsWrittenMeanwhile(t *testing.T) {
	keys, revoked := 1000, 40
	if testing.Short() {
		keys, revoked = 300, 15
	}
	clock := storetest.NewClock()
	n := newNode(t, clock)
	c := n.start(n.reach())
	defer n.close(c)
	ids := make([]string, keys)
	for i := range ids {
		ids[i] = fmt.Sprintf("client-%04d", i)
	}
	n.seed(c, ids...)
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	beside := func(every time.Duration, fn func(i int)) {
		others.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				fn(i)
				time.Sleep(every)
			}
		})
	}
	for range 2 {
		beside(50*time.Microsecond, func(i int) { _, _, _ = c.Look(ctx, ids[i*7%keys], clock.Now()) })
	}
	beside(time.Millisecond, func(i int) {
		c.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: "key_" + ids[i%keys], Fingerprint: 1})
	})
	beside(5*time.Millisecond, func(int) { c.WriteAnew() })
	beside(200*time.Millisecond, func(int) { c.RewriteSnapshot() })
	role := func(tx keystore.Tx, i int) error {
		return tx.PutRole(ctx, &keystore.Role{ID: "role_x", CustomerID: "c1", Name: fmt.Sprint("X", i), Permissions: policy.Permissions{"thing": policy.View}})
	}
	before := c.Rewritings()
	for i := range revoked {
		rev := n.update(c, func(tx keystore.Tx) error {
			if err := role(tx, i); err != nil {
				return err
			}
			return disable(ctx, tx, ids[i])
		})
		require.NoError(t, c.Durable(rev))
		enabled, position, err := keystore.EnabledIn(n.file, n.sealer)
		require.NoError(t, err)
		require.GreaterOrEqual(t, position, rev)
		for _, id := range ids[:i+1] {
			require.False(t, enabled[id], "%s is revoked, and a start would serve it", id)
		}
		name, err := keystore.RoleNameIn(n.file, n.sealer, "role_x")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("X", i), name, "the newest picture of the directory")
	}
	require.Greater(t, c.Rewritings(), before)
	t.Logf("written anew %d times", c.Rewritings()-before)
}
