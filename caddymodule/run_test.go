package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/keystore/sqlite"
	"github.com/keyreeve/keyreeve/keystore/storetest"
	"github.com/keyreeve/keyreeve/policy"
)

// gateTest is a Caddy of its own in this process: a gate in front of a counting
// upstream, on a real store. One at a time: Caddy is one per process.
type gateTest struct {
	t        testing.TB
	dir      string
	gateURL  string
	adminURL string
	reached  atomic.Int64 // requests that came through to the upstream
	upstream *httptest.Server
	// edit changes the Caddyfile before it is loaded.
	edit func(string) string
}

// startGate runs a gate; extra is put into the app's block.
func startGate(t testing.TB, extra string) *gateTest {
	t.Helper()
	return startEdited(t, extra, nil)
}

// startEdited runs a gate whose Caddyfile was edited.
func startEdited(t testing.TB, extra string, edit func(string) string) *gateTest {
	t.Helper()
	g := &gateTest{t: t, dir: t.TempDir(), edit: edit}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(g.dir, "config"))
	g.upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.reached.Add(1)
		_, _ = fmt.Fprint(w, r.Header.Get(headerClientID))
	}))
	t.Cleanup(g.upstream.Close)
	g.gateURL, g.adminURL = "http://"+freeAddress(t), "http://"+freeAddress(t)
	require.NoError(t, g.load(extra))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	return g
}

// freeAddress is a loopback address nobody listens on. No two calls give the
// same one: a port that was only looked at is free until the server listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		address := l.Addr().String()
		require.NoError(t, l.Close())
		if _, given := givenAddresses.LoadOrStore(address, true); !given {
			return address
		}
	}
}

var givenAddresses sync.Map

func (g *gateTest) caddyfile(extra string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	log {
		level ERROR
	}
	keyreeve {
		store sqlite %s
		lockout {
			failure_floor 5ms
		}
		%s
	}
}
%s {
	keyreeve {
		credentials basic header apikey unsafe_logs_filtered
		route * /things/{rest...} things
		public GET /healthz
	}
	reverse_proxy %s
}
%s {
	keyreeve_admin
}
`, filepath.Join(g.dir, "keys.db"), extra, g.gateURL, g.upstream.URL, g.adminURL)
}

// load runs or reloads the configuration, as `caddy reload` does.
func (g *gateTest) load(extra string) error {
	text := g.caddyfile(extra)
	if g.edit != nil {
		text = g.edit(text)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// key is a key with its secret.
type testKey struct{ id, clientID, secret string }

// newKey makes a key that may do everything with things.
func (g *gateTest) newKey(name, role string) testKey {
	g.t.Helper()
	local := lifecycle.Local("test", false)
	ctx := context.Background()
	_, _, err := Service().CreateCustomer(ctx, local, lifecycle.NewCustomer{ID: "c1", Name: "One"})
	if err != nil && !strings.Contains(err.Error(), "taken") {
		var e *lifecycle.Error
		require.ErrorAs(g.t, err, &e)
		require.Equal(g.t, lifecycle.Conflict, e.Kind)
	}
	made, _, err := Service().CreateKey(ctx, local, lifecycle.NewKey{Name: name, RoleID: role, CustomerID: "c1"})
	require.NoError(g.t, err)
	return testKey{id: made.ID, clientID: made.ClientID, secret: made.ClientSecret}
}

var client = &http.Client{Timeout: 20 * time.Second}

// do sends a request without a body, again where the connection failed: Caddy
// listens anew on each load (SO_REUSEPORT), and the kernel resets what waits in
// the queue of the listener that goes.
func do(r *http.Request) (resp *http.Response, err error) {
	for range 6 {
		if resp, err = client.Do(r); err == nil {
			break
		}
	}
	return resp, err
}

// call asks the gate for /things/a with Basic credentials and returns the status.
func (g *gateTest) call(k testKey, secret string) int {
	g.t.Helper()
	return g.send(func(r *http.Request) { r.SetBasicAuth(k.clientID, secret) })
}

func (g *gateTest) send(with func(*http.Request)) int {
	g.t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.gateURL+"/things/a", http.NoBody)
	require.NoError(g.t, err)
	with(r)
	resp, err := do(r)
	require.NoError(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

func withClock(t *testing.T) *storetest.Clock {
	clock := storetest.NewClock()
	before := newClock
	newClock = func() keystore.Clock { return clock }
	t.Cleanup(func() { newClock = before })
	return clock
}

func TestASimulatedClockWalksThroughTheThirtyMinutes(t *testing.T) {
	clock := withClock(t)
	g := startGate(t, "max_stale 24h")
	k := g.newKey("a", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(k, k.secret))
	g.call(k, "wrong-1")
	g.call(k, "wrong-2")
	clock.Advance(29 * time.Minute)
	require.Equal(t, 401, g.call(k, "wrong-3"), "29 minutes are less than reset_after: the third counts")
	require.Equal(t, 401, g.call(k, k.secret), "locked")
	for range 29 {
		clock.Advance(time.Minute)
		require.Equal(t, 401, g.call(k, k.secret), "tries while locked do not pass, nor extend")
	}
	clock.Advance(time.Minute - time.Millisecond)
	require.Equal(t, 401, g.call(k, k.secret))
	clock.Advance(time.Millisecond)
	require.Equal(t, 200, g.call(k, k.secret), "exactly the duration")
	g.call(k, "wrong")
	g.call(k, "wrong")
	clock.Advance(30 * time.Minute)
	g.call(k, "wrong")
	require.Equal(t, 200, g.call(k, k.secret), "reset_after without a failure cleared the count")
	for range 4 {
		g.call(k, "wrong")
		g.call(k, "wrong")
		require.Equal(t, 200, g.call(k, k.secret), "a success clears the count")
	}
}

func TestAClockSetForwardOrBackDoesNotShortenALock(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			clock := withClock(t)
			g := startGate(t, "max_stale 24h")
			k := g.newKey("a", keystore.RoleFullAccess)
			for range 3 {
				g.call(k, "wrong")
			}
			clock.StepWall(step)
			require.Equal(t, 401, g.call(k, k.secret))
			clock.Advance(30*time.Minute - time.Second)
			require.Equal(t, 401, g.call(k, k.secret))
			clock.Advance(time.Second)
			require.Equal(t, 200, g.call(k, k.secret))
		})
	}
}

func TestEveryEntranceSharesOneCount(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleOperator)
	require.Equal(t, 401, g.send(func(r *http.Request) { r.SetBasicAuth(k.clientID, "wrong") }))
	require.Equal(t, 401, g.send(func(r *http.Request) {
		r.Header.Set("X-Client-Id", k.clientID)
		r.Header.Set("X-Client-Secret", "wrong")
	}))
	require.Equal(t, 200, g.send(func(r *http.Request) { r.Header.Set("X-Api-Key", k.clientID+"."+k.secret) }), "clears")
	require.Equal(t, 401, g.send(func(r *http.Request) { r.Header.Set("X-Api-Key", k.clientID+".wrong") }))
	require.Equal(t, 401, g.send(func(r *http.Request) { r.SetBasicAuth(k.clientID, "wrong") }))
	r, err := http.NewRequest(http.MethodGet, g.adminURL+"/v1/keys", http.NoBody) // the admin sign-in
	require.NoError(t, err)
	r.SetBasicAuth(k.clientID, "wrong")
	resp, err := client.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 401, resp.StatusCode)
	require.Equal(t, 401, g.call(k, k.secret), "three failures over three entrances lock")
}

func TestReloadsUnderTrafficLoseNoRequestCountOrGoroutine(t *testing.T) {
	g := startGate(t, "")
	good, guessed := g.newKey("good", keystore.RoleFullAccess), g.newKey("guessed", keystore.RoleFullAccess)
	require.Equal(t, 200, g.call(good, good.secret))
	g.call(guessed, "wrong")
	g.call(guessed, "wrong")
	before := ownGoroutines()
	openedBefore := active.Load().running.Load().store

	stop := make(chan struct{})
	reachedBefore := g.reached.Load()
	var traffic sync.WaitGroup
	var served, failed atomic.Int64
	for range 4 {
		traffic.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, _ := http.NewRequest(http.MethodGet, g.gateURL+"/things/a", http.NoBody)
				r.SetBasicAuth(good.clientID, good.secret)
				resp, err := do(r)
				if err != nil || resp.StatusCode != 200 {
					failed.Add(1)
					t.Logf("request failed: %v %v", err, resp)
				}
				if err == nil {
					_ = resp.Body.Close()
				}
				served.Add(1)
			}
		})
	}
	reloads := 200
	if testing.Short() {
		reloads = 10
	}
	lookups := openedBefore.keys.Counts().KeyLookups.Hits
	for i := range reloads {
		// Other tunables each time.
		require.NoError(t, g.load(fmt.Sprintf("max_stale %dm\n\t\tcache {\n\t\t\tkeys %d\n\t\t\ttokens %d\n\t\t}\n\t\tsessions {\n\t\t\tmax_per_key %d\n\t\t}",
			i+1, 1000+i, 500+i, 10+i)))
		now := openedBefore.keys.Counts().KeyLookups.Hits
		require.GreaterOrEqual(t, now, lookups, "counters only grow")
		lookups = now
	}
	close(stop)
	traffic.Wait()
	require.Zero(t, failed.Load(), "of %d requests", served.Load())
	// A connection may be reset before anyone accepted it; what came through to the
	// upstream must have been answered, or a retry has hidden a lost answer.
	require.Equal(t, served.Load(), g.reached.Load()-reachedBefore, "requests answered, and requests the upstream saw")
	require.Greater(t, served.Load(), int64(reloads))
	require.Same(t, openedBefore, active.Load().running.Load().store, "store, caches and counts are kept")
	require.Equal(t, 401, g.call(guessed, "wrong"))
	require.Equal(t, 401, g.call(guessed, guessed.secret), "two failures before the reloads and one after lock")
	require.Eventually(t, func() bool { return ownGoroutines() <= before }, 10*time.Second, 20*time.Millisecond,
		"goroutines left behind by reloads")
	require.NoError(t, caddy.Stop())
	require.Eventually(t, func() bool { return ownGoroutines() == 0 }, 10*time.Second, 20*time.Millisecond,
		"goroutines left behind by stopping")
	_, held := runtimes.References(openedBeforeIdentity(openedBefore))
	require.False(t, held, "the store is still held")
}

func openedBeforeIdentity(s *sharedStore) string { return s.keys.Store().Identity() }

// ownGoroutines counts goroutines that Keyreeve or its store started.
func ownGoroutines() (n int) {
	buf := make([]byte, 8<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		created := stack[strings.LastIndex(stack, "created by ")+1:]
		if strings.Contains(created, "keyreeve/keystore") || strings.Contains(created, "ristretto") || strings.Contains(created, "keyreeve/session") {
			n++
		}
	}
	return n
}

func TestABrokenConfigurationLeavesTheRunningOne(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	broken := filepath.Join(g.dir, "policy.yaml")
	require.NoError(t, os.WriteFile(broken, []byte("version: 1\nroutes:\n  - {methods: [GET], path: '/a/{x}/c', resource: nowhere}\n"), 0o600))
	err := g.load("policy " + broken)
	require.ErrorContains(t, err, "policy.yaml:3")
	require.ErrorContains(t, err, "nowhere")
	require.Equal(t, 200, g.call(k, k.secret))
	require.NotNil(t, Service())
	foreign := filepath.Join(g.dir, "not-a-database")
	require.NoError(t, os.WriteFile(foreign, []byte(strings.Repeat("x", 4096)), 0o600))
	config := strings.Replace(g.caddyfile(""), filepath.Join(g.dir, "keys.db"), foreign, 1)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	require.NoError(t, err)
	require.ErrorContains(t, caddy.Load(adapted, true), "not an SQLite database")
	require.Equal(t, 200, g.call(k, k.secret), "the configuration before still runs")
	require.NotNil(t, Service(), "and its admin endpoint answers")
	// A configuration whose app starts but whose server cannot listen.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	busy := strings.ReplaceAll(g.caddyfile(""), g.adminURL, "http://"+taken.Addr().String())
	adapted, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(busy), nil)
	require.NoError(t, err)
	for range 4 { // apps start in no fixed order
		require.Error(t, caddy.Load(adapted, true))
		require.Equal(t, 200, g.call(k, k.secret))
		require.NotNil(t, Service())
	}
}

func TestValidatingAConfigurationTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("XDG_DATA_HOME", filepath.Join(dir, "data"))
	g := &gateTest{t: t, dir: filepath.Join(dir, "db"), gateURL: "http://127.0.0.1:1", adminURL: "http://127.0.0.1:2",
		upstream: &httptest.Server{URL: "http://127.0.0.1:3"}}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(g.caddyfile("")), nil)
	require.NoError(t, err)
	var config caddy.Config
	require.NoError(t, json.Unmarshal(adapted, &config))
	require.NoError(t, caddy.Validate(&config))
	left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestARevocationHoldsForEveryRequestAfterItsReply(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	ctx, local := context.Background(), lifecycle.Local("test", false)
	for range 20 {
		require.Equal(t, 200, g.call(k, k.secret))
		_, _, err := Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{Enabled: lifecycle.Some(false)}, nil)
		require.NoError(t, err)
		require.Equal(t, 401, g.call(k, k.secret))
		_, _, err = Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{Enabled: lifecycle.Some(true)}, nil)
		require.NoError(t, err)
	}
	role, _, err := Service().CreateRole(ctx, local, lifecycle.NewRole{Name: "R", CustomerID: lifecycle.Some("c1"), Permissions: policy.Permissions{"other": policy.Full}})
	require.NoError(t, err)
	_, _, err = Service().UpdateKey(ctx, local, k.id, lifecycle.KeyPatch{RoleID: lifecycle.Some(role.ID)}, nil)
	require.NoError(t, err)
	require.Equal(t, 403, g.call(k, k.secret))
}

func TestMinRevisionIsHonouredForAProvenCaller(t *testing.T) {
	g := startGate(t, "")
	k := g.newKey("a", keystore.RoleFullAccess)
	at := active.Load().running.Load().store.keys.Position()
	ask := func(k testKey, revision string) int {
		return g.send(func(r *http.Request) {
			r.SetBasicAuth(k.clientID, k.secret)
			r.Header.Set("Keyreeve-Min-Revision", revision)
		})
	}
	require.Equal(t, 200, ask(k, fmt.Sprint(int64(at))))
	require.Equal(t, 200, ask(k, "0"))
	require.Equal(t, 400, ask(k, fmt.Sprint(int64(at)+1)), "ahead of the store")
	for _, bad := range []string{"abc", "-1", "1.5", "99999999999999999999"} {
		require.Equal(t, 400, ask(k, bad), bad)
	}
	ahead := newRequest(t, g.gateURL+"/things/a")
	ahead.SetBasicAuth(k.clientID, k.secret)
	ahead.Header.Set("Keyreeve-Min-Revision", fmt.Sprint(int64(at)+1))
	resp, err := do(ahead)
	require.NoError(t, err)
	body := bodyOf(t, resp)
	require.Equal(t, policy.InvalidRevision.Code(), refusalOf(t, body).Code)
	require.Contains(t, body, "Keyreeve-Min-Revision", "it says what is wrong")
	require.Equal(t, 401, ask(testKey{clientID: k.clientID, secret: "wrong"}, "abc"), "nobody else may ask")

	// Another process disables the key; whoever asks for that revision gets it.
	other, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(g.dir, "keys.db"), Clock: keystore.NewSystemClock()})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	for range 10 {
		for _, enabled := range []bool{false, true} {
			rev, err := other.Update(t.Context(), func(tx keystore.Tx) error {
				stored, err := tx.Key(t.Context(), k.id)
				if err != nil {
					return err
				}
				stored.Enabled = enabled
				return tx.PutKey(t.Context(), stored)
			})
			require.NoError(t, err)
			if !enabled {
				require.Equal(t, 401, ask(k, fmt.Sprint(int64(rev))))
			} else {
				require.Eventually(t, func() bool { return g.call(k, k.secret) == 200 }, 5*time.Second, 10*time.Millisecond)
			}
		}
	}
}
