package cli

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"time"
)

// inProcess is a transport that hands each request to a handler in this
// process, so that work on the store itself takes the same way as all other.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "@" // what a server sees of a peer without an address
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &answer{header: make(http.Header)}
	t.handler.ServeHTTP(w, in)
	_ = in.Body.Close() // a transport must; a reader over memory has nothing to report
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		Status:        strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

// answer collects what a handler writes.
type answer struct {
	header, sent http.Header
	status       int
	body         bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

// WriteHeader fixes status and header by its first call, as a server does;
// informational answers are passed over.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status, a.sent = status, a.header.Clone()
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush has nothing to do: the answer is read when it is whole.
func (a *answer) Flush() {}

// SetReadDeadline is for handlers that bound a body's reading; one in memory
// has arrived.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is the same for writing.
func (a *answer) SetWriteDeadline(time.Time) error { return nil }

var (
	_ http.RoundTripper = inProcess{}
	_ http.Flusher      = (*answer)(nil)
)
