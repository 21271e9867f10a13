package lifecycle

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func TestFaultsBeyondTheFirstHundredAreCounted(t *testing.T) {
	t.Parallel()
	faults := func(n int) *Error {
		var bad FieldErrors
		for i := range n {
			bad.Add(fmt.Sprint(i), FieldUnknown, "is fault %d", i)
		}
		var refused *Error
		require.ErrorAs(t, bad.Err(), &refused)
		return refused
	}
	all := faults(MaxFaults)
	require.Len(t, all.Fields, MaxFaults)
	require.NotContains(t, all.Detail, "more")
	some := faults(MaxFaults + 7)
	require.Equal(t, all.Fields, some.Fields)
	require.Contains(t, some.Detail, "and 7 more were found")

	var bad FieldErrors
	for range MaxFaults {
		bad.Add("x", FieldUnknown, "is unknown")
	}
	bad.Add("y", FieldFormat, "is odd")
	var refused *Error
	require.ErrorAs(t, bad.Err(), &refused)
	require.Equal(t, CodeValidation, refused.Code, "the code is of all faults, named or not")
}

func TestMayRefusesAsTheOperationDoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	reader := h.actor("reader", h.role("Reader", policy.Permissions{ResourceKeys: policy.View}))
	_, _, want := h.CreateKey(h.ctx, reader, NewKey{})
	got := h.May(h.ctx, reader, NeedsTo(policy.Create, ResourceKeys))
	requireRefused(t, got, Forbidden, CodePermissionDenied, "")
	require.Equal(t, want, got)
	require.NoError(t, h.May(h.ctx, reader, NeedsTo(policy.Read, ResourceKeys)))

	either := NeedsAny(NeedsSources(policy.Update), NeedsTo(policy.Read, ResourceKeys))
	require.NoError(t, h.May(h.ctx, reader, either))
	nobody := h.actor("nobody", keystore.RoleFullAccess)
	require.Equal(t, h.May(h.ctx, nobody, NeedsSources(policy.Update)), h.May(h.ctx, nobody, either), "as the first is")
	requireRefused(t, h.May(h.ctx, nobody, NeedsHere(true)), Forbidden, CodePermissionDenied, "")
	require.NoError(t, h.May(h.ctx, reader, NeedsHere(true)))
	requireRefused(t, h.May(h.ctx, reader, NeedsBatch()), Forbidden, CodePermissionDenied, "")

	reader.Reach = &Reach{CustomerID: "umbrella"}
	requireRefused(t, h.May(h.ctx, reader, NeedsTo(policy.Read, ResourceKeys)), NotFound, CodeNotFound, "")
}
