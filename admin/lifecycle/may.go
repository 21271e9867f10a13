package lifecycle

import (
	"context"
	"maps"
	"slices"

	"github.com/keyreeve/keyreeve/policy"
)

// Need is what an actor must hold for an operation to look at what it asks for.
// Doors have it checked before they read a request's body, so that nobody without
// a right here costs the memory of one; the operation checks it again.
type Need func(*op) error

// NeedsTo is the need of a permission.
func NeedsTo(action policy.Mask, resource string) Need {
	return func(o *op) error { return o.need(resource, action) }
}

// NeedsSources is the need of a permission on external sources.
func NeedsSources(action policy.Mask) Need {
	return func(o *op) error { return o.needSources(action) }
}

// NeedsHere is the need of anything at all to do here; to change something, or not.
func NeedsHere(change bool) Need {
	return func(o *op) error { return o.administers(change) }
}

// NeedsAny is met where one of them is, and refused as the first is. Which one it
// comes down to, the operation finds in the body or the store.
func NeedsAny(needs ...Need) Need {
	return func(o *op) error {
		if slices.ContainsFunc(needs, func(n Need) bool { return n(o) == nil }) {
			return nil
		}
		return needs[0](o)
	}
}

// NeedsBatch is the need of what any batch does.
func NeedsBatch() Need {
	var needs []Need
	for _, name := range slices.Sorted(maps.Keys(batchActions)) {
		a := batchActions[name]
		needs = append(needs, NeedsTo(a.needs, a.resource))
	}
	return NeedsAny(needs...)
}

// May refuses an actor that does not meet a need now, or that names a tenant out
// of its reach.
func (s *Service) May(ctx context.Context, a Actor, need Need) error {
	return s.view(ctx, a, need)
}
