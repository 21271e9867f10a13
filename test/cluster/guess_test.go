package cluster

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/test/linear"
)

// verdict is what a gate did with a credential.
type verdict = linear.Verdict

const (
	accepted = linear.Accepted
	compared = linear.Compared
	locked   = linear.Locked
	// unavailable: the gate could not decide.
	unavailable verdict = "unavailable"
)

// guess is one credential shown to one gate.
type guess struct {
	answer
	verdict verdict
}

// slow reports that the gate did not wait for the store to count it, as one does whose
// store is out of reach: 2 s is what it waits.
func (a guess) slow() bool { return a.ended.Sub(a.began) > 1900*time.Millisecond }

// show shows a credential. The verdict of one that is refused is not known by then.
func (g *gate) show(authorization string) (guess, error) {
	a, err := g.get(authorization)
	if err != nil {
		return guess{}, fmt.Errorf("gate %s: %w", g.name, err)
	}
	switch a.status {
	case http.StatusOK:
		return guess{a, accepted}, nil
	case http.StatusServiceUnavailable:
		return guess{a, unavailable}, nil
	case http.StatusUnauthorized:
		return guess{answer: a}, nil
	}
	return guess{}, fmt.Errorf("gate %s: %d: %s", g.name, a.status, a.body)
}

// explain asks the gate why it refused: callers are not told whether their secret was
// looked at. It answers only while it has its store.
func (g *gate) explain(of *guess) error {
	if of.verdict != "" {
		return nil
	}
	why, err := g.tryAPI("POST", "/v1/policy/check", map[string]any{"request_id": of.field("request_id")})
	if err != nil {
		return fmt.Errorf("gate %s: %w", g.name, err)
	}
	if why.status != http.StatusOK {
		return fmt.Errorf("gate %s: no explanation of %s: %d %s", g.name, of.body, why.status, why.body)
	}
	var told struct {
		Recorded struct {
			Decision struct {
				Detail string `json:"detail"`
			} `json:"decision"`
		} `json:"recorded"`
	}
	if err := json.Unmarshal([]byte(why.body), &told); err != nil {
		return fmt.Errorf("gate %s: %s: %w", g.name, why.body, err)
	}
	of.verdict = verdict(told.Recorded.Decision.Detail)
	if of.verdict != compared && of.verdict != locked {
		return fmt.Errorf("gate %s: refused for another reason: %s", g.name, why.body)
	}
	return nil
}

// try is both, at a gate that has its store.
func (g *gate) try(authorization string) (guess, error) {
	got, err := g.show(authorization)
	if err == nil {
		err = g.explain(&got)
	}
	return got, err
}

// explained waits for why, of a gate that was cut off.
func (g *gate) explained(t *testing.T, of guess) verdict {
	t.Helper()
	g.until(t, "it explains", func() bool { return g.explain(&of) == nil })
	return of.verdict
}

// tries is try where an error ends the test.
func (g *gate) tries(t *testing.T, authorization string) guess {
	t.Helper()
	got, err := g.try(authorization)
	require.NoError(t, err)
	return got
}

// guesses shows so many wrong secrets, one after the other, and counts those that were
// compared.
func (g *gate) guesses(t *testing.T, k key, n int) (seen int) {
	t.Helper()
	for range n {
		if got := g.tries(t, k.wrong()); got.verdict == compared {
			seen++
		}
	}
	return seen
}

// shows shows a credential so many times, one after the other.
func (g *gate) shows(t *testing.T, authorization string, n int) (all []guess) {
	t.Helper()
	for range n {
		got, err := g.show(authorization)
		require.NoError(t, err)
		all = append(all, got)
	}
	return all
}

// lock is where a key stands in the store.
type lock struct {
	Locked         bool `json:"locked"`
	FailedAttempts int  `json:"failed_attempts"`
}

// lock reads it from the store, whatever the gate has heard.
func (g *gate) lock(t *testing.T, k key) (l lock) {
	t.Helper()
	a := g.api(t, "GET", "/v1/keys/"+k.id+"/lock", nil)
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), &l), a.body)
	return l
}

// unlock is an operator's.
func (g *gate) unlock(t *testing.T, k key) answer {
	t.Helper()
	a := g.api(t, "DELETE", "/v1/keys/"+k.id+"/lock", nil)
	require.Contains(t, []int{http.StatusNoContent, http.StatusAccepted}, a.status, a.body)
	return a
}

// refuses waits until the right secret is refused for a lock, and tells how long that
// took since a moment. A success that comes before changes nothing once the store has
// the lock.
func (g *gate) refuses(t *testing.T, k key, since time.Time) time.Duration {
	t.Helper()
	for {
		got, err := g.try(k.basic())
		switch {
		case err == nil && got.verdict == locked:
			// By the request that was asked, not by the explanation.
			return max(0, got.began.Sub(since))
		case time.Since(since) > patience:
			t.Fatalf("gate %s: not locked within %s", g.name, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// hears waits until a gate has all counts that the store has now: they come in order, so
// that of another key, which is locked now elsewhere, comes behind them.
func (g *gate) hears(t *testing.T, from *gate) {
	t.Helper()
	name := "marker " + rand.Text()
	k := from.create(t, name, g.c.role(t, name))
	g.accepts(t, k)
	require.Equal(t, attempts, from.guesses(t, k, attempts))
	g.refuses(t, k, time.Now())
}
