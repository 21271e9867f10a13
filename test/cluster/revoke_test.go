package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
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

// TestNoGateAcceptsWhatAGateAnsweredToBeRevoked revokes at one gate what is shown to all
// of them all the while.
func TestNoGateAcceptsWhatAGateAnsweredToBeRevoked(t *testing.T) {
	c := newCluster(t, options{gates: 3})
	at := map[string]int{}
	for round := range rounds(60) {
		r := revocations[round%len(revocations)]
		name := fmt.Sprintf("round %d", round)
		role := c.role(t, name)
		k := c.gates[0].create(t, name, role)
		credential := r.credential(t, c.gates[0], k)
		load := c.shower(credential)
		load.accepted(t, 3)
		writer := c.gates[round%3]
		done, err := r.revoke(writer, k, role)
		require.NoError(t, err)
		time.Sleep(15 * time.Millisecond) // of more load
		answers := load.end()
		require.Containsf(t, []int{200, 204}, done.status, "%s, %s: %s", name, r.name, done.body)
		require.Equal(t, "confirmed=3; pending=0", done.header.Get("Keyreeve-Propagation"))
		late := 0
		for _, a := range answers {
			if a.began.Before(done.ended) {
				continue
			}
			late++
			require.Containsf(t, r.refusals, a.status, "%s, %s: asked %s after the answer: %s", name, r.name, a.began.Sub(done.ended), a.body)
		}
		at[r.name] += late
	}
	for _, r := range revocations {
		require.Positive(t, at[r.name], "nothing was asked after: %s", r.name)
	}
	t.Logf("requests that began after the answer, all refused: %v", at)
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
	running sync.WaitGroup

	mu      sync.Mutex
	answers []answer
	failed  error
}

func (c *cluster) shower(credential string) *load {
	l := &load{c: c, stop: make(chan struct{})}
	for _, g := range c.gates {
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
				l.answers = append(l.answers, a)
				l.mu.Unlock()
			}
		})
	}
	return l
}

// accepted waits until so many requests were.
func (l *load) accepted(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		got := 0
		for _, a := range l.answers {
			if a.status == http.StatusOK {
				got++
			}
		}
		return got >= n*len(l.c.gates)
	}, patience, time.Millisecond)
}

func (l *load) end() []answer {
	close(l.stop)
	l.running.Wait()
	return l.answers
}
