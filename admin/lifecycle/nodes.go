package lifecycle

import (
	"context"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// States of a node.
const (
	// NodeServing follows the key store.
	NodeServing = "serving"
	// NodeLagging cannot follow it at present and serves what it knows.
	NodeLagging = "lagging"
	// NodeRefusing has been cut off past max_stale, or from a write of its own, and
	// answers 503.
	NodeRefusing = "refusing"
)

// Node is a process that decides on requests.
type Node struct {
	ID              string            `json:"id" doc:"Drawn anew when the process starts."`
	Name            string            `json:"name" doc:"The machine's host name."`
	Self            bool              `json:"self" doc:"The node that answers."`
	State           string            `json:"state" enum:"serving,lagging,refusing" doc:"serving follows the key store; lagging cannot and serves what it knows; refusing has been cut off past max_stale."`
	Position        keystore.Revision `json:"position" doc:"The newest revision that its decisions see."`
	AppliedAt       time.Time         `json:"applied_at" doc:"When it last asked the key store for changes and had them all."`
	StartedAt       time.Time         `json:"started_at"`
	Version         string            `json:"version" doc:"Of this module; empty if the build does not tell."`
	Store           string            `json:"store" doc:"The kind of key store that it uses."`
	MaxStaleSeconds int64             `json:"max_stale_seconds" doc:"How long it serves known keys while the key store is out of reach."`
}

// NodeFilter selects nodes.
type NodeFilter struct{ Paging }

// ListNodes lists the nodes by name. They belong to no tenant, so the permission
// alone decides who sees them.
func (s *Service) ListNodes(ctx context.Context, a Actor, f NodeFilter) (Page[Node], error) {
	var out Page[Node]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.need(ResourceNodes, policy.Read); err != nil {
			return err
		}
		at, err := f.check(o, o.scope(nodeCursor, nil), nil)
		if err != nil {
			return err
		}
		all, err := o.nodes()
		if err != nil {
			return err
		}
		cursor := func(n Node) keystore.Cursor { return keystore.Cursor{Values: []string{n.Name}, ID: n.ID} }
		out, err = pageOf(o, at, cut(at, all, false, cursor), len(all),
			func(n Node) (keystore.Cursor, error) { return cursor(n), nil }, func(n Node) (Node, error) { return n, nil })
		return err
	})
	return out, err
}

// nodes is the caller's own list.
func (o *op) nodes() ([]Node, error) {
	if o.cfg.Nodes == nil {
		return nil, nil
	}
	all, err := o.cfg.Nodes(o.ctx)
	return slices.Clone(all), err
}
