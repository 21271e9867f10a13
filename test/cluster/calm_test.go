package cluster

import (
	"crypto/rand"
	"net/http"
	"testing"
	"time"
)

// healsWithin is within what gates are as if nothing had been, once a fault is over.
const healsWithin = 5 * time.Second

// settle waits until each gate reads a key that it may not know and writes, and returns
// how long that took: with a fault just over, or with none. See allowed.
func (c *cluster) settle(t *testing.T, k key) time.Duration {
	t.Helper()
	began := time.Now()
	for _, g := range c.gates {
		g.until(t, "it reads what it does not know", func() bool { return g.status(t, k) == http.StatusOK })
		g.until(t, "it writes", func() bool {
			a, err := g.tryAPI("PATCH", "/v1/keys/"+k.id, map[string]any{"description": "by " + g.name})
			return err == nil && a.status == http.StatusOK
		})
	}
	return time.Since(began)
}

// calm is what settle takes where nothing is wrong: how busy the machine is with other
// things.
func (c *cluster) calm(t *testing.T, role string) time.Duration {
	t.Helper()
	return c.settle(t, c.gates[0].create(t, "calm "+rand.Text(), role))
}

// allowed is a promised time with room for a machine as busy as calm says. How busy it is
// changes from one second to the next, so that it counts twice.
func allowed(promised, calm time.Duration) time.Duration { return promised + 2*calm }
