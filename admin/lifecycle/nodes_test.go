package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/policy"
)

func TestNodesAreListedByNameInPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.cfg.Nodes = func(context.Context) ([]Node, error) {
		return []Node{{ID: "node_3", Name: "b"}, {ID: "node_2", Name: "a", Self: true}, {ID: "node_1", Name: "b"}}, nil
	}
	whole, err := h.ListNodes(h.ctx, local, NodeFilter{})
	require.NoError(t, err)
	require.Equal(t, 3, whole.Total)
	require.Nil(t, whole.NextCursor)
	var ids []string
	paging := Paging{Size: Some(1)}
	for {
		page, err := h.ListNodes(h.ctx, local, NodeFilter{paging})
		require.NoError(t, err)
		require.Len(t, page.Items, 1)
		require.Equal(t, 3, page.Total)
		ids = append(ids, page.Items[0].ID)
		if page.NextCursor == nil {
			break
		}
		paging.Cursor = *page.NextCursor
	}
	require.Equal(t, []string{"node_2", "node_1", "node_3"}, ids)
	_, err = h.ListNodes(h.ctx, local, NodeFilter{Paging{Size: Some(0)}})
	requireInvalid(t, err, "page_size", FieldRange)
}

func TestNodesAreForThoseWhoHoldTheirPermission(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.cfg.Nodes = func(context.Context) ([]Node, error) { return []Node{{ID: "node_1", Name: "a"}}, nil }
	_, err := h.ListNodes(h.ctx, h.actor("keys", h.role("Keys", policy.Permissions{ResourceKeys: policy.Full})), NodeFilter{})
	requireRefused(t, err, Forbidden, CodePermissionDenied, "")
	tenant := h.actor("nodes", h.role("Nodes", policy.Permissions{ResourceNodes: policy.View}), func(k *NewKey) { k.MicrotenantID = Some("emea") })
	page, err := h.ListNodes(h.ctx, tenant, NodeFilter{})
	require.NoError(t, err)
	require.Len(t, page.Items, 1, "nodes belong to no tenant")
}

func TestWithoutNodesTheListIsEmptyAndAFailureIsNoEmptyList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	page, err := h.ListNodes(h.ctx, local, NodeFilter{})
	require.NoError(t, err)
	require.NotNil(t, page.Items)
	require.Empty(t, page.Items)
	failure := errors.New("registry out of reach")
	h.cfg.Nodes = func(context.Context) ([]Node, error) { return nil, fmt.Errorf("nodes: %w", failure) }
	_, err = h.ListNodes(h.ctx, local, NodeFilter{})
	require.ErrorIs(t, err, failure)
}
