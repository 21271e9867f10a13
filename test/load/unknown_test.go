package load

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// guesses sends count requests, over a few connections, with the credential that next
// gives, and returns how many were answered with each status.
func (g *gate) guesses(t *testing.T, count int, next func() string) map[int]int {
	t.Helper()
	const workers = 32
	client := &http.Client{Timeout: proctest.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	var left atomic.Int64
	left.Store(int64(count))
	var group sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range workers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				status := 0
				req, err := http.NewRequest(http.MethodGet, "http://"+g.plain+g.path, nil)
				if err == nil {
					req.Header.Set("Authorization", next())
					if resp, err := client.Do(req); err == nil {
						status = resp.StatusCode
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return statuses
}

// status is what the gate answers to a credential.
func (g *gate) status(t *testing.T, credential string) int {
	t.Helper()
	for status := range g.guesses(t, 1, func() string { return credential }) {
		return status
	}
	return 0
}

// TestUnknownClientsByTheThousandTakeNoRowAndNoLock sends client IDs that nobody has, far
// more than the gate remembers, while a key is locked: nothing is stored of them, no more
// of them is remembered than is set, and the lock stays.
//
// Case: lockout-unknown-flood
func TestUnknownClientsByTheThousandTakeNoRowAndNoLock(t *testing.T) {
	g := newGate(t)
	locked := g.create(t, "locked")
	require.Equal(t, http.StatusOK, g.status(t, locked.basic()))
	g.lockUp(t, locked)
	g.withstands(t, func() (int, func()) {
		count := 4 * unknownCap * soaking()
		statuses := g.guesses(t, count, func() string { return basic(rand.Text(), rand.Text()) })
		require.Equal(t, map[int]int{http.StatusUnauthorized: count}, statuses)
		require.LessOrEqual(t, g.metric(t, `keyreeve_cache_entries{cache="unknown"}`), float64(unknownCap))
		return count, nil
	})
	require.Positive(t, g.metric(t, `keyreeve_cache_entries{cache="unknown"}`))
	require.Equal(t, http.StatusUnauthorized, g.status(t, locked.basic()), "the right secret of the locked key")
	var locks, keys struct {
		Total int `json:"total"`
	}
	g.api(t, "GET", "/v1/locks", "", &locks)
	require.Equal(t, 1, locks.Total, "locks")
	g.api(t, "GET", "/v1/keys", "", &keys)
	require.Equal(t, 7, keys.Total, "the demo's six keys and one")
}

// TestTokensThatNobodyIssuedByTheThousandAreNotRemembered sends tokens of the right shape.
func TestTokensThatNobodyIssuedByTheThousandAreNotRemembered(t *testing.T) {
	g := newGate(t)
	g.withstands(t, func() (int, func()) {
		before := g.metric(t, `keyreeve_cache_entries{cache="tokens"}`)
		count := 2000 * soaking()
		statuses := g.guesses(t, count, func() string {
			return "Bearer eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9." + rand.Text() + "." + rand.Text()
		})
		require.Equal(t, map[int]int{http.StatusUnauthorized: count}, statuses)
		require.Equal(t, before, g.metric(t, `keyreeve_cache_entries{cache="tokens"}`))
		return count, nil
	})
}

// TestManyLocksAtOnceHoldNoNeighbourUp has many keys guessed at until they are locked, all
// at the same time.
func TestManyLocksAtOnceHoldNoNeighbourUp(t *testing.T) {
	g := newGate(t)
	var keys []key
	for n := range 20 * min(soaking(), 25) {
		keys = append(keys, g.create(t, fmt.Sprintf("guessed at %d", n)))
	}
	g.withstands(t, func() (int, func()) {
		var next atomic.Int64
		count := 5 * len(keys) // three lock it, two come too late
		statuses := g.guesses(t, count, func() string {
			return basic(keys[int(next.Add(1))%len(keys)].ClientID, "not-the-secret")
		})
		require.Equal(t, map[int]int{http.StatusUnauthorized: count}, statuses)
		return count, nil
	})
	var locks struct {
		Total int `json:"total"`
	}
	g.api(t, "GET", "/v1/locks", "", &locks)
	require.Equal(t, len(keys), locks.Total, "locks")
}

// lockUp guesses at a key until it is locked.
func (g *gate) lockUp(t *testing.T, k key) {
	t.Helper()
	g.guesses(t, 3, func() string { return basic(k.ClientID, "not-the-secret") })
	require.Equal(t, http.StatusUnauthorized, g.status(t, k.basic()), "the right secret of a locked key")
}

// create makes a key that may read what full may.
func (g *gate) create(t *testing.T, name string) (made key) {
	t.Helper()
	var full struct {
		Items []struct {
			CustomerID string `json:"customer_id"`
		} `json:"items"`
	}
	g.api(t, "GET", "/v1/keys?q="+g.full.ClientID, "", &full)
	require.Len(t, full.Items, 1)
	g.api(t, "POST", "/v1/keys", fmt.Sprintf(`{"name":%q,"role_id":"role_api_full_access","customer_id":%q}`, name, full.Items[0].CustomerID), &made)
	require.NotEmpty(t, made.Secret)
	return made
}
