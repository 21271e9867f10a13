package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// h2 speaks HTTP/2 without TLS to the gate.
type h2 struct {
	gate   *gate
	client *http.Transport
}

func newH2(t *testing.T, h *house, up *upstream) *h2 {
	t.Helper()
	return overH2(t, h.run(t, &site{gate: "policy " + h.policyFile(t) + neighbours, upstream: up.url, servers: "protocols h1 h2c"}))
}

// overH2 speaks to a gate whose servers take h2c.
func overH2(t *testing.T, g *gate) *h2 {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &h2{g, transport}
}

// ask sends a target as it is.
func (c *h2) ask(t *testing.T, method, target string, header http.Header, body io.Reader, trailer http.Header) answer {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.gate.address, body)
	require.NoError(t, err)
	req.URL = &url.URL{Scheme: "http", Host: c.gate.address, Opaque: path, RawQuery: query}
	if header != nil {
		req.Header = header
	}
	req.Trailer = trailer
	resp, err := c.client.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 2, resp.ProtoMajor)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
}

// fields reads header lines.
func fields(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	return h
}

func TestHTTP2IsDecidedAsHTTP1(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	c := newH2(t, h, up)
	base := h.applications()
	good := h.full.basic()
	for _, r := range []struct {
		target  string
		headers []string
		status  int
		code    string
	}{
		{base, nil, 401, "credentials_required"},
		{base, []string{h.full.wrong()}, 401, "invalid_client"},
		{base, []string{good, good}, 400, "invalid_request"},
		{base, []string{good, "Authorization: Bearer x"}, 400, "invalid_request"},
		{base, []string{h.policyOnly.basic()}, 403, "permission_denied"},
		{base + "?access_token=x", []string{good}, 400, "invalid_request"},
		{base + "//", []string{good}, 400, "ambiguous_path"},
		{base + "/../application", []string{good}, 400, "ambiguous_path"},
		{base + "/%2e%2e/x", []string{good}, 400, "ambiguous_path"},
		{base + "%2f1", []string{good}, 400, "ambiguous_path"},
		{base + ";x", []string{good}, 400, "ambiguous_path"},
		{base + `\x`, []string{good}, 400, "ambiguous_path"},
		{base + "#x", []string{good}, 400, "ambiguous_path"},
		{base + "?microtenantId=1&microtenantid=2", []string{good}, 400, "ambiguous_query"},
		{"/files/SECRET", []string{h.policyOnly.basic()}, 403, "no_route"},
	} {
		a := c.ask(t, "GET", r.target, fields(r.headers...), nil, nil)
		require.Equal(t, []any{r.status, r.code}, []any{a.status, a.code()}, "%s %v", r.target, r.headers)
	}
	require.Zero(t, up.total(), "requests at the upstream")
	a := c.ask(t, "POST", base, fields("Content-Type: application/grpc"), nil, nil)
	require.Equal(t, []any{200, "16"}, []any{a.status, a.header.Get("Grpc-Status")})
	a = c.ask(t, "CONNECT", "", fields(good), nil, nil)
	require.Equal(t, 400, a.status, "no tunnel")
	require.Zero(t, up.total(), "requests at the upstream")
}

func TestHTTP2CarriesNoForeignIdentityEither(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	c := newH2(t, h, up)
	header := fields(h.full.basic(), "Keyreeve-Client-Id: spoofed", "keyreeve-role: spoofed", "keyreeve_key_id: spoofed", "Cookie: a=1", "Cookie: keyreeve_session=spoofed", "Cookie: b=2",
		"Te: trailers", "X-Http-Method-Override: spoofed")
	trailer := http.Header{"X-Sum": {"1"}, "Keyreeve-Customer-Id": {"spoofed"}, "Keyreeve_role": {"spoofed"}}
	a := c.ask(t, "POST", h.applications(), header, io.MultiReader(strings.NewReader("body")), trailer)
	e := upstreamSaw(t, a)
	e.onlyOwn(t, h.full)
	require.Equal(t, sha("body"), e.BodySHA256)
	require.NotContains(t, fmt.Sprint(e.Headers, e.Trailers), "spoofed")
	require.Equal(t, "a=1; b=2", strings.Join(e.Headers["Cookie"], "; "))
	require.NotContains(t, up.bytes(), "spoofed")
}
