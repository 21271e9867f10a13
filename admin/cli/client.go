package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer bounds what is read of one answer, in bytes: far more than the
// largest page of a list.
const maxAnswer = 64 << 20

// client calls the admin API.
type client struct {
	http *http.Client
	// base is what stands before /v1/ in every URL.
	base string
	// where names the reach in messages, hint says what to do when it fails.
	where, hint string
	header      http.Header
	// clientID and secret sign in by Basic; empty where nobody asks.
	clientID, secret string
	done             func() error
	console          *console
	// hold keeps what is to be said of pending nodes, as held: for many writes, of which
	// the last speaks for all.
	hold bool
	held *pendingNews
}

func (s *console) newClient(transport http.RoundTripper) *client {
	return &client{
		http: &http.Client{
			Transport: transport,
			Timeout:   s.reach.timeout,
			// Credentials go where they were meant to go and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		header:  http.Header{"User-Agent": {"keyreeve-cli"}},
		console: s,
	}
}

func (c *client) close() error {
	c.http.CloseIdleConnections()
	if c.done == nil {
		return nil
	}
	if err := c.done(); err != nil {
		return fmt.Errorf("closing %s: %w", c.where, err)
	}
	return nil
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	// body is sent as JSON; nil is none.
	body any
	// merge marks the body as a merge patch (RFC 7396).
	merge bool
	// match is the ETag that the resource must still have; "" is any.
	match string
	// once names a request that makes something, so that it may be sent again; ""
	// is no name.
	once string
	// wait is for how many seconds to wait at most for every node to have what is
	// written; "" is the server's to say.
	wait string
}

// reply is an answer in 2xx.
type reply struct {
	body []byte
	etag string
	// date is the Date header.
	date string
}

// do sends one request. An answer other than 2xx is a *problem.
func (c *client) do(ctx context.Context, in call) (*reply, error) {
	req, err := c.request(ctx, in)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(in.method, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", c.where, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is over %d MiB; ask for smaller pages", c.where, maxAnswer>>20)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.problem(resp, body)
	}
	if len(body) > 0 && !isJSON(resp.Header) {
		return nil, fmt.Errorf("%s did not answer in JSON; %s", c.where, c.hint)
	}
	if in.method != http.MethodGet {
		c.tellPending(pendingIn(resp, body))
	}
	return &reply{body: body, etag: resp.Header.Get("ETag"), date: resp.Header.Get("Date")}, nil
}

func (c *client) request(ctx context.Context, in call) (*http.Request, error) {
	target := c.base + in.path
	if len(in.query) > 0 {
		target += "?" + in.query.Encode()
	}
	var body io.Reader
	if in.body != nil {
		encoded, err := json.Marshal(in.body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, in.method, target, body)
	if err != nil {
		return nil, usagef("the address makes no valid request: %w", err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	if in.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if in.merge {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if in.match != "" {
		req.Header.Set("If-Match", in.match)
	}
	if in.once != "" {
		req.Header.Set("Idempotency-Key", in.once)
	}
	if in.wait != "" {
		req.Header.Set("Prefer", "wait="+in.wait)
	}
	if c.clientID != "" {
		req.SetBasicAuth(c.clientID, c.secret)
	}
	return req, nil
}

// unreachable explains a request that got no answer.
func (c *client) unreachable(method string, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which `where` says shorter
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	unknown := ""
	if method != http.MethodGet {
		unknown = "; if it was sent, it may have been carried out: look before trying again"
	}
	if c.hint == "" {
		return fmt.Errorf("no answer from %s: %w%s", c.where, err, unknown)
	}
	return fmt.Errorf("no answer from %s: %w%s; %s", c.where, err, unknown, c.hint)
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}
