// Package cluster drives several gates on one PostgreSQL server, all real: processes
// of the program, sockets, and a network between them that can be cut.
package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/pgtest"
	"github.com/keyreeve/keyreeve/internal/proctest"
)

// patience bounds every wait for something that should have happened long before.
const patience = proctest.Patience

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

// runAll runs one more at a time than there are processors, unless it is told how many:
// many tests here mostly wait, for leases and polls to pass and processes to come up.
func runAll(m *testing.M) int {
	scratch, err := os.MkdirTemp("", "kr-cluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if binary, err = proctest.Binary(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if parallel := flag.Lookup("test.parallel"); !set && parallel != nil {
		if err = parallel.Value.Set(strconv.Itoa(1 + runtime.GOMAXPROCS(0))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// gateUser is who the gates are at the database: its owner, and no superuser.
const gateUser = "gate"

// survivesAKill are the settings of a server that loses nothing it committed when its
// processes are killed; only the machine must not fail.
var survivesAKill = []string{"fsync=off", "full_page_writes=off"}

// cluster is a PostgreSQL server and gates that share one database of it.
type cluster struct {
	server   *pgtest.Server
	database string
	dir      string
	// customer is whose keys are made.
	customer string
	upstream *httptest.Server
	gates    []*gate
}

// options are what the gates of a cluster are configured with.
type options struct {
	gates int
	// global stands in each gate's keyreeve block.
	global string
	// server has PostgreSQL's settings, nil for survivesAKill.
	server []string
	// alone is one gate on a file of its own, and no server.
	alone bool
}

// gate is one gate, its own way to the database, and its files, which it keeps over
// restarts.
type gate struct {
	c       *cluster
	n       int
	name    string
	dir     string
	process *proctest.Process
	// address serves what the gate guards, socket Caddy's own admin endpoint.
	address, socket string
	link            *link
	client, local   *http.Client
}

// newCluster starts a server and its gates, with one customer in the store.
func newCluster(t *testing.T, o options) *cluster {
	t.Helper()
	if o.server == nil {
		o.server = survivesAKill
	}
	dir, err := os.MkdirTemp("", "kr-cl-") // short: a socket's path has room for 107 bytes
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	c := &cluster{dir: dir}
	if o.alone {
		o.gates = 1
	} else {
		c.server = pgtest.Start(t, o.server...)
		c.database = c.server.NewDatabase(t)
		c.server.CreateUser(t, gateUser)
		c.server.Exec(t, "ALTER DATABASE "+c.database+" OWNER TO "+gateUser)
	}
	c.upstream = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Keyreeve-Key-Id"))
	}))
	t.Cleanup(c.upstream.Close)
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "master.key"), []byte("krm_"+base64.RawURLEncoding.EncodeToString(key)+"\n"), 0o600))
	for n := range o.gates {
		g := &gate{c: c, n: n, name: string(rune('A' + n)), dir: filepath.Join(dir, string(rune('a'+n))), address: proctest.FreeAddress()}
		g.socket = filepath.Join(g.dir, "admin.sock")
		if c.server != nil {
			g.link = newLink(t, c.server.Address())
		}
		g.client = newClient("tcp", g.address)
		g.local = newClient("unix", g.socket)
		require.NoError(t, os.Mkdir(g.dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(g.dir, "Caddyfile"), []byte(g.caddyfile(o.global)), 0o600))
		c.gates = append(c.gates, g)
		g.start(t)
		if n == 0 { // the others find the tables made
			g.ready(t)
		}
	}
	for _, g := range c.gates {
		g.ready(t)
	}
	t.Cleanup(func() {
		for _, g := range c.gates {
			if t.Failed() {
				t.Logf("gate %s said:\n%s", g.name, tail(g.process.Said(), 20000))
			}
			_ = g.process.Signal(resume)
			require.NoError(t, g.process.Kill())
		}
	})
	made := c.gates[0].api(t, "POST", "/v1/customers", map[string]any{"name": "ACME"})
	require.Equal(t, http.StatusCreated, made.status, made.body)
	c.customer = made.field("id")
	return c
}

func (g *gate) caddyfile(global string) string {
	host, port, _ := net.SplitHostPort(g.address)
	store := "postgres {env.CLUSTER_DSN}"
	if g.link == nil {
		store = "sqlite " + filepath.Join(g.dir, "keyreeve.db")
	}
	return fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	keyreeve {
		store %s
		master_key_file %s
		%s
	}
}
http://:%s {
	bind %s
	keyreeve_auth
	keyreeve {
		route * /things/{rest...} things
	}
	reverse_proxy %s
}
`, g.socket, store, filepath.Join(g.c.dir, "master.key"), strings.ReplaceAll(strings.TrimSpace(global), "\n", "\n\t\t"), port, host, g.c.upstream.URL)
}

// start runs the gate, again or for the first time. It need not be ready: see ready.
func (g *gate) start(t *testing.T) {
	t.Helper()
	// Short-lived as it is, it need not spend the machine's time on keeping itself small.
	env := []string{"GOGC=400"}
	if g.link != nil {
		env = append(env, "CLUSTER_DSN="+g.c.server.DSNBy(g.link.address(), gateUser, g.c.database))
	}
	p, err := proctest.Launch(binary, g.dir, env, "run", "--config", filepath.Join(g.dir, "Caddyfile"))
	require.NoError(t, err)
	g.process = p
}

// ready waits until the gate has its store open.
func (g *gate) ready(t *testing.T) {
	t.Helper()
	g.until(t, "its local admin endpoint answers", func() bool {
		a, err := g.tryAPI("GET", "/v1/roles", nil)
		return err == nil && a.status == http.StatusOK
	})
}

// listens waits until the gate takes requests, whether or not it has its store.
func (g *gate) listens(t *testing.T) {
	t.Helper()
	g.until(t, "it listens", func() bool {
		conn, err := net.Dial("tcp", g.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// until waits for what the gate is to do soon.
func (g *gate) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		select {
		case <-g.process.Ended():
			t.Fatalf("gate %s ended before %s:\n%s", g.name, what, tail(g.process.Said(), 20000))
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("gate %s: not within %s: %s\n%s", g.name, patience, what, tail(g.process.Said(), 20000))
		}
	}
}

// newClient keeps its connections to one address.
func newClient(network, address string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
}

// answer is one response.
type answer struct {
	status int
	header http.Header
	body   string
	// began and ended are when it was asked for and was there.
	began, ended time.Time
}

// field is a member of the body's JSON object.
func (a answer) field(name string) string {
	var members map[string]any
	_ = json.Unmarshal([]byte(a.body), &members)
	text, _ := members[name].(string)
	return text
}

// ask sends a body as JSON, or as a form where it is one.
func ask(client *http.Client, method, to string, header map[string]string, body any) (answer, error) {
	var sent io.Reader
	switch b := body.(type) {
	case nil:
	case url.Values:
		sent = strings.NewReader(b.Encode())
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		sent = bytes.NewReader(data)
	}
	r, err := http.NewRequest(method, to, sent)
	if err != nil {
		return answer{}, err
	}
	switch body.(type) {
	case nil:
	case url.Values:
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	default:
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	a := answer{began: time.Now()}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	a.status, a.header, a.body, a.ended = resp.StatusCode, resp.Header, string(data), time.Now()
	return a, err
}

// api asks the gate's local admin endpoint, which may do everything.
func (g *gate) api(t *testing.T, method, path string, body any) answer {
	t.Helper()
	a, err := g.tryAPI(method, path, body)
	require.NoError(t, err)
	return a
}

func (g *gate) tryAPI(method, path string, body any) (answer, error) {
	header := map[string]string{}
	if method == "PATCH" {
		header["Content-Type"] = "application/merge-patch+json"
	}
	return ask(g.local, method, "http://localhost/keyreeve"+path, header, body)
}

// key is a key with its secret.
type key struct{ id, clientID, secret, secretID string }

// create makes a key of the cluster's customer, with a role of its own if none is named.
func (g *gate) create(t *testing.T, name, role string) key {
	t.Helper()
	a := g.api(t, "POST", "/v1/keys", map[string]any{"name": name, "role_id": role, "customer_id": g.c.customer})
	require.Equal(t, http.StatusCreated, a.status, a.body)
	var made struct {
		ID       string `json:"id"`
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
		Secrets  []struct {
			ID string `json:"id"`
		} `json:"secrets"`
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &made))
	return key{id: made.ID, clientID: made.ClientID, secret: made.Secret, secretID: made.Secrets[0].ID}
}

func (k key) basic() string { return basic(k.clientID, k.secret) }

// wrong is the key with a secret that is not its own.
func (k key) wrong() string { return basic(k.clientID, "not-the-secret") }

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// get asks the gate for what it guards.
func (g *gate) get(authorization string) (answer, error) {
	return ask(g.client, "GET", "http://gate/things/1", map[string]string{"Authorization": authorization}, nil)
}

// tail is the end of a text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }
