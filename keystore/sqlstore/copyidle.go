package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// That nobody decides by, or writes to, a store that is copied or copied to.

// Holder is a Store that can be kept from those that would decide on requests by it.
type Holder interface {
	// Hold keeps them out until release. keystore.ErrInUse where there is one.
	Hold() (release func() error, err error)
}

// hold keeps out who would decide on requests by a store, as far as that can be, and
// answers ErrInUse where somebody does.
func hold(ctx context.Context, s keystore.Store) (release func() error, err error) {
	release = func() error { return nil }
	if h, ok := keystore.As[Holder](s); ok {
		if release, err = h.Hold(); err != nil {
			return nil, err
		}
	}
	if err := idle(ctx, s); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// idle answers ErrInUse while a node that is registered may decide by a store. So may one
// that has ended, until its lease is over: started again without the store, it serves
// from its snapshot, and does not see what is written where the store has gone to.
func idle(ctx context.Context, s keystore.Store) error {
	registry, ok := keystore.As[keystore.Registry](s)
	if !ok {
		return nil
	}
	nodes, err := registry.Nodes(ctx)
	if err != nil {
		return fmt.Errorf("asking which nodes use it: %w", err)
	}
	for i := range nodes {
		n := &nodes[i]
		switch left := max(n.Left, time.Second).Round(time.Second); {
		case n.Fenced():
		case n.Stopped:
			return fmt.Errorf("node %s (%s) has stopped, and could begin again from its snapshot; wait %s until it is known to serve nothing: %w",
				n.Name, n.ID, left, keystore.ErrInUse)
		default:
			return fmt.Errorf("node %s (%s) uses it; stop it, or wait %s until it is known to serve nothing: %w", n.Name, n.ID, left, keystore.ErrInUse)
		}
	}
	return nil
}

// unchanged is asked right before the commit.
func unchanged(ctx context.Context, from, to keystore.Store, was keystore.Revision) error {
	head, err := from.Head(ctx)
	switch {
	case err != nil:
		return err
	case head != was:
		return errChanged
	}
	for _, s := range []keystore.Store{from, to} {
		if err := idle(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.Identity(), err)
		}
	}
	return nil
}

// errChanged: the source was written to while it was copied.
var errChanged = errors.New("the source was written to while it was copied; nothing was stored: stop what writes to it and run this again")
