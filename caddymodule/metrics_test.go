package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/policy"
)

// sample is a series as scraped; of a histogram, its count.
type sample struct {
	kind   string // counter, gauge, histogram
	labels map[string]string
	value  float64
}

// withAdmin turns on Caddy's admin endpoint, which serves metrics, at an address.
func withAdmin(address string) func(string) string {
	return func(caddyfile string) string {
		return strings.Replace(caddyfile, "admin off", "admin "+address, 1)
	}
}

// scrape reads Keyreeve's series as Prometheus does, by name and labels.
func scrape(t *testing.T, address string) map[string]sample {
	t.Helper()
	resp, err := client.Get("http://" + address + "/metrics")
	for tries := 0; err != nil && tries < 5; tries++ { // a reload ends idle connections
		resp, err = client.Get("http://" + address + "/metrics")
	}
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	found := map[string]sample{}
	for name, family := range families {
		if !strings.HasPrefix(name, "keyreeve_") {
			continue
		}
		for _, m := range family.GetMetric() {
			s := sample{kind: strings.ToLower(family.GetType().String()), labels: map[string]string{}}
			var labels []string
			for _, l := range m.GetLabel() {
				s.labels[l.GetName()] = l.GetValue()
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			s.value = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			found[name+"{"+strings.Join(labels, ",")+"}"] = s
		}
	}
	return found
}

func TestMetricsOfKnownTrafficAreExact(t *testing.T) {
	admin := freeAddress(t)
	g := startEdited(t, "", withAdmin(admin))
	good, guessed, reader := g.newKey("good", keystore.RoleFullAccess), g.newKey("guessed", keystore.RoleFullAccess), g.newKey("reader", keystore.RoleReadOnly)
	before := scrape(t, admin)

	for range 5 {
		require.Equal(t, 200, g.call(good, good.secret))
	}
	for range 3 {
		require.Equal(t, 401, g.call(guessed, "wrong"))
	}
	require.Equal(t, 401, g.call(guessed, guessed.secret), "locked: not compared, not counted")
	for range 2 {
		require.Equal(t, 401, g.call(testKey{clientID: "nobody"}, "x"))
	}
	require.Equal(t, 401, g.send(func(*http.Request) {}))
	require.Equal(t, 403, g.send(func(r *http.Request) {
		r.Method = http.MethodPost
		r.SetBasicAuth(reader.clientID, reader.secret)
	}))
	require.Equal(t, 200, g.send(func(r *http.Request) { r.URL.Path = "/healthz" }))
	require.Equal(t, 403, g.send(func(r *http.Request) {
		r.URL.Path = "/nothing"
		r.SetBasicAuth(good.clientID, good.secret)
	}))

	after := scrape(t, admin)
	for series, delta := range map[string]float64{
		"keyreeve_decisions_total{outcome=allow,reason=allowed}":             5,
		"keyreeve_decisions_total{outcome=allow,reason=public}":              1,
		"keyreeve_decisions_total{outcome=deny,reason=invalid_client}":       6,
		"keyreeve_decisions_total{outcome=deny,reason=credentials_required}": 1,
		"keyreeve_decisions_total{outcome=deny,reason=permission_denied}":    1,
		"keyreeve_decisions_total{outcome=deny,reason=no_route}":             1,
		"keyreeve_decisions_total{outcome=deny,reason=store_unavailable}":    0,
		"keyreeve_decisions_total{outcome=would_deny,reason=invalid_client}": 0,
		"keyreeve_decision_duration_seconds{}":                               15,
		"keyreeve_failures_total{counted=true}":                              3,
		"keyreeve_failures_total{counted=false}":                             0,
		"keyreeve_lockouts_total{scope=client}":                              1,
		"keyreeve_lockouts_total{scope=source}":                              0,
		"keyreeve_locked_clients{}":                                          1,
		"keyreeve_cache_misses_total{cache=keys}":                            5, // three keys, once each, and twice the unknown one
		"keyreeve_cache_hits_total{cache=keys}":                              5 + 4 + 1 + 1 - 3,
		"keyreeve_cache_misses_total{cache=unknown}":                         4,
		"keyreeve_cache_hits_total{cache=unknown}":                           1,
		"keyreeve_cache_entries{cache=unknown}":                              1,
		"keyreeve_store_duration_seconds{operation=key_by_client_id}":        4,
		"keyreeve_store_duration_seconds{operation=count}":                   3,
		"keyreeve_store_errors_total{operation=count}":                       0,
	} {
		require.Contains(t, after, series)
		require.InDelta(t, delta, after[series].value-before[series].value, 0, series)
	}
	require.Less(t, after["keyreeve_feed_age_seconds{}"].value, 60.0)
	_, err := Service().Unlock(context.Background(), lifecycle.Local("test", false), guessed.id, "", nil)
	require.NoError(t, err)
	unlocked := scrape(t, admin)
	require.Zero(t, unlocked["keyreeve_locked_clients{}"].value)
	require.InDelta(t, float64(active.Load().running.Load().store.keys.Position()), unlocked["keyreeve_feed_revision{}"].value, 0)
	require.Eventually(t, func() bool { // the cache takes keys in behind the request
		return scrape(t, admin)["keyreeve_cache_entries{cache=keys}"].value == 3
	}, 5*time.Second, 10*time.Millisecond)
	perKey := scrape(t, admin)["keyreeve_cache_bytes{cache=keys}"].value / 3
	require.Greater(t, perKey, 400.0, "a key, its texts, its secret and what the cache keeps around it")
	require.Less(t, perKey, 4000.0)
}

func TestAShadowingGateCountsWhatItWouldHaveDenied(t *testing.T) {
	admin := freeAddress(t)
	g := startEdited(t, "", func(s string) string {
		return withAdmin(admin)(strings.Replace(s, "public GET /healthz", "public GET /healthz\n\t\tshadow", 1))
	})
	k := g.newKey("a", keystore.RoleFullAccess)
	before := scrape(t, admin)
	require.Equal(t, 200, g.call(k, "wrong"))
	require.Equal(t, 200, g.call(k, k.secret))
	after := scrape(t, admin)
	delta := func(series string) float64 { return after[series].value - before[series].value }
	require.InDelta(t, 1, delta("keyreeve_decisions_total{outcome=would_deny,reason=invalid_client}"), 0)
	require.InDelta(t, 0, delta("keyreeve_decisions_total{outcome=deny,reason=invalid_client}"), 0)
	require.InDelta(t, 1, delta("keyreeve_decisions_total{outcome=allow,reason=allowed}"), 0)
	require.InDelta(t, 0, delta("keyreeve_failures_total{counted=true}"), 0)
}

func TestCountersGoOnOverReloadsAndFromStoreToStore(t *testing.T) {
	admin := freeAddress(t)
	g := startEdited(t, "", withAdmin(admin))
	k := g.newKey("a", keystore.RoleFullAccess)
	g.call(k, "wrong")
	previous := scrape(t, admin)
	for i := range 20 {
		if i == 10 { // the first store closes, another one opens
			g.edit = func(s string) string {
				return withAdmin(admin)(strings.Replace(s, filepath.Join(g.dir, "keys.db"), filepath.Join(g.dir, "other.db"), 1))
			}
		}
		require.NoError(t, g.load(fmt.Sprintf("max_stale %dm", i+1)))
		want := 200
		if i >= 10 {
			want = 401 // the other store does not know the key
		}
		require.Equal(t, want, g.call(k, k.secret))
		now := scrape(t, admin)
		for series, s := range previous {
			require.Contains(t, now, series, "reload %d", i)
			if s.kind != "gauge" {
				require.GreaterOrEqual(t, now[series].value, s.value, "reload %d: %s", i, series)
			}
		}
		require.Greater(t, now["keyreeve_decision_duration_seconds{}"].value, previous["keyreeve_decision_duration_seconds{}"].value)
		previous = now
	}
	require.GreaterOrEqual(t, previous["keyreeve_failures_total{counted=true}"].value, 1.0)
}

// documentedLabels reads a cell such as "`a`: `x`, `y`; `b`: see [elsewhere](#elsewhere)".
func documentedLabels(t *testing.T, cell string, lists map[string][]string) map[string][]string {
	t.Helper()
	labels := map[string][]string{}
	if cell == "none" {
		return labels
	}
	word, link := regexp.MustCompile("`([^`]+)`"), regexp.MustCompile(`\(#([a-z]+)\)`)
	for part := range strings.SplitSeq(cell, ";") {
		words := word.FindAllStringSubmatch(part, -1)
		require.NotEmpty(t, words, cell)
		name := words[0][1]
		for _, w := range words[1:] {
			labels[name] = append(labels[name], w[1])
		}
		if l := link.FindStringSubmatch(part); l != nil {
			labels[name] = lists[l[1]]
		}
		require.NotEmpty(t, labels[name], cell)
	}
	return labels
}

func TestMetricsReferenceHasExactlyWhatIsExported(t *testing.T) {
	found := tables(t, "../docs/metrics.md")
	lists := map[string][]string{"reasons": namesOf(found["Reasons"], "reason"), "operations": namesOf(found["Operations"], "operation")}
	admin := freeAddress(t)
	startEdited(t, "snapshot "+filepath.Join(t.TempDir(), "snapshot"), withAdmin(admin))
	kinds, labels := map[string]string{}, map[string]map[string][]string{}
	for series, s := range scrape(t, admin) {
		name, _, _ := strings.Cut(series, "{")
		kinds[name] = s.kind
		if labels[name] == nil {
			labels[name] = map[string][]string{}
		}
		for label, value := range s.labels {
			if !slices.Contains(labels[name][label], value) {
				labels[name][label] = append(labels[name][label], value)
			}
		}
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(kinds)), namesOf(found["Metrics"], "metric"))
	for _, r := range found["Metrics"] {
		name := r.code("metric")
		require.Equal(t, r["type"], kinds[name], name)
		documented := documentedLabels(t, r["labels"], lists)
		require.Len(t, labels[name], len(documented), name)
		for label, values := range documented {
			// Every value is exported from the start, so this is their bound.
			require.ElementsMatch(t, values, labels[name][label], "%s %s", name, label)
		}
	}
	for i, reason := range policy.Reasons() {
		r := found["Reasons"][i]
		require.Equal(t, reason.Code(), r.code("reason"))
		allows := reason == policy.Allowed || reason == policy.Public
		require.Equal(t, outcomeOf(policy.Decision{Allow: allows}, false), r.code("outcome"))
	}
	require.LessOrEqual(t, len(policy.Reasons()), reasonSlots, "a reason would be counted as another one")
}

func TestStoreErrorsAreWhatTheStoreCouldNotDo(t *testing.T) {
	ctx := context.Background()
	inner, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(t.TempDir(), "keys.db"), Clock: keystore.NewSystemClock(), Logger: zap.NewNop()})
	require.NoError(t, err)
	store := measuredStore{inner}
	failed := func(op storeOperation, do func() error) float64 {
		var before, after dto.Metric
		require.NoError(t, op.errors.Write(&before))
		require.Error(t, do())
		require.NoError(t, op.errors.Write(&after))
		return after.GetCounter().GetValue() - before.GetCounter().GetValue()
	}
	update := func(with error) func() error {
		return func() error {
			_, err := store.Update(ctx, func(keystore.Tx) error { return with })
			return err
		}
	}
	unknown := func() error { _, err := store.KeyByClientID(ctx, "nobody"); return err }
	require.Zero(t, failed(opKeyByClientID, unknown), "an unknown client is an answer")
	require.Zero(t, failed(opUpdate, update(&lifecycle.Error{Kind: lifecycle.Forbidden})), "so is a refusal by rights")
	require.Zero(t, failed(opUpdate, update(keystore.ErrConflict)))
	require.InDelta(t, 1, failed(opUpdate, update(errors.New("broken page"))), 0)
	require.NoError(t, store.Close())
	for _, c := range []struct {
		op storeOperation
		do func() error
	}{
		{opKeyByClientID, unknown},
		{opUpdate, update(nil)},
		{opView, func() error { return store.View(ctx, func(keystore.Reader) error { return nil }) }},
		{opCount, func() error {
			_, err := store.Count(ctx, policy.DefaultLockout(), []keystore.Proof{{KeyID: "k"}})
			return err
		}},
		{opHead, func() error { _, err := store.Head(ctx); return err }},
		{opChanges, func() error { _, err := store.Changes(ctx, 0); return err }},
		{opTallies, func() error { _, err := store.Tallies(ctx, 0); return err }},
		{opTrim, func() error { return store.Trim(ctx, policy.DefaultLockout(), time.Hour) }},
		{opUse, func() error { return store.Use(ctx, []keystore.Use{{KeyID: "k"}}) }},
	} {
		require.InDelta(t, 1, failed(c.op, c.do), 0)
	}
}

func TestADurationIsCountedInTheBucketThatBoundsIt(t *testing.T) {
	var r recorder
	for _, took := range []time.Duration{-time.Second, 0, time.Microsecond, time.Microsecond + 1, time.Second, time.Minute} {
		r.record(policy.Allowed, false, took)
	}
	count, seconds, buckets := r.durations()
	require.Equal(t, uint64(6), count)
	require.InDelta(t, 61.000002, seconds, 1e-6)
	require.Len(t, buckets, len(decisionBuckets))
	require.Equal(t, uint64(3), buckets[1e-6], "less than nothing counts as nothing")
	require.Equal(t, uint64(4), buckets[2.5e-6])
	require.Equal(t, uint64(5), buckets[1])
	require.Equal(t, uint64(6), r.decided(policy.Allowed, false))
}
