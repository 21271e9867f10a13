package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestABodyHasOneEndForEveryone sends what proxies disagree about. Whatever is
// answered, the upstream gets the outer request once or not at all, and never
// the one hidden in its body.
func TestABodyHasOneEndForEveryone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	hidden := "GET /healthz?smuggled HTTP/1.1\r\nHost: gate.test\r\nX-Case: smuggled\r\nKeyreeve-Client-Id: spoofed\r\n\r\n"
	secretly := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden) // as one chunk
	length := func(n int) string { return "Content-Length: " + itoa(n) }
	const chunked = "Transfer-Encoding: chunked"
	for i, c := range []struct {
		name    string
		headers []string
		body    string
	}{
		{"CL.TE", []string{length(len("0\r\n\r\n" + "x")), chunked}, "0\r\n\r\n"},
		{"TE.CL", []string{chunked, length(4)}, secretly},
		{"TE.TE", []string{chunked, "Transfer-Encoding: identity"}, secretly},
		{"two codings", []string{"Transfer-Encoding: chunked, identity"}, secretly},
		{"unknown coding", []string{"Transfer-Encoding: xchunked"}, secretly},
		{"quoted coding", []string{`Transfer-Encoding: "chunked"`}, secretly},
		{"tab before the coding", []string{"Transfer-Encoding:\tchunked"}, secretly},
		{"vertical tab before the coding", []string{"Transfer-Encoding: \x0bchunked"}, secretly},
		{"blank before the colon", []string{"Transfer-Encoding : chunked"}, secretly},
		{"folded coding", []string{"Transfer-Encoding:\r\n chunked"}, secretly},
		{"two lengths", []string{length(0), length(len(hidden))}, hidden},
		{"two lengths in one", []string{"Content-Length: 0, " + itoa(len(hidden))}, hidden},
		{"signed length", []string{"Content-Length: +" + itoa(len(hidden))}, hidden},
		{"negative length", []string{"Content-Length: -1"}, hidden},
		{"hexadecimal length", []string{"Content-Length: 0x10"}, hidden},
		{"overflowing length", []string{"Content-Length: 18446744073709551616"}, hidden},
		{"overflowing chunk", []string{chunked}, "10000000000000000" + "\r\n" + hidden},
		{"negative chunk", []string{chunked}, "-1\r\n" + hidden},
		{"chunk ended by a bare LF", []string{chunked}, "4\nbody\n0\n\n"},
		{"chunk with an extension", []string{chunked}, "4;x=\"\r\n\"\r\nbody\r\n0\r\n\r\n"},
		{"underscored length", []string{"Content_Length: 0", length(4)}, "body"},
		{"chunked in HTTP/1.0 words", []string{"Transfer-Encoding: chunked", "Connection: close, Transfer-Encoding"}, secretly},
		{"length named as hop by hop", []string{length(4), "Connection: Content-Length"}, "body"},
	} {
		id := fmt.Sprintf("smuggling-%d", i)
		raw := request("POST", h.applications(), append(c.headers, h.full.basic(), marked(id))...) + c.body
		exchange(t, g.address, raw+request("GET", "/nowhere", "Connection: close", marked("tail")))
		require.LessOrEqual(t, len(up.received(id)), 1, c.name)
		require.Empty(t, up.received("smuggled"), c.name)
		require.Empty(t, up.received("tail"), c.name)
	}
	for _, e := range up.received("") {
		t.Errorf("an unmarked request arrived: %+v", e)
	}
	// A request behind the body's end is one of its own, examined as such.
	raw := request("POST", h.applications(), length(6), chunked, h.full.basic(), marked("first")) + "0\r\n\r\n" + request("GET", h.applications(), marked("second"), "Connection: close")
	require.Equal(t, []int{200, 401}, exchange(t, g.address, raw))
	require.Empty(t, up.received("second"))
	require.Empty(t, up.received("first")[0].Headers["Content-Length"])
}

func TestBareLFAndFoldedLinesArriveAsOnePlainRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.demo(t, up.url)
	for id, raw := range map[string]string{
		"bare LF":     strings.ReplaceAll(request("GET", h.applications(), h.full.basic(), marked("bare LF"), "X-Kept: 1"), "\r\n", "\n"),
		"folded":      request("GET", h.applications(), h.full.basic(), marked("folded"), "X-Kept: 1\r\n Keyreeve-Client-Id: folded\r\n\tX-Http-Method-Override: DELETE"),
		"folded name": request("GET", h.applications(), h.full.basic(), marked("folded name"), "X-Kept: 1\n Keyreeve-Role: folded"),
	} {
		a := send(t, g.address, raw)
		if a.status == http.StatusBadRequest {
			require.Empty(t, up.received(id))
			continue
		}
		e := upstreamSaw(t, a)
		e.onlyOwn(t, h.full)
		require.Len(t, up.received(id), 1)
		require.Empty(t, e.Headers["X-Http-Method-Override"])
	}
	for _, line := range []string{"X-A: 1\rKeyreeve-Client-Id: spoofed", "X-A: a\x00b", "X A: 1", ": 1", "X-A", "\r"} {
		a := g.get(t, h.applications(), h.full.basic(), line, marked("broken"))
		require.Equal(t, 400, a.status, "%q", line)
	}
	require.Empty(t, up.received("broken"))
	wire := up.bytes()
	require.Equal(t, strings.Count(wire, "\n"), strings.Count(wire, "\r\n"), "no bare LF leaves the gate")
	require.Equal(t, strings.Count(wire, "\r"), strings.Count(wire, "\r\n"), "no bare CR leaves the gate")
	for _, host := range []string{"a\r\nHost: b", "a b", "a/b", "a@b"} {
		a := send(t, g.address, "GET "+h.applications()+" HTTP/1.1\r\nHost: "+host+"\r\n"+h.full.basic()+"\r\n\r\n")
		require.Equal(t, 400, a.status, "host %q", host)
	}
}

// TestSlowHeadersDoNotKeepNeighboursWaiting holds many connections open that
// never finish their headers.
func TestSlowHeadersDoNotKeepNeighboursWaiting(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	for range 200 {
		conn, err := net.Dial("tcp", g.address)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gate.test\r\nX-Slow: ")
		require.NoError(t, err)
	}
	require.Equal(t, 200, g.get(t, h.applications(), h.full.basic()).status)
}

// TestRequestsOfOneConnectionAreDecidedEachOnItsOwn reuses a connection that was
// once let through.
func TestRequestsOfOneConnectionAreDecidedEachOnItsOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	conn, err := net.Dial("tcp", g.address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	raw := ""
	var want []int
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{[]string{h.full.basic()}, 200}, {nil, 401}, {[]string{h.policyOnly.basic()}, 403}, {[]string{h.readonly.basic()}, 200},
		{[]string{"Authorization: Bearer x"}, 401}, {[]string{h.tenant.basic()}, 403}, {[]string{h.full.basic()}, 200},
	} {
		raw += request("GET", h.applications(), c.headers...)
		want = append(want, c.status)
	}
	_, err = io.WriteString(conn, raw) // pipelined
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	for i, status := range want {
		a, err := readAnswer(r, "GET")
		require.NoError(t, err)
		require.Equal(t, status, a.status, "request %d: %s", i, a.body)
	}
}
