package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWhoKeepsAllGatesWritingDodgesNoLock signs in and out without end, each of which the
// store writes in turn, with a key of one's own, and guesses at another's: one guess after
// the other, each once the one before was answered, over the gates.
func TestWhoKeepsAllGatesWritingDodgesNoLock(t *testing.T) {
	t.Parallel()
	const perGate = 96
	c := newCluster(t, options{gates: 3})
	role := c.role(t, "all")
	var own, others []key
	for n := range 3 {
		own = append(own, c.gates[0].create(t, fmt.Sprintf("own %d", n), role))
		others = append(others, c.gates[0].create(t, fmt.Sprintf("other %d", n), role))
	}
	for _, g := range c.gates {
		for n := range own {
			g.accepts(t, own[n])
			g.accepts(t, others[n])
		}
	}
	var stop atomic.Bool
	var out atomic.Int64
	var storm sync.WaitGroup
	for n, g := range c.gates {
		for range perGate {
			storm.Go(func() {
				for !stop.Load() {
					in, err := ask(g.client, "POST", "http://gate/signin", nil, url.Values{"client_id": {own[n].clientID}, "client_secret": {own[n].secret}})
					if err != nil || in.status != http.StatusOK {
						continue // too many: the storm is what it can be
					}
					got, err := ask(g.client, "POST", "http://gate/signout", map[string]string{"Authorization": "Bearer " + in.field("access_token")}, nil)
					if err == nil && got.status < http.StatusMultipleChoices {
						out.Add(1)
					}
				}
			})
		}
	}
	defer func() {
		stop.Store(true)
		storm.Wait()
	}()
	c.gates[0].until(t, "all are under way", func() bool { return out.Load() > perGate })
	for _, k := range others {
		var made []hop
		for n, g := range c.gates {
			for _, got := range g.shows(t, k.wrong(), attempts) {
				made = append(made, hop{n, got})
			}
		}
		for i := range made {
			made[i].verdict = c.gates[made[i].gate].explained(t, made[i].guess)
		}
		require.NoError(t, tooMany(made, -1))
		t.Logf("%d of %d compared, the slowest answer took %s", comparedOf(made), len(made), slowest(made))
		c.gates[0].until(t, "the key is locked", func() bool { return c.gates[0].lock(t, k) == lock{true, attempts} })
	}
	t.Logf("%d signed out meanwhile", out.Load())
}

func slowest(made []hop) (took time.Duration) {
	for _, h := range made {
		took = max(took, h.ended.Sub(h.began))
	}
	return took.Round(time.Millisecond)
}
