package sqlstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

func TestANodeThatMayDecideKeepsItsStoreFromBeingMoved(t *testing.T) {
	for name, c := range map[string]struct {
		stopped bool
		says    string
	}{"running": {false, "uses it"}, "stopped, and may begin again from its snapshot": {true, "has stopped"}} {
		t.Run(name, func(t *testing.T) {
			from := onPostgres(t)
			a, b := from.open(t), onSQLite(t).open(t)
			fill(t, a, 10)
			node := from.serve(t)
			registry, ok := keystore.As[keystore.Registry](node)
			require.True(t, ok)
			const lease = 5 * time.Second
			require.NoError(t, registry.Renew(t.Context(), keystore.Registration{ID: "n", Name: "gate 1", Lease: lease, MaxStale: lease, Stopped: c.stopped}))
			until := time.Now().Add(lease)
			require.NoError(t, node.Close())
			move := func() error {
				_, err := sqlstore.Copy(t.Context(), a, b, sqlstore.CopyOptions{Sealer: from.ring})
				return err
			}
			if err := move(); time.Now().Before(until) {
				require.ErrorIs(t, err, keystore.ErrInUse)
				require.ErrorContains(t, err, "gate 1")
				require.ErrorContains(t, err, c.says)
			}
			require.Eventually(t, func() bool { return move() == nil }, time.Minute, 100*time.Millisecond, "once its lease is over")
			require.False(t, time.Now().Before(until))
		})
	}
}
