package caddymodule

import (
	"context"
	"os"
	"runtime/debug"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// modulePath is that of this module, for finding its version in a build.
const modulePath = "github.com/keyreeve/keyreeve"

// What every node of this process has in common.
var (
	processStarted = time.Now().UTC().Truncate(time.Millisecond)
	moduleVersion  = versionIn(debug.ReadBuildInfo())
)

// versionIn is the version of this module in a build, "" where it is not told.
func versionIn(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return ""
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == modulePath {
			return m.Version
		}
	}
	return ""
}

// nodes lists the nodes that are registered, and this process as it knows itself. A
// store without a registry has it alone: others that use the same SQLite file are not
// told of anywhere. A command on the store itself is no node.
func (a *App) nodes(shared *sharedStore) func(context.Context) ([]lifecycle.Node, error) {
	kind := a.opener.(caddy.Module).CaddyModule().ID.Name()
	self := a.self(shared, kind)
	if a.offline {
		self = func() ([]lifecycle.Node, error) { return nil, nil }
	}
	return func(ctx context.Context) ([]lifecycle.Node, error) {
		all, err := self()
		if err != nil {
			return nil, err
		}
		registered, err := shared.keys.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		for i := range registered {
			all = lifecycle.AddRegistered(all, &registered[i], kind)
		}
		return all, nil
	}
}

// self is this process as a node.
func (a *App) self(shared *sharedStore, kind string) func() ([]lifecycle.Node, error) {
	return func() ([]lifecycle.Node, error) {
		name, err := nodeName()
		if err != nil {
			return nil, err
		}
		now := shared.clock.Now()
		position, at, lost := shared.keys.Followed()
		n := lifecycle.Node{
			ID: shared.keys.NodeID(), Name: name, Self: true, State: lifecycle.NodeServing,
			Position: position, AppliedAt: at.UTC().Truncate(time.Millisecond), StartedAt: processStarted, Version: moduleVersion,
			Store: kind, MaxStaleSeconds: int64(a.settings.MaxStale / time.Second),
		}
		switch {
		case !shared.keys.Fresh(now, a.settings.MaxStale):
			n.State = lifecycle.NodeRefusing
		case lost:
			n.State = lifecycle.NodeLagging
		}
		return []lifecycle.Node{n}, nil
	}
}

const (
	// nodeNameVar is the environment variable with what this node is called, for where
	// host names do not tell nodes apart, and maxNodeName is the longest it may have.
	nodeNameVar = "KEYREEVE_NODE_NAME"
	maxNodeName = 100
)

// nodeName is what people know this node by. One that could not be shown is not used.
func nodeName() (string, error) {
	name := strings.TrimSpace(os.Getenv(nodeNameVar))
	unseen := func(r rune) bool { return !unicode.IsPrint(r) }
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxNodeName || strings.ContainsFunc(name, unseen) {
		return os.Hostname()
	}
	return name, nil
}

// nodeInfo is what this process is among those that follow the store.
func (a *App) nodeInfo(shared *sharedStore) keystore.NodeInfo {
	name, err := nodeName()
	if err != nil {
		name = "unknown"
	}
	return keystore.NodeInfo{ID: shared.keys.NodeID(), Name: name, Version: moduleVersion, Started: processStarted}
}
