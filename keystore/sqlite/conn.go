package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// pool is a fixed number of connections that are opened when first needed.
type pool struct {
	free chan *conn
}

func newPool(db *sql.DB, size int) *pool {
	p := &pool{free: make(chan *conn, size)}
	for range size {
		p.free <- &conn{db: db, pool: p}
	}
	return p
}

// get waits for a connection that nobody uses.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var c *conn
	select {
	case c = <-p.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := c.open(ctx); err != nil {
		p.free <- c
		return nil, err
	}
	return c, nil
}

func (p *pool) put(c *conn) { p.free <- c }

// close closes all connections; every one of them is free by then.
func (p *pool) close() error {
	if p == nil {
		return nil
	}
	var errs []error
	for range cap(p.free) {
		c := <-p.free
		errs = append(errs, c.close())
		p.free <- c
	}
	return errors.Join(errs...)
}

// conn is one connection and the statements prepared on it. Used by one
// goroutine at a time.
type conn struct {
	sqlstore.Scratch
	db    *sql.DB
	pool  *pool
	c     *sql.Conn
	stmts map[string]*sql.Stmt
	head  headReading
}

// headReading is the newest revision as of a data version, which means
// something on the connection it was read on only.
type headReading struct {
	known   bool
	version int64
	head    keystore.Revision
}

func (c *conn) open(ctx context.Context) error {
	if c.c != nil {
		return nil
	}
	opened, err := c.db.Conn(ctx)
	if err != nil {
		return storeError(ctx, err)
	}
	c.c, c.stmts, c.head = opened, make(map[string]*sql.Stmt), headReading{}
	return nil
}

func (c *conn) close() error {
	if c.c == nil {
		return nil
	}
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	errs = append(errs, c.c.Close())
	c.c, c.stmts = nil, nil
	return errors.Join(errs...)
}

// stmt is the prepared statement of a text, which must be a constant: what is
// prepared stays until the connection closes.
func (c *conn) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if c.c == nil {
		return nil, sql.ErrConnDone // discarded
	}
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	s, err := c.c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	c.stmts[text] = s
	return s, nil
}

// Exec runs a statement and counts the rows it changed.
func (c *conn) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	s, err := c.stmt(ctx, text)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// ExecAll runs statements one after the other: there is no round trip to spare.
func (c *conn) ExecAll(ctx context.Context, statements []sqlstore.Statement) error {
	for _, s := range statements {
		if _, err := c.Exec(ctx, s.Text, s.Args...); err != nil {
			return err
		}
	}
	return nil
}

// Query reads rows by a statement that stays prepared.
func (c *conn) Query(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	s, err := c.stmt(ctx, text)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return nil, err // not rows, which would be no nil interface
	}
	return rows, nil
}

// QueryOnce reads rows by a statement that does not.
func (c *conn) QueryOnce(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	rows, err := c.c.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Discard closes the connection; the next use opens another.
func (c *conn) Discard() { _ = c.close() }

// value reads the one value that a statement answers.
func (c *conn) value(ctx context.Context, into any, text string) error {
	s, err := c.stmt(ctx, text)
	if err == nil {
		err = s.QueryRowContext(ctx).Scan(into)
	}
	return storeError(ctx, err)
}

// storeError is err in the words of package keystore. What it does not know is
// left to mean that the store could not be asked.
func storeError(ctx context.Context, err error) error {
	var se *sqlitedriver.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, sql.ErrConnDone), errors.Is(err, driver.ErrBadConn):
		return fmt.Errorf("%w: %w", keystore.ErrClosed, err)
	case !errors.As(err, &se):
		return fmt.Errorf("sqlite: %w", err)
	}
	switch code := se.Code(); {
	// The shared-memory index grows by allocating: that it cannot is a full disk too.
	case code&0xff == sqlite3.SQLITE_FULL, code == sqlite3.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("%w: %w", keystore.ErrFull, err)
	case code&0xff == sqlite3.SQLITE_INTERRUPT && ctx.Err() != nil:
		return ctx.Err()
	case code&0xff == sqlite3.SQLITE_BUSY:
		return fmt.Errorf("sqlite: another process held the database for over %s: %w", busyTimeout, err)
	}
	return fmt.Errorf("sqlite: %w", err)
}
