// Package xcaddy builds Caddy with this module as users do, by xcaddy, and runs
// what comes out.
package xcaddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that should have happened long before.
const patience = 30 * time.Second

func TestABuildByXcaddyServesTheExample(t *testing.T) {
	if testing.Short() {
		t.Skip("builds all of Caddy")
	}
	c := &custom{t: t, dir: t.TempDir()}
	c.root, _ = filepath.Abs("../..")
	c.build()
	c.configure()

	require.True(t, strings.HasPrefix(c.must("version"), c.caddyVersion), "the declared Caddy")
	modules := c.must("list-modules")
	for _, id := range []string{"keyreeve", "http.handlers.keyreeve", "http.handlers.keyreeve_admin", "keyreeve.stores.sqlite", "admin.api.keyreeve"} {
		require.Contains(t, strings.Split(modules, "\n"), id)
	}
	require.Contains(t, c.must("keyreeve", "key", "list", "--help"), "caddy keyreeve key list --state locked")
	require.Contains(t, c.must("keyreeve", "--help"), "doctor")

	// The first key, made in the store itself before anything runs.
	var key struct {
		ID           string
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
		CustomerID   string `json:"customer_id"`
	}
	made := c.must("keyreeve", "key", "create", "first", "--role", "API Full Access", "--config", c.caddyfile, "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(made), &key))

	c.start()
	path := "/mgmtconfig/v1/admin/customers/" + key.CustomerID + "/appConnectorGroup"
	status, _ := c.get(path, "", "")
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = c.get(path, key.ClientID, key.ClientSecret+"x")
	require.Equal(t, http.StatusUnauthorized, status)
	status, body := c.get(path, key.ClientID, key.ClientSecret)
	require.Equal(t, http.StatusOK, status, body)
	require.Equal(t, key.ClientID+" at "+path, body, "the upstream was told who calls")

	address := "unix/" + c.socket
	require.Contains(t, c.must("keyreeve", "key", "list", "--address", address), key.ClientID)
	require.Contains(t, c.must("keyreeve", "doctor", "--address", address, "-o", "json"), `"failed":0`)
	require.Contains(t, c.must("keyreeve", "doctor", "--config", c.caddyfile, "-o", "json"), `"failed":0`)
	require.Contains(t, c.must("keyreeve", "key", "disable", key.ID, "--address", address, "-o", "json"), `"state":"disabled"`)
	status, _ = c.get(path, key.ClientID, key.ClientSecret)
	require.Equal(t, http.StatusUnauthorized, status)
}

// custom is a Caddy built for this test, and its run.
type custom struct {
	t                         *testing.T
	root, dir                 string
	binary, caddyfile         string
	caddyVersion              string
	env                       []string // of its commands
	gateAddress, adminAddress string
	socket                    string // of Caddy's admin endpoint
}

// build runs keyreeve-build on the repository's declaration, changed only in
// where the program goes, and in flags of the compiler, so that what was compiled
// for the tests themselves is not compiled again.
func (c *custom) build() {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, "xcaddy.toml"))
	require.NoError(c.t, err)
	c.binary = filepath.Join(c.dir, "caddy")
	declared := string(text)
	for form, replacement := range map[string]string{
		`(?m)^output = .*$`:      fmt.Sprintf("output = %q", c.binary),
		`(?m)^build_flags = .*$`: `build_flags = ["-ldflags=-s -w"]`, // for the linker alone
		`(?m)^replacement = .*$`: fmt.Sprintf("replacement = %q", c.root),
	} {
		changed := regexp.MustCompile(form).ReplaceAllLiteralString(declared, replacement)
		require.NotEqual(c.t, declared, changed, "xcaddy.toml has no line %s", form)
		declared = changed
	}
	c.caddyVersion = regexp.MustCompile(`(?m)^caddy_version = "(.*)"$`).FindStringSubmatch(declared)[1]
	file := filepath.Join(c.dir, "xcaddy.toml")
	require.NoError(c.t, os.WriteFile(file, []byte(declared), 0o600))

	build := exec.Command("go", "run", "./cmd/keyreeve-build", "-file", file)
	build.Dir = c.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY="+c.pins(declared))
	began := time.Now()
	out, err := build.CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	c.t.Logf("built in %s", time.Since(began).Round(time.Second))
}

// pins is the list of module proxies with one before all others that knows only
// which versions there are: of this module none, so that nobody is asked for
// what is built from this checkout; of xcaddy the one in use.
func (c *custom) pins(declared string) string {
	c.t.Helper()
	dry := exec.Command("go", "run", "./cmd/keyreeve-build", "-n")
	dry.Dir, dry.Env = c.root, append(os.Environ(), "CGO_ENABLED=0")
	printed, err := dry.Output()
	require.NoError(c.t, err)
	xcaddy := regexp.MustCompile(`(github\.com/caddyserver/xcaddy)/cmd/xcaddy@(v\S+)`).FindStringSubmatch(string(printed))
	require.Len(c.t, xcaddy, 3)
	module := regexp.MustCompile(`(?m)^module = "(.*)"$`).FindStringSubmatch(declared)[1]
	dir := filepath.Join(c.dir, "pins")
	for path, versions := range map[string]string{module: "", xcaddy[1]: xcaddy[2] + "\n"} {
		list := filepath.Join(dir, filepath.FromSlash(path), "@v", "list")
		require.NoError(c.t, os.MkdirAll(filepath.Dir(list), 0o700))
		require.NoError(c.t, os.WriteFile(list, []byte(versions), 0o600))
	}
	proxies, err := exec.Command("go", "env", "GOPROXY").Output()
	require.NoError(c.t, err)
	return "file://" + filepath.ToSlash(dir) + "," + strings.TrimSpace(string(proxies))
}

// configure makes the surroundings in which the example runs.
func (c *custom) configure() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s at %s", r.Header.Get("Keyreeve-Client-Id"), r.URL.Path)
	}))
	c.t.Cleanup(upstream.Close)
	// A socket's path must be short, a test's directory may not be.
	short, err := os.MkdirTemp("", "kr-")
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = os.RemoveAll(short) })
	c.socket, c.caddyfile = filepath.Join(short, "admin.sock"), filepath.Join(c.root, "Caddyfile.example")
	c.gateAddress, c.adminAddress = freeAddress(c.t), freeAddress(c.t)
	gateHost, gatePort, _ := net.SplitHostPort(c.gateAddress)
	adminHost, adminPort, _ := net.SplitHostPort(c.adminAddress)
	c.env = append(os.Environ(),
		"XDG_CONFIG_HOME="+filepath.Join(c.dir, "config"), "XDG_DATA_HOME="+filepath.Join(c.dir, "data"),
		"KEYREEVE_CADDY_ADMIN=unix/"+c.socket, "KEYREEVE_DB="+filepath.Join(c.dir, "keyreeve.db"),
		"KEYREEVE_POLICY="+filepath.Join(c.root, "examples/zpa/policy.yaml"),
		"KEYREEVE_GATE_HOST="+gateHost, "KEYREEVE_GATE_PORT="+gatePort, "KEYREEVE_ADMIN_HOST="+adminHost, "KEYREEVE_ADMIN_PORT="+adminPort,
		"KEYREEVE_UPSTREAM="+upstream.URL, "KEYREEVE_ISSUER=http://"+c.gateAddress,
	)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// must runs a command of the program and gives what it writes.
func (c *custom) must(args ...string) string {
	c.t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(c.binary, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.dir, &out, &errOut
	require.NoError(c.t, cmd.Run(), "%v: %s", args, &errOut)
	return out.String()
}

// start runs the example until the test ends.
func (c *custom) start() {
	c.t.Helper()
	var log bytes.Buffer // read after the program has ended
	cmd := exec.Command(c.binary, "run", "--config", c.caddyfile)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.dir, &log, &log
	require.NoError(c.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		if c.t.Failed() {
			c.t.Logf("the program's log:\n%s", &log)
		}
	})
	require.Eventually(c.t, func() bool {
		conn, err := net.Dial("tcp", c.gateAddress)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 50*time.Millisecond)
}

// get asks the gate for a path, signed in where there is an id.
func (c *custom) get(path, id, secret string) (status int, body string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.gateAddress+path, nil)
	require.NoError(c.t, err)
	if id != "" {
		req.SetBasicAuth(id, secret)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	return res.StatusCode, string(data)
}
