package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes, a promise to scripts.
const (
	ExitOK            = 0
	ExitError         = 1 // anything that has no code of its own
	ExitUsage         = 2 // the command line is wrong; nothing was asked of the server
	ExitNotAuthorised = 4 // answered 401 or 403
	ExitNotFound      = 5 // answered 404, or no key goes by that name
	ExitConflict      = 6 // answered 409 or 412, or several keys go by that name
)

// CodeError is a failed command: already reported, all that is left is to exit.
type CodeError struct {
	Code int
	Err  error
}

func (e *CodeError) Error() string { return e.Err.Error() }

func (e *CodeError) Unwrap() error { return e.Err }

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// codedError is a failure found on this side that has a code of its own.
type codedError struct {
	code int
	text string
}

func (e *codedError) Error() string { return e.text }

// exitCode is the code that err stands for.
func exitCode(err error) int {
	var (
		usage  *usageError
		coded  *codedError
		answer *problem
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &answer):
		return answer.exitCode()
	}
	return ExitError
}

func (p *problem) exitCode() int {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ExitNotAuthorised
	case http.StatusNotFound:
		if p.foreign {
			return ExitError // not the admin API's answer: nothing was looked for
		}
		return ExitNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return ExitConflict
	}
	return ExitError
}

// finish reports err, once, and makes it the command's result.
func (s *console) finish(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	s.note("error: %s", strings.TrimSpace(printableLines(err.Error())))
	code := exitCode(err)
	if code == ExitUsage {
		s.note("see `%s --help`", c.CommandPath())
	}
	return s.env.Exit(code, err)
}

// interruptible ends ctx on the first interrupt, so that a store opened
// offline is closed in order.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx == nil {
		ctx = context.Background()
	}
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}
