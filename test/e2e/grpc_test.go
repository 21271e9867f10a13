package e2e

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// newHealth is a gRPC server, and what it was called with.
func newHealth(t *testing.T) (address string, called <-chan metadata.MD) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	seen := make(chan metadata.MD, 100)
	note := func(ctx context.Context) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
	}
	s := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			note(ctx)
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			note(stream.Context())
			return next(srv, stream)
		}))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String(), seen
}

// TestAGRPCClientCallsAndIsToldInItsOwnWordsWhatIsRefused has Google's client at one side
// of the gate and its server at the other.
func TestAGRPCClientCallsAndIsToldInItsOwnWordsWhatIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	server, called := newHealth(t)
	g := h.run(t, &site{upstream: "h2c://" + server, servers: "protocols h1 h2c", handlers: "keyreeve_auth", gate: "policy " + h.policyFile(t) + `
route POST /grpc.health.v1.Health/Check application-segments:read {
	tenant off
}
route POST /grpc.health.v1.Health/Watch application-segments:update {
	tenant off
}`})
	conn, err := grpc.NewClient("passthrough:///"+g.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	client := grpc_health_v1.NewHealthClient(conn)
	with := func(lines ...string) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		t.Cleanup(cancel)
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), value)
		}
		return ctx
	}
	check := func(lines ...string) error {
		answer, err := client.Check(with(lines...), &grpc_health_v1.HealthCheckRequest{})
		if err == nil {
			require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, answer.Status)
		}
		return err
	}
	watch := func(lines ...string) error {
		stream, err := client.Watch(with(lines...), &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		_, err = stream.Recv()
		return err
	}

	for credential, k := range map[string]key{h.full.basic(): h.full, bearer(g.token(t, h.readonly)): h.readonly} {
		require.NoError(t, check(credential, "Keyreeve-Client-Id: forged"))
		md := <-called
		require.Equal(t, []string{k.clientID}, md.Get("keyreeve-client-id"))
		require.Empty(t, md.Get("authorization"))
	}
	require.NoError(t, watch(h.full.basic()))
	<-called

	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"no credential":                 {check(), codes.Unauthenticated},
		"a wrong secret":                {check(h.readonly.wrong()), codes.Unauthenticated},
		"no token of this gate":         {check("Authorization: Bearer x.y.z"), codes.Unauthenticated},
		"a stream without a credential": {watch(), codes.Unauthenticated},
		"a right that is not held":      {watch(h.readonly.basic()), codes.PermissionDenied},
		"no such route":                 {conn.Invoke(with(h.full.basic()), "/grpc.health.v1.Health/List", &grpc_health_v1.HealthListRequest{}, &grpc_health_v1.HealthListResponse{}), codes.PermissionDenied},
		"too early to be safe":          {check("Early-Data: 1", h.full.basic()), codes.Unavailable},
	} {
		s, _ := status.FromError(c.err)
		require.Equal(t, c.code, s.Code(), "%s: %v", name, c.err)
		require.NotEmpty(t, s.Message(), name)
	}
	require.Empty(t, called, "nothing that is refused reaches the server")
}
