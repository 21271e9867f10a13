package cluster

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// command runs a command of the program over the gate's admin socket.
func (g *gate) command(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append(args, "--address", "unix/"+g.socket)...)
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "XDG_CONFIG_HOME="+filepath.Join(g.dir, "config"), "XDG_DATA_HOME="+filepath.Join(g.dir, "data"))
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// copyDatabase copies the database as it is, under another name. Nobody may be connected.
func (c *cluster) copyDatabase(t *testing.T, to string) {
	t.Helper()
	c.alone(t, func() { c.server.Exec(t, "CREATE DATABASE "+to+" TEMPLATE "+c.database+" OWNER "+gateUser) })
}

// replaceDatabase puts another database in the place of the gates'.
func (c *cluster) replaceDatabase(t *testing.T, by string) {
	t.Helper()
	c.alone(t, func() {
		c.server.Exec(t, "ALTER DATABASE "+c.database+" RENAME TO "+c.database+"_lost")
		c.server.Exec(t, "ALTER DATABASE "+by+" RENAME TO "+c.database)
	})
}

// alone keeps the gates away from the database meanwhile.
func (c *cluster) alone(t *testing.T, do func()) {
	t.Helper()
	for _, g := range c.gates {
		g.link.Down()
	}
	require.Eventually(t, func() bool { // a server's process may outlive its client
		c.server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+c.database+"'")
		return c.connections(t) == 0
	}, patience, 10*time.Millisecond)
	do()
	for _, g := range c.gates {
		g.link.Up(t)
	}
}

// TestWhatWasRevokedStaysRevokedWhenAnOldCopyOfTheDatabaseComesBack revokes in every way,
// and brings a copy of before under the running gates.
func TestWhatWasRevokedStaysRevokedWhenAnOldCopyOfTheDatabaseComesBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, options{gates: 3, global: "max_stale 5m"})
	a := c.gates[0]
	role := c.role(t, "all")
	known, guessed := a.create(t, "known", role), a.create(t, "guessed", role)
	type shown struct {
		revocation
		key        key
		role       string
		credential string
	}
	var revoked []shown
	for _, r := range revocations {
		own := c.role(t, r.name)
		k := a.create(t, r.name, own)
		revoked = append(revoked, shown{r, k, own, r.credential(t, a, k)})
	}
	everywhere := func(credential string, status int) {
		t.Helper()
		for _, g := range c.gates {
			g.until(t, "it answers "+http.StatusText(status), func() bool {
				got, err := g.get(credential)
				return err == nil && got.status == status
			})
		}
	}
	for _, s := range revoked {
		everywhere(s.credential, http.StatusOK)
	}
	c.copyDatabase(t, "old")
	a.until(t, "it writes again", func() bool {
		return a.api(t, "PATCH", "/v1/keys/"+known.id, map[string]any{"description": "since"}).status == http.StatusOK
	})
	for i, s := range revoked {
		done, err := s.revoke(c.gates[i%3], s.key, s.role)
		require.NoError(t, err)
		require.Contains(t, []int{200, 202, 204}, done.status, "%s: %s", s.name, done.body)
		everywhere(s.credential, s.refusals[0])
	}
	lost := a.create(t, "made since", role)
	everywhere(lost.basic(), http.StatusOK)
	require.Equal(t, attempts, a.guesses(t, guessed, attempts))
	for _, g := range c.gates {
		g.refuses(t, guessed, time.Now())
	}
	everywhere(known.basic(), http.StatusOK) // it was changed since it was asked for last
	seen := c.nodes(t, a).Head

	// From here nothing that was revoked may be let in by anybody, at any moment, and who is
	// known is served all the while.
	stop := make(chan struct{})
	var guarding sync.WaitGroup
	asked := 0
	var mu sync.Mutex
	for _, g := range c.gates {
		guarding.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				s := revoked[n%len(revoked)]
				for what, credential := range map[string]string{s.name: s.credential, "locked": guessed.basic()} {
					got, err := g.get(credential)
					if err != nil || got.status == http.StatusOK {
						t.Errorf("gate %s, %s: %d, %v", g.name, what, got.status, err)
						return
					}
				}
				got, err := g.get(known.basic())
				if err != nil || got.status != http.StatusOK {
					t.Errorf("gate %s, of one that is known: %d %s, %v", g.name, got.status, got.body, err)
					return
				}
				mu.Lock()
				asked++
				mu.Unlock()
			}
		})
	}
	c.replaceDatabase(t, "old")
	for _, g := range c.gates {
		g.until(t, "it has noticed", func() bool { return c.nodes(t, g).Restored != nil })
	}
	a.until(t, "what was made since is unknown", func() bool { return a.status(t, lost) == http.StatusUnauthorized })
	restored := c.nodes(t, a).Restored
	require.GreaterOrEqual(t, restored.From, seen)
	require.GreaterOrEqual(t, restored.Replayed, len(revoked))
	for i, g := range c.gates {
		refused := g.api(t, "PATCH", "/v1/keys/"+known.id, map[string]any{"description": "not yet"})
		require.Equal(t, http.StatusServiceUnavailable, refused.status, refused.body)
		require.Equal(t, "store_restored", refused.field("code"), refused.body)
		require.Equal(t, "Bearer", tokenOf(t, g, known)[:6], "sign-ins go on")
		require.NotNil(t, c.nodes(t, c.gates[i]).Restored)
	}
	output, code := a.command(t, "node", "list")
	require.Zero(t, code, output)
	output, code = c.gates[1].command(t, "node", "accept-restore", "--yes")
	require.Zero(t, code, output)
	for _, g := range c.gates {
		g.until(t, "it writes again", func() bool {
			return g.api(t, "PATCH", "/v1/keys/"+known.id, map[string]any{"description": "accepted " + g.name}).status == http.StatusOK
		})
		require.Nil(t, c.nodes(t, g).Restored)
	}
	time.Sleep(time.Second) // of more asking
	close(stop)
	guarding.Wait()
	mu.Lock()
	t.Logf("%d rounds of asking for what was revoked, none let in; %d things revoked again", asked, restored.Replayed)
	require.Greater(t, asked, 20)
	mu.Unlock()
	for _, s := range revoked {
		everywhere(s.credential, s.refusals[0])
	}
	_, code = a.command(t, "node", "accept-restore", "--yes")
	require.NotZero(t, code, "there is nothing to accept any more")
	made := a.create(t, "made after", role)
	everywhere(made.basic(), http.StatusOK)
	chain := a.api(t, "GET", "/v1/audit-events/verify", nil)
	require.Equal(t, http.StatusOK, chain.status)
	require.Contains(t, chain.body, `{"ok":true`)
}

// nodes is what a gate tells of the gates and of what they follow.
type nodes struct {
	Head     int64 `json:"head"`
	Restored *struct {
		From     int64 `json:"from"`
		To       int64 `json:"to"`
		Replayed int   `json:"replayed"`
	} `json:"restored"`
}

func (c *cluster) nodes(t *testing.T, g *gate) (n nodes) {
	t.Helper()
	g.until(t, "it lists the nodes", func() bool {
		got := g.api(t, "GET", "/v1/nodes", nil)
		return got.status == http.StatusOK && json.Unmarshal([]byte(got.body), &n) == nil
	})
	return n
}

// connections is how many there are to the gates' database.
func (c *cluster) connections(t *testing.T) (n int) {
	t.Helper()
	c.query(t, &n, "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+c.database+"'", "postgres")
	return n
}
