// Package e2e drives the real binary over sockets: what it answers, and what an
// upstream behind it receives. Nothing of the program is linked in but the
// parser of policy files.
package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// patience bounds every wait for something that should have happened long before.
const patience = 30 * time.Second

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	scratch, err := os.MkdirTemp("", "kr-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if binary, err = proctest.Binary(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if seeded.dir, err = os.MkdirTemp("", "kr-seed-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(seeded.dir)
	return m.Run()
}

// launch starts the program with its own Caddy directories under dir.
func launch(dir string, args ...string) (*proctest.Process, error) {
	return proctest.Launch(binary, dir, nil, args...)
}

// finish waits for a program that ends by itself and returns its exit code.
func finish(t *testing.T, p *proctest.Process) int {
	t.Helper()
	select {
	case <-p.Ended():
	case <-time.After(patience):
		_ = p.Kill()
		t.Fatalf("did not end; it said:\n%s", p.Said())
	}
	return p.Code()
}

// demoOutput is what `demo -o json` prints.
type demoOutput struct {
	GateURL       string  `json:"gate_url"`
	AdminURL      string  `json:"admin_url"`
	LoginURL      *string `json:"login_url"`
	CustomerID    string  `json:"customer_id"`
	MicrotenantID string  `json:"microtenant_id"`
	Keys          []struct {
		Name     string  `json:"name"`
		ClientID string  `json:"client_id"`
		Secret   *string `json:"client_secret"`
		Role     string  `json:"role"`
	} `json:"keys"`
}

func launchDemo(dir string, args ...string) (*proctest.Process, *demoOutput, error) {
	p, err := launch(dir, append([]string{"demo", "--dir", dir, "-o", "json"}, args...)...)
	if err != nil {
		return nil, nil, err
	}
	line, err := p.Stdout.ReadBytes('\n')
	if err != nil {
		return nil, nil, fmt.Errorf("the demo printed nothing: %w\n%s", errors.Join(err, p.Stop()), p.Said())
	}
	out := new(demoOutput)
	if err := json.Unmarshal(line, out); err != nil {
		return nil, nil, fmt.Errorf("the demo printed %q: %w", line, errors.Join(err, p.Stop()))
	}
	return p, out, nil
}

// seeded is the store of a demo that ran once, to be copied.
var seeded struct {
	dir  string
	once sync.Once
	out  *demoOutput
	err  error
}

func seedOnce() (*demoOutput, error) {
	seeded.once.Do(func() {
		p, out, err := launchDemo(seeded.dir, "--listen", proctest.FreeAddress(), "--admin-listen", proctest.FreeAddress())
		if err == nil {
			err = p.Stop()
		}
		seeded.out, seeded.err = out, err
	})
	return seeded.out, seeded.err
}

// gate is a running program with a gate and an admin API.
type gate struct {
	*proctest.Process
	house          *house
	address, admin string // host:port
}

// demo runs the demo on the house, in front of its own echo when upstream is "".
func (h *house) demo(t *testing.T, upstream string) *gate {
	t.Helper()
	args := []string{"--listen", proctest.FreeAddress(), "--admin-listen", proctest.FreeAddress()}
	if upstream != "" {
		args = append(args, "--upstream", upstream)
	}
	p, out, err := launchDemo(h.dir, args...)
	require.NoError(t, err)
	g := &gate{Process: p, house: h, address: strings.TrimPrefix(out.GateURL, "http://"), admin: strings.TrimPrefix(out.AdminURL, "http://")}
	g.endWith(t)
	return g
}

// endWith stops the program at the end of the test; what it logged must hold no secret.
func (g *gate) endWith(t *testing.T) {
	t.Cleanup(func() {
		require.NoError(t, g.Stop(), "the program's end; it said:\n%s", g.Said())
		rest, err := io.ReadAll(g.Stdout)
		require.NoError(t, err)
		for _, s := range g.house.secrets {
			require.NotContains(t, g.Said()+string(rest), s, "a secret was logged")
		}
		if t.Failed() {
			t.Logf("the program said:\n%s", g.Said())
		}
	})
}

// restart stops the program and runs the demo again on the same directory.
func (g *gate) restart(t *testing.T, upstream string) *gate {
	t.Helper()
	require.NoError(t, g.Stop())
	return g.house.demo(t, upstream)
}

// run runs a configuration on the house.
func (h *house) run(t *testing.T, s *site) *gate {
	t.Helper()
	name, text := "caddy.json", s.json
	if text == "" {
		name, text = "Caddyfile", h.caddyfile(s)
	}
	p, err := launch(h.dir, "run", "--config", h.write(t, name, text))
	require.NoError(t, err)
	g := &gate{Process: p, house: h, address: s.gateAddress, admin: s.adminAddress}
	g.endWith(t)
	g.listens(t, g.address)
	g.listens(t, g.admin)
	// Caddy starts its apps in no fixed order: the sites may be there before the
	// store is, and requests wait for it; Caddy's own admin endpoint does not.
	require.Eventually(t, func() bool {
		a, err := trySendOn("unix", h.socket(), request("GET", "/keyreeve/v1/roles"))
		return err == nil && a.status == 200
	}, patience, 10*time.Millisecond, "the local admin endpoint")
	return g
}

// listens waits until the program takes connections at an address.
func (g *gate) listens(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			require.NoError(t, conn.Close())
			return
		}
		select {
		case <-g.Ended():
			t.Fatalf("the program ended: %v\n%s", g.Stop(), g.Said())
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("nothing listens at %s; the program said:\n%s", address, g.Said())
}

// result is what one command did.
type result struct {
	stdout, stderr string
	code           int
}

// command runs the program to its end.
func (h *house) command(t *testing.T, args ...string) result {
	t.Helper()
	p, err := launch(h.dir, args...)
	require.NoError(t, err)
	out, err := io.ReadAll(p.Stdout)
	require.NoError(t, err)
	code := finish(t, p)
	return result{stdout: string(out), stderr: p.Said(), code: code}
}

// cli runs a command over the admin socket of the running program and returns
// what it printed.
func (g *gate) cli(t *testing.T, args ...string) string {
	t.Helper()
	r := g.house.command(t, append(args, "--address", "unix/"+g.house.socket())...)
	require.Zero(t, r.code, "%v: %s", args, r.stderr)
	return r.stdout
}

// create makes a key of the demo's customer over the admin socket.
func (g *gate) create(t *testing.T, name, role string, flags ...string) key {
	t.Helper()
	args := append([]string{"key", "create", name, "--role", role, "--customer", g.house.customer, "-o", "json"}, flags...)
	return g.house.parseKey(t, g.cli(t, args...))
}

func (h *house) parseKey(t *testing.T, text string) key {
	t.Helper()
	var made struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
		RoleID   string `json:"role_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &made), text)
	require.NotEmpty(t, made.Secret)
	h.secrets = append(h.secrets, made.Secret)
	return key{id: made.ID, name: made.Name, clientID: made.ClientID, secret: made.Secret, role: made.RoleID}
}
