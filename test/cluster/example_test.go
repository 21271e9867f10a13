package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/internal/proctest"
)

// exampleDir has the files of an installation, which the tests here use as they are.
const exampleDir = "../../examples/cluster"

// installation is a database and gates by those files.
type installation struct {
	t        *testing.T
	dir      string // of secrets, and of a state for each gate
	upstream *httptest.Server
	roots    *x509.CertPool
}

// exampleGate is one of its gates.
type exampleGate struct {
	*proctest.Process
	env                    []string
	public, admin, metrics string
	client                 *http.Client
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	dir, err := os.MkdirTemp("", "kr-ex-") // short, for the sockets in it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) // the server is another user
	i := &installation{t: t, dir: dir}
	i.run(nil, "sh", filepath.Join(exampleDir, "secrets.sh"), i.secrets())

	hba := filepath.Join(dir, "pg_hba.conf")
	text, err := os.ReadFile(filepath.Join(exampleDir, "pg_hba.conf"))
	require.NoError(t, err)
	// pgtest comes over the socket without a password.
	rules := strings.Replace(string(text), "postgres                       scram-sha-256", "postgres trust", 1)
	require.NotEqual(t, string(text), rules)
	require.NoError(t, os.WriteFile(hba, []byte(rules), 0o644))
	server := pgtest.Start(t, append(pgtest.Volatile(), "hba_file="+hba)...)
	root := server.ServeTLS(t)
	i.run([]string{"KEYREEVE_SECRETS=" + i.secrets()}, "psql", "-v", "ON_ERROR_STOP=1", "-d", server.DSN(pgtest.Superuser, "postgres"),
		"-f", filepath.Join(exampleDir, "roles.sql"))
	for file, name := range map[string]string{"dsn": "gate", "owner-dsn": "owner"} {
		dsn := fmt.Sprintf("postgres://keyreeve_%s:%s@%s/keyreeve?sslmode=verify-full&sslrootcert=%s", name, i.secret(name+"-password"), server.Address(), root)
		require.NoError(t, os.WriteFile(filepath.Join(i.secrets(), file), []byte(dsn+"\n"), 0o600))
	}
	i.roots = x509.NewCertPool()
	require.True(t, i.roots.AppendCertsFromPEM([]byte(i.secret("gate-ca.crt"))))
	i.upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	t.Cleanup(i.upstream.Close)
	return i
}

func (i *installation) secrets() string { return filepath.Join(i.dir, "secrets") }

func (i *installation) secret(name string) string {
	text, err := os.ReadFile(filepath.Join(i.secrets(), name))
	require.NoError(i.t, err)
	return strings.TrimSpace(string(text))
}

// run runs a program to its end and returns what it printed.
func (i *installation) run(env []string, program string, args ...string) string {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), env...)
	// Into files, which what `start` leaves running may keep open.
	said, err := os.CreateTemp(i.dir, "said-*")
	require.NoError(i.t, err)
	defer said.Close()
	complaints, err := os.CreateTemp(i.dir, "complaints-*")
	require.NoError(i.t, err)
	defer complaints.Close()
	c.Stdout, c.Stderr = said, complaints
	err = c.Run()
	out, _ := os.ReadFile(said.Name())
	why, _ := os.ReadFile(complaints.Name())
	require.NoError(i.t, err, "%s %s\n%s%s", program, args, out, why)
	return string(out)
}

// migrate does what the services migrate and grants of the compose file do.
func (i *installation) migrate() {
	i.t.Helper()
	env := []string{"KEYREEVE_SECRETS=" + i.secrets(), "KEYREEVE_ADMIN_SOCKET=" + filepath.Join(i.dir, "owner.sock"), "HOME=" + i.dir, "XDG_DATA_HOME=" + i.dir, "XDG_CONFIG_HOME=" + i.dir}
	config := filepath.Join(exampleDir, "owner.Caddyfile")
	i.t.Cleanup(func() { // what a failure left running
		c := exec.Command(binary, "stop", "--config", config)
		c.Env = append(os.Environ(), env...)
		_ = c.Run()
	})
	i.run(env, binary, "start", "--config", config)
	i.run(env, binary, "stop", "--config", config)
	i.run(nil, "psql", "-v", "ON_ERROR_STOP=1", "-v", "gate=keyreeve_gate", "-d", i.secret("owner-dsn"), "-f", "../../docs/postgres-grants.sql")
}

// start begins a gate with the example's Caddyfile.
func (i *installation) start(name string) *exampleGate {
	i.t.Helper()
	dir := filepath.Join(i.dir, name)
	require.NoError(i.t, os.MkdirAll(dir, 0o700))
	g := &exampleGate{public: proctest.FreeAddress(), admin: proctest.FreeAddress(), metrics: proctest.FreeAddress()}
	port := func(address string) string { return address[strings.LastIndex(address, ":")+1:] }
	g.env = []string{"KEYREEVE_SECRETS=" + i.secrets(), "KEYREEVE_STATE=" + dir, "KEYREEVE_ADMIN_SOCKET=" + filepath.Join(dir, "admin.sock"),
		"KEYREEVE_PUBLIC=127.0.0.1", "KEYREEVE_PORT=" + port(g.public), "KEYREEVE_PRIVATE=127.0.0.1", "KEYREEVE_ADMIN_PORT=" + port(g.admin),
		"KEYREEVE_METRICS_PORT=" + port(g.metrics), "KEYREEVE_UPSTREAM=" + i.upstream.URL}
	config, err := filepath.Abs(filepath.Join(exampleDir, "Caddyfile"))
	require.NoError(i.t, err)
	g.Process, err = proctest.Launch(binary, dir, g.env, "run", "--config", config)
	require.NoError(i.t, err)
	i.t.Cleanup(func() {
		if i.t.Failed() {
			i.t.Logf("%s said:\n%s", name, tail(g.Said(), 10000))
		}
		require.NoError(i.t, g.Kill())
	})
	at := map[string]string{"api.example.com:443": g.public, "keys.example.com:443": g.admin}
	g.client = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: i.roots},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at[address])
		}}}
	require.Eventually(i.t, func() bool {
		a, err := ask(g.client, "GET", "https://api.example.com/healthz", nil, nil)
		return err == nil && a.status == http.StatusOK
	}, patience, 20*time.Millisecond, g.Said())
	return g
}

// cli runs a command on a gate's machine, as its operator does.
func (i *installation) cli(g *exampleGate, args ...string) string {
	i.t.Helper()
	var socket string
	for _, v := range g.env {
		if found, ok := strings.CutPrefix(v, "KEYREEVE_ADMIN_SOCKET="); ok {
			socket = found
		}
	}
	return i.run(nil, binary, append(args, "--address", "unix/"+socket)...)
}

func (g *exampleGate) orders(t *testing.T, customer string, k key) int {
	t.Helper()
	a, err := ask(g.client, "GET", "https://api.example.com/customers/"+customer+"/orders", map[string]string{"Authorization": k.basic()}, nil)
	require.NoError(t, err)
	return a.status
}

func TestTheExampleIsAnInstallationWhoseGatesServeAndRevokeTogether(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.migrate()
	one, two := i.start("one"), i.start("two")
	var made struct {
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
		Customer string `json:"customer_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(i.cli(one, "key", "create", "ci", "--role", "API Full Access", "-o", "json")), &made))
	k := key{clientID: made.ClientID, secret: made.Secret}
	require.Equal(t, http.StatusOK, one.orders(t, made.Customer, k))
	require.Equal(t, http.StatusOK, two.orders(t, made.Customer, k))

	var nodes struct {
		Items []struct {
			State string `json:"state"`
		} `json:"items"`
	}
	require.NoError(t, json.Unmarshal([]byte(i.cli(two, "node", "list", "-o", "json")), &nodes))
	require.Len(t, nodes.Items, 2, "whoever made the tables is no node")
	for _, n := range nodes.Items {
		require.Equal(t, "serving", n.State)
	}
	require.Contains(t, i.cli(one, "doctor"), "ok")

	// Only administration is served at the private address, and only there.
	a, err := ask(one.client, "GET", "https://keys.example.com/v1/keys", nil, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, a.status)
	a, err = ask(one.client, "GET", "https://api.example.com/v1/keys", map[string]string{"Authorization": k.basic()}, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, a.status, "no route")
	a, err = ask(http.DefaultClient, "GET", "http://"+two.metrics+"/metrics", nil, nil)
	require.NoError(t, err)
	require.Contains(t, a.body, "keyreeve_node_refusing 0")

	i.cli(one, "key", "disable", "ci")
	require.Equal(t, http.StatusUnauthorized, one.orders(t, made.Customer, k))
	require.Equal(t, http.StatusUnauthorized, two.orders(t, made.Customer, k), "at once")

	i.migrate() // as before an upgrade: beside gates that run, it changes nothing that is there
	i.cli(two, "key", "enable", "ci")
	require.Equal(t, http.StatusOK, one.orders(t, made.Customer, k))
	require.NoError(t, one.Stop())
	require.FileExists(t, filepath.Join(i.dir, "one", "snapshot"))
	for _, said := range []string{one.Said(), two.Said()} {
		for _, name := range []string{"gate-password", "owner-password", "master.key"} {
			require.NotContains(t, said, i.secret(name))
		}
	}
}
