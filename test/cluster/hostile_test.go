package cluster

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWhatIsDoneAtOneGateHoldsAtTheOthers goes from gate to gate with each step.
func TestWhatIsDoneAtOneGateHoldsAtTheOthers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3})
	role := c.role(t, "all")
	a, b, last := c.gates[0], c.gates[1], c.gates[2]

	t.Run("failures at every entrance are one count", func(t *testing.T) {
		k := a.create(t, "entrances", role)
		require.Equal(t, compared, a.tries(t, k.wrong()).verdict)
		form := url.Values{"client_id": {k.clientID}, "client_secret": {"not-the-secret"}, "grant_type": {"client_credentials"}}
		for g, path := range map[*gate]string{b: "/signin", last: "/oauth2/v1/token"} {
			got, err := ask(g.client, "POST", "http://gate"+path, nil, form)
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, got.status, got.body)
		}
		require.Equal(t, lock{true, attempts}, a.lock(t, k))
		for _, g := range c.gates {
			g.refuses(t, k, time.Now())
			got, err := ask(g.client, "POST", "http://gate/signin", nil, url.Values{"client_id": {k.clientID}, "client_secret": {k.secret}})
			require.NoError(t, err)
			require.Equal(t, http.StatusUnauthorized, got.status, got.body)
		}
	})

	t.Run("who was unknown is known once made", func(t *testing.T) {
		k := key{clientID: "imported-" + rand.Text(), secret: rand.Text() + rand.Text()}
		for _, g := range c.gates {
			require.Equal(t, http.StatusUnauthorized, g.status(t, k), "and that is remembered")
		}
		sum := sha256.Sum256([]byte(k.secret))
		made := a.api(t, "POST", "/v1/keys", map[string]any{"name": "imported", "role_id": role, "customer_id": c.customer,
			"client_id": k.clientID, "secret_sha256": hex.EncodeToString(sum[:])})
		require.Equal(t, http.StatusCreated, made.status, made.body)
		a.accepts(t, k)
		for _, g := range c.gates {
			// Sooner than what is remembered of unknown clients is forgotten by itself.
			require.Eventually(t, func() bool { return g.status(t, k) == http.StatusOK }, 8*time.Second, 10*time.Millisecond)
		}
		require.Equal(t, lock{}, b.lock(t, k.withID(made)))
	})

	t.Run("a name that is used again brings no secret back", func(t *testing.T) {
		old := a.create(t, "again", role)
		for _, g := range c.gates {
			g.accepts(t, old)
		}
		gone := b.api(t, "DELETE", "/v1/keys/"+old.id, nil)
		require.Contains(t, []int{http.StatusNoContent, http.StatusAccepted}, gone.status, gone.body)
		for _, g := range c.gates { // with 202 it may take longer
			g.until(t, "the old one is refused", func() bool { return g.status(t, old) == http.StatusUnauthorized })
		}
		next := last.create(t, "again", role)
		for _, g := range c.gates {
			require.Equal(t, http.StatusUnauthorized, g.status(t, old))
			g.until(t, "the new one is accepted", func() bool { return g.status(t, next) == http.StatusOK })
			require.Equal(t, http.StatusUnauthorized, g.status(t, old))
			require.Equal(t, http.StatusUnauthorized, g.status(t, key{clientID: next.clientID, secret: old.secret}))
		}
	})

	t.Run("what is asked again elsewhere is not done again", func(t *testing.T) {
		header := map[string]string{"Idempotency-Key": rand.Text()}
		body := map[string]any{"name": "once", "role_id": role, "customer_id": c.customer}
		made, err := ask(a.local, "POST", "http://localhost/keyreeve/v1/keys", header, body)
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, made.status, made.body)
		for _, g := range c.gates {
			again, err := ask(g.local, "POST", "http://localhost/keyreeve/v1/keys", header, body)
			require.NoError(t, err)
			require.Equal(t, http.StatusCreated, again.status, again.body)
			require.Equal(t, made.field("id"), again.field("id"))
			require.NotEmpty(t, again.header.Get("Idempotency-Replayed"))
			require.Empty(t, again.field("client_secret"))
		}
	})
}

// withID is the key as an answer names it.
func (k key) withID(made answer) key {
	k.id = made.field("id")
	return k
}

// TestReloadsOfGatesUnderLoadLoseNoRequestAndNoCount reloads all gates, by the same
// configuration, while clients call.
func TestReloadsOfGatesUnderLoadLoseNoRequestAndNoCount(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3})
	role := c.role(t, "all")
	known, guessed := c.gates[0].create(t, "known", role), c.gates[0].create(t, "guessed", role)
	for _, g := range c.gates {
		g.accepts(t, known)
	}
	require.Equal(t, attempts-1, c.gates[0].guesses(t, guessed, attempts-1))
	var stop atomic.Bool
	var served, again, wrong atomic.Int64
	var calling, reloading sync.WaitGroup
	for _, g := range c.gates {
		calling.Go(func() {
			for !stop.Load() {
				got, err := g.get(known.basic())
				// Caddy listens anew on each load (SO_REUSEPORT), and the kernel resets or
				// closes what waits in the queue of the listener that goes, unread. A client
				// asks again as it does when a connection it kept was closed.
				for tries := 0; dropped(err) && tries < 5; tries++ {
					again.Add(1)
					got, err = g.get(known.basic())
				}
				if err != nil || got.status != http.StatusOK {
					wrong.Add(1)
					t.Errorf("gate %s: %d %s: %v", g.name, got.status, got.body, err)
					return
				}
				served.Add(1)
				time.Sleep(showEvery)
			}
		})
		reloading.Go(func() {
			for range rounds(10) {
				if err := g.reload(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	reloading.Wait()
	stop.Store(true)
	calling.Wait()
	require.Zero(t, wrong.Load())
	require.Positive(t, served.Load())
	require.Equal(t, lock{false, attempts - 1}, c.gates[1].lock(t, guessed))
	require.Equal(t, compared, c.gates[1].tries(t, guessed.wrong()).verdict)
	for _, g := range c.gates {
		g.refuses(t, guessed, time.Now())
		g.accepts(t, known)
	}
	t.Logf("%d served over %d reloads, %d asked again", served.Load(), 3*rounds(10), again.Load())
}

// dropped tells whether the connection ended before a byte of an answer.
func dropped(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
}

// reload has the gate load its file anew, though nothing in it has changed.
func (g *gate) reload() error {
	text, err := os.ReadFile(filepath.Join(g.dir, "Caddyfile"))
	if err != nil {
		return err
	}
	client := newClient("unix", g.socket) // the endpoint is opened anew each time
	defer client.CloseIdleConnections()
	r, err := http.NewRequest("POST", "http://localhost/load", bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	r.Header.Set("Cache-Control", "must-revalidate")
	got, err := client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if said, _ := io.ReadAll(got.Body); got.StatusCode != http.StatusOK {
		return fmt.Errorf("gate %s: %d %s", g.name, got.StatusCode, said)
	}
	return nil
}
