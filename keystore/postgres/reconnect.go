package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

// way is how the database is reached.
type way struct {
	options Options
	config  *pgx.ConnConfig
}

// Reconnect reaches the same database in another way from now on: with another user,
// password, certificate or setting. Who uses a connection keeps it for what it is at.
// The number of connections stays.
func (s *Store) Reconnect(o Options) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	if identity(cfg) != s.identity {
		return errors.New("the store is open, and this is the dsn of another database")
	}
	if now := int32(s.pool.Config().MaxConns); cfg.MaxConns != now {
		s.logger.Warn("max_conns of the key store takes effect when the process is started anew", zap.Int32("in_force", now+1))
	}
	was := s.way.Swap(&way{options: o, config: cfg.ConnConfig})
	if was.options.DSN == o.DSN && sameWay(&was.config.Config, &cfg.ConnConfig.Config) {
		return nil
	}
	s.pool.Reset()
	s.waker.again()
	return nil
}

// current makes each new connection in the way that is in force.
func (s *Store) current(_ context.Context, c *pgx.ConnConfig) error {
	*c = *s.config()
	return nil
}

// config is how a connection is made now.
func (s *Store) config() *pgx.ConnConfig {
	c := s.way.Load().config.Copy()
	c.DialFunc = s.dials.family(c.DialFunc)
	return c
}

// sameWay compares what a DSN names and does not hold: passwords of a passfile,
// certificates, variables of the environment.
func sameWay(a, b *pgconn.Config) bool {
	return a.User == b.User && a.Password == b.Password && a.ConnectTimeout == b.ConnectTimeout && maps.Equal(a.RuntimeParams, b.RuntimeParams) &&
		sameTLS(a.TLSConfig, b.TLSConfig) &&
		slices.EqualFunc(a.Fallbacks, b.Fallbacks, func(x, y *pgconn.FallbackConfig) bool {
			return x.Host == y.Host && x.Port == y.Port && sameTLS(x.TLSConfig, y.TLSConfig)
		})
}

func sameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ServerName == b.ServerName && a.InsecureSkipVerify == b.InsecureSkipVerify &&
		a.MinVersion == b.MinVersion && a.MaxVersion == b.MaxVersion && a.RootCAs.Equal(b.RootCAs) &&
		slices.EqualFunc(a.Certificates, b.Certificates, func(x, y tls.Certificate) bool {
			return slices.EqualFunc(x.Certificate, y.Certificate, slices.Equal)
		})
}

// again makes the connection that listens anew.
func (w *waker) again() {
	select {
	case w.anew <- struct{}{}:
	default:
	}
}

// untilAnew is a context that ends when the connection is to be made anew.
func (w *waker) untilAnew(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-w.anew:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
