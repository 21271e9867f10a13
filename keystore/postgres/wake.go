package postgres

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"go.uber.org/zap"
)

const (
	// channel is what writers of changes notify.
	channel = "keyreeve_changes"
	// listenAgain is the longest wait before a connection that was lost is made anew.
	listenAgain = 5 * time.Second
	// listenCheck is how often a connection on which nothing comes is tried: one cut
	// off says nothing either.
	listenCheck = 30 * time.Second
)

// waker tells of changes as they are committed, on a connection of its own. What it
// misses whoever polls finds: to be woken is sooner, no more.
type waker struct {
	wake   chan struct{}
	anew   chan struct{} // receives when the connection is to be made anew
	cancel context.CancelFunc
	done   chan struct{}
}

func listen(way func() *pgx.ConnConfig, logger *zap.Logger) *waker {
	config := func() *pgx.ConnConfig {
		cfg := way().Copy()
		cfg.RuntimeParams["application_name"] += " listener"
		// There is no query to be cancelled: who waits here is let go by the connection.
		cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
		}
		return cfg
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &waker{wake: make(chan struct{}, 1), anew: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.run(ctx, config, logger)
	}()
	return w
}

func (w *waker) stop() {
	w.cancel()
	<-w.done
}

// Wake receives, soon after other writers or this one committed changes: once for
// several. Nothing comes while the database cannot be listened to.
func (s *Store) Wake() <-chan struct{} { return s.waker.wake }

func (w *waker) run(ctx context.Context, config func() *pgx.ConnConfig, logger *zap.Logger) {
	wait := time.Duration(0)
	for {
		began := time.Now()
		following, cancel := w.untilAnew(ctx)
		err := w.follow(following, config())
		asked := following.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return
		}
		if asked { // and all else is well
			continue
		}
		logger.Debug("the key store is not listened to for now; it is polled", zap.Error(err))
		if wait = min(listenAgain, 2*wait+100*time.Millisecond); time.Since(began) > listenCheck {
			wait = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait/2+time.Millisecond)):
		}
	}
}

func (w *waker) follow(ctx context.Context, cfg *pgx.ConnConfig) error {
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(end)
	}()
	if _, err := c.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	for {
		w.tell() // also of what came before it was listened for
		within, cancel := context.WithTimeout(ctx, listenCheck)
		_, err := c.WaitForNotification(within)
		quiet := within.Err() != nil && ctx.Err() == nil
		cancel()
		if quiet {
			check, cancel := context.WithTimeout(ctx, connectTimeout)
			err = c.Ping(check)
			cancel()
		}
		if err != nil {
			return err
		}
	}
}

func (w *waker) tell() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
