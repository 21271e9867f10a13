package cluster

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pendingNode is a node that an answer 202 names.
type pendingNode struct {
	Node         string    `json:"node"`
	AcceptsUntil time.Time `json:"accepts_until"`
}

func pendingIn(t *testing.T, a answer) []pendingNode {
	t.Helper()
	var body struct {
		Pending []pendingNode `json:"pending"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &body), a.body)
	return body.Pending
}

func (g *gate) disable(t *testing.T, k key) answer {
	t.Helper()
	return g.api(t, "PATCH", "/v1/keys/"+k.id, map[string]any{"enabled": false})
}

// accepts asks once for what is let in.
func (g *gate) accepts(t *testing.T, k key) {
	t.Helper()
	a, err := g.get(k.basic())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status, "gate %s: %s", g.name, a.body)
}

// status is what the gate answers to a key.
func (g *gate) status(t *testing.T, k key) int {
	t.Helper()
	a, err := g.get(k.basic())
	require.NoError(t, err)
	return a.status
}

// TestAGateThatIsCutOffAcceptsUntilTheTimeThatIsToldAndNotAfter cuts one gate off from
// the database only: its clients reach it all the while.
func TestAGateThatIsCutOffAcceptsUntilTheTimeThatIsToldAndNotAfter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3, global: "max_stale 5s"})
	a, b := c.gates[0], c.gates[1]
	role := c.role(t, "all")
	revoked, other, later := a.create(t, "revoked", role), a.create(t, "other", role), a.create(t, "later", role)
	for _, g := range c.gates {
		g.accepts(t, revoked)
		g.accepts(t, other)
	}
	calm := c.calm(t, role)

	b.link.Down()
	done := a.disable(t, revoked)
	require.Equal(t, http.StatusAccepted, done.status, done.body)
	require.Equal(t, "confirmed=2; pending=1", done.header.Get("Keyreeve-Propagation"))
	require.NotEmpty(t, done.header.Get("Keyreeve-Revision"))
	pending := pendingIn(t, done)
	require.Len(t, pending, 1)
	until := pending[0].AcceptsUntil
	require.Greater(t, until, done.ended)
	require.Less(t, done.ended.Sub(done.began), allowed(2500*time.Millisecond, calm), "it is waited for two seconds")

	require.Equal(t, http.StatusOK, b.status(t, revoked), "it was told that this gate may still accept")
	require.Equal(t, http.StatusUnauthorized, c.gates[2].status(t, revoked))
	accepted := 0
	for {
		got, err := b.get(revoked.basic())
		require.NoError(t, err)
		if got.status != http.StatusOK {
			require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
			require.NotEmpty(t, got.header.Get("Retry-After"))
			break
		}
		accepted++
		require.Less(t, got.began, until, "accepted past the time that was told")
		time.Sleep(20 * time.Millisecond)
	}
	require.Greater(t, accepted, 10)
	require.Equal(t, http.StatusServiceUnavailable, b.status(t, other), "whatever it knows is too old now")

	a.until(t, "the gate that is cut off counts as fenced", func() bool { return time.Now().After(until) })
	done = a.disable(t, later)
	require.Equal(t, http.StatusOK, done.status, "%s: %s", time.Since(until), done.body)
	require.Equal(t, "confirmed=3; pending=0", done.header.Get("Keyreeve-Propagation"))

	b.link.Up(t)
	healed := time.Now()
	b.until(t, "it serves again", func() bool { return b.status(t, other) == http.StatusOK })
	took := time.Since(healed)
	t.Logf("it served again after %s", took.Round(time.Millisecond))
	require.Less(t, took, allowed(healsWithin, c.calm(t, role)))
	require.Equal(t, http.StatusUnauthorized, b.status(t, revoked))
	require.Equal(t, http.StatusUnauthorized, b.status(t, later))
}

// TestAGateThatWasSuspendedRefusesBeforeItHasCaughtUp stops a process in the middle of
// its work until it counts as fenced, and lets it go on without the database.
func TestAGateThatWasSuspendedRefusesBeforeItHasCaughtUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 2, global: "max_stale 3s"})
	a, b := c.gates[0], c.gates[1]
	role := c.role(t, "all")
	revoked := a.create(t, "revoked", role)
	b.accepts(t, revoked)

	require.NoError(t, b.process.Signal(suspend))
	done := a.disable(t, revoked)
	require.Equal(t, http.StatusAccepted, done.status, done.body)
	until := pendingIn(t, done)[0].AcceptsUntil
	// Asked while it is suspended, and after: the system holds what is sent meanwhile.
	asked := make(chan answer, 40)
	ask := func() {
		got, err := b.get(revoked.basic())
		if err != nil {
			got.status = -1
		}
		asked <- got
	}
	for range 20 {
		go ask()
	}
	time.Sleep(time.Until(until))
	again := a.create(t, "again", role)
	done = a.disable(t, again)
	require.Equal(t, http.StatusOK, done.status, done.body)

	b.link.Down()
	require.NoError(t, b.process.Signal(resume))
	for range 20 {
		go ask()
	}
	for range 40 {
		got := <-asked
		require.Contains(t, []int{401, 503}, got.status, got.body)
	}
	b.link.Up(t)
	b.until(t, "it follows the store again", func() bool { return b.status(t, revoked) == http.StatusUnauthorized })
}

// TestAGateThatConfirmedAndCrashedStillRefusesWithoutTheStore kills gates as soon as a
// revocation is answered, and starts them again without the database.
func TestAGateThatConfirmedAndCrashedStillRefusesWithoutTheStore(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 2, global: "max_stale 2m"})
	a, b := c.gates[0], c.gates[1]
	role := c.role(t, "all")
	known := a.create(t, "known", role)
	for round := range rounds(4) {
		revoked := a.create(t, "revoked "+string(rune('a'+round)), role)
		b.accepts(t, known)
		b.accepts(t, revoked)
		if round%2 == 1 { // what it read has had time to be kept
			time.Sleep(500 * time.Millisecond)
		}
		done := a.disable(t, revoked)
		require.Equal(t, http.StatusOK, done.status, done.body)
		require.NoError(t, b.process.Kill())
		b.link.Down()
		b.start(t)
		b.listens(t)
		if round%2 == 1 {
			b.until(t, "a known key is served from the snapshot", func() bool { return b.status(t, known) == http.StatusOK })
		}
		for range 20 {
			require.Contains(t, []int{401, 503}, b.status(t, revoked))
			time.Sleep(10 * time.Millisecond)
		}
		b.link.Up(t)
		b.until(t, "it follows the store again", func() bool { return b.status(t, revoked) == http.StatusUnauthorized })
		b.until(t, "it serves", func() bool { return b.status(t, known) == http.StatusOK })
		b.ready(t)
	}
}
