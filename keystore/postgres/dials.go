package postgres

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// cutAfter is what a connection that was given up has left to end in good order: the
	// grace of a commit and the time to tell the server. The driver itself takes up to 15 s
	// for that, which whoever closes the store would wait for.
	cutAfter = commitGrace + time.Second
	// closeWithin is the same once the store is closed: nobody uses them then.
	closeWithin = 2 * time.Second
)

// dials are the connections to the server that there are, whatever they are used for.
type dials struct {
	mu  sync.Mutex // guards all and what the families hold
	all map[*family]struct{}
}

// family is one connection of the driver's with what it dials for it besides: to tell
// the server to cancel what it is at takes a connection of its own.
type family struct {
	of      *dials
	members map[*dialed]struct{}
	cut     bool
}

type dialed struct {
	net.Conn
	in *family
}

// family is dial for one connection of the driver's.
func (d *dials) family(dial pgconn.DialFunc) pgconn.DialFunc {
	f := &family{of: d, members: make(map[*dialed]struct{})}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if f.cut {
			return nil, errors.Join(net.ErrClosed, c.Close())
		}
		own := &dialed{c, f}
		f.members[own] = struct{}{}
		if d.all == nil {
			d.all = make(map[*family]struct{})
		}
		d.all[f] = struct{}{}
		return own, nil
	}
}

// Close ends the connection.
func (c *dialed) Close() error {
	d := c.in.of
	d.mu.Lock()
	if delete(c.in.members, c); len(c.in.members) == 0 {
		delete(d.all, c.in)
	}
	d.mu.Unlock()
	return c.Conn.Close()
}

// cut ends, after a while, what there is now.
func (d *dials) cut(after time.Duration) *time.Timer {
	d.mu.Lock()
	defer d.mu.Unlock()
	there := slices.Collect(maps.Keys(d.all))
	return time.AfterFunc(after, func() {
		for _, f := range there {
			f.end()
		}
	})
}

func (f *family) end() {
	f.of.mu.Lock()
	f.cut = true
	members := slices.Collect(maps.Keys(f.members))
	f.of.mu.Unlock()
	for _, c := range members {
		_ = c.Close() // may be closed by now
	}
}
