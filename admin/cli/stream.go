package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stream sends one request and reads its answer piece by piece: however long that
// takes, as long as no piece takes longer than --timeout. fn reads it; what it
// reads is whole only once it got io.EOF.
func (c *client) stream(ctx context.Context, in call, accept string, fn func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := c.request(ctx, in)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", accept)
	patience := c.console.reach.timeout
	stalled := time.AfterFunc(patience, func() { cancel(fmt.Errorf("nothing came for %s", patience)) })
	defer stalled.Stop()
	unbounded := *c.http
	unbounded.Timeout = 0
	resp, err := unbounded.Do(req)
	if err != nil {
		return c.brokenOff(ctx, in.method, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return fmt.Errorf("reading the answer of %s: %w", c.where, err)
		}
		return c.problem(resp, body)
	}
	watched := &watchedReader{from: resp.Body, again: func() { stalled.Reset(patience) }}
	if err := fn(watched); watched.failed == nil {
		return err
	}
	return c.brokenOff(ctx, in.method, watched.failed)
}

// brokenOff explains an answer that did not come to its end.
func (c *client) brokenOff(ctx context.Context, method string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s broke off its answer; what was written so far is not all, look into its log and try again", c.where)
	}
	return c.unreachable(method, err)
}

// watchedReader notes when a reader gives something, and how it failed.
type watchedReader struct {
	from   io.Reader
	again  func()
	failed error
}

func (r *watchedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.again()
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = err
	}
	return n, err
}
