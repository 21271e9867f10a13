package e2e

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

func TestTheCountOutlivesARestartAndACrash(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.demo(t, "")
	g.fails(t, h.full, 2)
	g = g.restart(t, "")
	require.Equal(t, lock{FailedAttempts: 2}, g.lock(t, h.full))
	g.fails(t, h.full, 1)
	g.isRefused(t, h.full)
	g = g.restart(t, "")
	g.isRefused(t, h.full)
	require.True(t, g.lock(t, h.full).Locked)

	// What was answered was stored before, whatever happens then. The process is
	// started without the harness's end, which wants a clean one.
	p, out, err := launchAfter(t, g)
	require.NoError(t, err)
	crashed := &gate{Process: p, house: h, address: strings.TrimPrefix(out.GateURL, "http://"), admin: strings.TrimPrefix(out.AdminURL, "http://")}
	crashed.fails(t, h.readonly, 2)
	require.NoError(t, p.Kill())
	g = h.demo(t, "")
	require.Equal(t, lock{FailedAttempts: 2}, g.lock(t, h.readonly))
	g.fails(t, h.readonly, 1)
	g.isRefused(t, h.readonly)
	g.isRefused(t, h.full)
	g.works(t, h.application)
}

// launchAfter ends a gate and starts the demo again, to be killed by the test.
func launchAfter(t *testing.T, g *gate) (*proctest.Process, *demoOutput, error) {
	t.Helper()
	require.NoError(t, g.Stop())
	return launchDemo(g.house.dir, "--listen", proctest.FreeAddress(), "--admin-listen", proctest.FreeAddress())
}

// TestTheCountOutlivesAReload reloads by the command and by Caddy's own API while
// other clients' requests keep coming.
func TestTheCountOutlivesAReload(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := allForms(t, h, newUpstream(t))
	s.global = "grace_period 10s"
	g := h.run(t, s)
	var neighbours sync.WaitGroup
	var failed atomic.Int64
	stop := make(chan struct{})
	neighbours.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// A connection that waits in the old listener's queue as Caddy closes it is
			// reset by the kernel, before any handler; only answers count.
			if a, err := trySend(g.address, request("GET", h.applications(), h.readonly.basic())); err == nil && a.status != 200 {
				failed.Add(1)
			}
		}
	})
	reload := func(change string) {
		s.gate += change
		r := h.command(t, "reload", "--config", h.write(t, "Caddyfile", h.caddyfile(s)), "--address", "unix/"+h.socket())
		require.Zero(t, r.code, r.stderr)
	}
	g.fails(t, h.full, 1)
	reload("\npublic GET /one")
	require.Equal(t, 200, g.get(t, "/one").status, "the new configuration is in force")
	require.Equal(t, lock{FailedAttempts: 1}, g.lock(t, h.full))
	g.fails(t, h.full, 1)

	s.gate += "\npublic GET /two"
	text := h.caddyfile(s)
	a := sendUnix(t, h.socket(), "POST /load HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/caddyfile\r\nContent-Length: "+itoa(len(text))+"\r\n\r\n"+text)
	require.Equal(t, 200, a.status, a.body)
	require.Equal(t, 200, g.get(t, "/two").status)
	g.fails(t, h.full, 1)
	require.True(t, g.lock(t, h.full).Locked)
	reload("\npublic GET /three")
	g.isRefused(t, h.full)
	close(stop)
	neighbours.Wait()
	require.Zero(t, failed.Load(), "requests that failed over the reloads")
	require.NotContains(t, g.Said(), "panic")
}

func TestAnOperatorUnlocksThroughEveryDoor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := allForms(t, h, newUpstream(t))
	g := h.run(t, s)
	k := g.create(t, "unlucky", "role_api_full_access")
	for _, door := range []struct {
		name   string
		unlock func()
	}{
		// First the quickest: before this node has polled the store for others' counts.
		{"API", func() {
			require.Equal(t, http.StatusNoContent, g.api(t, "DELETE", "/v1/keys/"+k.id+"/lock", "").status)
		}},
		{"local admin endpoint", func() {
			a := sendUnix(t, h.socket(), request("DELETE", "/keyreeve/v1/keys/"+k.id+"/lock"))
			require.Equal(t, http.StatusNoContent, a.status, a.body)
		}},
		{"CLI over the admin socket", func() { g.cli(t, "key", "unlock", k.name) }},
	} {
		g.fails(t, k, 3)
		g.isRefused(t, k)
		door.unlock()
		require.Equal(t, lock{}, g.lock(t, k), door.name)
		g.works(t, k)
	}
	g.fails(t, k, 3)
	r := h.command(t, "key", "unlock", k.name, "--config", h.path("Caddyfile"))
	require.Zero(t, r.code, r.stderr)
	soon(t, func() bool { return g.get(t, h.applications(), k.basic()).status == 200 }, "unlocked in the store by another process")
}

// soon is for what another process wrote: 1 s by the contract, with room for a
// busy machine.
func soon(t *testing.T, what func() bool, message string) {
	t.Helper()
	require.Eventually(t, what, 5*time.Second, 20*time.Millisecond, message)
}

func TestWhatAnotherProcessWritesIntoTheStoreIsSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	g := h.run(t, allForms(t, h, newUpstream(t)))
	offline := func(args ...string) string {
		r := h.command(t, append(args, "--config", h.path("Caddyfile"))...)
		require.Zero(t, r.code, r.stderr)
		return r.stdout
	}
	g.works(t, h.full) // cached from here on
	offline("key", "disable", "full")
	soon(t, func() bool { return g.get(t, h.applications(), h.full.basic()).code() == "invalid_client" }, "disabled")
	offline("key", "enable", "full")
	soon(t, func() bool { return g.get(t, h.applications(), h.full.basic()).status == 200 }, "enabled")

	made := h.parseKey(t, offline("key", "create", "offline", "--role", "role_api_read_only", "--customer", h.customer, "-o", "json"))
	soon(t, func() bool { return g.get(t, h.applications(), made.basic()).status == 200 }, "made")
	offline("key", "edit", "offline", "--role", "Policy Only")
	soon(t, func() bool { return g.get(t, h.applications(), made.basic()).code() == "permission_denied" }, "role changed")
	offline("key", "delete", "offline", "--yes")
	soon(t, func() bool { return g.get(t, h.applications(), made.basic()).code() == "invalid_client" }, "deleted")
	g.works(t, h.readonly)
}
