package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// amongNodes serves the house as one of two nodes, of which gate-2 has nothing and may
// accept for another minute.
func (h *house) amongNodes(t *testing.T) (address string, nodes *storetest.Nodes) {
	t.Helper()
	nodes = storetest.WithNodes(h.store)
	now := h.clock.Now().Wall
	node := func(id, name string, position keystore.Revision) keystore.Registered {
		return keystore.Registered{Registration: keystore.Registration{ID: id, Name: name, Position: position, Started: now, MaxStale: 5 * time.Minute, Lease: 305 * time.Second},
			Renewed: now, Until: now.Add(time.Minute), Left: time.Minute}
	}
	nodes.Put(node("node_1", "gate-1", 1<<40), node("node_2", "gate-2", 0))
	return h.served(t, lifecycle.Config{Store: nodes, Keyring: h.ring, Propagation: nodes.Propagate, Nodes: func(context.Context) ([]lifecycle.Node, error) {
		var all []lifecycle.Node
		for _, r := range nodes.List() {
			all = lifecycle.AddRegistered(all, &r, "postgres")
		}
		return all, nil
	}}), nodes
}

func TestAChangeThatNodesHaveYetToConfirmIsDoneAndSaysSo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	address, _ := h.amongNodes(t)
	h.mustCLI(t, "key", "create", "k", "--role", "role_api_read_only", "--customer", "acme")
	got := run(t, Env{}, nil, "key", "disable", "k", "--address", address)
	require.Zero(t, got.code, got.errOut)
	require.Contains(t, got.errOut, "committed, but not yet confirmed by 1 of 2 nodes; do not repeat it")
	require.Contains(t, got.errOut, "gate-2 may still accept until "+h.clock.Now().Wall.Add(time.Minute).UTC().Format("2006-01-02T15:04:05"))
	got = run(t, Env{}, nil, "secret", "rotate", "k", "--previous-expires-in", "0", "--address", address, "-o", "json")
	require.Zero(t, got.code, got.errOut)
	require.Contains(t, got.out, "krs_", "the secret is shown this once, confirmed or not")
	require.Contains(t, got.errOut, "gate-2 may still accept")
	got = run(t, Env{}, nil, "key", "delete", "k", "--yes", "--address", address)
	require.Zero(t, got.code, got.errOut)
	require.Contains(t, got.errOut, "gate-2 may still accept")
}

func TestApplyWaitsOnceForAllThatItChanges(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	address, nodes := h.amongNodes(t)
	got := run(t, Env{}, nil, "apply", "-f", write(t, stateText()), "--address", address)
	require.Zero(t, got.code, got.errOut)
	waits := nodes.Waits()
	require.Len(t, waits, 10)
	for i, wait := range waits {
		require.Equal(t, i == len(waits)-1, wait == 2*time.Second, "%v", waits)
		require.True(t, wait == 0 || i == len(waits)-1, "%v", waits)
	}
	require.Equal(t, 1, strings.Count(got.errOut, "do not repeat it"), got.errOut)
	caughtUp := nodes.List()[1]
	caughtUp.Position = 1 << 40
	nodes.Put(caughtUp)
	got = run(t, Env{}, nil, "apply", "-f", write(t, stateText("deploys", "deploys more")), "--address", address)
	require.Zero(t, got.code, got.errOut)
	require.NotContains(t, got.errOut, "do not repeat it")
}

func TestANodeIsForgottenByIDOrNameOnceItServesNoMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	address, nodes := h.amongNodes(t)
	forget := func(args ...string) result {
		return run(t, Env{}, nil, append(append([]string{"node", "forget"}, args...), "--address", address)...)
	}
	require.Equal(t, ExitUsage, forget("node_2").code, "nobody can be asked")
	got := forget("gate-2", "--yes")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "node_not_fenced")
	require.Contains(t, got.errOut, "may still serve, until ")
	require.Equal(t, ExitNotFound, forget("gate-9", "--yes").code)
	gone := nodes.List()[1]
	gone.Left = 0
	twin := gone
	twin.ID = "node_3"
	nodes.Put(gone, twin)
	got = forget("gate-2", "--yes")
	require.Equal(t, ExitConflict, got.code)
	require.Contains(t, got.errOut, "2 nodes are called gate-2")
	got = forget("node_3", "--yes")
	require.Zero(t, got.code, got.errOut)
	got = forget("gate-2", "--yes")
	require.Zero(t, got.code, got.errOut)
	require.Contains(t, got.errOut, "forgot gate-2 (node_2)")
	require.Len(t, nodes.List(), 1)
}

func TestARestoredStoreIsAcceptedAndSaysSoUntilThen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	address, nodes := h.amongNodes(t)
	do := func(args ...string) result { return run(t, Env{}, nil, append(args, "--address", address)...) }
	require.Equal(t, ExitConflict, do("node", "accept-restore", "--yes").code)
	nodes.Restore(keystore.Restore{Noticed: h.clock.Now().Wall, From: 99, To: 42, Replayed: 3})
	got := do("key", "create", "k", "--role", "role_api_read_only", "--customer", "acme")
	require.Equal(t, ExitError, got.code)
	require.Contains(t, got.errOut, "store_restored")
	require.Contains(t, got.errOut, "keyreeve node accept-restore")
	require.NotContains(t, got.errOut, "try again")
	got = do("apply", "-f", write(t, stateText()))
	require.Equal(t, 1, strings.Count(got.errOut, "store_restored"), "it does not pass by itself, so it is not tried again")
	require.Equal(t, ExitUsage, do("node", "accept-restore").code, "nobody can be asked")
	require.Zero(t, do("node", "accept-restore", "--yes").code)
	require.Zero(t, do("key", "create", "k", "--role", "role_api_read_only", "--customer", "acme").code)
}
