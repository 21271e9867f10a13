package cluster

import (
	"crypto/rand"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock tells the time of a history: nanoseconds since it began.
type clock struct{ began time.Time }

func (c clock) at(t time.Time) int64 { return int64(t.Sub(c.began)) }

// fault is something that happens to one gate while histories are made.
type fault struct {
	name string
	// kills: the gate is started anew.
	kills bool
	// lasts is how long it does.
	lasts time.Duration
	start func(t *testing.T, g *gate)
	end   func(t *testing.T, g *gate)
}

// faults are those of the network, from the gentlest on, of the process and of both.
var faults = []fault{
	{"slow", false, 600 * time.Millisecond, func(t *testing.T, g *gate) { g.link.Slow(t, 100*time.Millisecond) }, func(_ *testing.T, g *gate) { g.link.Heal() }},
	{"cut off", false, 2500 * time.Millisecond, func(_ *testing.T, g *gate) { g.link.Down() }, func(t *testing.T, g *gate) { g.link.Up(t) }},
	{"killed", true, 0, func(t *testing.T, g *gate) { require.NoError(t, g.process.Kill()) }, func(t *testing.T, g *gate) { g.start(t) }},
	{"heard, and not answered", false, time.Second, func(t *testing.T, g *gate) { g.link.Deaf(t) }, func(_ *testing.T, g *gate) { g.link.Heal() }},
	{"suspended", false, 800 * time.Millisecond, func(t *testing.T, g *gate) { require.NoError(t, g.process.Signal(suspend)) },
		func(t *testing.T, g *gate) { require.NoError(t, g.process.Signal(resume)) }},
	{"half open", false, time.Second, func(t *testing.T, g *gate) { g.link.Silence(t) }, func(_ *testing.T, g *gate) { g.link.Heal() }},
}

// suffering is what happened to gates in a history, in the order of time.
type suffering struct {
	// spans are from a fault's beginning to when the gate was well again.
	spans []span
}

type span struct {
	gate     int
	kills    bool
	from, to time.Time
}

// between is how long all gates are well, before each fault and behind the last.
const between = 400 * time.Millisecond

// suffer has one gate after another suffer each fault, and waits after each until the gate
// is well.
func (c *cluster) suffer(t *testing.T, all []fault) *suffering {
	t.Helper()
	s := &suffering{}
	for n, f := range all {
		time.Sleep(between)
		g := c.gates[n%len(c.gates)]
		one := span{gate: g.n, kills: f.kills, from: time.Now()}
		f.start(t, g)
		time.Sleep(f.lasts)
		f.end(t, g)
		g.ready(t)
		g.until(t, "it writes", func() bool {
			a, err := g.tryAPI("POST", "/v1/roles", map[string]any{"name": "by " + rand.Text(), "customer_id": c.customer, "permissions": map[string]any{"things": "full"}})
			return err == nil && a.status == http.StatusCreated
		})
		one.to = time.Now()
		s.spans = append(s.spans, one)
	}
	time.Sleep(between)
	return s
}

// of are the spans of a gate.
func (s *suffering) of(gate int) []span {
	return slices.DeleteFunc(slices.Clone(s.spans), func(one span) bool { return one.gate != gate })
}
