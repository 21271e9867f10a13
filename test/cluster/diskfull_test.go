package cluster

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fullDevice answers every write with "no space left on device" (full(4)).
const fullDevice = "/dev/full"

// TestOnAFullDiskGatesSaySoToWritersAndServeAllOthers has the server find no room in the
// files of tables that are empty as yet: those of sources, of requests that have a name,
// and of failures.
func TestOnAFullDiskGatesSaySoToWritersAndServeAllOthers(t *testing.T) {
	if _, err := os.Stat(fullDevice); err != nil {
		return // Linux has it
	}
	t.Parallel()
	c := newCluster(t, options{gates: 3, global: "max_stale 5m"})
	a := c.gates[0]
	role := c.role(t, "all")
	known := a.create(t, "known", role)
	for _, g := range c.gates {
		g.accepts(t, known)
	}
	clients := c.callAllTheTime(known)
	var files []string
	for _, table := range []string{"sources", "idempotency", "tallies"} {
		var dir, file string
		c.query(t, &dir, "SELECT current_setting('data_directory')", c.database)
		c.query(t, &file, "SELECT pg_relation_filepath('"+table+"')", c.database)
		files = append(files, filepath.Join(dir, file))
	}
	guessed := map[*gate]key{}
	for _, g := range c.gates {
		guessed[g] = a.create(t, "guessed at "+g.name, role)
	}
	c.restarts(t, func() {
		for _, file := range files {
			there, err := os.Stat(file)
			require.NoError(t, err)
			require.Zero(t, there.Size(), "%s: its first row is to need room", file)
			require.NoError(t, os.Rename(file, file+".room"))
			require.NoError(t, os.Symlink(fullDevice, file))
		}
	})
	c.settle(t, known) // it reads, and writes where there is room

	for _, g := range c.gates {
		for name, got := range map[string]answer{"a source": g.source(t), "a key": g.named(t, role)} {
			require.Equal(t, http.StatusInsufficientStorage, got.status, "%s: %s", name, got.body)
			require.Equal(t, "store_full", got.field("code"), name)
			require.Empty(t, got.header.Get("Keyreeve-Revision"), name)
		}
		unasked := a.create(t, "unasked by "+g.name, role)
		g.until(t, "it finds what it did not know", func() bool { return g.status(t, unasked) == http.StatusOK })
	}
	require.NotContains(t, a.api(t, "GET", "/v1/keys", nil).body, `"named`, "nothing of it is stored")
	// A failure that cannot be stored is counted all the same, by each gate for itself.
	for _, g := range c.gates {
		k := guessed[g]
		require.Equal(t, accepted, g.tries(t, k.basic()).verdict)
		require.Equal(t, attempts, g.guesses(t, k, attempts))
		require.Equal(t, locked, g.tries(t, k.wrong()).verdict, "gate %s", g.name)
		require.Equal(t, locked, g.tries(t, k.basic()).verdict, "gate %s", g.name)
	}

	c.restarts(t, func() {
		for _, file := range files {
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Rename(file+".room", file))
		}
	})
	healed := time.Now()
	c.settle(t, known)
	for _, g := range c.gates {
		// Of the same name, but what was refused was not done.
		got := g.named(t, role)
		require.Equal(t, http.StatusCreated, got.status, got.body)
		require.Empty(t, got.header.Get("Idempotency-Replayed"))
		got = g.source(t)
		require.Equal(t, http.StatusCreated, got.status, got.body)
		for _, by := range c.gates {
			by.refuses(t, guessed[g], healed)
		}
	}
	t.Logf("locked everywhere, and all is written, %s after there was room", time.Since(healed).Round(time.Millisecond))
	took := time.Since(healed)
	require.Less(t, took, allowed(healsWithin, time.Duration(len(c.gates))*c.calm(t, role))) // one gate after the other
	served, refused := clients.end()
	require.Zero(t, refused, "of %d calls of a known client", served+refused)
	require.Greater(t, served, int64(50))
}

// restarts does something to the server's files.
func (c *cluster) restarts(t *testing.T, do func()) {
	t.Helper()
	c.server.Stop(t)
	do()
	c.server.Start(t)
}

// source makes a source of keys.
func (g *gate) source(t *testing.T) answer {
	t.Helper()
	return g.api(t, "POST", "/v1/sources", map[string]any{"name": "source-of-" + strings.ToLower(g.name), "customer_id": g.c.customer, "rule": "locked", "max_role_id": "role_api_read_only"})
}

// named makes a key by a request that has a name.
func (g *gate) named(t *testing.T, role string) answer {
	t.Helper()
	a, err := ask(g.local, "POST", "http://localhost/keyreeve/v1/keys", map[string]string{"Idempotency-Key": "named-by-" + g.name},
		map[string]any{"name": "named by " + g.name, "role_id": role, "customer_id": g.c.customer})
	require.NoError(t, err)
	return a
}
