package sqlite

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlstore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
)

// traced is a database that keeps what it is asked.
type traced struct {
	database
	asked []sqlstore.Statement
}

// Acquire hands out a connection that tells what it is asked.
func (d *traced) Acquire(ctx context.Context, access sqlstore.Access) (sqlstore.Conn, error) {
	c, err := d.database.Acquire(ctx, access)
	if err != nil {
		return nil, err
	}
	return &tracedConn{conn: c.(*conn), to: d}, nil
}

// Release gives the connection itself back.
func (d *traced) Release(c sqlstore.Conn) { d.database.Release(c.(*tracedConn).conn) }

type tracedConn struct {
	*conn
	to *traced
}

func (c *tracedConn) note(text string, args []any) {
	c.to.asked = append(c.to.asked, sqlstore.Statement{Text: text, Args: args})
}

func (c *tracedConn) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	c.note(text, args)
	return c.conn.Exec(ctx, text, args...)
}

func (c *tracedConn) ExecAll(ctx context.Context, statements []sqlstore.Statement) error {
	c.to.asked = append(c.to.asked, statements...)
	return c.conn.ExecAll(ctx, statements)
}

func (c *tracedConn) Query(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	c.note(text, args)
	return c.conn.Query(ctx, text, args...)
}

func (c *tracedConn) QueryOnce(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	c.note(text, args)
	return c.conn.QueryOnce(ctx, text, args...)
}

// asked is the one statement with this text in it that fn has a store ask.
func asked(t testing.TB, s *Store, part string, fn func(*sqlstore.Store) error) sqlstore.Statement {
	t.Helper()
	d := &traced{database: database{s}}
	store := sqlstore.New(d, storetest.NewClock())
	store.SealAudit(storetest.NewSealer("mk"))
	require.NoError(t, fn(store))
	var found []sqlstore.Statement
	for _, a := range d.asked {
		if strings.Contains(a.Text, part) {
			found = append(found, a)
		}
	}
	require.Len(t, found, 1, part)
	return found[0]
}

// keyPage is the statement for a page of keys of customer c, keyCount that for how
// many there are.
func keyPage(t testing.TB, s *Store, q keystore.KeyQuery) sqlstore.Statement {
	t.Helper()
	q.CustomerID, q.Limit = "c", 50
	return asked(t, s, " LIMIT ?", listing(t, q))
}

func keyCount(t testing.TB, s *Store, q keystore.KeyQuery) sqlstore.Statement {
	t.Helper()
	q.CustomerID, q.Limit = "c", 0
	return asked(t, s, "SELECT count(*) FROM keys k", listing(t, q))
}

func listing(t testing.TB, q keystore.KeyQuery) func(*sqlstore.Store) error {
	return func(s *sqlstore.Store) error {
		return s.View(t.Context(), func(r keystore.Reader) error {
			_, _, err := r.Keys(t.Context(), q)
			return err
		})
	}
}
