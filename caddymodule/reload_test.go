package caddymodule

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

func TestAConfigurationThatDidNotComeUpLeavesTheTunablesOfTheOneThatRuns(t *testing.T) {
	g := startGate(t, "")
	shared := active.Load().running.Load().store
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	adminURL := g.adminURL
	for range 4 { // apps start in no fixed order: ours has to come up before the server fails
		g.adminURL = "http://" + taken.Addr().String()
		require.Error(t, g.load("cache {\n unknown 1\n }"))
	}
	g.adminURL = adminURL
	const asked = 500
	now := shared.clock.Now()
	for i := range asked {
		_, _, err := shared.keys.Look(context.Background(), fmt.Sprintf("nobody-%d", i), now)
		require.ErrorIs(t, err, keystore.ErrNotFound)
	}
	require.Equal(t, asked, shared.keys.Stats().Unknown.Entries, "the running configuration's bound is 100000")
}

func TestAConfigurationThatEndedIsNotHandedTheAdminEndpointBack(t *testing.T) {
	g := startGate(t, "")
	require.NoError(t, g.load("max_stale 1m"))
	require.NoError(t, g.load("max_stale 2m"))
	require.Nil(t, active.Load().previous, "the one before has ended and can be freed")
	require.NoError(t, caddy.Stop())
	require.Nil(t, active.Load())
	require.Nil(t, Service())
}

func TestGatesThatDisagreeOnANameAreRefusedAtLoad(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	second := freeAddress(t)
	for resource, resources := range map[string]string{
		"others": "things: {group: stock}",  // no group at the gate that names it in a line
		"stock":  "others: {group: things}", // a group of the name of its resource
	} {
		file := filepath.Join(g.dir, resource+".yaml")
		require.NoError(t, os.WriteFile(file, []byte("version: 1\nresources:\n  "+resources+"\n"), 0o600))
		g.edit = func(s string) string {
			return s + fmt.Sprintf("http://%s {\n\tkeyreeve {\n\t\tpolicy %s\n\t\troute GET /x %s\n\t}\n}\n", second, file, resource)
		}
		err := g.load("")
		require.ErrorContains(t, err, "disagree")
		require.ErrorContains(t, err, `"things"`)
		require.ErrorContains(t, err, resource+".yaml:3")
		require.ErrorContains(t, err, "Caddyfile:")
		require.Equal(t, 200, g.call(k, k.secret), "the configuration before still runs")
	}
	file := filepath.Join(g.dir, "agreeing.yaml")
	require.NoError(t, os.WriteFile(file, []byte("version: 1\nresources:\n  others: {group: stock}\n"), 0o600))
	g.edit = func(s string) string {
		return s + fmt.Sprintf("http://%s {\n\tkeyreeve {\n\t\tpolicy %s\n\t\troute GET /x things\n\t}\n}\n", second, file)
	}
	require.NoError(t, g.load(""))
}
