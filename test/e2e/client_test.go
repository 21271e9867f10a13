package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answer is one response as it came.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	took    time.Duration // from sending to the end of the answer
}

// problem is the body of a refusal (RFC 9457).
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
}

// problem reads the body, whose shape is the contract's.
func (a answer) problem(t *testing.T) problem {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), a.body)
	var p problem
	require.NoError(t, json.Unmarshal([]byte(a.body), &p), a.body)
	return p
}

// code is the refusal's code, "" for an answer of the upstream.
func (a answer) code() string {
	var p problem
	_ = json.Unmarshal([]byte(a.body), &p) // not a problem: no code
	return p.Code
}

// refused requires a refusal with status and code.
func (a answer) refused(t *testing.T, status int, code string) {
	t.Helper()
	require.Equal(t, []any{status, code}, []any{a.status, a.code()}, a.body)
}

// upstreamSaw is the request as the upstream received it, from its echo.
func upstreamSaw(t *testing.T, a answer) echoed {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	var e echoed
	require.NoError(t, json.Unmarshal([]byte(a.body), &e), a.body)
	require.NotEmpty(t, e.Method, a.body)
	return e
}

// request writes out a request, line by line, without any tidying.
func request(method, target string, headers ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: gate.test\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

// basic is the Authorization line of a client ID and secret.
func basic(id, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

func (k key) basic() string { return basic(k.clientID, k.secret) }

// wrong is the Authorization line of the key with a secret that is not its own.
func (k key) wrong() string { return basic(k.clientID, "not-the-secret") }

// marked is the line by which a recording upstream tells requests apart.
func marked(id string) string { return "X-Case: " + id }

// send writes bytes to an address and reads one answer.
func send(t *testing.T, address, raw string) answer {
	t.Helper()
	a, err := trySend(address, raw)
	require.NoError(t, err, "sending %.200q", raw)
	return a
}

func trySend(address, raw string) (answer, error) { return trySendOn("tcp", address, raw) }

func trySendOn(network, address, raw string) (answer, error) {
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	began := time.Now()
	// The server may refuse and close before it has read all of a large request.
	go func() { _, _ = io.WriteString(conn, raw) }()
	method, _, _ := strings.Cut(raw, " ")
	a, err := readAnswer(bufio.NewReader(conn), method)
	a.took = time.Since(began)
	return a, err
}

// readAnswer reads one response to a request of this method.
func readAnswer(r *bufio.Reader, method string) (answer, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		var body bytes.Buffer
		if _, err = io.Copy(&body, resp.Body); err != nil {
			return answer{}, err
		}
		a.body = body.String()
	}
	a.trailer = resp.Trailer
	return a, nil
}

// exchange writes bytes and returns every status that came back before the
// server hung up, which the last request is to ask for.
func exchange(t *testing.T, address, raw string) []int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, raw)
	require.NoError(t, err)
	var statuses []int
	for r := bufio.NewReader(conn); ; {
		a, err := readAnswer(r, http.MethodPost)
		var late net.Error
		require.False(t, errors.As(err, &late) && late.Timeout(), "the server neither answered nor hung up")
		if err != nil {
			return statuses
		}
		statuses = append(statuses, a.status)
	}
}

// get asks the gate for a path.
func (g *gate) get(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	return send(t, g.address, request("GET", path, headers...))
}

// send writes one request to the gate.
func (g *gate) send(t *testing.T, method, target string, headers ...string) answer {
	t.Helper()
	return send(t, g.address, request(method, target, headers...))
}

// api calls the admin API as the operator.
func (g *gate) api(t *testing.T, method, path, body string) answer {
	t.Helper()
	lines := []string{g.house.operator.basic()}
	if body != "" {
		lines = append(lines, "Content-Type: application/json", "Content-Length: "+itoa(len(body)))
	}
	return send(t, g.admin, request(method, path, lines...)+body)
}

// applications is a path that `full` and `application-only` may do everything on,
// `readonly` may read and `policy-only` may not see.
func (h *house) applications() string {
	return "/mgmtconfig/v1/admin/customers/" + h.customer + "/application"
}

// lock is a key's lock as the admin API shows it.
type lock struct {
	Locked         bool       `json:"locked"`
	FailedAttempts int        `json:"failed_attempts"`
	LockedUntil    *time.Time `json:"locked_until"`
}

// keyID is the id of a key by its client ID.
func (g *gate) keyID(t *testing.T, k key) string {
	t.Helper()
	if k.id != "" {
		return k.id
	}
	a := g.api(t, "GET", "/v1/keys?page_size=100&q="+k.clientID, "")
	require.Equal(t, http.StatusOK, a.status, a.body)
	var page struct {
		Items []struct {
			ID       string `json:"id"`
			ClientID string `json:"client_id"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &page))
	require.Len(t, page.Items, 1)
	return page.Items[0].ID
}

func (g *gate) lock(t *testing.T, k key) lock {
	t.Helper()
	a := g.api(t, "GET", "/v1/keys/"+g.keyID(t, k)+"/lock", "")
	require.Equal(t, http.StatusOK, a.status, a.body)
	var l lock
	require.NoError(t, json.Unmarshal([]byte(a.body), &l))
	return l
}
