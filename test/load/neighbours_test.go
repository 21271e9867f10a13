package load

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

const (
	callers = 4
	// pause is between two requests of one caller: what is looked at is who waits for a
	// flood, not how much the machine can do.
	pause = 5 * time.Millisecond
	// grows is by how much memory may grow in a flood of any size: a flood in the test's
	// long form is many times larger and has the same bound.
	grows = 256 << 20
)

// neighbours are callers who do nothing wrong, with a secret and with a token.
type neighbours struct {
	stop  atomic.Bool
	group sync.WaitGroup
	good  atomic.Int64

	mu   sync.Mutex
	took []time.Duration
	bad  []error
}

// callOn has the neighbours call until they are told to stop.
func (g *gate) callOn(t *testing.T) *neighbours {
	t.Helper()
	n := new(neighbours)
	client := &http.Client{Timeout: proctest.Patience, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	token := "Bearer " + g.token(t, client)
	for i := range callers {
		credential := g.full.basic()
		if i%2 == 1 {
			credential = token
		}
		n.group.Go(func() {
			for !n.stop.Load() {
				began := time.Now()
				err := g.call(client, credential)
				n.add(time.Since(began), err)
				time.Sleep(pause)
			}
		})
	}
	t.Cleanup(func() { // also where the test failed
		n.stop.Store(true)
		n.group.Wait()
		client.CloseIdleConnections()
	})
	return n
}

func (g *gate) token(t *testing.T, client *http.Client) string {
	t.Helper()
	resp, err := client.PostForm("http://"+g.plain+"/signin", url.Values{"client_id": {g.full.ClientID}, "client_secret": {g.full.Secret}})
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	_, after, found := strings.Cut(string(text), `"access_token":"`)
	require.True(t, found)
	token, _, _ := strings.Cut(after, `"`)
	return token
}

// call is one request that is to be served.
func (g *gate) call(client *http.Client, credential string) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+g.plain+g.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", credential)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || string(text) != "served\n" {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func (n *neighbours) add(took time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took = append(n.took, took)
	if err != nil {
		n.bad = append(n.bad, err)
		return
	}
	n.good.Add(1)
}

// more waits until so many further requests were served.
func (n *neighbours) more(t *testing.T, g *gate, count int64) {
	t.Helper()
	goal := n.good.Load() + count
	g.until(t, "the neighbours are served", func() bool { return n.good.Load() >= goal })
}

// p99 is that of what was asked since it was last looked at, and how much that was.
func (n *neighbours) p99() (time.Duration, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.took) == 0 {
		return 0, 0
	}
	slices.Sort(n.took)
	p, count := n.took[len(n.took)*99/100], len(n.took)
	n.took = nil
	return p, count
}

// withstands runs a flood beside neighbours. release, where it is not nil, lets go of
// what the flood holds. A flood is to say how much of it there was.
func (g *gate) withstands(t *testing.T, flood func() (size int, release func())) {
	t.Helper()
	quiet := 50
	if soaking() > 1 {
		quiet = 5000
	}
	n := g.callOn(t)
	n.more(t, g, callers) // all are connected
	n.p99()
	n.more(t, g, int64(quiet))
	before, _ := n.p99()
	goroutines, memory := g.metric(t, "go_goroutines"), g.metric(t, "process_resident_memory_bytes")
	strangers, arrived := g.strangers.Load(), g.arrived.Load()

	peak := memory
	var done atomic.Bool
	var watch sync.WaitGroup
	watch.Go(func() { // the memory while it goes on
		for !done.Load() {
			if now, err := g.memory(); err == nil {
				peak = max(peak, now)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	size, release := flood()
	n.more(t, g, int64(quiet)) // also while what it holds is held
	during, asked := n.p99()
	held := g.metric(t, "go_goroutines")
	done.Store(true)
	watch.Wait()
	peak = max(peak, g.metric(t, "process_resident_memory_bytes"))
	if release != nil {
		release()
	}
	require.Zero(t, g.strangers.Load()-strangers, "requests of the flood at the upstream")
	g.until(t, "what the flood held is let go", func() bool {
		return g.metric(t, "go_goroutines") <= goroutines+2*callers
	})
	n.more(t, g, callers)
	n.stop.Store(true)
	n.group.Wait()
	require.NoError(t, errors.Join(n.bad...), "the neighbours' requests")
	require.Greater(t, g.arrived.Load(), arrived)
	require.Less(t, peak-memory, float64(grows), "memory")
	t.Logf("%d: the neighbours' p99 of %d requests was %s, quiet %s; %.0f goroutines from %.0f; memory to %.0f MB from %.0f MB",
		size, asked, during.Round(10*time.Microsecond), before.Round(10*time.Microsecond), held, goroutines, peak/1e6, memory/1e6)
	if soaking() > 1 {
		require.LessOrEqual(t, during, 2*before, "the neighbours' p99 of %d requests", asked)
	}
}

// memory is what the program has resident, where it answers.
func (g *gate) memory() (float64, error) {
	resp, err := g.local.Get("http://caddy/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	_, after, found := strings.Cut(string(text), "\nprocess_resident_memory_bytes ")
	if !found {
		return 0, errors.New("no memory in the metrics")
	}
	var value float64
	_, err = fmt.Sscan(after, &value)
	return value, err
}
