package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyreeve/keyreeve/keystore/sqlstore"
)

// conn is one connection, for as long as somebody has it. Used by one goroutine at a
// time.
type conn struct {
	sqlstore.Scratch
	c      *pgxpool.Conn
	access sqlstore.Access
	// life is that of who has it, see calls.
	life    context.Context
	bound   time.Duration // of one statement, 0 for none
	warning string        // the server's latest, while it commits
}

// connKey is under what a conn is kept with its connection.
const connKey = "keyreeve"

// wrap is the conn of a connection, the same each time.
func wrap(c *pgxpool.Conn, access sqlstore.Access) *conn {
	kept := c.Conn().PgConn().CustomData()
	own, _ := kept[connKey].(*conn)
	if own == nil {
		own = new(conn)
		kept[connKey] = own
	}
	own.c, own.access = c, access
	return own
}

// errRolledBack: a commit was answered by a rollback, as in a transaction that failed.
var errRolledBack = errors.New("the transaction was rolled back")

// Exec runs a statement and counts the rows it changed. One without arguments goes
// as it is, and may be several (PostgreSQL's simple query protocol).
func (c *conn) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	if text == "COMMIT" {
		return 0, c.commit(ctx)
	}
	if text == dialect.Unhurried {
		c.bound = 0
	}
	ctx, done := within(ctx, c.life, c.bound)
	defer done()
	tag, err := c.c.Conn().Exec(ctx, number(text), encodeAll(args)...)
	return tag.RowsAffected(), interrupted(ctx, err)
}

// Begin runs statements, the last of which answers the database's time: as they are, by
// the simple query protocol, whose answers are text.
func (c *conn) Begin(ctx context.Context, text string) (at sqlstore.Time, err error) {
	results, err := c.c.Conn().PgConn().Exec(ctx, text).ReadAll()
	if err != nil {
		return at, err
	}
	rows := results[len(results)-1].Rows
	if len(rows) != 1 || len(rows[0]) != 3 {
		return at, errors.New("the database did not tell its time")
	}
	for i, into := range []*int64{&at.Now, &at.Era, &at.Began} {
		if *into, err = strconv.ParseInt(string(rows[0][i]), 10, 64); err != nil {
			return at, fmt.Errorf("the database's time: %w", err)
		}
	}
	return at, nil
}

// ExecAll sends all statements before it reads the first answer.
func (c *conn) ExecAll(ctx context.Context, statements []sqlstore.Statement) error {
	if len(statements) == 1 {
		_, err := c.Exec(ctx, statements[0].Text, statements[0].Args...)
		return err
	}
	batch := &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, len(statements))}
	for _, s := range statements {
		batch.Queue(number(s.Text), encodeAll(s.Args)...)
	}
	ctx, done := within(ctx, c.life, c.bound)
	defer done()
	return interrupted(ctx, c.c.Conn().SendBatch(ctx, batch).Close())
}

// Query reads rows by a statement that stays prepared.
func (c *conn) Query(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	return c.query(ctx, number(text), args)
}

// QueryOnce reads rows by a statement that does not, and is planned for what it
// binds.
func (c *conn) QueryOnce(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	return c.query(ctx, rewrite(text), append([]any{pgx.QueryExecModeCacheDescribe}, args...))
}

func (c *conn) query(ctx context.Context, text string, args []any) (sqlstore.Rows, error) {
	ctx, done := within(ctx, c.life, c.bound)
	found, err := c.c.Conn().Query(ctx, text, encodeAll(args)...)
	if err != nil {
		done()
		return nil, interrupted(ctx, err)
	}
	return rows{found, ctx, done}, nil
}

// Discard closes the connection; the pool opens another.
func (c *conn) Discard() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.c.Conn().Close(ctx)
}

// rows are found rows, and what they are read within.
type rows struct {
	pgx.Rows
	inner context.Context
	done  func()
}

// Scan copies a row's columns. A []byte is the caller's own.
func (r rows) Scan(dest ...any) error {
	if err := r.Rows.Scan(dest...); err != nil {
		return interrupted(r.inner, err)
	}
	for i, d := range dest {
		switch v := d.(type) {
		case *string:
			*v = decode(*v)
		case *[]byte:
			if r.isText(i) {
				*v = decodeBytes(*v)
			}
		case *json.RawMessage:
			if r.isText(i) {
				*v = decodeBytes(*v)
			}
		}
	}
	return nil
}

// isText reports whether a column is text, not bytes that may look like anything.
func (r rows) isText(column int) bool {
	return r.FieldDescriptions()[column].DataTypeOID == pgtype.TextOID
}

// Err is why there are no more rows, nil where there were no more.
func (r rows) Err() error { return interrupted(r.inner, r.Rows.Err()) }

// Close ends the query.
func (r rows) Close() error {
	defer r.done()
	r.Rows.Close()
	return r.Err()
}

// encodeAll is arguments as they are bound: text as it is stored.
func encodeAll(args []any) []any {
	for i, a := range args {
		switch v := a.(type) {
		case string:
			if e := encode(v); e != v {
				args = replaced(args, i, e)
			}
		case []string:
			for j, text := range v {
				if e := encode(text); e != text {
					v = append([]string(nil), v...)
					v[j] = e
					args = replaced(args, i, v)
				}
			}
		}
	}
	return args
}

// replaced is args with another at i; the caller's own stay.
func replaced(args []any, i int, by any) []any {
	args = append([]any(nil), args...)
	args[i] = by
	return args
}
