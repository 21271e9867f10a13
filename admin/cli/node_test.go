package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const twoNodes = `{"items":[
 {"id":"node_1","name":"gate-1","self":true,"state":"serving","position":42,"applied_at":"2026-05-01T11:59:59.5Z","started_at":"2026-04-01T00:00:00Z","version":"v1.2.3","store":"sqlite","max_stale_seconds":300},
 {"id":"node_2","name":"gate\u001b[2J","self":false,"state":"lagging","position":40,"applied_at":"2026-05-01T11:50:00Z","started_at":"2026-04-01T00:00:00Z","version":"","store":"postgres","max_stale_seconds":300,"renewed_at":"2026-05-01T11:50:00Z","lease_seconds":305.5,"fenced":false,"accepts_until":"2026-05-01T11:55:06Z","former":true}
],"next_cursor":null,"total":2}`

func TestNodesAreListed(t *testing.T) {
	t.Parallel()
	server := &serve{status: 200, kind: "application/json", body: twoNodes}
	address := server.start(t)
	got := run(t, Env{}, nil, "node", "list", "--address", address)
	require.Zero(t, got.code, got.errOut)
	require.Equal(t, "/keyreeve/v1/nodes", server.last.URL.Path)
	require.Contains(t, got.out, "gate-1")
	require.Regexp(t, `serving\s+42\s+2026-05-01 11:59:59Z\s+-\s+300 s`, got.out)
	require.Regexp(t, `lagging \(former process\)\s+40\s+2026-05-01 11:50:00Z\s+2026-05-01 11:55:06Z\s+300 s\s+postgres\s+-\s`, got.out)
	require.NotContains(t, got.out, "\x1b", "a name cannot move the cursor")

	got = run(t, Env{}, nil, "node", "list", "--address", address, "-o", "csv")
	require.Contains(t, got.out, "id,name,self,state,position,applied_at,started_at,version,store,max_stale_seconds,renewed_at,lease_seconds,fenced,accepts_until,former\n"+
		"node_1,gate-1,true,serving,42,2026-05-01T11:59:59.5Z,2026-04-01T00:00:00Z,v1.2.3,sqlite,300,,,false,,false\n")
	require.Contains(t, got.out, ",postgres,300,2026-05-01T11:50:00Z,305.5,false,2026-05-01T11:55:06Z,true\n")
	require.Equal(t, twoNodes+"\n", run(t, Env{}, nil, "node", "list", "--address", address, "-o", "json").out)
	require.Zero(t, run(t, Env{}, nil, "node", "list", "--address", address, "--all").code)
	require.Equal(t, maxPageSize, server.last.URL.Query().Get("page_size"))
	help := run(t, Env{Program: "caddy keyreeve"}, nil, "node", "list", "--help")
	require.Contains(t, help.out, "caddy keyreeve node list")
	require.Contains(t, help.out, "With a SQLite store")
}

func TestAHouseWithoutNodesListsNone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	require.Contains(t, h.mustCLI(t, "node", "list", "-o", "json").out, `"items":[],"next_cursor":null,"total":0`)
	require.Equal(t, ExitUsage, h.cli(t, "node", "list", "x").code)
	require.Equal(t, ExitUsage, h.cli(t, "node", "explode").code)
}
