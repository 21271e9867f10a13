package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rounds is how often a race is run: n times, or as often as KEYREEVE_SOAK multiplies.
func rounds(n int) int {
	if factor, err := strconv.Atoi(os.Getenv("KEYREEVE_SOAK")); err == nil && factor > 1 {
		return n * factor
	}
	return n
}

// revocation takes one thing away from a key at a gate.
type revocation struct {
	name string
	// credential is what the load shows.
	credential func(t *testing.T, g *gate, k key) string
	revoke     func(g *gate, k key, role string) (answer, error)
	// refusals are what may be answered from then on.
	refusals []int
}

func secretOf(_ *testing.T, _ *gate, k key) string { return k.basic() }

// tokenOf signs the key in.
func tokenOf(t *testing.T, g *gate, k key) string {
	t.Helper()
	a, err := ask(g.client, "POST", "http://gate/oauth2/v1/token", map[string]string{"Authorization": k.basic()}, url.Values{"grant_type": {"client_credentials"}})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status, a.body)
	return "Bearer " + a.field("access_token")
}

var revocations = []revocation{
	{"disable", secretOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("PATCH", "/v1/keys/"+k.id, map[string]any{"enabled": false})
	}, []int{401}},
	{"delete", secretOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("DELETE", "/v1/keys/"+k.id, nil)
	}, []int{401}},
	{"retire the secret", secretOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("DELETE", "/v1/keys/"+k.id+"/secrets/"+k.secretID+"?force=true", nil)
	}, []int{401}},
	{"narrow the role", secretOf, func(g *gate, _ key, role string) (answer, error) {
		return g.tryAPI("PATCH", "/v1/roles/"+role, map[string]any{"permissions": map[string]any{"things": []string{"create"}}})
	}, []int{403}},
	{"end the sessions", tokenOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("DELETE", "/v1/keys/"+k.id+"/sessions", nil)
	}, []int{401}},
	{"disable, of a token", tokenOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("PATCH", "/v1/keys/"+k.id, map[string]any{"enabled": false})
	}, []int{401}},
}

// revokers is how many revocations of as many keys are under way at a time: what one
// takes is mostly waiting for the gates to tell that they have it.
const revokers = 6

// TestNoGateAcceptsWhatAGateAnsweredToBeRevoked revokes at one gate what is shown to all
// of them all the while.
func TestNoGateAcceptsWhatAGateAnsweredToBeRevoked(t *testing.T) {
	c := newCluster(t, options{gates: 3})
	var mu sync.Mutex
	at := map[string]int{}
	all, done, told := rounds(500), 0, time.Now()
	var revoking sync.WaitGroup
	for w := range revokers {
		revoking.Go(func() {
			t.Run(string(rune('a'+w)), func(t *testing.T) { // a test of its own may end by itself
				for round := w; round < all; round += revokers {
					// Of each kind at each gate.
					r, writer := revocations[(round+round/len(revocations))%len(revocations)], c.gates[round/revokers%3]
					late := c.revokeUnderLoad(t, fmt.Sprintf("round %d", round), r, writer)
					mu.Lock()
					at[r.name] += late
					done++
					if time.Since(told) > time.Minute {
						told = time.Now()
						t.Logf("%d of %d rounds", done, all)
					}
					mu.Unlock()
				}
			})
		})
	}
	revoking.Wait()
	if t.Failed() {
		return
	}
	for _, r := range revocations {
		require.Positive(t, at[r.name], "nothing was asked after: %s", r.name)
	}
	t.Logf("%d rounds; requests that began after the answer, all refused: %v", done, at)
}

// revokeUnderLoad is one round: it counts the requests that began after the answer.
func (c *cluster) revokeUnderLoad(t *testing.T, name string, r revocation, writer *gate) (late int) {
	role := c.role(t, name)
	k := c.gates[0].create(t, name, role)
	credential := r.credential(t, c.gates[0], k)
	load := c.shower(credential)
	defer load.end()
	load.accepted(t, 3)
	done, err := r.revoke(writer, k, role)
	require.NoError(t, err)
	load.askedSince(t, done.ended)
	answers := load.end()
	require.Containsf(t, []int{200, 204}, done.status, "%s, %s: %s", name, r.name, done.body)
	require.Equal(t, "confirmed=3; pending=0", done.header.Get("Keyreeve-Propagation"))
	for _, a := range answers {
		if a.began.Before(done.ended) {
			continue
		}
		late++
		require.Containsf(t, r.refusals, a.status, "%s, %s: asked %s after the answer: %s", name, r.name, a.began.Sub(done.ended), a.body)
	}
	return late
}

// role makes a role that may do everything with things.
func (c *cluster) role(t *testing.T, name string) string {
	t.Helper()
	a := c.gates[0].api(t, "POST", "/v1/roles", map[string]any{"name": name, "customer_id": c.customer, "permissions": map[string]any{"things": "full"}})
	require.Equal(t, http.StatusCreated, a.status, a.body)
	return a.field("id")
}

// load shows one credential to all gates until it is ended.
type load struct {
	c       *cluster
	stop    chan struct{}
	stopped sync.Once
	running sync.WaitGroup

	mu      sync.Mutex
	answers [][]answer // by gate
	failed  error
}

func (c *cluster) shower(credential string) *load {
	l := &load{c: c, stop: make(chan struct{}), answers: make([][]answer, len(c.gates))}
	for i, g := range c.gates {
		l.running.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				a, err := g.get(credential)
				l.mu.Lock()
				if err != nil {
					l.failed = fmt.Errorf("gate %s: %w", g.name, err)
				}
				l.answers[i] = append(l.answers[i], a)
				l.mu.Unlock()
			}
		})
	}
	return l
}

// accepted waits until so many requests were, at each gate.
func (l *load) accepted(t *testing.T, n int) {
	t.Helper()
	l.each(t, n, func(a answer) bool { return a.status == http.StatusOK })
}

// askedSince waits until each gate was asked a few times since a moment.
func (l *load) askedSince(t *testing.T, since time.Time) {
	t.Helper()
	l.each(t, 2, func(a answer) bool { return a.began.After(since) })
}

func (l *load) each(t *testing.T, n int, counts func(answer) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, answers := range l.answers {
			got := 0
			for _, a := range answers {
				if counts(a) {
					got++
				}
			}
			if got < n {
				return false
			}
		}
		return l.failed == nil
	}, patience, time.Millisecond)
}

func (l *load) end() []answer {
	l.stopped.Do(func() { close(l.stop) })
	l.running.Wait()
	return slices.Concat(l.answers...)
}
