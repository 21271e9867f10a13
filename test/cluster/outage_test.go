package cluster

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outage is one way to lose the database.
type outage struct {
	name string
	lose func(t *testing.T, c *cluster)
	back func(t *testing.T, c *cluster)
}

func eachLink(do func(t *testing.T, l *link)) func(*testing.T, *cluster) {
	return func(t *testing.T, c *cluster) {
		for _, g := range c.gates {
			do(t, g.link)
		}
	}
}

var outages = []outage{
	{"killed", func(t *testing.T, c *cluster) { c.server.Kill(t) }, func(t *testing.T, c *cluster) { c.server.Start(t) }},
	{"stopped", func(t *testing.T, c *cluster) { c.server.Stop(t) }, func(t *testing.T, c *cluster) { c.server.Start(t) }},
	{"unreachable", eachLink(func(_ *testing.T, l *link) { l.Down() }), eachLink(func(t *testing.T, l *link) { l.Up(t) })},
	{"half open", eachLink(func(t *testing.T, l *link) { l.Silence(t) }), eachLink(func(_ *testing.T, l *link) { l.Heal() })},
	{"slow by 5 s", eachLink(func(t *testing.T, l *link) { l.Slow(t, 5*time.Second) }), eachLink(func(_ *testing.T, l *link) { l.Heal() })},
	{"full of connections", func(t *testing.T, c *cluster) { c.refuseConnections(t) }, func(t *testing.T, c *cluster) { c.allowConnections(t) }},
}

// refuseConnections lets nobody connect any more and ends those that are there.
func (c *cluster) refuseConnections(t *testing.T) {
	c.server.Exec(t, "ALTER DATABASE "+c.database+" CONNECTION LIMIT 0")
	c.server.Exec(t, "ALTER ROLE "+gateUser+" CONNECTION LIMIT 0")
	c.server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+c.database+"'")
}

func (c *cluster) allowConnections(t *testing.T) {
	c.server.Exec(t, "ALTER DATABASE "+c.database+" CONNECTION LIMIT -1")
	c.server.Exec(t, "ALTER ROLE "+gateUser+" CONNECTION LIMIT -1")
}

// TestKnownClientsNoticeNoOutageOfTheDatabase takes the database away in one way after
// another while known clients keep calling every gate.
func TestKnownClientsNoticeNoOutageOfTheDatabase(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3, global: "max_stale 5m"})
	a := c.gates[0]
	role := c.role(t, "all")
	known := a.create(t, "known", role)
	for _, g := range c.gates {
		g.accepts(t, known)
	}
	calm := c.calm(t, role)
	for i, o := range outages {
		t.Logf("the database is %s", o.name)
		// In the store, and nowhere else.
		unasked := a.create(t, "unasked "+strconv.Itoa(i), role)
		for _, g := range c.gates {
			g.until(t, "it has the new key's revision", func() bool { return g.status(t, known) == http.StatusOK })
		}
		clients := c.callAllTheTime(known)
		o.lose(t, c)
		began := time.Now()
		for _, g := range c.gates {
			// Nothing is remembered of a store that does not answer: neither that the key is
			// unknown, nor that it is known.
			g.until(t, "the loss is noticed", func() bool { return g.refusesUnknown(t, unasked) })
		}
		t.Logf("  refused what nobody knows after %s", time.Since(began).Round(time.Millisecond))
		for _, g := range c.gates {
			got, err := g.get(unasked.basic())
			require.NoError(t, err)
			require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
			require.NotEmpty(t, got.header.Get("Retry-After"))
			require.Less(t, got.ended.Sub(got.began), 2*time.Second, "refused at once, or after the one try of a question that began before the loss was noticed")
			got = g.api(t, "PATCH", "/v1/keys/"+known.id, map[string]any{"description": o.name})
			require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
			require.Less(t, got.ended.Sub(got.began), 2*time.Second, "refused at once")
		}
		time.Sleep(time.Second)
		o.back(t, c)
		took := c.settle(t, unasked)
		served, refused := clients.end()
		calm = max(calm, c.calm(t, role))
		t.Logf("  converged after %s; with nothing wrong the same takes up to %s", took.Round(time.Millisecond), calm.Round(time.Millisecond))
		require.Less(t, took, allowed(healsWithin, calm))
		require.Zero(t, refused, "%s: of %d calls of a known client", o.name, served+refused)
		require.Greater(t, served, int64(50))
	}
}

// refusesUnknown asks for a key that nobody has asked for while there was a store. Before
// a gate has noticed the loss it refuses too, once a time-out of that question is over.
func (g *gate) refusesUnknown(t *testing.T, k key) bool {
	t.Helper()
	got, err := g.get(k.basic())
	require.NoError(t, err)
	require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusOK}, got.status, got.body)
	return got.status == http.StatusServiceUnavailable && got.ended.Sub(got.began) < time.Second
}

// calls are those of clients that call all the time.
type calls struct {
	stop            chan struct{}
	running         sync.WaitGroup
	served, refused atomic.Int64
}

func (c *cluster) callAllTheTime(k key) *calls {
	l := &calls{stop: make(chan struct{})}
	for _, g := range c.gates {
		l.running.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(showEvery):
				}
				if a, err := g.get(k.basic()); err == nil && a.status == http.StatusOK {
					l.served.Add(1)
				} else {
					l.refused.Add(1)
				}
			}
		})
	}
	return l
}

func (l *calls) end() (served, refused int64) {
	close(l.stop)
	l.running.Wait()
	return l.served.Load(), l.refused.Load()
}
