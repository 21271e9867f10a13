package bench

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/require"
)

// nothing is the next handler: what is measured ends before it.
var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// warmUp is what a cache needs to take in what it was given.
const warmUp = 20 * time.Millisecond

// plain is no gate at all.
type plain struct{}

func (plain) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

// BenchmarkAllowed is one GET with client ID and secret that is let through.
func BenchmarkAllowed(b *testing.B) {
	f := start(b)
	for _, candidate := range []struct {
		name    string
		handler caddyhttp.MiddlewareHandler
	}{{"plain", plain{}}, {"basic_auth", f.basicAuth}, {"reference", f.reference}, {"gate", f.gate}} {
		b.Run(candidate.name, func(b *testing.B) {
			measure(b, candidate.handler, newCall(http.MethodGet, applications, f.full))
		})
	}
	b.Run("gate_microtenant", func(b *testing.B) {
		measure(b, f.gate, newCall(http.MethodGet, applications+"?page=1&pagesize=500&microtenantId="+microtenant, f.tenant))
	})
}

// BenchmarkDenied is a right secret whose request is refused: by the role, and
// for want of a route. The answer's body is written each time.
func BenchmarkDenied(b *testing.B) {
	f := start(b)
	b.Run("permission", func(b *testing.B) { measure(b, f.gate, newCall(http.MethodPost, applications, f.readOnly)) })
	b.Run("no_route", func(b *testing.B) { measure(b, f.gate, newCall(http.MethodGet, applications+"/1/2/3", f.full)) })
}

func measure(b *testing.B, h caddyhttp.MiddlewareHandler, c *call) {
	w, r := c.response, c.request
	require.NoError(b, h.ServeHTTP(w, r, nothing)) // warms the caches,
	time.Sleep(warmUp)                             // which take some of it in behind the request
	b.ReportAllocs()
	began, known := cpuTime()
	for b.Loop() {
		c.reset()
		if err := h.ServeHTTP(w, r, nothing); err != nil {
			b.Fatal(err)
		}
	}
	if ended, _ := cpuTime(); known {
		b.ReportMetric(float64(ended-began)/float64(b.N), "cpu-ns/op")
	}
}

// The benchmarks compare like with like only while this holds.
func TestEveryCandidateLetsTheBenchmarkedRequestThrough(t *testing.T) {
	f := start(t)
	placeholders := []string{"id", "key_id", "key_name", "customer_id", "role"}
	identity := func(h caddyhttp.MiddlewareHandler) (headers, values []string) {
		c := newCall(http.MethodGet, applications, f.full)
		passed := false
		next := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			passed = true
			for _, name := range identityHeaders {
				headers = append(headers, r.Header.Get(name))
			}
			for _, name := range placeholders {
				v, _ := c.server.replacer.GetString("http.auth.user." + name)
				values = append(values, v)
			}
			return nil
		})
		require.NoError(t, h.ServeHTTP(c.response, c.request, next))
		require.True(t, passed)
		return headers, values
	}
	key := f.full
	wantHeaders := []string{key.ClientID, key.ID, key.Name, key.CustomerID, "", key.RoleID}
	wantValues := []string{key.ClientID, key.ID, key.Name, key.CustomerID, key.RoleID}
	for _, h := range []caddyhttp.MiddlewareHandler{f.gate, f.reference} {
		headers, values := identity(h)
		require.Equal(t, wantHeaders, headers)
		require.Equal(t, wantValues, values)
	}
	_, values := identity(f.basicAuth)
	require.Equal(t, key.ClientID, values[0])
	identity(plain{})
}

func TestTheOtherBenchmarkedRequestsGetTheirAnswers(t *testing.T) {
	f := start(t)
	c := newCall(http.MethodPost, applications, f.readOnly)
	require.NoError(t, f.gate.ServeHTTP(c.response, c.request, nothing))
	require.Equal(t, http.StatusForbidden, c.response.status)
	c = newCall(http.MethodGet, applications+"/1/2/3", f.full)
	require.NoError(t, f.gate.ServeHTTP(c.response, c.request, nothing))
	require.Equal(t, http.StatusForbidden, c.response.status)
	c = newCall(http.MethodGet, applications+"?page=1&pagesize=500&microtenantId="+microtenant, f.tenant)
	require.NoError(t, f.gate.ServeHTTP(c.response, c.request, nothing))
	require.Zero(t, c.response.status)
	require.Equal(t, microtenant, c.request.Header.Get("Keyreeve-Microtenant-Id"))
}
