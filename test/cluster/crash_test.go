package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNoAcknowledgedWriteIsLostWhenGatesAreKilled kills gates in the middle of
// administrative writes, each time at another moment, and looks through a gate that
// lives for whatever was acknowledged.
func TestNoAcknowledgedWriteIsLostWhenGatesAreKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 4})
	witness, victims := c.gates[0], c.gates[1:]
	role := c.role(t, "all")

	var mu sync.Mutex
	acknowledged := map[string]bool{} // keys, by id: whether they were deleted again
	each := (rounds(200) + len(victims) - 1) / len(victims)
	kills, told := 0, time.Now()
	var running sync.WaitGroup
	for _, g := range victims {
		running.Go(func() {
			for round := range each {
				stop, writes := make(chan struct{}), make(chan struct{}, 1)
				var writing sync.WaitGroup
				for w := range 2 {
					writing.Go(func() {
						for n := 0; ; n++ {
							select {
							case <-stop:
								return
							default:
							}
							name := fmt.Sprintf("%s %d %d %d", g.name, round, w, n)
							made, err := g.tryAPI("POST", "/v1/keys", map[string]any{"name": name, "role_id": role, "customer_id": c.customer})
							if err != nil || made.status != http.StatusCreated {
								continue // killed: nothing was acknowledged
							}
							id := made.field("id")
							mu.Lock()
							acknowledged[id] = false
							mu.Unlock()
							select {
							case writes <- struct{}{}:
							default:
							}
							if n%2 == 0 {
								continue
							}
							if gone, err := g.tryAPI("DELETE", "/v1/keys/"+id, nil); err == nil && (gone.status == http.StatusNoContent || gone.status == http.StatusAccepted) {
								mu.Lock()
								acknowledged[id] = true
								mu.Unlock()
							} else if err != nil {
								// Sent, and not answered: it may have been done.
								mu.Lock()
								delete(acknowledged, id)
								mu.Unlock()
							}
						}
					})
				}
				select { // it writes: a machine that is busy takes its time
				case <-writes:
				case <-time.After(5 * time.Second):
				}
				time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
				err := g.process.Kill()
				close(stop)
				writing.Wait()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				kills++
				if time.Since(told) > time.Minute {
					told = time.Now()
					t.Logf("%d of about %d kills", kills, each*len(victims))
				}
				mu.Unlock()
				if !g.again(t) {
					return
				}
			}
		})
	}
	running.Wait()
	deleted := 0
	for id, gone := range acknowledged {
		want := http.StatusOK
		if gone {
			want = http.StatusNotFound
			deleted++
		}
		a := witness.api(t, "GET", "/v1/keys/"+id, nil)
		require.Equal(t, want, a.status, "%s: %s", id, a.body)
	}
	require.Positive(t, deleted)
	require.Greater(t, len(acknowledged), kills/2)
	a := witness.api(t, "GET", "/v1/audit-events/verify", nil)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, `{"ok":true`)
	t.Logf("%d kills, %d acknowledged writes of keys, %d of them deleted again: all as acknowledged", kills, len(acknowledged), deleted)
}

// again starts a gate that was killed, from a goroutine of the test's.
func (g *gate) again(t *testing.T) bool {
	return t.Run(g.name, func(t *testing.T) {
		g.start(t)
		g.ready(t)
	})
}
