package caddymodule

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

func TestAWebSocketIsAGETWhereTheProxyBehindTakesItForOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, proto string
		major               int
		protocol            []string
		want                string
	}{
		{"HTTP/2", "CONNECT", "HTTP/2.0", 2, []string{"websocket"}, "GET"},
		{"HTTP/3", "CONNECT", "websocket", 3, nil, "GET"},
		{"an odd spelling, which the proxy would send as CONNECT", "CONNECT", "HTTP/2.0", 2, []string{"WebSocket"}, "CONNECT"},
		{"the same over HTTP/3", "CONNECT", "WebSocket", 3, nil, "CONNECT"},
		{"another protocol over HTTP/2", "CONNECT", "HTTP/2.0", 2, []string{"connect-udp"}, "CONNECT"},
		{"another protocol over HTTP/3", "CONNECT", "webtransport", 3, nil, "CONNECT"},
		{"two protocols", "CONNECT", "HTTP/2.0", 2, []string{"websocket", "websocket"}, "CONNECT"},
		{"a tunnel over HTTP/2", "CONNECT", "HTTP/2.0", 2, nil, "CONNECT"},
		{"a tunnel over HTTP/3", "CONNECT", "HTTP/3.0", 3, nil, "CONNECT"},
		{"a tunnel over HTTP/1.1", "CONNECT", "HTTP/1.1", 1, []string{"websocket"}, "CONNECT"},
		{"HTTP/3 with HTTP/2's header", "CONNECT", "HTTP/3.0", 3, []string{"websocket"}, "CONNECT"},
		{"no CONNECT", "POST", "websocket", 3, []string{"websocket"}, "POST"},
	} {
		r := &http.Request{Method: c.method, Proto: c.proto, ProtoMajor: c.major, Header: http.Header{}}
		if c.protocol != nil {
			r.Header[":protocol"] = c.protocol
		}
		require.Equal(t, c.want, effectiveMethod(r), c.name)
	}
}

func TestOnlyGRPCIsAnsweredAsGRPC(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		contentType string
		major       int
		want        bool
	}{
		{"application/grpc", 2, true},
		{"application/grpc", 3, true},
		{"application/grpc+proto", 2, true},
		{"application/grpc;charset=utf-8", 2, true},
		{"application/grpc", 1, false},
		{"application/grpc+proto", 1, false},
		{"application/grpc-web", 2, false},
		{"application/grpc-web+proto", 2, false},
		{"application/grpcx", 2, false},
		{"application/json", 2, false},
		{"", 2, false},
	} {
		r := &http.Request{ProtoMajor: c.major, Header: http.Header{"Content-Type": {c.contentType}}}
		require.Equal(t, c.want, isGRPC(r), "%s over HTTP/%d", c.contentType, c.major)
	}
}

func TestAMissingCredentialIsAlwaysAskedForAsBearer(t *testing.T) {
	t.Parallel()
	const bearer, basic = `Bearer realm="keyreeve"`, `Basic realm="keyreeve", charset="UTF-8"`
	for _, c := range []struct {
		forms credential.Forms
		want  []string
	}{
		{credential.FormBearer | credential.FormBasic, []string{bearer, basic}},
		{credential.FormBasic, []string{bearer, basic}},
		{credential.FormBearer, []string{bearer}},
		{credential.FormHeader | credential.FormAPIKey, []string{bearer}},
	} {
		g := &Gate{forms: c.forms}
		for _, reason := range []policy.Reason{policy.CredentialsRequired, policy.InvalidClient} {
			require.Equal(t, c.want, g.challenges(answers[reason], policy.Deny(reason)), "%v %s", c.forms, reason)
		}
	}
}

func TestPlaceholdersTellOnlyOfAProvenCallerAndNeverInShadow(t *testing.T) {
	t.Parallel()
	known := authn.Identity{
		Key:  &keystore.Key{ID: "k1", ClientID: "kr_1", Name: "One", CustomerID: "c1", MicrotenantID: "m1"},
		Role: &keystore.Role{ID: "r1"},
	}
	told := map[string]string{"id": "kr_1", "key_id": "k1", "key_name": "One", "customer_id": "c1", "microtenant_id": "m1", "role": "r1"}
	for name, c := range map[string]struct {
		v            verdict
		shadow, told bool
	}{
		"let through":                 {verdict{Result: authn.Result{Identity: known, Decision: policy.Decision{Allow: true}}}, false, true},
		"proven and denied":           {verdict{Result: authn.Result{Identity: known, Decision: policy.Deny(policy.PermissionDenied)}}, false, true},
		"shadow":                      {verdict{Result: authn.Result{Identity: known, Decision: policy.Decision{Allow: true}}}, true, false},
		"shadow, denied":              {verdict{Result: authn.Result{Identity: known, Decision: policy.Deny(policy.PermissionDenied)}}, true, false},
		"a public route":              {verdict{Result: authn.Result{Decision: policy.Decision{Allow: true, Reason: policy.Public}}}, false, false},
		"no credential":               {verdict{Result: authn.Result{Decision: policy.Deny(policy.CredentialsRequired)}}, false, false},
		"a wrong secret of known key": {verdict{Result: authn.Result{Identity: authn.Identity{Key: known.Key}, Decision: policy.Deny(policy.InvalidClient)}}, false, false},
	} {
		for field, want := range told {
			if !c.told {
				want = ""
			}
			resolve := c.v.placeholder
			if c.shadow {
				resolve = c.v.shadowPlaceholder
			}
			got, ok := resolve("http.auth.user." + field)
			require.True(t, ok, "%s: {http.auth.user.%s} would stay as literal text", name, field)
			require.Equal(t, want, got, "%s: %s", name, field)
		}
		_, ok := c.v.placeholder("http.auth.user.email")
		require.False(t, ok, "another module's")
	}
}

func TestShadowDoesNotWaitOverAMalformedCredential(t *testing.T) {
	t.Parallel()
	gate := &Gate{Shadow: true, forms: credential.FormBasic} // without an app: there is nothing it could wait for
	v := new(verdict)
	gate.prove(&http.Request{Header: http.Header{"Authorization": {"Basic !!"}}, URL: new(url.URL)}, v)
	require.False(t, v.Allow)
	require.Equal(t, policy.InvalidClient, v.Reason)
	require.Equal(t, "malformed credential", v.Detail)
}

func TestAStoreOutOfReachIsNotToldOnEveryDenial(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	gate := &Gate{logger: zap.New(core)}
	gate.logDenial(new(http.Request), &verdict{Result: authn.Result{Decision: policy.Deny(policy.StoreUnavailable)}})
	require.Empty(t, logs.All())
}
