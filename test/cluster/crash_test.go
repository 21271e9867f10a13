package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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

	keys := ledger{deleted: map[string]bool{}}
	for n := range 10 {
		require.True(t, keys.make(witness, fmt.Sprint("before ", n), role))
	}
	var mu sync.Mutex
	each := (rounds(200) + len(victims) - 1) / len(victims)
	kills, told := 0, time.Now()
	var running sync.WaitGroup
	for _, g := range victims {
		running.Go(func() {
			for round := range each {
				stop, writes := make(chan struct{}), make(chan struct{}, 1)
				var writing sync.WaitGroup
				// In some rounds keys are deleted too. That takes seconds as others are killed, until
				// their leases are known to be over or the wait is given up.
				for w := range 2 {
					writing.Go(func() {
						for n := 0; ; n++ {
							select {
							case <-stop:
								return
							default:
							}
							removing := w == 1 && round%3 == 1
							done := removing && keys.remove(g) || keys.make(g, fmt.Sprintf("%s %d %d %d", g.name, round, w, n), role)
							if !done || round%3 == 1 && !removing {
								continue // killed: nothing was acknowledged; or a deletion is waited for
							}
							select {
							case writes <- struct{}{}:
							default:
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
	for id, gone := range keys.deleted {
		want := http.StatusOK
		if gone {
			want = http.StatusNotFound
			deleted++
		}
		a := witness.api(t, "GET", "/v1/keys/"+id, nil)
		require.Equal(t, want, a.status, "%s: %s", id, a.body)
	}
	require.Positive(t, deleted)
	require.Greater(t, keys.writes, kills/2)
	a := witness.api(t, "GET", "/v1/audit-events/verify", nil)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, a.body, `{"ok":true`)
	t.Logf("%d kills, %d acknowledged writes; %d keys, %d of them deleted again: all as acknowledged", kills, keys.writes, len(keys.deleted), deleted)
}

// ledger is what was acknowledged of keys.
type ledger struct {
	mu sync.Mutex
	// deleted tells of each key that was made whether it was deleted again.
	deleted map[string]bool
	// standing are those that may be deleted.
	standing []string
	// writes is how many were acknowledged.
	writes int
}

// make makes a key at a gate, and reports whether that was acknowledged.
func (l *ledger) make(g *gate, name, role string) bool {
	made, err := g.tryAPI("POST", "/v1/keys", map[string]any{"name": name, "role_id": role, "customer_id": g.c.customer})
	if err != nil || made.status != http.StatusCreated {
		return false
	}
	id := made.field("id")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	l.deleted[id] = false
	l.standing = append(l.standing, id)
	return true
}

// remove deletes the key that has been there longest.
func (l *ledger) remove(g *gate) bool {
	l.mu.Lock()
	if len(l.standing) == 0 {
		l.mu.Unlock()
		return false
	}
	id := l.standing[0]
	l.standing = l.standing[1:]
	l.mu.Unlock()
	gone, err := g.tryAPI("DELETE", "/v1/keys/"+id, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	var unsent *net.OpError
	switch {
	case errors.As(err, &unsent) && unsent.Op == "dial":
		l.standing = append(l.standing, id)
		return false
	case err != nil || gone.status >= http.StatusInternalServerError:
		delete(l.deleted, id) // not answered, or in doubt: it may have been done
		return false
	case gone.status == http.StatusNoContent || gone.status == http.StatusAccepted:
		l.writes++
		l.deleted[id] = true
		return true
	}
	return false // and must be there
}

// again starts a gate that was killed, from a goroutine of the test's.
func (g *gate) again(t *testing.T) bool {
	return t.Run(g.name, func(t *testing.T) {
		g.start(t)
		g.ready(t)
	})
}
