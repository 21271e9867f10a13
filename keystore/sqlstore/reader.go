package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// errEnded answers a Reader or Tx that outlived its function.
var errEnded = errors.New("used after its transaction ended")

// reader is the keystore.Reader of one transaction. Used by one goroutine.
type reader struct {
	conn    Conn
	db      Database
	dialect *Dialect
	clock   keystore.Clock
	// keeper keeps the time of a database that has its own, else nil. at is what that said
	// when the transaction began, and frame how the clocks stood then, nil where the
	// database's was set and no era has begun since.
	keeper Keeper
	at     Time
	frame  Frame
	now    policy.Instant
	// writing: the transaction writes. SQLite ends such a transaction on its own
	// on some errors, and what came after would be stored by itself; PostgreSQL goes
	// on with none. So the first error is kept and answers everything that follows.
	writing bool
	err     error
	ended   bool
	// queued wait to be run, see later.
	queued []Statement
}

// endTimeout bounds a rollback, whose caller may have none.
const endTimeout = 5 * time.Second

// scanner copies a row's columns, as sql.Rows.Scan.
type scanner func(dest ...any) error

// Now is when the snapshot was taken.
func (r *reader) Now() policy.Instant { return r.now }

// usable reports why the transaction cannot go on.
func (r *reader) usable() error {
	if r.ended {
		return errEnded
	}
	return r.err
}

// failed translates an error and remembers it where the transaction may be lost.
func (r *reader) failed(ctx context.Context, err error) error {
	if !errors.Is(err, keystore.ErrNotFound) {
		err = r.db.Error(ctx, err)
	}
	if r.writing && r.err == nil && !errors.Is(err, keystore.ErrNotFound) {
		r.err = err
	}
	return err
}

// ready reports whether the transaction can go on, once what was queued has run.
func (r *reader) ready(ctx context.Context) error {
	if err := r.usable(); err != nil || len(r.queued) == 0 {
		return err
	}
	queued := r.queued
	r.queued = r.queued[:0]
	if err := r.conn.ExecAll(ctx, queued); err != nil {
		return r.failed(ctx, err)
	}
	return nil
}

// maxQueued bounds the statements that wait.
const maxQueued = 500

// later runs a statement that nothing is asked of: before the next that something is
// asked of, or the commit, and in one round trip with others where there are any.
func (r *reader) later(ctx context.Context, text string, args ...any) error {
	if r.dialect.Local {
		return r.exec(ctx, text, args...)
	}
	if len(r.queued) >= maxQueued {
		if err := r.ready(ctx); err != nil {
			return err
		}
	}
	r.queued = append(r.queued, Statement{Text: text, Args: args})
	return r.usable()
}

func (r *reader) exec(ctx context.Context, text string, args ...any) error {
	_, err := r.affect(ctx, text, args...)
	return err
}

// affect is exec that counts the rows it changed.
func (r *reader) affect(ctx context.Context, text string, args ...any) (int64, error) {
	if err := r.ready(ctx); err != nil {
		return 0, err
	}
	n, err := r.conn.Exec(ctx, text, args...)
	if err != nil {
		return 0, r.failed(ctx, err)
	}
	return n, nil
}

// row reads the one row of a statement. ErrNotFound if there is none.
func (r *reader) row(ctx context.Context, dest []any, text string, args ...any) error {
	if err := r.ready(ctx); err != nil {
		return err
	}
	rows, err := r.conn.Query(ctx, text, args...)
	if err != nil {
		return r.failed(ctx, err)
	}
	if !rows.Next() {
		if err = rows.Err(); err == nil {
			err = keystore.ErrNotFound
		}
	} else {
		err = rows.Scan(dest...)
	}
	if closeErr := rows.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return r.failed(ctx, err)
	}
	return nil
}

// exists reports whether a statement finds a row.
func (r *reader) exists(ctx context.Context, text string, args ...any) (bool, error) {
	var one int
	switch err := r.row(ctx, []any{&one}, text, args...); {
	case errors.Is(err, keystore.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// beginBy begins the transaction by this statement. Where that is local, ctx must
// not matter to it: SQLite's driver answers a statement that was cancelled as such
// even if it took effect, and the connection would go to the next caller inside a
// transaction that nobody ends.
func (r *reader) beginBy(ctx context.Context, text string) error {
	if r.dialect.Local {
		ctx = context.WithoutCancel(ctx)
	}
	return r.exec(ctx, text)
}

// end rolls back unless the transaction ended before. A connection that cannot
// say so is given up, since it might still be in the transaction.
func (r *reader) end(text string) {
	if r.ended {
		return
	}
	r.ended = true
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if _, err := r.conn.Exec(ctx, text); err != nil {
		r.conn.Discard()
	}
}

// list reads every row of a statement.
func list[T any](ctx context.Context, r *reader, read func(scanner) (T, error), text string, args ...any) ([]T, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	rows, err := r.conn.Query(ctx, text, args...)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return drain(ctx, r, rows, read)
}

// drain reads every row and closes rows.
func drain[T any](ctx context.Context, r *reader, rows Rows, read func(scanner) (T, error)) (all []T, err error) {
	scan := scanner(rows.Scan)
	for err == nil && rows.Next() {
		var v T
		if v, err = read(scan); err == nil {
			all = append(all, v)
		}
	}
	if err == nil {
		err = rows.Err()
	}
	if closeErr := rows.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return all, nil
}

// Head is the newest revision of the snapshot.
func (r *reader) Head(ctx context.Context) (keystore.Revision, error) {
	var head keystore.Revision
	err := r.row(ctx, []any{&head}, "SELECT head FROM state")
	return head, err
}
