package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
)

// scraped waits until series have these values.
func scraped(t *testing.T, admin string, want map[string]float64) map[string]sample {
	t.Helper()
	var now map[string]sample
	differs := func() (differing []string) {
		now = scrape(t, admin)
		for series, value := range want {
			if s, there := now[series]; !there || s.value != value {
				differing = append(differing, fmt.Sprintf("%s is %v (there: %t), not %v", series, s.value, there, value))
			}
		}
		return differing
	}
	for deadline := time.Now().Add(30 * time.Second); len(differs()) > 0; time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%s", strings.Join(differs(), "\n"))
	}
	return now
}

// ofNodes are series that are there only while the store can be asked.
var ofNodes = []string{"keyreeve_nodes{state=serving}", "keyreeve_nodes{state=lagging}", "keyreeve_nodes{state=refusing}",
	"keyreeve_nodes{state=stopped}", "keyreeve_nodes_lag_revisions{}", "keyreeve_store_restored{}"}

func TestMetricsOfANodeOnPostgreSQLAreExact(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	dsn := server.DSNBy(server.Address(), pgtest.Superuser, server.NewDatabase(t))
	admin := freeAddress(t)
	edit := onPostgres(t, fixed(dsn), "max_stale 3s")
	g := startEdited(t, "", func(s string) string { return withAdmin(admin)(edit(s)) })
	base := scrape(t, admin)
	g.newKey("a", keystore.RoleFullAccess)
	shared := storeOf()
	head := float64(shared.keys.Position())
	calm := map[string]float64{
		"keyreeve_nodes{state=serving}": 1, "keyreeve_nodes{state=lagging}": 0, "keyreeve_nodes{state=refusing}": 0, "keyreeve_nodes{state=stopped}": 0,
		"keyreeve_nodes_lag_revisions{}": 0, "keyreeve_node_confirmed_revision{}": head, "keyreeve_feed_revision{}": head,
		"keyreeve_node_refusing{}": 0, "keyreeve_store_lost{}": 0, "keyreeve_store_restored{}": 0,
		"keyreeve_snapshot_writes_total{outcome=failed}": base["keyreeve_snapshot_writes_total{outcome=failed}"].value,
	}
	now := scraped(t, admin, calm)
	require.Less(t, now["keyreeve_node_renewal_age_seconds{}"].value, 4.0, "else it would refuse")
	require.Eventually(t, func() bool {
		now = scrape(t, admin)
		info, err := os.Stat(shared.snapshot)
		return err == nil && now["keyreeve_snapshot_writes_total{outcome=ok}"].value > 0 &&
			now["keyreeve_node_renewals_total{outcome=ok}"].value > base["keyreeve_node_renewals_total{outcome=ok}"].value &&
			now["keyreeve_snapshot_bytes{}"].value > 0 && now["keyreeve_snapshot_bytes{}"].value <= float64(info.Size())
	}, 30*time.Second, 50*time.Millisecond, "it renews, and keeps a snapshot")
	require.Less(t, now["keyreeve_snapshot_age_seconds{}"].value, 30.0)

	// Others: one that has nothing yet, until its lease is over, and one that stopped.
	registry, ok := keystore.As[keystore.Registry](shared.keys.Store())
	require.True(t, ok)
	const lease = 8 * time.Second
	require.NoError(t, registry.Renew(t.Context(), keystore.Registration{ID: "behind", Name: "behind", Lease: lease, MaxStale: lease}))
	require.NoError(t, registry.Renew(t.Context(), keystore.Registration{ID: "ended", Name: "ended", Lease: time.Hour, MaxStale: time.Hour, Stopped: true}))
	scraped(t, admin, map[string]float64{"keyreeve_nodes{state=stopped}": 1, "keyreeve_nodes_lag_revisions{}": head})
	scraped(t, admin, map[string]float64{"keyreeve_nodes{state=serving}": 1, "keyreeve_nodes{state=refusing}": 1, "keyreeve_nodes_lag_revisions{}": 0})

	server.Stop(t)
	now = scraped(t, admin, map[string]float64{"keyreeve_store_lost{}": 1})
	for _, series := range ofNodes {
		require.NotContains(t, now, series, "it is not known")
	}
	now = scraped(t, admin, map[string]float64{"keyreeve_node_refusing{}": 1, "keyreeve_store_lost{}": 1})
	require.Greater(t, now["keyreeve_feed_age_seconds{}"].value, 3.0)
	require.Greater(t, now["keyreeve_node_renewal_age_seconds{}"].value, 3.0)
	server.Start(t)
	delete(calm, "keyreeve_nodes{state=refusing}")
	delete(calm, "keyreeve_nodes{state=stopped}")
	now = scraped(t, admin, calm)

	// Over to another node of the same process: nothing that is counted goes back.
	require.Contains(t, now, "keyreeve_node_renewals_total{outcome=failed}")
	require.NoError(t, g.load("snapshot off"))
	later := scraped(t, admin, map[string]float64{"keyreeve_snapshot_bytes{}": 0, "keyreeve_snapshot_age_seconds{}": 0})
	for series, s := range now {
		if s.kind == "counter" {
			require.GreaterOrEqual(t, later[series].value, s.value, series)
		}
	}
	file := filepath.Join(g.dir, "no-directory")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, g.load("snapshot "+filepath.Join(file, "snapshot")), "no reason to serve nobody")
	require.Greater(t, scrape(t, admin)["keyreeve_snapshot_writes_total{outcome=failed}"].value, later["keyreeve_snapshot_writes_total{outcome=failed}"].value)
}

func TestADatabaseThatWentBackIsToldUntilAnOperatorAcceptsIt(t *testing.T) {
	server := pgtest.Start(t, pgtest.Volatile()...)
	name := server.NewDatabase(t)
	admin := freeAddress(t)
	edit := onPostgres(t, fixed(server.DSNBy(server.Address(), pgtest.Superuser, name)))
	g := startEdited(t, "", func(s string) string { return withAdmin(admin)(subscribed(nodeEvents...)(edit(s))) })
	k := g.newKey("a", keystore.RoleFullAccess)
	require.NoError(t, caddy.Stop())
	server.Exec(t, "CREATE DATABASE backup TEMPLATE "+name)
	require.NoError(t, g.load(""))
	local := lifecycle.Local("test", false)
	_, _, err := Service().UpdateKey(t.Context(), local, k.id, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)}, nil)
	require.NoError(t, err)
	scraped(t, admin, map[string]float64{"keyreeve_store_restored{}": 0})
	takeHeard()

	server.Exec(t, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false")
	server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
	server.Exec(t, "DROP DATABASE "+name+" WITH (FORCE)")
	server.Exec(t, "ALTER DATABASE backup RENAME TO "+name)
	scraped(t, admin, map[string]float64{"keyreeve_store_restored{}": 1, "keyreeve_store_lost{}": 0})
	var told []caddy.Event
	require.Eventually(t, func() bool {
		told = append(told, slices.DeleteFunc(takeHeard(), func(e caddy.Event) bool { return e.Name() != eventRestored })...)
		return len(told) > 0
	}, 30*time.Second, 20*time.Millisecond)
	require.Len(t, told, 1)
	require.Equal(t, storeOf().keys.NodeID(), told[0].Data["node_id"])
	require.Equal(t, 401, g.call(k, k.secret), "disabled again")
	require.NoError(t, g.load("max_stale 4m"))
	_, _, err = Service().AcceptRestore(t.Context(), local)
	require.NoError(t, err)
	scraped(t, admin, map[string]float64{"keyreeve_store_restored{}": 0})
	require.Empty(t, slices.DeleteFunc(takeHeard(), func(e caddy.Event) bool { return e.Name() != eventRestored }), "told once")
}
