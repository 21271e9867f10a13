package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyreeve/keyreeve/keystore"
)

const (
	// answerWithin bounds a statement on this side where the server's statement_timeout
	// is ours, and is longer: a server that is out of reach ends nothing in time.
	answerWithin = 20 * time.Second
	// commitGrace is what a commit has left once all else is given up.
	commitGrace = 2 * time.Second
)

// errInterrupted is what a call ends with that was given up.
var errInterrupted = fmt.Errorf("%w: it answers nobody, and this call was given up", keystore.ErrUnavailable)

// errWarned: a commit was answered by more than that it took place. A server that stops
// to wait for its synchronous standbys, because it was asked to or shuts down, says so:
// the commit stands there and may stand nowhere else.
var errWarned = errors.New("the server warned of the commit")

// calls ends with what is under way whenever that is given up, and begins anew.
type calls struct {
	mu   sync.Mutex // guards life and end
	life context.Context
	end  context.CancelFunc
}

// now is the life that a call belongs to which begins now.
func (c *calls) now() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == nil {
		c.life, c.end = context.WithCancel(context.Background())
	}
	return c.life
}

func (c *calls) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != nil {
		c.end()
	}
	c.life, c.end = nil, nil
}

// Interrupt ends calls under way, gives up their connections and those that lie idle,
// and listens anew: on a connection that was cut off nothing would come for long.
func (s *Store) Interrupt() {
	s.dials.cut(cutAfter)
	s.calls.interrupt()
	s.pool.Reset()
	if s.waker != nil {
		s.waker.again()
	}
}

// within is ctx for one call: ended with the call's life, and bounded where that is
// not 0. done frees it.
func within(ctx, life context.Context, bound time.Duration) (inner context.Context, done func()) {
	free := func() {}
	if _, bounded := ctx.Deadline(); !bounded && bound > 0 {
		ctx, free = context.WithTimeoutCause(ctx, bound, errInterrupted)
	}
	inner, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(errInterrupted) })
	return inner, func() {
		stop()
		cancel(nil)
		free()
	}
}

// interrupted is err, or that the call was given up, which is nothing that its caller
// did: not one of his context's errors.
func interrupted(inner context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(inner), errInterrupted) {
		return fmt.Errorf("%w (%v)", errInterrupted, err)
	}
	return err
}

// commit ends the transaction. Who waits for it has settled on it: it ends with
// nothing but its own time, or a little after all else was given up.
func (c *conn) commit(ctx context.Context) error {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.life, func() {
		time.AfterFunc(commitGrace, func() { cancel(errInterrupted) })
	})
	defer stop()
	c.warning = ""
	tag, err := c.c.Conn().Exec(inner, "COMMIT")
	switch {
	case err != nil:
		return interrupted(inner, err)
	case tag.String() != "COMMIT":
		return errRolledBack
	case c.warning != "":
		return fmt.Errorf("%w: %s", errWarned, c.warning)
	}
	return nil
}

// noteWarning keeps what a server warns of for who has the connection.
func noteWarning(pg *pgconn.PgConn, n *pgconn.Notice) {
	if own, ok := pg.CustomData()[connKey].(*conn); ok && n.SeverityUnlocalized == "WARNING" {
		own.warning = n.Message
	}
}

var _ keystore.Interrupter = (*Store)(nil)
