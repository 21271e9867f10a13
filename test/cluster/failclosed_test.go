package cluster

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lossNoticed is within what a gate notices that it lost its store: a poll's interval and
// time-out, and a little to come to it.
const lossNoticed = 3500 * time.Millisecond

// TestWithoutMaxStaleAGateRefusesAsSoonAsItNoticesTheLoss cuts one gate off, in the open and
// in silence, and revokes elsewhere.
func TestWithoutMaxStaleAGateRefusesAsSoonAsItNoticesTheLoss(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 2, global: "max_stale 0"})
	a, b := c.gates[0], c.gates[1]
	role := c.role(t, "all")
	known := a.create(t, "known", role)
	for _, fault := range []struct {
		name      string
		cut, heal func()
	}{
		{"unreachable", b.link.Down, func() { b.link.Up(t) }},
		{"silent", func() { b.link.Silence(t) }, b.link.Heal},
	} {
		first, second := a.create(t, fault.name+" first", role), a.create(t, fault.name+" second", role)
		for _, k := range []key{known, first, second} {
			b.until(t, "it knows the key", func() bool { return b.status(t, k) == http.StatusOK })
		}
		calm := c.calm(t, role)
		fault.cut()
		cut := time.Now()
		revoking := make(chan answer, 1)
		go func() {
			done, err := a.tryAPI("PATCH", "/v1/keys/"+first.id, map[string]any{"enabled": false})
			if err != nil {
				t.Error(err)
			}
			revoking <- done
		}()
		// Whoever asked last before it refuses, of all.
		var last answer
		b.until(t, "it refuses", func() bool {
			got, err := b.get(first.basic())
			require.NoError(t, err)
			if got.status == http.StatusOK {
				last = got
				return false
			}
			require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusUnauthorized}, got.status, got.body)
			return got.status == http.StatusServiceUnavailable
		})
		noticed := time.Since(cut)
		done := <-revoking
		t.Logf("%s: refused after %s, revoked meanwhile with %d %s", fault.name, noticed.Round(time.Millisecond), done.status, done.header.Get("Keyreeve-Propagation"))
		require.Less(t, noticed, allowed(lossNoticed, calm), fault.name)

		// Nobody who asks from there is let in, whatever came of the revocation.
		until := done.ended
		if done.status == http.StatusAccepted {
			require.Equal(t, "confirmed=1; pending=1", done.header.Get("Keyreeve-Propagation"))
			until = pendingIn(t, done)[0].AcceptsUntil
		} else {
			require.Equal(t, http.StatusOK, done.status, done.body)
		}
		require.True(t, last.began.Before(until), "accepted %s past the time that was told", last.began.Sub(until))
		for {
			require.Equal(t, http.StatusServiceUnavailable, b.status(t, known))
			if !time.Now().Before(until) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		done = a.disable(t, second)
		require.Equal(t, http.StatusOK, done.status, "it cannot serve any more: %s", done.body)
		require.Equal(t, "confirmed=2; pending=0", done.header.Get("Keyreeve-Propagation"))
		require.Equal(t, http.StatusServiceUnavailable, b.status(t, second))
		require.Equal(t, http.StatusOK, a.status(t, known))

		fault.heal()
		healed := time.Now()
		b.until(t, "it serves again", func() bool { return b.status(t, known) == http.StatusOK })
		took := time.Since(healed)
		t.Logf("%s: the next revocation took %s; served again %s after it was over", fault.name, done.ended.Sub(done.began).Round(time.Millisecond), took.Round(time.Millisecond))
		require.Equal(t, http.StatusUnauthorized, b.status(t, first))
		require.Equal(t, http.StatusUnauthorized, b.status(t, second))
		calm = max(calm, c.calm(t, role))
		require.Less(t, took, allowed(healsWithin, calm), fault.name)
	}
}
