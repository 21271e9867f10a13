package lifecycle

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// cutOff makes the house one with a node that has everything, and one that has nothing
// and may accept until a time from now.
func (h *house) cutOff(until time.Duration) *storetest.Nodes {
	nodes := storetest.WithNodes(h.store)
	now := h.clock.Now().Wall
	at := func(id, name string, position keystore.Revision) keystore.Registered {
		return keystore.Registered{Registration: keystore.Registration{ID: id, Name: name, Position: position, Started: now, MaxStale: 5 * time.Minute, Lease: 305 * time.Second},
			Renewed: now, Until: now.Add(until), Left: until}
	}
	nodes.Put(at("node_1", "gate-1", 1<<40), at("node_2", "gate-2", 0))
	cfg := h.cfg
	cfg.Store, cfg.Propagation = nodes, nodes.Propagate
	h.Service = New(cfg)
	return nodes
}

// lastWait is what the latest write waited for at most.
func lastWait(n *storetest.Nodes) time.Duration {
	all := n.Waits()
	return all[len(all)-1]
}

func TestAWriteThatTakesSomethingAwayWaitsForAllNodesAndSaysIfOneIsPending(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Role", policy.Permissions{"segments": policy.Full})
	unused := h.role("Unused", policy.Permissions{"segments": policy.Full})
	key := h.key("k", role)
	nodes := h.cutOff(5 * time.Minute)
	now := h.clock.Now().Wall
	patch := func(p KeyPatch) func() (Commit, error) {
		return func() (Commit, error) {
			_, c, err := h.UpdateKey(h.ctx, local, key.ID, p, nil)
			return c, err
		}
	}
	tenant := func(p TenantPatch) func() (Commit, error) {
		return func() (Commit, error) {
			_, c, err := h.UpdateMicrotenant(h.ctx, local, MicrotenantRef{ID: "emea", CustomerID: "acme"}, p, nil)
			return c, err
		}
	}
	roled := func(p RolePatch) func() (Commit, error) {
		return func() (Commit, error) {
			_, c, err := h.UpdateRole(h.ctx, local, role, p, nil)
			return c, err
		}
	}
	for _, c := range []struct {
		name  string
		do    func() (Commit, error)
		takes bool
	}{
		{"rename", patch(KeyPatch{Name: Some("renamed")}), false},
		{"nothing", patch(KeyPatch{}), false},
		{"networks", patch(KeyPatch{AllowedCIDRs: Some([]string{"10.0.0.0/8"})}), true},
		{"narrower networks", patch(KeyPatch{AllowedCIDRs: Some([]string{"10.1.0.0/16"})}), true},
		{"wider networks", patch(KeyPatch{AllowedCIDRs: Some([]string{"10.0.0.0/8", "192.0.2.0/24"})}), false},
		{"an end within a minute", patch(KeyPatch{ExpiresAt: Some(now.Add(time.Minute))}), true},
		{"a later end", patch(KeyPatch{ExpiresAt: Some(now.Add(time.Hour))}), false},
		{"no end", patch(KeyPatch{ExpiresAt: Null[time.Time]()}), false},
		{"an end when every node is done", patch(KeyPatch{ExpiresAt: Some(now.Add(time.Hour))}), false},
		{"shorter tokens", patch(KeyPatch{SessionValiditySeconds: Some[int64](120)}), true},
		{"longer tokens", patch(KeyPatch{SessionValiditySeconds: Some[int64](180)}), false},
		{"another role", patch(KeyPatch{RoleID: Some(keystore.RoleReadOnly)}), true},
		{"the role back", patch(KeyPatch{RoleID: Some(role)}), true},
		{"disable", patch(KeyPatch{Enabled: Some(false)}), true},
		{"disable again", patch(KeyPatch{Enabled: Some(false)}), true},
		{"enable", patch(KeyPatch{Enabled: Some(true)}), false},
		{"role renamed", roled(RolePatch{Name: Some("Other")}), false},
		{"role with less", roled(RolePatch{Permissions: Some(map[string]*policy.Mask{"segments": nil})}), true},
		{"tenant renamed", tenant(TenantPatch{Name: Some("Europe")}), false},
		{"tenant disabled", tenant(TenantPatch{Enabled: Some(false)}), true},
		{"tenant disabled again", tenant(TenantPatch{Enabled: Some(false)}), true},
		{"tenant enabled", tenant(TenantPatch{Enabled: Some(true)}), false},
		{"unlock", func() (Commit, error) { return h.Unlock(h.ctx, local, key.ID, "", nil) }, false},
		{"end sessions", func() (Commit, error) { return h.EndKeySessions(h.ctx, local, key.ID, nil) }, true},
		{"role deleted", func() (Commit, error) { return h.DeleteRole(h.ctx, local, unused, nil) }, true},
		{"key deleted", func() (Commit, error) { return h.DeleteKey(h.ctx, local, key.ID, nil) }, true},
		{"tenant deleted", func() (Commit, error) {
			return h.DeleteMicrotenant(h.ctx, local, MicrotenantRef{ID: "apac", CustomerID: "acme"}, nil)
		}, true},
		{"customer deleted", func() (Commit, error) { return h.DeleteCustomer(h.ctx, local, "umbrella", nil) }, true},
	} {
		commit, err := c.do()
		require.NoError(t, err, c.name)
		require.Equal(t, c.takes, commit.Unconfirmed, c.name)
		until := h.clock.Now().Wall.Add(5 * time.Minute).UTC()
		require.Equal(t, Propagation{Confirmed: 1, Pending: []PendingNode{{Node: "gate-2", NodeID: "node_2", AcceptsUntil: &until}}}, commit.Propagation, c.name)
		switch {
		case c.takes:
			require.Equal(t, revokingWait, lastWait(nodes), c.name)
		case c.name == "nothing":
			require.Zero(t, lastWait(nodes))
		case c.name != "an end when every node is done":
			require.Equal(t, otherWait, lastWait(nodes), c.name)
		}
	}
}

func TestARotationIsUnconfirmedOnlyIfANodeMayOutlastTheOverlap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := h.key("k", keystore.RoleReadOnly)
	h.cutOff(5 * time.Minute)
	rotate := func(overlap int64, once string) Commit {
		a := local
		if once != "" {
			a.Once = &Once{Key: once}
		}
		_, commit, err := h.RotateSecret(h.ctx, a, key.ID, Rotation{PreviousExpiresIn: Some(overlap)}, nil)
		require.NoError(t, err)
		return commit
	}
	require.False(t, rotate(3600, "").Unconfirmed, "an hour: the node is done long before")
	require.True(t, rotate(0, "rotation").Unconfirmed)
	again := rotate(0, "rotation")
	require.True(t, again.Replayed)
	require.True(t, again.Unconfirmed, "a repeated request is not told more than the first")
	secrets, err := h.ListSecrets(h.ctx, local, key.ID)
	require.NoError(t, err)
	require.True(t, rotate(3600, "").Replayed == false)
	commit, err := h.RetireSecret(h.ctx, local, key.ID, secrets.Items[0].ID, true, nil)
	require.NoError(t, err)
	require.True(t, commit.Unconfirmed)
	commit, err = h.RetireSecret(h.ctx, local, key.ID, secrets.Items[0].ID, true, nil)
	require.NoError(t, err)
	require.True(t, commit.Unconfirmed, "it is retired already, and not everywhere")
}

func TestABatchAndAListWaitOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var ids []string
	for _, name := range []string{"a", "b", "c"} {
		ids = append(ids, h.key(name, keystore.RoleReadOnly).ID)
	}
	nodes := h.cutOff(5 * time.Minute)
	_, commit, err := h.BatchKeys(h.ctx, local, NewBatch{Action: "disable", IDs: ids})
	require.NoError(t, err)
	require.True(t, commit.Unconfirmed)
	require.Equal(t, []time.Duration{revokingWait}, nodes.Waits())
	_, commit, err = h.BatchKeys(h.ctx, local, NewBatch{Action: "enable", IDs: ids})
	require.NoError(t, err)
	require.False(t, commit.Unconfirmed)

	_, _, err = h.CreateSource(h.ctx, local, NewSource{Name: "idp", CustomerID: "acme", Rule: keystore.SourceReadOnly, MaxRoleID: keystore.RoleReadOnly})
	require.NoError(t, err)
	push := func(keys ...SourceKey) Commit {
		_, commit, err := h.PushSourceKeys(h.ctx, local, SourceRef{Name: "idp", CustomerID: "acme"}, SourcePush{Keys: keys}, nil)
		require.NoError(t, err)
		return commit
	}
	one := SourceKey{ClientID: "one", Name: "one", RoleID: keystore.RoleReadOnly, SecretSHA256: hexText([32]byte{1})}
	two := SourceKey{ClientID: "two", Name: "two", RoleID: keystore.RoleReadOnly, SecretSHA256: hexText([32]byte{2})}
	before := len(nodes.Waits())
	require.False(t, push(one, two).Unconfirmed, "it takes nothing away")
	require.Len(t, nodes.Waits(), before+1)
	two.SecretSHA256 = hexText([32]byte{3})
	require.True(t, push(one, two).Unconfirmed, "a secret ends")
	require.True(t, push(one, two).Unconfirmed, "the same list again")
	two.Enabled = Some(false)
	require.True(t, push(one, two).Unconfirmed)
	require.True(t, push(one).Unconfirmed, "a key is removed")
}

func TestPendingNodesAreNamedToThoseWhoMayKnowThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	keys := h.actor("keys", h.role("Keys", policy.Permissions{ResourceKeys: policy.Full, "*": policy.View}))
	both := h.actor("both", h.role("Both", policy.Permissions{ResourceKeys: policy.Full, ResourceNodes: policy.View, "*": policy.View}))
	for _, k := range []Actor{keys, both} {
		key := h.key("k"+k.Name, keystore.RoleReadOnly)
		h.cutOff(time.Minute)
		commit, err := h.DeleteKey(h.ctx, k, key.ID, nil)
		require.NoError(t, err)
		require.True(t, commit.Unconfirmed)
		require.Len(t, commit.Pending, 1)
		require.NotNil(t, commit.Pending[0].AcceptsUntil, "until when is for everybody")
		require.NotNil(t, commit.Until())
		if k.Name == "both" {
			require.Equal(t, []string{"gate-2"}, commit.Names())
			require.Equal(t, "node_2", commit.Pending[0].NodeID)
		} else {
			require.Empty(t, commit.Names())
			require.Empty(t, commit.Pending[0].NodeID)
		}
	}
}

func TestWhoDoesNotWantToWaitIsToldHowFarItGot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := h.key("k", keystore.RoleReadOnly)
	nodes := h.cutOff(time.Minute)
	hasty := local
	for want, wait := range map[time.Duration]time.Duration{0: 0, time.Second: time.Second, time.Hour: revokingWait, -time.Second: 0} {
		hasty.Wait = Some(want)
		_, commit, err := h.UpdateKey(h.ctx, hasty, key.ID, KeyPatch{Enabled: Some(false)}, nil)
		require.NoError(t, err)
		require.True(t, commit.Unconfirmed)
		require.Equal(t, wait, lastWait(nodes))
	}
}

// unseeing stores writes that it then cannot see.
type unseeing struct{ Store }

func (u unseeing) Update(ctx context.Context, fn func(keystore.Tx) error) (keystore.Revision, error) {
	r, err := u.Store.Update(ctx, fn)
	return r, errors.Join(err, keystore.ErrUnseen)
}

func TestAWriteThatThisNodeCannotSeeIsDoneAndGoesByWhatTheNodesSay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := h.key("k", keystore.RoleReadOnly)
	h.cutOff(time.Minute)
	h.cfg.Store = unseeing{h.cfg.Store}
	commit, err := h.DeleteKey(h.ctx, local, key.ID, nil)
	require.NoError(t, err)
	require.True(t, commit.Unconfirmed)
	require.Len(t, commit.Pending, 1)
}

func TestARestoredStoreIsNotChangedUntilThatIsAccepted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	key := h.key("k", keystore.RoleReadOnly)
	operator := h.actor("operator", keystore.RoleOperator)
	viewer := h.actor("viewer", h.role("Viewer", policy.Permissions{ResourceNodes: policy.View, ResourceKeys: policy.Full}))
	stranger := h.actor("stranger", keystore.RoleFullAccess)
	nodes := h.cutOff(time.Minute)
	nodes.Put(keystore.Registered{Registration: keystore.Registration{ID: "node_2", Name: "gate-2", Position: 1 << 40}, Left: time.Minute})
	_, _, err := h.AcceptRestore(h.ctx, operator)
	requireRefused(t, err, Conflict, CodeNotRestored, "")

	at := h.clock.Now().Wall
	nodes.Restore(keystore.Restore{Noticed: at, From: 99, To: 42, Replayed: 3})
	_, err = h.DeleteKey(h.ctx, operator, key.ID, nil)
	requireRefused(t, err, Unavailable, CodeStoreRestored, "")
	_, _, err = h.CreateKey(h.ctx, local, NewKey{Name: "new", RoleID: keystore.RoleReadOnly, CustomerID: "acme"})
	requireRefused(t, err, Unavailable, CodeStoreRestored, "")
	_, err = h.ForgetNode(h.ctx, operator, "node_2")
	requireRefused(t, err, Unavailable, CodeStoreRestored, "")
	_, err = h.GetKey(h.ctx, operator, key.ID)
	require.NoError(t, err, "reading goes on")
	want := &StoreRestored{NoticedAt: at.UTC().Truncate(timePrecision), From: 99, To: 42, Replayed: 3}
	list, err := h.ListNodes(h.ctx, viewer, NodeFilter{})
	require.NoError(t, err)
	require.Equal(t, want, list.Restored)
	for a, shown := range map[*Actor]*StoreRestored{&viewer: want, &stranger: nil} {
		me, err := h.Me(h.ctx, *a)
		require.NoError(t, err)
		require.Equal(t, shown, me.StoreRestored, a.Name)
	}

	_, _, err = h.AcceptRestore(h.ctx, viewer)
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	got, _, err := h.AcceptRestore(h.ctx, operator)
	require.NoError(t, err)
	require.Equal(t, *want, got)
	_, err = h.DeleteKey(h.ctx, operator, key.ID, nil)
	require.NoError(t, err)
	_, _, err = h.AcceptRestore(h.ctx, operator)
	requireRefused(t, err, Conflict, CodeNotRestored, "")
	events, err := h.ListAudit(h.ctx, local, AuditFilter{Action: "store.accept_restore"}, "", Paging{})
	require.NoError(t, err)
	require.Len(t, events.Items, 1)
	require.Equal(t, operator.ID, events.Items[0].Actor.ID)
}
