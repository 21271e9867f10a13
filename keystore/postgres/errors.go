package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

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
	codeReadOnly      = "25006"
)

// storeError is err in the words of package keystore.
func storeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errRolledBack) {
		return fmt.Errorf("postgres: %w", err)
	}
	// A cancelled query takes its connection along, so that the error may tell of either.
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("postgres: %w", ctxErr)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		switch {
		case errors.Is(err, puddle.ErrClosedPool):
			return fmt.Errorf("%w: %w", keystore.ErrClosed, err)
		case sqlstore.InDoubt(err):
			return fmt.Errorf("postgres: whether this was stored is not known: %w", err)
		case lostBeforeAnswer(err):
			return fmt.Errorf("postgres: %w: %w", sqlstore.ErrAgain, err)
		}
		return fmt.Errorf("postgres: %w", err)
	}
	switch pg.Code {
	case codeDiskFull:
		return fmt.Errorf("%w: %w", keystore.ErrFull, err)
	case codeSerialization, codeDeadlock, codeLockTimeout:
		return fmt.Errorf("postgres: %w: %w", sqlstore.ErrAgain, err)
	case codeCancelled:
		return fmt.Errorf("postgres: the server took longer than statement_timeout: %w", err)
	case codeNoPrivilege:
		return fmt.Errorf("postgres: the user of the store's dsn lacks a privilege: %w", err)
	case codeReadOnly:
		return fmt.Errorf("postgres: the server only reads, as a standby does: %w", err)
	}
	if lost(err) && !sqlstore.InDoubt(err) {
		return fmt.Errorf("postgres: %w: %w", sqlstore.ErrAgain, err)
	}
	return fmt.Errorf("postgres: %w", err)
}

// lostBeforeAnswer reports an error of the connection, not one of a value that could
// not be bound or read.
func lostBeforeAnswer(err error) bool {
	var network net.Error
	return pgconn.SafeToRetry(err) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
