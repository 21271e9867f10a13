package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// imports makes a key of a client ID and secret that exist already.
func (g *gate) imports(t *testing.T, name, clientID, secret string) key {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "role_id": "role_api_full_access", "customer_id": g.house.customer,
		"client_id": clientID, "secret_sha256": sha(secret)})
	require.NoError(t, err)
	a := g.api(t, "POST", "/v1/keys", string(body))
	require.Equal(t, http.StatusCreated, a.status, a.body)
	var made struct {
		ID string `json:"id"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &made))
	return key{id: made.ID, name: name, clientID: clientID, secret: secret}
}

func TestAKeyJustMadeWorksThoughItsIDWasUnknownBefore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	for i := range 3 {
		k := key{clientID: fmt.Sprintf("legacy-%d", i), secret: "an imported secret"}
		for range 4 { // an unknown client cannot be locked either
			g.isRefused(t, k)
		}
		g.works(t, g.imports(t, k.clientID, k.clientID, k.secret))
	}
	k := g.create(t, "another process's", "role_api_full_access")
	g.works(t, k)
}

func TestADeletedKeysSecretStaysDeadWhenItsIDIsMadeAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	old := g.imports(t, "service", "service-1", "the first secret")
	g.works(t, old)
	g.fails(t, old, 2)
	require.Equal(t, http.StatusNoContent, g.api(t, "DELETE", "/v1/keys/"+old.id, "").status)
	g.isRefused(t, old)
	next := g.imports(t, "service", "service-1", "the second secret")
	require.NotEqual(t, old.id, next.id)
	require.Equal(t, lock{}, g.lock(t, next), "the old key's failures are not the new one's")
	g.isRefused(t, old) // one wrong secret for the new key
	require.Equal(t, lock{FailedAttempts: 1}, g.lock(t, next))
	g.works(t, next)
}

func TestAnIDThatLooksLikeAnotherIsNeverAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	a := g.imports(t, "a", "tenant.a", "secret")
	b := g.imports(t, "b", "tenant", "a.secret")
	c := g.imports(t, "c", "TENANT", "a:secret")
	for _, k := range []key{a, b, c} {
		e := upstreamSaw(t, g.get(t, h.applications(), k.basic()))
		require.Equal(t, k.clientID, e.identity()["Keyreeve-Client-Id"])
		require.Equal(t, k.id, e.identity()["Keyreeve-Key-Id"])
	}
	for _, mixed := range []key{{clientID: a.clientID, secret: b.secret}, {clientID: b.clientID, secret: c.secret}, {clientID: c.clientID, secret: a.secret}} {
		g.isRefused(t, mixed)
	}
}

// TestAChangeIsInForceBeforeItsReply keeps requests coming while a key is
// disabled and its role changed: none that begins after the reply sees the old.
func TestAChangeIsInForceBeforeItsReply(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	k := g.create(t, "changing", "role_api_full_access")
	type sample struct {
		began  time.Time
		status int
	}
	patch := func(body string) {
		a := g.api(t, "PATCH", "/v1/keys/"+k.id, body)
		require.Equal(t, http.StatusOK, a.status, a.body)
	}
	for _, c := range []struct {
		name, change, back string
		status             int
	}{
		{"disable", `{"enabled":false}`, `{"enabled":true}`, 401},
		{"role", `{"role_id":"role_api_read_only"}`, `{"role_id":"role_api_full_access"}`, 403},
		{"networks", `{"allowed_cidrs":["192.0.2.0/24"]}`, `{"allowed_cidrs":null}`, 401},
	} {
		for range 3 {
			var mu sync.Mutex
			var samples []sample
			var workers sync.WaitGroup
			stop := make(chan struct{})
			for range 3 {
				workers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						began := time.Now()
						a, err := trySend(g.address, request("POST", h.applications(), k.basic(), "Content-Length: 0"))
						if err != nil {
							a.status = -1
						}
						mu.Lock()
						samples = append(samples, sample{began, a.status})
						mu.Unlock()
					}
				})
			}
			require.Eventually(t, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(samples) > 5 && samples[len(samples)-1].status == 200
			}, patience, time.Millisecond)
			patch(c.change)
			replied := time.Now()
			after := func() (statuses []int) {
				mu.Lock()
				defer mu.Unlock()
				for _, s := range samples {
					if s.began.After(replied) {
						statuses = append(statuses, s.status)
					}
				}
				return statuses
			}
			require.Eventually(t, func() bool { return len(after()) > 5 }, patience, time.Millisecond)
			close(stop)
			workers.Wait()
			for _, status := range after() {
				require.Equal(t, c.status, status, "%s: a request that began after the reply", c.name)
			}
			patch(c.back)
			g.works(t, k)
		}
	}
	require.Equal(t, lock{}, g.lock(t, k), "none of it was a wrong secret")
}

func TestTheAdminAPIIsForThoseWhoseRoleNamesIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	for _, k := range []key{h.full, h.readonly, h.policyOnly, h.tenant} {
		a := send(t, g.admin, request("GET", "/v1/keys", k.basic()))
		require.Equal(t, 403, a.status, "%s: * does not reach keyreeve/…: %s", k.name, a.body)
	}
	require.Equal(t, 200, g.api(t, "GET", "/v1/keys", "").status)
	a := send(t, g.admin, request("GET", "/v1/keys"))
	a.refused(t, 401, "credentials_required")
	require.Equal(t, both, a.header.Values("WWW-Authenticate"))
	browser := send(t, g.admin, request("GET", "/v1/keys", "Sec-Fetch-Mode: cors", "Accept: text/html"))
	require.Equal(t, []string{bearerChallenge}, browser.header.Values("WWW-Authenticate"), "a browser is not asked for a secret to keep")
	g.api(t, "GET", "/v1/keys/key_nobody", "").refused(t, 404, "not_found")
	// The gate's site does not serve the admin API, nor the other way round.
	g.get(t, "/v1/keys", h.operator.basic()).refused(t, 403, "no_route")
	require.NotContains(t, send(t, g.admin, request("GET", h.applications(), h.full.basic())).body, "raw_query")
}
