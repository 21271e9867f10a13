package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/faultproxy"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// stray is a node that is cut off before the database goes back, and serves on.
type stray struct {
	*restoreGate
	proxy *faultproxy.Proxy
}

// stray joins under an id that no backup has.
func (v *vault) stray(t testing.TB, maxStale time.Duration) *stray {
	t.Helper()
	proxy := faultproxy.Start(t, v.server.Address())
	s, err := Open(t.Context(), Options{DSN: v.server.DSNBy(proxy.Address(), pgtest.Superuser, v.name) + "?sslmode=disable", Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	s.SealAudit(storetest.NewSealer("mk"))
	g := v.gateBy(t, s)
	g.Join(keystore.NodeInfo{ID: "stray", Name: "stray"}, maxStale)
	return &stray{g, proxy}
}

// cutOff cuts it off once it has seen a revision and serves a key.
func (s *stray) cutOff(t testing.TB, at keystore.Revision) {
	t.Helper()
	require.Eventually(t, func() bool { return s.Position() >= at && s.accepts(fromNear(request{key: 2})) }, 20*time.Second, 10*time.Millisecond)
	s.proxy.Down()
}

// requireWaitsFor revokes a key that a stray node accepts, which must be known of.
func requireWaitsFor(t testing.TB, g *restoreGate, s *stray) {
	t.Helper()
	edit(t, g, 2, func(k *keystore.Key) { k.Enabled = false })
	// All that the backup has of nodes would be fenced by then.
	p := g.Propagate(t.Context(), g.Position(), 6*time.Second)
	require.True(t, s.accepts(fromNear(request{key: 2})), "it still serves, else this proves nothing")
	var pending []string
	for _, n := range p.Pending {
		pending = append(pending, n.Name)
		require.Greater(t, time.Until(n.AcceptsUntil), 3*time.Minute, "%+v", n)
	}
	require.Contains(t, pending, "(nodes that the restored database does not know)")
}

func TestNodesAreDistrustedAnewWhenADatabaseGoesBackThatWaitsForAnOperator(t *testing.T) {
	v := newVault(t)
	v.fill(t)
	first := v.backup(t)
	g := v.gate(t)
	g.Join(keystore.NodeInfo{ID: "a", Name: "a"}, time.Minute)
	edit(t, g, 1, func(k *keystore.Key) { k.Enabled = false })
	v.restore(t, first)
	followed(t, g)
	require.NotNil(t, restored(t, g), "and nobody accepts it")
	require.NoError(t, g.Close())
	second := v.backup(t)
	c := connect(t, v.server.DSN(pgtest.Superuser, second)) // it is lost an hour later
	run(t, c, "UPDATE nodes SET renewed_ns = renewed_ns - 3600000000000")
	require.NoError(t, c.Close(context.Background()))

	g = v.gate(t)
	g.Join(keystore.NodeInfo{ID: "b", Name: "b"}, time.Minute)
	s := v.stray(t, 5*time.Minute)
	edit(t, g, 5, func(k *keystore.Key) { k.Enabled = false }) // something to lose
	s.cutOff(t, g.Position())
	v.restore(t, second)
	followed(t, g)
	accept(t, g)
	requireWaitsFor(t, g, s)
}

func TestAStrayNodeIsWaitedForByTheLeaseThatItHadAndNotByThatOfABackup(t *testing.T) {
	for _, c := range []struct {
		name       string
		mine, hers time.Duration
	}{{"the mender's own", 10 * time.Minute, 10 * time.Minute}, {"one that the mender found", time.Minute, 10 * time.Minute}, {"the usual", time.Second, 5 * time.Minute}} {
		t.Run(c.name, func(t *testing.T) {
			v := newVault(t)
			v.fill(t)
			old := v.open(t)
			// The stray's own row too, with a lease that it had then.
			for _, id := range []string{"old", "stray"} {
				require.NoError(t, old.Renew(t.Context(), keystore.Registration{ID: id, Name: id, Lease: 2 * time.Second, MaxStale: time.Second}))
			}
			require.NoError(t, old.Close())
			backup := v.backup(t)
			s := v.stray(t, c.hers)
			require.Eventually(t, func() bool { return !s.Membership().Fenced }, 20*time.Second, 10*time.Millisecond)
			g := v.gate(t)
			g.Join(keystore.NodeInfo{ID: "a", Name: "a"}, c.mine)
			require.Eventually(t, func() bool { return !g.Membership().Fenced }, 20*time.Second, 10*time.Millisecond)
			edit(t, g, 5, func(k *keystore.Key) { k.Enabled = false })
			s.cutOff(t, g.Position())
			v.restore(t, backup)
			followed(t, g)
			accept(t, g)
			requireWaitsFor(t, g, s)
			nodes, err := v.openFor(t).Nodes(t.Context())
			require.NoError(t, err)
			for _, n := range nodes {
				if n.ID != "a" {
					require.Greater(t, n.Left, c.hers-time.Minute, "%+v", n)
				}
			}
		})
	}
}
