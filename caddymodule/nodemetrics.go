package caddymodule

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// nodesTimeout bounds what a scrape waits for the registry.
const nodesTimeout = time.Second

// Descriptions of what collectNode collects.
var (
	descNodes          = prometheus.NewDesc("keyreeve_nodes", "Nodes that follow the key store, by state.", []string{"state"}, nil)
	descNodesLag       = prometheus.NewDesc("keyreeve_nodes_lag_revisions", "Changes that the slowest node that serves has not confirmed.", nil, nil)
	descNodeConfirmed  = prometheus.NewDesc("keyreeve_node_confirmed_revision", "Newest change that this node told the others it sees.", nil, nil)
	descNodeRenewalAge = prometheus.NewDesc("keyreeve_node_renewal_age_seconds", "Time since this node renewed its place among the others.", nil, nil)
	descNodeRenewals   = prometheus.NewDesc("keyreeve_node_renewals_total", "Renewals of this node's place among the others.", []string{"outcome"}, nil)
	descNodeRefusing   = prometheus.NewDesc("keyreeve_node_refusing", "1 while this node serves nothing that it knows, as it may be too old.", nil, nil)
	descStoreLost      = prometheus.NewDesc("keyreeve_store_lost", "1 while the key store cannot be followed, and is asked nothing else.", nil, nil)

	descStoreRestored = prometheus.NewDesc("keyreeve_store_restored", "1 while the key store is one that went back to an older state, and no operator has accepted that.", nil, nil)

	descSnapshotBytes  = prometheus.NewDesc("keyreeve_snapshot_bytes", "Size of this node's snapshot with its journal.", nil, nil)
	descSnapshotAge    = prometheus.NewDesc("keyreeve_snapshot_age_seconds", "Time since anything was written to this node's snapshot or its journal.", nil, nil)
	descSnapshotWrites = prometheus.NewDesc("keyreeve_snapshot_writes_total", "Snapshots that were written whole, or could not be written.", []string{"outcome"}, nil)

	nodeDescriptions = []*prometheus.Desc{descNodes, descNodesLag, descNodeConfirmed, descNodeRenewalAge, descNodeRenewals, descNodeRefusing, descStoreLost, descStoreRestored,
		descSnapshotBytes, descSnapshotAge, descSnapshotWrites}
)

// collectNode sends how this node stands among those of its store.
func collectNode(ch chan<- prometheus.Metric, app *App, store *sharedStore) {
	send := func(desc *prometheus.Desc, value float64) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	m := store.keys.Membership()
	send(descNodeConfirmed, float64(m.Confirmed))
	send(descNodeRenewalAge, m.Age.Seconds())
	send(descNodeRefusing, oneIf(!store.keys.Fresh(store.clock.Now(), app.settings.MaxStale)))
	_, _, lost := store.keys.Followed()
	send(descStoreLost, oneIf(lost))

	var size, age float64
	if path := app.snapshotPath(store.keys.Store().Identity()); path != "" {
		if info, err := os.Stat(path); err == nil {
			size, age = float64(info.Size()), max(0, time.Since(info.ModTime()).Seconds())
		}
	}
	send(descSnapshotBytes, size)
	send(descSnapshotAge, age)
	collectNodes(ch, app, store)
}

// collectNodes sends how many nodes there are in each state, and what else only the store
// knows.
func collectNodes(ch chan<- prometheus.Metric, app *App, store *sharedStore) {
	send := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), nodesTimeout)
	defer cancel()
	nodes, err := app.nodes(store)(ctx)
	if err != nil {
		return // not known at present: better no value than one that is wrong
	}
	if restored, err := store.keys.Restored(ctx); err == nil {
		send(descStoreRestored, oneIf(restored != nil))
	}
	states := map[string]int{lifecycle.NodeServing: 0, lifecycle.NodeLagging: 0, lifecycle.NodeRefusing: 0, lifecycle.NodeStopped: 0}
	seen := store.keys.Position()
	slowest := seen
	for i := range nodes {
		states[nodes[i].State]++
		if nodes[i].State == lifecycle.NodeServing || nodes[i].State == lifecycle.NodeLagging {
			slowest = min(slowest, nodes[i].Position)
		}
	}
	for state, n := range states {
		send(descNodes, float64(n), state)
	}
	send(descNodesLag, float64(seen-slowest))
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
