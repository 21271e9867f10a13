package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/test/linear"
)

// TestWhatIsAskedForManyTimesUnderOneNameIsMadeOnceOverGatesInFault sends requests for keys
// under a name, with two bodies, to all gates at once, and hangs up on many before their
// answer, while one gate after another is slow, cut off, killed, suspended or half open. In
// the end there is one key of each name, all answers are about it, and its secret was told
// at most once.
//
// Case: fault-retry-lost-answer
func TestWhatIsAskedForManyTimesUnderOneNameIsMadeOnceOverGatesInFault(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: linear.Gates, global: "max_stale 4s"})
	c.onceHistories(t, faults)
}

// onceHistories makes histories while gates suffer, and looks for the order of each.
func (c *cluster) onceHistories(t *testing.T, all []fault) {
	role := c.role(t, "all")
	decided, undecided, lost, told := 0, 0, 0, 0
	for range rounds(1) {
		over, clock := make(chan struct{}), clock{time.Now()}
		var mu sync.Mutex
		var made []*onceHistory
		var making sync.WaitGroup
		for range 2 {
			making.Go(func() { // one name after the other
				for more := true; more; more = pause(over, 100*time.Millisecond) {
					h := &onceHistory{c: c, clock: clock, role: role, name: rand.Text()}
					mu.Lock()
					made = append(made, h)
					mu.Unlock()
					h.make()
				}
			})
		}
		c.suffer(t, all)
		close(over)
		making.Wait()
		for _, h := range made {
			h.settle(t)
			require.NoError(t, h.failed)
			for _, of := range h.calls {
				if of.Got == linear.Unanswered {
					lost++
				}
				if of.Secret {
					told++
				}
			}
			switch linear.OnceHasAnOrder(h.calls, orderWithin) {
			case porcupine.Ok:
				decided++
			case porcupine.Unknown:
				undecided++
			default:
				t.Errorf("name %s has no order:\n%s", h.name, h)
			}
		}
	}
	t.Logf("%d histories have an order, of %d it took too long to find out; %d requests without an answer, %d secrets told", decided, undecided, lost, told)
	require.Greater(t, decided, undecided)
	require.Positive(t, lost)
	require.Positive(t, told)
}

// onceHistory is of one name.
type onceHistory struct {
	c          *cluster
	clock      clock
	role, name string

	mu     sync.Mutex
	calls  []linear.OnceCall
	failed error
}

// make has four clients ask three times each, at any gate.
func (h *onceHistory) make() {
	var asking sync.WaitGroup
	for who := range 4 {
		asking.Go(func() {
			for n := range 3 {
				patience := 5 * time.Second
				switch { // hangs up, before or behind what it asked for
				case n == 0 && who == 0:
					patience = 0
				case mathrand.IntN(2) == 0:
					patience = mathrand.N(15 * time.Millisecond)
				}
				h.ask(mathrand.IntN(len(h.c.gates)), mathrand.IntN(5)/4, patience)
			}
		})
	}
	asking.Wait()
}

// body is what is asked for: two bodies name two keys.
func (h *onceHistory) body(which int) map[string]any {
	return map[string]any{"name": fmt.Sprint(h.name, " ", which), "role_id": h.role, "customer_id": h.c.customer}
}

// ask asks a gate once, and notes what was answered.
func (h *onceHistory) ask(gate, body int, within time.Duration) linear.OnceGot {
	g := h.c.gates[gate]
	client := *g.local
	client.Timeout = max(within, time.Microsecond)
	began := time.Now()
	a, err := ask(&client, "POST", "http://localhost/keyreeve/v1/keys", map[string]string{"Idempotency-Key": h.name}, h.body(body))
	call := linear.OnceCall{Body: body, ID: a.field("id"), Secret: a.field("client_secret") != "", Began: h.clock.at(began), Ended: h.clock.at(time.Now())}
	code := a.field("code") // there may be a secret in the rest
	switch {
	case err != nil, a.status >= http.StatusInternalServerError:
		call.Got, call.ID = linear.Unanswered, ""
	case a.status == http.StatusCreated && a.header.Get("Idempotency-Replayed") == "true":
		call.Got = linear.Replayed
	case a.status == http.StatusCreated:
		call.Got = linear.Made
	case a.status == http.StatusUnprocessableEntity && code == "idempotency_key_reused":
		call.Got = linear.OtherBody
	case a.status == http.StatusConflict && code == "idempotency_in_progress":
		call.Got = linear.UnderWay
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if call.Got == "" {
		h.failed = fmt.Errorf("gate %s: %d %s", g.name, a.status, code)
		return ""
	}
	h.calls = append(h.calls, call)
	return call.Got
}

// settle asks every gate with both bodies until it is told what there is, and counts the
// keys that came of the name.
func (h *onceHistory) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, g := range h.c.gates {
		for body := range 2 {
			for {
				got := h.ask(g.n, body, 5*time.Second)
				if got != linear.UnderWay && got != linear.Unanswered {
					break
				}
				require.NoError(t, ctx.Err(), "gate %s: it is not told what was made", g.name)
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	a := h.c.gates[0].api(t, "GET", "/v1/keys?q="+url.QueryEscape(h.name), nil)
	var found struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &found), a.body)
	require.Len(t, found.Items, 1, "keys of one name:\n%s", h)
	for _, c := range h.calls {
		require.Contains(t, []string{"", found.Items[0].ID}, c.ID, "not the key that there is:\n%s", h)
	}
}

// String is the history for people.
func (h *onceHistory) String() (text string) {
	calls := slices.Clone(h.calls)
	slices.SortFunc(calls, func(a, b linear.OnceCall) int { return int(a.Began - b.Began) })
	for _, c := range calls {
		text += fmt.Sprintf("body %d: %s %s, secret: %t, %s to %s\n", c.Body, c.Got, c.ID, c.Secret, time.Duration(c.Began), time.Duration(c.Ended))
	}
	return text
}
