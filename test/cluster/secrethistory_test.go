package cluster

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/test/linear"
)

// TestSecretsThatComeAndGoOverGatesInFaultHaveAnOrder adds, shows and retires secrets of
// many keys, and disables and enables these, at all gates at once, while one gate after
// another is slow, cut off, killed, suspended or half open. A secret that is let in behind
// the answer that it is retired, at any gate, has no order, nor has one that is refused
// before.
func TestSecretsThatComeAndGoOverGatesInFaultHaveAnOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: linear.Gates, global: "max_stale 4s\nlockout {\n\tattempts 100\n}"})
	c.secretHistories(t, faults)
}

// secretHistories makes histories while gates suffer, and looks for the order of each.
func (c *cluster) secretHistories(t *testing.T, all []fault) {
	role := c.role(t, "all")
	nodes := map[string]int{}
	for _, g := range c.gates {
		nodes[g.nodeID(t)] = g.n
	}
	decided, undecided, let, refused, named := 0, 0, 0, 0, 0
	for round := range rounds(1) {
		const keys = 4
		over, clock := make(chan struct{}), clock{time.Now()}
		histories := make([]*secretHistory, keys)
		var making sync.WaitGroup
		for n := range histories {
			h := &secretHistory{c: c, nodes: nodes, clock: clock, key: c.gates[0].create(t, fmt.Sprint("round ", round, " ", n), role)}
			h.secrets = []string{h.key.secret}
			for _, g := range c.gates {
				g.until(t, "it knows the key", func() bool { return g.status(t, h.key) == http.StatusOK })
			}
			histories[n] = h
			making.Go(func() { h.make(over) })
		}
		ill := c.suffer(t, all)
		close(over)
		making.Wait()
		for n, h := range histories {
			h.ill = ill
			require.NoError(t, h.failed)
			for _, of := range h.calls {
				switch {
				case of.Got == linear.Let:
					let++
				case of.Got == linear.Refused:
					refused++
				}
				named += len(of.Pending)
			}
			switch h.order() {
			case porcupine.Ok:
				decided++
			case porcupine.Unknown:
				undecided++
			default:
				t.Errorf("round %d, key %d has no order:\n%s", round, n, h)
			}
		}
	}
	t.Logf("%d histories have an order, of %d it took too long to find out; %d times let in, %d refused, %d gates named that may still let in", decided, undecided, let, refused, named)
	require.Greater(t, decided, undecided)
	require.Positive(t, let)
	require.Positive(t, refused)
}

// nodeID is what the gate is called among the nodes.
func (g *gate) nodeID(t *testing.T) string {
	t.Helper()
	a := g.api(t, "GET", "/v1/nodes", nil)
	var nodes struct {
		Items []struct {
			ID   string `json:"id"`
			Self bool   `json:"self"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &nodes), a.body)
	i := slices.IndexFunc(nodes.Items, func(n struct {
		ID   string `json:"id"`
		Self bool   `json:"self"`
	}) bool {
		return n.Self
	})
	require.GreaterOrEqual(t, i, 0, a.body)
	return nodes.Items[i].ID
}

// secretHistory is made of one key by a writer, who does one thing after the other, and
// one client of each gate.
type secretHistory struct {
	c     *cluster
	nodes map[string]int
	clock clock
	key   key
	// ill is what happened to the gates, known once it is over.
	ill *suffering

	mu      sync.Mutex
	secrets []string // known to clients, in the order they came
	ids     []string
	calls   []linear.SecretCall
	failed  error
}

// maxShown bounds the calls of a history: what is to be known about it is found out by
// trying orders.
const maxShown = 160

func (h *secretHistory) note(call linear.SecretCall) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, call)
}

func (h *secretHistory) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil {
		h.failed = err
	}
}

// make makes the history until it is over.
func (h *secretHistory) make(over <-chan struct{}) {
	var making sync.WaitGroup
	for g := range h.c.gates {
		making.Go(func() {
			for n := 0; n < maxShown; n++ {
				h.show(g)
				if !pause(over, 60*time.Millisecond) {
					break
				}
			}
		})
	}
	making.Go(func() {
		for h.write() && pause(over, 100*time.Millisecond) {
		}
	})
	making.Wait()
}

// pause reports whether it is not over yet.
func pause(over <-chan struct{}, about time.Duration) bool {
	select {
	case <-over:
		return false
	case <-time.After(about/2 + rand.N(about)):
		return true
	}
}

// show shows one of the secrets there ever were.
func (h *secretHistory) show(gate int) {
	h.mu.Lock()
	n := rand.IntN(len(h.secrets))
	secret := h.secrets[n]
	h.mu.Unlock()
	began := time.Now()
	a, err := h.c.gates[gate].get(basic(h.key.clientID, secret))
	call := linear.SecretCall{Kind: linear.Show, Gate: gate, Secret: n, Began: h.clock.at(began), Ended: h.clock.at(time.Now())}
	switch {
	case err != nil, a.status == http.StatusServiceUnavailable: // learnt nothing
		return
	case a.status == http.StatusOK:
		call.Got = linear.Let
	case a.status == http.StatusUnauthorized:
		call.Got = linear.Refused
	default:
		h.fail(fmt.Errorf("gate %s: %d: %s", h.c.gates[gate].name, a.status, a.body))
		return
	}
	h.note(call)
}

// soon is when every gate has what was written at a time and only gives.
func (h *secretHistory) soon(at int64) int64 {
	by := at + int64(viewLag)
	for g := range h.c.gates {
		for _, s := range h.ill.of(g) {
			if h.clock.at(s.from) <= by && at <= h.clock.at(s.to) {
				by = max(by, h.clock.at(s.to)+int64(viewLag))
			}
		}
	}
	return by
}

// killedBy are the gates that had been killed by then.
func (h *secretHistory) killedBy(at int64) (gates []int) {
	for g := range h.c.gates {
		if slices.ContainsFunc(h.ill.of(g), func(s span) bool { return s.kills && h.clock.at(s.from) <= at }) {
			gates = append(gates, g)
		}
	}
	return gates
}

// order looks for it.
func (h *secretHistory) order() porcupine.CheckResult {
	calls := slices.Clone(h.calls)
	for i := range calls {
		if at := slices.Index(calls[i].Pending, killedGate); at >= 0 {
			calls[i].Pending = append(slices.Delete(slices.Clone(calls[i].Pending), at, at+1), h.killedBy(calls[i].Ended)...)
		}
		calls[i].Soon = math.MaxInt64
		if calls[i].Got == linear.Done {
			calls[i].Soon = h.soon(calls[i].Ended)
		}
	}
	for g := range h.c.gates {
		for _, s := range h.ill.of(g) {
			if s.kills {
				calls = append(calls, linear.SecretCall{Kind: linear.Restart, Gate: g, Began: h.clock.at(s.from), Ended: h.clock.at(s.to)})
			}
		}
	}
	return linear.SecretsHaveAnOrder(1, calls, orderWithin)
}

// String is the history for people, without a secret.
func (h *secretHistory) String() (text string) {
	calls := slices.Clone(h.calls)
	slices.SortFunc(calls, func(a, b linear.SecretCall) int { return int(a.Began - b.Began) })
	for _, c := range calls {
		text += fmt.Sprintf("%s %s %d: %s, %s to %s", h.c.gates[c.Gate].name, c.Kind, c.Secret, c.Got, time.Duration(c.Began), time.Duration(c.Ended))
		if len(c.Pending) > 0 {
			text += fmt.Sprintf(", gates %v until %s", c.Pending, time.Duration(c.Until))
		}
		text += "\n"
	}
	return text
}
