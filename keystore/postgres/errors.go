package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// Of PostgreSQL's error codes (its Appendix A) those that mean something here. All
// others, and a server that does not answer, mean that the store could not be asked.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLockTimeout   = "55P03"
	codeDiskFull      = "53100"
	codeCancelled     = "57014"
	codeNoPrivilege   = "42501"
	codeNoSchema      = "3F000"
	codeNoTable       = "42P01"
	codeReadOnly      = "25006"
	codeTooMany       = "53300"
	codeProtocol      = "08P01"
)

// poolerRefusals is how texts of PgBouncer's begin that tell of a configuration. All that
// it says has one code, also that its server is out of reach, and is never translated.
var poolerRefusals = []string{"unsupported startup parameter", "unsupported options startup parameter", "no such database", "no such user", "SSL required"}

// storeError is err in the words of package keystore.
func storeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errRolledBack) {
		return fmt.Errorf("postgres: %w", err)
	}
	var pg *pgconn.PgError
	answered := errors.As(err, &pg)
	// A server that is shut down says so last of all, perhaps after it has committed.
	if sqlstore.InDoubt(err) && (!answered || pg.SeverityUnlocalized != "ERROR") {
		return fmt.Errorf("postgres: %w: %w", keystore.ErrInDoubt, err)
	}
	// A cancelled query may take its connection along: the error tells of either.
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("postgres: %w", ctxErr)
	}
	if !answered {
		switch {
		case errors.Is(err, puddle.ErrClosedPool):
			return fmt.Errorf("%w: %w", keystore.ErrClosed, err)
		case lost(err):
			return fmt.Errorf("postgres: %w: %w: %w", sqlstore.ErrAgain, keystore.ErrUnavailable, err)
		}
		return fmt.Errorf("postgres: %w", err)
	}
	switch pg.Code {
	case codeDiskFull:
		return fmt.Errorf("%w: %w", keystore.ErrFull, err)
	case codeSerialization, codeDeadlock, codeLockTimeout:
		return fmt.Errorf("postgres: %w: %w", sqlstore.ErrAgain, err)
	case codeCancelled:
		return fmt.Errorf("postgres: the server took longer than statement_timeout: %w: %w", keystore.ErrUnavailable, err)
	case codeNoPrivilege:
		return fmt.Errorf("postgres: the user of the store's dsn lacks a privilege: %w", err)
	case codeReadOnly:
		return fmt.Errorf("postgres: the server only reads, as a standby does: %w: %w", keystore.ErrUnavailable, err)
	case codeTooMany, "53000", "53200": // short of connections, of resources, of memory
		return fmt.Errorf("postgres: %w: %w", keystore.ErrUnavailable, err)
	}
	if lost(err) {
		return fmt.Errorf("postgres: %w: %w: %w", sqlstore.ErrAgain, keystore.ErrUnavailable, err)
	}
	return fmt.Errorf("postgres: %w", err)
}

// lost reports whether an error is of the connection, not of what was asked or of a
// value that could not be bound or read.
func lost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", "57P05", "25P03": // shut down, crashed, not up yet, idle for too long
			return true
		}
		return strings.HasPrefix(pg.Code, "08")
	}
	var network net.Error
	return pgconn.SafeToRetry(err) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// readsOnly reports whether the server turned out to be a standby.
func readsOnly(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == codeReadOnly
}

// connectError is why there is no connection: nothing to try again at once. It is
// ErrUnavailable where another time may do: a wrong password, or a database that is not
// there, will not.
func connectError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, puddle.ErrClosedPool):
		return keystore.ErrClosed
	case errors.Is(err, errInterrupted):
		return fmt.Errorf("postgres: %w", err)
	case passing(err):
		return fmt.Errorf("postgres: %w: %w", keystore.ErrUnavailable, err)
	}
	return fmt.Errorf("postgres: %w", err)
}

// passing reports whether what keeps from connecting may be over by itself: network and
// name, a server that starts, stops or has no connection left, one of several hosts that
// is none to write to at present. What TLS or a pooler refuses stays.
func passing(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case codeTooMany:
			return true
		case codeProtocol:
			return !slices.ContainsFunc(poolerRefusals, func(text string) bool { return strings.HasPrefix(pg.Message, text) })
		}
	}
	var alert tls.AlertError
	if errors.As(err, &alert) {
		return false
	}
	return lost(err) || pgconn.Timeout(err) || errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, errStandby) ||
		errors.Is(err, context.DeadlineExceeded)
}
