package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// allForms is a gate on which every form of client ID and secret is enabled.
func allForms(t *testing.T, h *house, up *upstream) *site {
	t.Helper()
	return &site{gate: "policy " + h.policyFile(t) + "\ncredentials bearer basic header apikey unsafe_logs_filtered", upstream: up.url}
}

// works and isRefused say how the gate takes the key's own secret.
func (g *gate) works(t *testing.T, k key) {
	t.Helper()
	a := g.get(t, g.house.applications(), k.basic())
	require.Equal(t, 200, a.status, "%s: %s", k.name, a.body)
}

func (g *gate) isRefused(t *testing.T, k key) {
	t.Helper()
	g.get(t, g.house.applications(), k.basic()).refused(t, 401, "invalid_client")
}

// fails sends a wrong secret n times.
func (g *gate) fails(t *testing.T, k key, n int) {
	t.Helper()
	for range n {
		g.get(t, g.house.applications(), k.wrong()).refused(t, 401, "invalid_client")
	}
}

// TestEveryEntranceSharesOneCount counts over all forms of a credential and both doors.
//
// Case: lockout-mixed-entrances
func TestEveryEntranceSharesOneCount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	up := newUpstream(t)
	g := h.run(t, allForms(t, h, up))
	pair := func(k key, secret string) []string {
		return []string{"X-Client-Id: " + k.clientID, "X-Client-Secret: " + secret}
	}
	apiKey := func(k key, secret string) []string { return []string{"X-API-Key: " + k.clientID + "." + secret} }
	entrances := map[string]func(k key, secret string) answer{
		"basic":  func(k key, secret string) answer { return g.get(t, h.applications(), basic(k.clientID, secret)) },
		"header": func(k key, secret string) answer { return g.get(t, h.applications(), pair(k, secret)...) },
		"apikey": func(k key, secret string) answer { return g.get(t, h.applications(), apiKey(k, secret)...) },
		"admin": func(k key, secret string) answer {
			return send(t, g.admin, request("GET", "/v1/keys", basic(k.clientID, secret)))
		},
	}
	for _, c := range []struct {
		k   key
		way []string
	}{
		{h.full, []string{"basic", "header", "apikey"}},
		{h.readonly, []string{"apikey", "apikey", "admin"}},
		{h.tenant, []string{"admin", "header", "basic"}},
	} {
		for i, way := range c.way {
			require.Equal(t, lock{FailedAttempts: i}, g.lock(t, c.k), "%s before failure %d", c.k.name, i+1)
			entrances[way](c.k, "wrong").refused(t, 401, "invalid_client")
		}
		require.True(t, g.lock(t, c.k).Locked, c.k.name)
		for way, enter := range entrances {
			require.Equal(t, "invalid_client", enter(c.k, c.k.secret).code(), "%s, the right secret by %s", c.k.name, way)
		}
	}
	require.Zero(t, up.total())
}

func TestAHundredParallelWrongSecretsLockAndNeighboursNoticeNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	// The victim's key was never used on this run: its first use is in the storm.
	var storm, neighbours sync.WaitGroup
	var denied, served atomic.Int64
	stop := make(chan struct{})
	for _, k := range []key{h.full, h.readonly} {
		neighbours.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := trySend(g.address, request("GET", h.applications(), k.basic()))
				if err != nil || a.status != 200 {
					denied.Add(1)
				}
				served.Add(1)
			}
		})
	}
	var accepted atomic.Int64
	for i := range 100 {
		storm.Go(func() {
			a, err := trySend(g.address, request("GET", h.applications(), basic(h.application.clientID, fmt.Sprintf("wrong-%d", i))))
			if err != nil || a.status != 401 || a.code() != "invalid_client" {
				accepted.Add(1)
			}
		})
	}
	storm.Wait()
	g.isRefused(t, h.application)
	close(stop)
	neighbours.Wait()
	require.Zero(t, accepted.Load(), "wrong secrets answered otherwise than invalid_client")
	require.Zero(t, denied.Load(), "false denials of %d", served.Load())
	require.Positive(t, served.Load())
	l := g.lock(t, h.application)
	require.True(t, l.Locked)
	require.Equal(t, 3, l.FailedAttempts, "nothing counts while locked")
}

// TestNoSuccessFollowsTheThirdCountedFailure mixes right and wrong secrets: once
// the key is seen locked, a request that begins later is never let through.
func TestNoSuccessFollowsTheThirdCountedFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	var lockedSince atomic.Bool
	var late atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 50 {
				locked := lockedSince.Load()
				a, err := trySend(g.address, request("GET", h.applications(), h.full.basic()))
				if err == nil && locked && a.status == 200 {
					late.Add(1)
				}
			}
		})
		all.Go(func() {
			for !lockedSince.Load() {
				for range 3 { // three in a row, or a success between them clears the count
					_, _ = trySend(g.address, request("GET", h.applications(), h.full.wrong()))
				}
				if g.lock(t, h.full).Locked {
					lockedSince.Store(true)
				}
			}
		})
	}
	all.Wait()
	require.Zero(t, late.Load())
	g.isRefused(t, h.full)
}

func TestTriesWhileLockedDoNotExtendTheLock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	g.fails(t, h.full, 3)
	first := g.lock(t, h.full)
	require.NotNil(t, first.LockedUntil)
	require.WithinDuration(t, time.Now().Add(30*time.Minute), *first.LockedUntil, time.Minute)
	g.fails(t, h.full, 5)
	g.isRefused(t, h.full)
	again := g.lock(t, h.full)
	require.WithinDuration(t, *first.LockedUntil, *again.LockedUntil, 20*time.Millisecond, "moved only by rounding")
	require.Equal(t, first.FailedAttempts, again.FailedAttempts)
}

func TestASuccessClearsTheCount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	for range 3 {
		g.fails(t, h.full, 2)
		require.Equal(t, lock{FailedAttempts: 2}, g.lock(t, h.full))
		g.works(t, h.full)
		require.Equal(t, lock{}, g.lock(t, h.full))
	}
}

func TestOnlyTheExactClientIDIsTheClient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	id := h.full.clientID
	for _, variant := range []string{strings.ToUpper(id), strings.ToLower(id), " " + id, id + " ", id + "\t", id + "\u200b", strings.Replace(id, "k", "\u212a", 1), id[:len(id)-1], id + "x", "\ufeff" + id, id + "%20"} {
		if variant == id {
			continue
		}
		for range 3 {
			g.get(t, h.applications(), basic(variant, h.full.secret)).refused(t, 401, "invalid_client")
		}
	}
	require.Equal(t, lock{}, g.lock(t, h.full))
	for range 3 { // other forms of the secret are wrong ones
		g.get(t, h.applications(), basic(id, h.full.secret+" ")).refused(t, 401, "invalid_client")
	}
	require.True(t, g.lock(t, h.full).Locked)
}

func TestALockEndsByItselfAndNotEarlier(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := allForms(t, h, newUpstream(t))
	s.app = "lockout {\nattempts 2\nduration 2s\nreset_after 1s\nfailure_floor 50ms\n}"
	g := h.run(t, s)
	g.fails(t, h.full, 1)
	began := time.Now()
	a := g.get(t, h.applications(), h.full.wrong())
	require.GreaterOrEqual(t, a.took, 50*time.Millisecond, "the configured floor")
	g.isRefused(t, h.full)
	require.Eventually(t, func() bool { return g.get(t, h.applications(), h.full.basic()).status == 200 }, patience, 20*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), 2*time.Second)

	g.fails(t, h.readonly, 1)
	require.Eventually(t, func() bool { return g.lock(t, h.readonly) == lock{} }, patience, 20*time.Millisecond, "reset_after")
}

func TestGuardLocksTheGuessingNetworkAndNotTheClient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := allForms(t, h, newUpstream(t))
	s.servers = "trusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict"
	s.app = "lockout {\nmode guard\nceiling 8\nsource_prefix 24 64\n}"
	g := h.run(t, s)
	from := func(address, credential string) answer {
		return g.get(t, h.applications(), credential, "X-Forwarded-For: "+address)
	}
	guess := func(address string, n int) {
		for i := range n {
			from(address, basic(h.full.clientID, fmt.Sprintf("guess %s %d", address, i))).refused(t, 401, "invalid_client")
		}
	}
	require.Equal(t, 200, from("192.0.2.1", h.full.basic()).status)
	for range 5 { // the same wrong secret again is the same mistake
		from("198.51.100.1", h.full.wrong()).refused(t, 401, "invalid_client")
	}
	require.Equal(t, 200, from("198.51.100.1", h.full.basic()).status)
	guess("203.0.113.7", 3)
	from("203.0.113.8", h.full.basic()).refused(t, 401, "invalid_client") // the same /24
	require.Equal(t, 200, from("203.0.114.8", h.full.basic()).status)
	require.Equal(t, 200, from("192.0.2.1", h.full.basic()).status)
	for i := range 4 {
		guess(fmt.Sprintf("100.64.%d.1", i), 2)
	}
	require.True(t, g.lock(t, h.full).Locked, "over all sources there is a ceiling")
	from("100.65.0.1", h.full.basic()).refused(t, 401, "invalid_client")
	require.Equal(t, 200, from("192.0.2.1", h.full.basic()).status, "a source with a recent success is exempt")
}

// TestUnknownClientsLeaveNothingBehind: rows are for clients there are.
func TestUnknownClientsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			_, _ = trySend(g.address, request("GET", h.applications(), basic(fmt.Sprintf("kr_%022d", i), "krs_x")))
		})
	}
	all.Wait()
	g.fails(t, h.full, 1)
	require.NoError(t, g.Stop())
	var rows int
	db := openDatabase(t, h.db)
	require.NoError(t, db.QueryRow("SELECT count(*) FROM tallies").Scan(&rows))
	require.NoError(t, db.Close())
	require.Equal(t, 1, rows, "the one client that exists")
	data, err := os.ReadFile(h.db)
	require.NoError(t, err)
	require.NotContains(t, string(data), "kr_00000000")
	for _, s := range append(h.secrets, "not-the-secret") {
		require.NotContains(t, string(data), s, "no secret is stored")
	}
}
