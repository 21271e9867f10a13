package lifecycle

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

func TestAViewIsPutBeforeOthersByWhoMayChangeWhatTheyAdminister(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	viewer := h.actor("viewer", h.role("Viewer", policy.Permissions{"keyreeve/keys": policy.View}))
	_, _, err := h.CreateView(h.ctx, viewer, NewView{Name: "v", List: "keys", Shared: true})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "shared")
	own, _, err := h.CreateView(h.ctx, viewer, NewView{Name: "v", List: "keys"})
	require.NoError(t, err)
	_, _, err = h.UpdateView(h.ctx, viewer, own.ID, ViewPatch{Shared: Some(true)}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "shared")
	keeper := h.actor("keeper", h.role("Keeper", policy.Permissions{"keyreeve/keys": policy.View, "keyreeve/roles": policy.Update}))
	_, _, err = h.CreateView(h.ctx, keeper, NewView{Name: "v", List: "keys", Shared: true})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "shared")

	role := h.acmeRole("Editor", pageAdmin)
	maker := h.actor("maker", role.ID)
	shared, _, err := h.CreateView(h.ctx, maker, NewView{Name: "v", List: "keys", Shared: true})
	require.NoError(t, err)
	_, _, err = h.UpdateRole(h.ctx, local, role.ID, RolePatch{Permissions: Some(map[string]*policy.Mask{"keyreeve/keys": mask(policy.View)})}, nil)
	require.NoError(t, err)
	_, _, err = h.UpdateView(h.ctx, maker, shared.ID, ViewPatch{Query: Some("state=locked")}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "shared")
	_, _, err = h.UpdateView(h.ctx, keeper, shared.ID, ViewPatch{Query: Some("state=locked")}, nil)
	require.NoError(t, err)
	_, _, err = h.UpdateView(h.ctx, maker, shared.ID, ViewPatch{Shared: Some(false)}, nil)
	require.NoError(t, err, "what one shared one may take back")
}

func TestWhatAListOpensWithForEveryoneIsForWhoKeepsRoles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	maker := h.actor("maker", h.role("Page", pageAdmin))
	keeper := h.actor("keeper", h.role("Keeper", policy.Permissions{"keyreeve/keys": policy.View, "keyreeve/roles": policy.Update}))
	_, _, err := h.CreateView(h.ctx, maker, NewView{Name: "v", List: "keys", Shared: true, Default: true})
	requireRefused(t, err, Forbidden, CodeExceedsRights, "default")
	shared, _, err := h.CreateView(h.ctx, maker, NewView{Name: "v", List: "keys", Shared: true})
	require.NoError(t, err)
	own, _, err := h.CreateView(h.ctx, maker, NewView{Name: "own", List: "keys", Default: true})
	require.NoError(t, err)
	for _, c := range []struct {
		id    string
		patch ViewPatch
	}{{shared.ID, ViewPatch{Default: Some(true)}}, {own.ID, ViewPatch{Shared: Some(true)}}} {
		_, _, err = h.UpdateView(h.ctx, maker, c.id, c.patch, nil)
		requireRefused(t, err, Forbidden, CodeExceedsRights, "default")
	}
	_, _, err = h.UpdateView(h.ctx, keeper, shared.ID, ViewPatch{Default: Some(true)}, nil)
	require.NoError(t, err)
	_, _, err = h.UpdateView(h.ctx, maker, shared.ID, ViewPatch{Query: Some("q=x")}, nil)
	requireRefused(t, err, Forbidden, CodeExceedsRights, "default")
	_, _, err = h.UpdateView(h.ctx, maker, shared.ID, ViewPatch{Default: Some(false), Query: Some("q=x")}, nil)
	require.NoError(t, err)
}

func TestNobodyTakesTheRoomOfOthersForSharedViews(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	role := h.role("Page", pageAdmin)
	maker, other := h.actor("maker", role), h.actor("other", role)
	own, _, err := h.CreateView(h.ctx, maker, NewView{Name: "own", List: "keys"})
	require.NoError(t, err)
	for i := range MaxViews {
		_, _, err := h.CreateView(h.ctx, maker, NewView{Name: fmt.Sprint(i), List: "keys", Shared: true})
		require.NoError(t, err)
	}
	_, _, err = h.CreateView(h.ctx, maker, NewView{Name: "one more", List: "keys", Shared: true})
	requireRefused(t, err, Conflict, CodeTooMany, "")
	_, _, err = h.UpdateView(h.ctx, maker, own.ID, ViewPatch{Shared: Some(true)}, nil)
	requireRefused(t, err, Conflict, CodeTooMany, "")
	_, _, err = h.CreateView(h.ctx, other, NewView{Name: "another's", List: "keys", Shared: true})
	require.NoError(t, err)
	require.NoError(t, roomForView(make([]View, MaxSharedViews-1), &View{Shared: true, CreatedBy: "k"}))
	requireRefused(t, roomForView(make([]View, MaxSharedViews), &View{Shared: true, CreatedBy: "k"}), Conflict, CodeTooMany, "")
}
