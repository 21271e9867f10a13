package postgres

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/internal/faultproxy"
	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// maxStale is far above what any of these outages takes.
	maxStale = 5 * time.Minute
	// convergesIn is what a node has, from when the fault is gone, to see all that was
	// written meanwhile.
	convergesIn = 5 * time.Second
	// noticesIn bounds a request that came before the loss was noticed: the time-out of a
	// read and what giving its connection up takes; and a loaded machine's share.
	noticesIn = 5 * time.Second
	// atOnce bounds one that came after.
	atOnce = 500 * time.Millisecond
	// warm is how many keys are known here.
	warm = 20
)

// gate is a node whose store is behind a proxy, under load, and another way to the
// same database.
type gate struct {
	t      testing.TB
	server *pgtest.Server
	proxy  *faultproxy.Proxy
	store  *Store
	keys   *keystore.Cached
	clock  keystore.Clock
	admin  *pgx.Conn // to watch
	dsn    string    // past the proxy

	known, unknown atomic.Int64 // requests
	failed         atomic.Pointer[error]
	slowest        atomic.Int64 // of unknown ones, in ns

	outages int
}

func newGate(t testing.TB, server *pgtest.Server) *gate {
	g := &gate{t: t, server: server, proxy: faultproxy.Start(t, server.Address()), clock: keystore.NewSystemClock()}
	database := server.NewDatabase(t)
	g.dsn = server.DSN(pgtest.Superuser, database)
	other := g.other()
	seed(t, other)
	putKeys(t, other, 0, 10*warm)
	g.store, g.keys = g.node(g.proxy, database)
	for n := range warm {
		_, _, err := g.keys.Look(t.Context(), testKey(n).ClientID, g.clock.Now())
		require.NoError(t, err)
	}
	return g
}

// node is one more node behind a proxy.
func (g *gate) node(p *faultproxy.Proxy, database string) (*Store, *keystore.Cached) {
	g.t.Helper()
	s, err := Open(g.t.Context(), Options{DSN: g.server.DSNBy(p.Address(), pgtest.Superuser, database) + "?sslmode=disable", Clock: g.clock})
	require.NoError(g.t, err)
	s.SealAudit(storetest.NewSealer("mk"))
	c, err := keystore.OpenCached(g.t.Context(), s, g.clock, keystore.CacheSizes{Keys: 1000, Unknown: 1000, UnknownTTL: time.Minute}, zap.NewNop())
	require.NoError(g.t, err)
	g.t.Cleanup(func() { require.NoError(g.t, c.Close()) })
	return s, c
}

// other is a store past the proxy, for what happens behind the node's back.
func (g *gate) other() *Store {
	g.t.Helper()
	s, err := Open(context.Background(), Options{DSN: g.dsn, Clock: g.clock})
	require.NoError(g.t, err)
	g.t.Cleanup(func() { require.NoError(g.t, s.Close()) })
	s.SealAudit(storetest.NewSealer("mk"))
	return s
}

// load asks for known keys and for unknown clients until the function it returns is
// called, which fails the test if one known key was not served, or if an unknown
// client was answered by anything but "unknown" or "cannot be asked".
func (g *gate) load() (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	wrong := func(format string, args ...any) {
		err := fmt.Errorf(format, args...)
		g.failed.CompareAndSwap(nil, &err)
	}
	for worker := range 4 {
		all.Go(func() {
			for n := worker; ctx.Err() == nil; n++ {
				now := g.clock.Now()
				if _, _, err := g.keys.Look(ctx, testKey(n%warm).ClientID, now); err != nil {
					wrong("known key %d: %w", n%warm, err)
				}
				if !g.keys.Fresh(now, maxStale) {
					wrong("what is known may not be served")
				}
				g.known.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				_, _, err := g.keys.Look(ctx, fmt.Sprintf("nobody-%d-%d", worker, n), g.clock.Now())
				if took := time.Since(began); int64(took) > g.slowest.Load() {
					g.slowest.Store(int64(took))
				}
				if err == nil {
					wrong("a client that nobody made was found")
				}
				g.unknown.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return func() {
		stop()
		all.Wait()
		if err := g.failed.Load(); err != nil {
			g.t.Error(*err)
		}
		require.Positive(g.t, g.known.Load())
		require.Less(g.t, time.Duration(g.slowest.Load()), noticesIn, "no request waits longer")
	}
}

// lost waits until the node has noticed and reports how long that took.
func (g *gate) lost() time.Duration {
	g.t.Helper()
	began := time.Now()
	require.Eventually(g.t, func() bool { _, _, lost := g.keys.Followed(); return lost }, 2*noticesIn, time.Millisecond)
	return time.Since(began)
}

// refuses holds a node that has lost its store to what it promises of the unknown.
func (g *gate) refuses() {
	g.t.Helper()
	ctx := context.Background()
	quick := func(what string, fn func() error) {
		g.t.Helper()
		began := time.Now()
		err := fn()
		require.ErrorIs(g.t, err, keystore.ErrUnavailable, what)
		require.NotErrorIs(g.t, err, keystore.ErrNotFound, what)
		require.Less(g.t, time.Since(began), atOnce, what)
	}
	ran := false
	g.outages++
	for n := range 50 {
		quick("a key that is there and not known here", func() error {
			_, _, err := g.keys.Look(ctx, testKey(g.cold()+n%warm).ClientID, g.clock.Now())
			return err
		})
	}
	quick("a write", func() error {
		_, err := g.keys.Update(ctx, func(keystore.Tx) error { ran = true; return nil })
		return err
	})
	quick("a sign-in", func() error {
		_, err := g.keys.UpdateKey(ctx, testKey(0).ID, func(keystore.Tx) error { ran = true; return nil })
		return err
	})
	quick("a list", func() error {
		return g.keys.View(ctx, func(keystore.Reader) error { ran = true; return nil })
	})
	quick("a revision", func() error { return g.keys.AwaitRevision(ctx, g.keys.Position()+1) })
	require.False(g.t, ran, "nothing is begun")
	began := time.Now()
	out := g.keys.Fail(policy.DefaultLockout(), keystore.Attempt{KeyID: testKey(warm - 1).ID, Fingerprint: uint64(began.UnixNano())})
	require.True(g.t, out.Counted, "here, and told later")
	require.Less(g.t, time.Since(began), time.Second)
}

// heals holds the node to seeing, soon after the fault is gone, what was written
// meanwhile, and reports how long it took.
func (g *gate) heals(revision keystore.Revision) time.Duration {
	g.t.Helper()
	began := time.Now()
	for g.keys.Position() < revision || !g.knows(g.cold()) || !g.writes() {
		require.Less(g.t, time.Since(began), convergesIn, "position %d of %d", g.keys.Position(), revision)
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	for n := range warm {
		require.True(g.t, g.knows(g.cold()+n), "a key was remembered as unknown")
	}
	return took
}

// cold is the first of the keys that the node has not asked for before the latest outage.
func (g *gate) cold() int { return g.outages * warm }

func (g *gate) knows(n int) bool {
	_, _, err := g.keys.Look(context.Background(), testKey(n).ClientID, g.clock.Now())
	return err == nil
}

func (g *gate) writes() bool {
	ctx := context.Background()
	_, err := g.keys.Update(ctx, func(tx keystore.Tx) error { return tx.PutKey(ctx, testKey(1000)) })
	return err == nil
}

// connections counts those of the database, but for the watcher's own.
func (g *gate) connections() (n int) {
	g.t.Helper()
	if g.admin == nil || g.admin.IsClosed() {
		g.admin = connect(g.t, g.dsn)
	}
	err := g.admin.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&n)
	require.NoError(g.t, err)
	return n
}

// goroutines counts those that are not the proxy's.
func goroutines() (n int) {
	stacks := make([]byte, 4<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if !strings.Contains(stack, "toxiproxy") {
			n++
		}
	}
	return n
}

// edit changes a known key past the node and returns the revision of that.
func (g *gate) edit(by *Store) keystore.Revision {
	g.t.Helper()
	ctx := context.Background()
	rev, err := by.Update(ctx, func(tx keystore.Tx) error {
		k, err := tx.Key(ctx, testKey(0).ID)
		if err != nil {
			return err
		}
		k.Enabled = !k.Enabled
		return tx.PutKey(ctx, k)
	})
	require.NoError(g.t, err)
	return rev
}

// sessions is how many were begun with the database so far.
func (g *gate) sessions() (n int) {
	g.t.Helper()
	g.connections()
	require.NoError(g.t, g.admin.QueryRow(context.Background(), "SELECT sessions FROM pg_stat_database WHERE datname = current_database()").Scan(&n))
	return n
}
