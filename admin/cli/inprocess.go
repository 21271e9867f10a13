package cli

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"
)

// inProcess is a transport that hands each request to a handler in this
// process, so that work on the store itself takes the same way as all other. An
// answer is read as it is written, so that one of any length needs little memory.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := context.Cause(r.Context()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "@" // what a server sees of a peer without an address
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	w := &answer{header: make(http.Header), body: writer, begun: make(chan struct{})}
	body := &answerBody{PipeReader: reader, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(body.done)
		w.serve(t.handler, in)
		_ = in.Body.Close() // a transport must; a reader over memory has nothing to report
	}()
	select {
	case <-w.begun:
	case <-body.done:
		if w.sent == nil { // broken off before it began
			cancel()
			return nil, io.ErrUnexpectedEOF
		}
	}
	return &http.Response{
		Status:        strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          body,
		ContentLength: -1, // not known before it was written
		Request:       r,
	}, nil
}

// answerBody is an answer while the handler still writes it.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close returns once the handler did, so that what it works on may be closed then.
func (b *answerBody) Close() error {
	b.cancel()
	err := b.PipeReader.Close() // a handler that writes on is told so
	<-b.done
	return err
}

// answer passes on what a handler writes.
type answer struct {
	header, sent http.Header
	status       int
	body         *io.PipeWriter
	begun        chan struct{} // closed once status and sent are fixed
}

// serve runs the handler to its end, as a server does: where it breaks off, the
// reader is not told that this was all.
func (a *answer) serve(h http.Handler, r *http.Request) {
	end := error(io.EOF)
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			end = io.ErrUnexpectedEOF
		}
		_ = a.body.CloseWithError(end) // it never fails
	}()
	h.ServeHTTP(a, r)
	a.WriteHeader(http.StatusOK)
}

func (a *answer) Header() http.Header { return a.header }

// WriteHeader fixes status and header by its first call, as a server does;
// informational answers are passed over.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// Flush begins the answer; what is written later is passed on at once anyway.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

// SetReadDeadline is for handlers that bound a body's reading; one in memory
// has arrived.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is for those that bound a slow reader; here it is we who read.
func (a *answer) SetWriteDeadline(time.Time) error { return nil }

var (
	_ http.RoundTripper = inProcess{}
	_ http.Flusher      = (*answer)(nil)
)
