package caddymodule

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	collected "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traced "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// traceCollector receives spans by OTLP over HTTP.
type traceCollector struct {
	mu    sync.Mutex
	spans []*traced.Span
}

func (c *traceCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collected.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

// named takes the received spans of a name.
func (c *traceCollector) named(name string) (found []*traced.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	return found
}

func TestWhereTracingIsOnEachDecisionIsASpanOfItsRequest(t *testing.T) {
	var collector traceCollector
	server := httptest.NewServer(&collector)
	defer server.Close()
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	g := startEdited(t, "", func(s string) string {
		return strings.Replace(s, "\tkeyreeve {\n\t\tcredentials", "\ttracing {\n\t\tspan request\n\t}\n\tkeyreeve {\n\t\tcredentials", 1)
	})
	k := g.newKey("a", keystore.RoleReadOnly)
	require.Equal(t, 200, g.call(k, k.secret))
	require.Equal(t, 403, g.send(func(r *http.Request) {
		r.Method = http.MethodPost
		r.SetBasicAuth(k.clientID, k.secret)
	}))
	require.Equal(t, 401, g.send(func(*http.Request) {}))
	require.NoError(t, caddy.Stop()) // sends what is left

	requests, spans := collector.named("request"), collector.named("keyreeve.decide")
	require.Len(t, requests, 3)
	require.Len(t, spans, 3)
	want := []map[string]string{
		{"keyreeve.outcome": "allow", "keyreeve.reason": "allowed", "http.route": "/things/{rest...}"},
		{"keyreeve.outcome": "deny", "keyreeve.reason": "permission_denied", "http.route": "/things/{rest...}"},
		{"keyreeve.outcome": "deny", "keyreeve.reason": "credentials_required"},
	}
	for i, span := range spans {
		attributes := map[string]string{}
		for _, a := range span.GetAttributes() {
			attributes[a.GetKey()] = a.GetValue().GetStringValue()
		}
		require.Equal(t, want[i], attributes)
		require.Equal(t, requests[i].GetTraceId(), span.GetTraceId())
		require.Equal(t, requests[i].GetSpanId(), span.GetParentSpanId())
		require.LessOrEqual(t, requests[i].GetStartTimeUnixNano(), span.GetStartTimeUnixNano())
		require.LessOrEqual(t, span.GetEndTimeUnixNano(), requests[i].GetEndTimeUnixNano())
	}
	var documented []string
	for _, r := range tables(t, "../docs/metrics.md")["Traces"] {
		require.Equal(t, "keyreeve.decide", r.code("span"))
		documented = wordsIn(r["attributes"])
	}
	require.ElementsMatch(t, documented, slices.Collect(maps.Keys(want[0])))
}

// wordsIn lists what is code in a cell.
func wordsIn(cell string) (words []string) {
	for _, w := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		words = append(words, w[1])
	}
	return words
}

func TestLogReferenceHasExactlyTheMessagesAndFields(t *testing.T) {
	found := tables(t, "../docs/metrics.md")["Logs"]
	levels, fields := map[string][]string{}, []string{}
	for _, r := range found {
		if message := r.code("message"); message != "" {
			levels[message] = wordsIn(r["level"])
		} else {
			fields = append(fields, r.code("field"))
		}
	}
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleReadOnly)
	gate, r := provisionedGate(t, g, k)
	core, logs := observer.New(zapcore.DebugLevel)
	gate.logger = zap.New(core)
	id := trace.TraceID{1, 2, 3}
	r = r.WithContext(trace.ContextWithSpanContext(r.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{4}})))
	key, _, err := active.Load().running.Load().store.keys.Look(context.Background(), k.clientID, keystore.NewSystemClock().Now())
	require.NoError(t, err)
	denied := func(reason policy.Reason, locked, shadow bool) {
		v := &verdict{began: time.Now()}
		v.Reason, v.Detail, v.Key, v.Outcome.Locked = reason, "why", key, locked
		v.Route = gate.set.Routes()[0]
		gate.Shadow = shadow
		gate.logDenial(r, v)
	}
	denied(policy.PermissionDenied, false, false)
	denied(policy.StoreUnavailable, false, false)
	denied(policy.InvalidClient, true, false)
	denied(policy.InvalidClient, false, true)
	seen := map[string][]string{}
	for _, entry := range logs.All() {
		if level := entry.Level.String(); !slices.Contains(seen[entry.Message], level) {
			seen[entry.Message] = append(seen[entry.Message], level)
		}
		require.ElementsMatch(t, fields, slices.Collect(maps.Keys(entry.ContextMap())))
		require.Equal(t, id.String(), entry.ContextMap()["traceID"])
	}
	require.Equal(t, levels, seen)
}
