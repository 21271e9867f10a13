package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Clock is the clock of one database, as far as the key store there goes by it: no test
// may set the server's own. Safe for concurrent use by means of the database.
type Clock struct {
	t   testing.TB
	dsn string
}

// TurnClock makes the clock of a key store one that can be turned. The store's tables
// must be there. It runs on with the server's until it is told otherwise.
func TurnClock(t testing.TB, dsn string) *Clock {
	t.Helper()
	c := &Clock{t, dsn}
	c.exec(`CREATE TABLE turned_clock (ahead_ns BIGINT NOT NULL, stands_ns BIGINT)`)
	c.exec(`INSERT INTO turned_clock VALUES (0, NULL)`)
	c.exec(`GRANT SELECT ON turned_clock TO PUBLIC`)
	c.exec(`CREATE OR REPLACE FUNCTION keyreeve_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS
		'SELECT coalesce(stands_ns, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 + ahead_ns) FROM turned_clock'`)
	return c
}

// Stand makes it stand still at a time.
func (c *Clock) Stand(at time.Time) {
	c.t.Helper()
	c.exec("UPDATE turned_clock SET stands_ns = $1", at.UnixNano())
}

// Ahead makes it run, ahead of the server's by d.
func (c *Clock) Ahead(d time.Duration) {
	c.t.Helper()
	c.exec("UPDATE turned_clock SET ahead_ns = $1, stands_ns = NULL", int64(d))
}

func (c *Clock) exec(text string, args ...any) {
	c.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.dsn)
	if err == nil {
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, text, args...)
	}
	if err != nil {
		c.t.Fatalf("the clock of the database: %v", err)
	}
}
