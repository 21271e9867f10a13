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

// rounds is how often a race is run: n times, or as often as KEYREEVE_SOAK multiplies; a
// tenth of that with -short.
func rounds(n int) int {
	if testing.Short() {
		return (n + 9) / 10
	}
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
	// ofRole: it is taken from all who have the role.
	ofRole bool
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
	}, []int{401}, false},
	{"delete", secretOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("DELETE", "/v1/keys/"+k.id, nil)
	}, []int{401}, false},
	{"retire the secret", secretOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("DELETE", "/v1/keys/"+k.id+"/secrets/"+k.secretID+"?force=true", nil)
	}, []int{401}, false},
	{"narrow the role", secretOf, func(g *gate, _ key, role string) (answer, error) {
		return g.tryAPI("PATCH", "/v1/roles/"+role, map[string]any{"permissions": map[string]any{"things": []string{"create"}}})
	}, []int{403}, true},
	{"end the sessions", tokenOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("DELETE", "/v1/keys/"+k.id+"/sessions", nil)
	}, []int{401}, false},
	{"disable, of a token", tokenOf, func(g *gate, k key, _ string) (answer, error) {
		return g.tryAPI("PATCH", "/v1/keys/"+k.id, map[string]any{"enabled": false})
	}, []int{401}, false},
}

// revokers is how many revocations of as many keys are under way at a time: what one
// takes is mostly waiting for the gates to tell that they have it.
const revokers = 6

// TestNoGateAcceptsWhatAGateAnsweredToBeRevoked revokes at one gate what is shown to all
// of them all the while.
func TestNoGateAcceptsWhatAGateAnsweredToBeRevoked(t *testing.T) {
	c := newCluster(t, options{gates: 3})
	shared := c.role(t, "shared")
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
					name, role := fmt.Sprintf("round %d", round), shared
					if r.ofRole {
						role = c.role(t, name)
					}
					late := c.revokeUnderLoad(t, name, r, role, writer)
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
func (c *cluster) revokeUnderLoad(t *testing.T, name string, r revocation, role string, writer *gate) (late int) {
	k := c.gates[0].create(t, name, role)
	credential := r.credential(t, c.gates[0], k)
	load := c.shower(credential)
	defer load.end()
	load.accepted(t, 3)
	done, err := r.revoke(writer, k, role)
	require.NoError(t, err)
	load.ask(3) // at once, at every gate
	answers := load.end()
	require.Containsf(t, []int{200, 204}, done.status, "%s, %s: %s", name, r.name, done.body)
	require.Equal(t, "confirmed=3; pending=0", done.header.Get("Keyreeve-Propagation"))
	require.NoError(t, load.failed)
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

// showEvery is what each of a load's clients waits between two requests: without that they
// would leave the gates no time to work in. What proves a rule is asked besides, at once.
const showEvery = 15 * time.Millisecond

// load shows one credential to all gates until it is ended.
type load struct {
	c          *cluster
	credential string
	stop       chan struct{}
	stopped    sync.Once
	running    sync.WaitGroup

	mu      sync.Mutex
	answers [][]answer // by gate
	failed  error
}

func (c *cluster) shower(credential string) *load {
	l := &load{c: c, credential: credential, stop: make(chan struct{}), answers: make([][]answer, len(c.gates))}
	for i := range c.gates {
		l.running.Go(func() {
			for {
				l.one(i)
				select {
				case <-l.stop:
					return
				case <-time.After(showEvery):
				}
			}
		})
	}
	return l
}

// accepted waits until so many requests were, at each gate.
func (l *load) accepted(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, answers := range l.answers {
			got := 0
			for _, a := range answers {
				if a.status == http.StatusOK {
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

// ask asks every gate so many times, besides what is asked all the while.
func (l *load) ask(n int) {
	var asking sync.WaitGroup
	for i := range l.c.gates {
		asking.Go(func() {
			for range n {
				l.one(i)
			}
		})
	}
	asking.Wait()
}

func (l *load) one(gate int) {
	g := l.c.gates[gate]
	a, err := g.get(l.credential)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = fmt.Errorf("gate %s: %w", g.name, err)
		return
	}
	l.answers[gate] = append(l.answers[gate], a)
}

func (l *load) end() []answer {
	l.stopped.Do(func() { close(l.stop) })
	l.running.Wait()
	return slices.Concat(l.answers...)
}
