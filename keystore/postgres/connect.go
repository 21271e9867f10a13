package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// maxConnLifetime, less up to maxConnJitter, is how long a connection is used: behind
	// a name that moved, or a balancer, another is found in time. The jitter keeps what
	// was opened at one time, after a restart of the server, from being opened so again.
	maxConnLifetime = time.Hour
	maxConnJitter   = 20 * time.Minute
	// shortFor is how long somebody waits for one of the connections that there are where
	// the server admits no further one, and shortEvery about how often it is tried.
	shortFor   = time.Second
	shortEvery = 20 * time.Millisecond
)

// errStandby: the server is a standby, on which nothing can be written and whose changes
// come late.
var errStandby = errors.New("the server is a standby")

// noStandby is pgconn.ValidateConnectFunc: after a failover a name may still lead to a
// server that only follows.
func noStandby(ctx context.Context, c *pgconn.PgConn) error {
	result, err := c.Exec(ctx, "SELECT pg_is_in_recovery()").ReadAll()
	if err != nil {
		return err
	}
	if string(result[0].Rows[0][0]) == "t" {
		return errStandby
	}
	return nil
}

// connect is one of the pool's connections. Where the server's limit keeps the pool from
// growing, those that there are do.
func (s *Store) connect(ctx context.Context) (*pgxpool.Conn, error) {
	for began := time.Now(); ; {
		c, err := s.pool.Acquire(ctx)
		var pg *pgconn.PgError
		if err == nil || !errors.As(err, &pg) || pg.Code != codeTooMany || s.pool.Stat().TotalConns() == 0 || time.Since(began) > shortFor {
			return c, err
		}
		select {
		case <-time.After(shortEvery/2 + rand.N(shortEvery)):
		case <-ctx.Done():
			return nil, err
		}
	}
}
