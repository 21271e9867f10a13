package caddymodule

import (
	"errors"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// What is counted lives as long as the process: each configuration has a registry
// of its own, in which the same collectors are registered again.
var (
	decisions recorder
	stores    storeSet

	signIns = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keyreeve_signins_total",
		Help: "Requests for an access token, by outcome: issued, refused, or error where they could not be answered.",
	}, []string{"outcome"})

	collectors = []prometheus.Collector{collector{}, signIns, storeSeconds, storeErrors}
)

// Outcomes of a sign-in.
const (
	signInIssued  = "issued"
	signInRefused = "refused"
	signInError   = "error"
)

func init() {
	for _, outcome := range []string{signInIssued, signInRefused, signInError} {
		signIns.WithLabelValues(outcome)
	}
}

// registerMetrics makes a configuration's registry serve what is counted.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, c := range collectors {
		var again prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &again) {
			return err
		}
	}
	return nil
}

// storeTotals are the counts of a store and its caches.
type storeTotals struct {
	keystore.Counts
	tokens keystore.CacheCounts
	// Renewals of a node's place among the others, and what was written of its snapshot.
	renewed, renewFailed uint64
	snapshots            keystore.SnapshotCounts
}

func (t *storeTotals) add(o storeTotals) {
	addCache := func(into *keystore.CacheCounts, c keystore.CacheCounts) {
		into.Hits += c.Hits
		into.Misses += c.Misses
	}
	addCache(&t.KeyLookups, o.KeyLookups)
	addCache(&t.UnknownLookups, o.UnknownLookups)
	addCache(&t.tokens, o.tokens)
	t.Counted += o.Counted
	t.Uncounted += o.Uncounted
	t.ClientLocks += o.ClientLocks
	t.SourceLocks += o.SourceLocks
	t.RetiredUses += o.RetiredUses
	t.DroppedUses += o.DroppedUses
	t.renewed += o.renewed
	t.renewFailed += o.renewFailed
	t.snapshots.Rewritings += o.snapshots.Rewritings
	t.snapshots.Errors += o.snapshots.Errors
}

func (s *sharedStore) totals() storeTotals {
	m := s.keys.Membership()
	return storeTotals{Counts: s.keys.Counts(), tokens: s.tokens.Counts(), renewed: m.Renewals, renewFailed: m.Failures, snapshots: s.keys.SnapshotCounts()}
}

// storeSet knows the open stores and remembers what closed ones had counted, so
// that no total goes back when a configuration moves to another store.
type storeSet struct {
	mu     sync.Mutex
	open   map[*sharedStore]struct{}
	closed storeTotals
}

func (s *storeSet) opened(store *sharedStore) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[*sharedStore]struct{})
	}
	s.open[store] = struct{}{}
}

func (s *storeSet) close(store *sharedStore) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed.add(store.totals())
	delete(s.open, store)
}

func (s *storeSet) totals() storeTotals {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.closed
	for store := range s.open {
		sum.add(store.totals())
	}
	return sum
}

// Descriptions of what collector collects.
var (
	descDecisions     = prometheus.NewDesc("keyreeve_decisions_total", "Requests decided on, by outcome and reason.", []string{"outcome", "reason"}, nil)
	descDuration      = prometheus.NewDesc("keyreeve_decision_duration_seconds", "Time from a request's arrival at the gate to the decision.", nil, nil)
	descCacheHits     = prometheus.NewDesc("keyreeve_cache_hits_total", "Lookups answered from the cache.", []string{"cache"}, nil)
	descCacheMisses   = prometheus.NewDesc("keyreeve_cache_misses_total", "Lookups that the cache could not answer.", []string{"cache"}, nil)
	descCacheEntries  = prometheus.NewDesc("keyreeve_cache_entries", "Entries in the cache.", []string{"cache"}, nil)
	descCacheBytes    = prometheus.NewDesc("keyreeve_cache_bytes", "Estimated memory of the cache's entries.", []string{"cache"}, nil)
	descFailures      = prometheus.NewDesc("keyreeve_failures_total", "Wrong secrets for a known client, by whether they counted towards a lock.", []string{"counted"}, nil)
	descLockouts      = prometheus.NewDesc("keyreeve_lockouts_total", "Locks that began on this node, of a client or of one of its source networks.", []string{"scope"}, nil)
	descRetiredUses   = prometheus.NewDesc("keyreeve_retired_secret_uses_total", "Secrets shown that are no longer good but were within 30 days.", nil, nil)
	descDroppedUses   = prometheus.NewDesc("keyreeve_last_uses_dropped_total", "Last uses of keys that were not recorded, for too many waited to be written.", nil, nil)
	descLockedClients = prometheus.NewDesc("keyreeve_locked_clients", "Clients locked at present.", nil, nil)
	descEndedSessions = prometheus.NewDesc("keyreeve_ended_sessions", "Sessions remembered because they were ended early.", nil, nil)
	descFeedRevision  = prometheus.NewDesc("keyreeve_feed_revision", "Newest change of the key store that this node has seen.", nil, nil)
	descFeedAge       = prometheus.NewDesc("keyreeve_feed_age_seconds", "Time since the key store was last asked for changes with success.", nil, nil)
)

// collector reads the counts of the decisions and of the stores.
type collector struct{}

// Describe lists what Collect sends.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descDecisions, descDuration, descCacheHits, descCacheMisses, descCacheEntries, descCacheBytes, descFailures,
		descLockouts, descRetiredUses, descDroppedUses, descLockedClients, descEndedSessions, descFeedRevision, descFeedAge,
	} {
		ch <- d
	}
	for _, d := range nodeDescriptions {
		ch <- d
	}
}

// Collect sends the totals of the process and the state of the store in force.
func (collector) Collect(ch chan<- prometheus.Metric) {
	collectDecisions(ch)
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	t := stores.totals()
	for name, c := range map[string]keystore.CacheCounts{"keys": t.KeyLookups, "unknown": t.UnknownLookups, "tokens": t.tokens} {
		counter(descCacheHits, c.Hits, name)
		counter(descCacheMisses, c.Misses, name)
	}
	counter(descFailures, t.Counted, "true")
	counter(descFailures, t.Uncounted, "false")
	counter(descLockouts, t.ClientLocks, scopeClient)
	counter(descLockouts, t.SourceLocks, scopeSource)
	counter(descRetiredUses, t.RetiredUses)
	counter(descDroppedUses, t.DroppedUses)
	counter(descNodeRenewals, t.renewed, "ok")
	counter(descNodeRenewals, t.renewFailed, "failed")
	counter(descSnapshotWrites, uint64(t.snapshots.Rewritings), "ok")
	counter(descSnapshotWrites, uint64(t.snapshots.Errors), "failed")
	if app := active.Load(); app != nil {
		if run := app.running.Load(); run != nil {
			collectState(ch, run.store)
			collectNode(ch, app, run.store)
		}
	}
}

func collectDecisions(ch chan<- prometheus.Metric) {
	counter := func(reason policy.Reason, shadow bool, outcome string) {
		ch <- prometheus.MustNewConstMetric(descDecisions, prometheus.CounterValue, float64(decisions.decided(reason, shadow)), outcome, reason.Code())
	}
	for _, reason := range policy.Reasons() {
		if reason == policy.Allowed || reason == policy.Public {
			// A gate that only watches lets these through like any other.
			ch <- prometheus.MustNewConstMetric(descDecisions, prometheus.CounterValue,
				float64(decisions.decided(reason, false)+decisions.decided(reason, true)), outcomeAllow, reason.Code())
			continue
		}
		counter(reason, false, outcomeDeny)
		counter(reason, true, outcomeWouldDeny)
	}
	count, seconds, buckets := decisions.durations()
	ch <- prometheus.MustNewConstHistogram(descDuration, count, seconds, buckets)
}

func collectState(ch chan<- prometheus.Metric, store *sharedStore) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	s := store.keys.Stats()
	for name, h := range map[string]keystore.CacheHolds{"keys": s.Keys, "unknown": s.Unknown, "tokens": store.tokens.Holds()} {
		gauge(descCacheEntries, float64(h.Entries), name)
		gauge(descCacheBytes, float64(h.Bytes), name)
	}
	gauge(descLockedClients, float64(s.LockedClients))
	gauge(descEndedSessions, float64(s.EndedSessions))
	gauge(descFeedRevision, float64(s.Revision))
	gauge(descFeedAge, s.Age.Seconds())
}
