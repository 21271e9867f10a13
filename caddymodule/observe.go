package caddymodule

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

// tracerName is the instrumentation scope of spans.
const tracerName = "github.com/keyreeve/keyreeve"

// observe counts a decision and tells of it who wants to know. Where nobody does,
// that is one reading of the clock, three atomic additions and two looks.
func (g *Gate) observe(r *http.Request, v *verdict) {
	took := time.Since(v.began)
	decisions.record(v.Reason, g.Shadow, took)
	if span := trace.SpanFromContext(r.Context()); span.SpanContext().IsValid() {
		g.trace(r.Context(), span, v, took)
	}
	if v.Allow {
		return
	}
	g.app.noteFailure(r, &v.Result)
	if g.app.events.denied.Load() {
		g.app.events.emit(eventDenied, func() map[string]any { return g.denial(r, v) })
	}
}

// trace adds the decision to the trace that the request is part of.
func (g *Gate) trace(ctx context.Context, parent trace.Span, v *verdict, took time.Duration) {
	_, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, "keyreeve.decide", trace.WithTimestamp(v.began))
	span.SetAttributes(
		attribute.String("keyreeve.outcome", outcomeOf(v.Decision, g.Shadow)),
		attribute.String("keyreeve.reason", v.Reason.Code()),
	)
	if v.Route != nil {
		span.SetAttributes(attribute.String("http.route", v.Route.Pattern))
	}
	span.End(trace.WithTimestamp(v.began.Add(took)))
}

// denial is what the event tells: the route and not the path, the known client
// and not the claimed one, which may be a secret in the wrong place.
func (g *Gate) denial(r *http.Request, v *verdict) map[string]any {
	data := map[string]any{}
	if v.Key != nil {
		data = keyData(v.Key)
	}
	data["outcome"], data["reason"], data["method"] = outcomeOf(v.Decision, g.Shadow), v.Reason.Code(), r.Method
	data["client_ip"] = clientAddress(r).String()
	if v.Route != nil {
		data["route"], data["scope"] = v.Route.Pattern, v.Scope()
	}
	return data
}

// observeSignIn counts a request for a token by what became of its credential.
func observeSignIn(endpoint string, res authn.Result, err error) {
	switch {
	case !strings.HasSuffix(endpoint, "/signin") && !strings.HasSuffix(endpoint, "/token"):
	case err != nil, res.Reason == policy.StoreUnavailable:
		signIns.WithLabelValues(signInError).Inc()
	case res.Allow:
		signIns.WithLabelValues(signInIssued).Inc()
	default:
		signIns.WithLabelValues(signInRefused).Inc()
	}
}

// traceField is the id of the trace under the name that Caddy's access log has
// it, none where there is no trace.
func traceField(r *http.Request) zap.Field {
	span := trace.SpanContextFromContext(r.Context())
	if !span.IsValid() {
		return zap.Skip()
	}
	return zap.String("traceID", span.TraceID().String())
}
