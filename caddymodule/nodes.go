package caddymodule

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/credential"
)

// modulePath is that of this module, for finding its version in a build.
const modulePath = "github.com/keyreeve/keyreeve"

// What every node of this process has in common.
var (
	processID      = credential.NewID("node")
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

// nodes lists this process alone: others that use the same SQLite file are not
// registered anywhere. A command on the store itself is no node.
func (a *App) nodes(shared *sharedStore) func(context.Context) ([]lifecycle.Node, error) {
	if a.offline {
		return nil
	}
	kind := a.opener.(caddy.Module).CaddyModule().ID.Name()
	return func(context.Context) ([]lifecycle.Node, error) {
		name, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		now := shared.clock.Now()
		position, at, lost := shared.keys.Followed()
		n := lifecycle.Node{
			ID: processID, Name: name, Self: true, State: lifecycle.NodeServing,
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
