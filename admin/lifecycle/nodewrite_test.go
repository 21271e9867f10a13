package lifecycle

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestARegisteredNodeIsInTheStateThatItsRenewalsSay(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	node := func(maxStale, lease, ago time.Duration, stopped bool) Node {
		until := now.Add(lease + time.Second - ago)
		r := keystore.Registered{Registration: keystore.Registration{ID: "node_1", Name: "gate-1", Version: "v1", Started: now, Position: 7, MaxStale: maxStale, Lease: lease, Stopped: stopped},
			Renewed: now.Add(-ago), Until: until, Left: until.Sub(now)}
		return RegisteredNode(&r, "postgres")
	}
	for _, c := range []struct {
		maxStale, lease, ago time.Duration
		stopped              bool
		state                string
	}{
		{5 * time.Minute, 305 * time.Second, 4 * time.Second, false, NodeServing},
		{5 * time.Minute, 305 * time.Second, 14 * time.Second, false, NodeServing},
		{5 * time.Minute, 305 * time.Second, 17 * time.Second, false, NodeLagging},
		{5 * time.Minute, 305 * time.Second, 305 * time.Second, false, NodeLagging},
		{5 * time.Minute, 305 * time.Second, 306 * time.Second, false, NodeRefusing},
		{0, 3 * time.Second, 2 * time.Second, false, NodeServing},
		{0, 3 * time.Second, 5 * time.Second, false, NodeRefusing},
		{5 * time.Minute, 30 * time.Second, 10 * time.Second, true, NodeStopped},
		{5 * time.Minute, 30 * time.Second, time.Hour, true, NodeStopped},
	} {
		n := node(c.maxStale, c.lease, c.ago, c.stopped)
		require.Equal(t, c.state, n.State, "%+v", c)
		require.Equal(t, c.ago >= c.lease+time.Second, n.Fenced)
	}
	n := node(5*time.Minute, 305*time.Second, time.Second, false)
	require.Equal(t, now.Add(-time.Second), *n.RenewedAt)
	require.Equal(t, now.Add(305*time.Second), *n.AcceptsUntil)
	require.InDelta(t, 305, *n.LeaseSeconds, 0)
	require.EqualValues(t, 300, n.MaxStaleSeconds)
	require.False(t, n.Former)
	n = RegisteredNode(&keystore.Registered{Registration: keystore.Registration{ID: "node_1~t"}, Former: true, Renewed: now, Until: now.Add(time.Minute), Left: time.Minute}, "postgres")
	require.True(t, n.Former)
	require.Equal(t, NodeLagging, n.State, "another process has its place, so it follows nothing")
}

func TestANodeThatStaysBehindIsLaggingHoweverOftenItRenews(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	nodes := h.cutOff(time.Minute)
	h.cfg.Nodes = func(context.Context) ([]Node, error) {
		var all []Node
		for _, r := range nodes.List() {
			all = append(all, RegisteredNode(&r, "postgres"))
		}
		return all, nil
	}
	one := nodes.List()[1]
	one.Until = one.Renewed.Add(one.Lease + time.Second)
	one.Left = one.Lease
	nodes.Put(one)
	list, err := h.ListNodes(h.ctx, local, NodeFilter{})
	require.NoError(t, err)
	require.Positive(t, list.Head)
	require.Equal(t, NodeLagging, list.Items[1].State)
	one.Position = list.Head
	nodes.Put(one)
	list, err = h.ListNodes(h.ctx, local, NodeFilter{})
	require.NoError(t, err)
	require.Equal(t, NodeServing, list.Items[1].State)
}

func TestANodeIsForgottenOnceItIsSureToServeNoMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	viewer := h.actor("viewer", h.role("Viewer", policy.Permissions{ResourceNodes: policy.View}))
	keeper := h.actor("keeper", h.role("Keeper", policy.Permissions{ResourceNodes: policy.Full}))
	nodes := h.cutOff(time.Minute)
	_, err := h.ForgetNode(h.ctx, viewer, "node_2")
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	_, err = h.ForgetNode(h.ctx, keeper, "node_9")
	requireRefused(t, err, NotFound, CodeNotFound, "")
	_, err = h.ForgetNode(h.ctx, keeper, "node_2")
	requireRefused(t, err, Conflict, CodeNodeNotFenced, "")
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, h.clock.Now().Wall.Add(time.Minute).UTC(), *refused.Until)
	require.Len(t, nodes.List(), 2)

	gone := nodes.List()[1]
	gone.Left = 0
	nodes.Put(gone)
	commit, err := h.ForgetNode(h.ctx, keeper, "node_2")
	require.NoError(t, err)
	require.Empty(t, commit.Pending)
	require.Len(t, nodes.List(), 1)
	events, err := h.ListAudit(h.ctx, local, AuditFilter{Action: "node.forget"}, "", Paging{})
	require.NoError(t, err)
	require.Len(t, events.Items, 1)
	require.Equal(t, "gate-2", events.Items[0].Target.Name)
	require.Equal(t, keeper.ID, events.Items[0].Actor.ID)
}

func TestAStoreWithoutARegistryHasNoNodeToForget(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, err := h.ForgetNode(h.ctx, local, "node_1")
	requireRefused(t, err, NotFound, CodeNotFound, "")
	_, _, err = h.AcceptRestore(h.ctx, local)
	requireRefused(t, err, Conflict, CodeNotRestored, "")
}
