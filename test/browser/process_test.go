// Package browser drives the page of the real binary in a real browser, by clicks
// and keys. How its tests are written is said in tab_test.go.
package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// patience bounds every wait for something that should have happened long before.
const patience = proctest.Patience

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	scratch, err := os.MkdirTemp("", "kr-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if binary, err = proctest.Binary(scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// demo is a running demo, as it prints itself.
type demo struct {
	AdminURL      string `json:"admin_url"`
	GateURL       string `json:"gate_url"`
	LoginURL      string `json:"login_url"`
	CustomerID    string `json:"customer_id"`
	MicrotenantID string `json:"microtenant_id"`
	Keys          []struct {
		Name     string `json:"name"`
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
	} `json:"keys"`

	// dir is where its store is.
	dir     string
	process *proctest.Process
	// printed is what followed on that.
	printed proctest.Buffer
}

// logged is what the program has written so far.
func (d *demo) logged() string { return d.process.Said() + d.printed.String() }

// key is the seeded key of that name.
func (d *demo) key(t *testing.T, name string) (clientID, secret string) {
	t.Helper()
	for _, k := range d.Keys {
		if k.Name == name {
			return k.ClientID, k.Secret
		}
	}
	require.Fail(t, "no such key", name)
	return "", ""
}

// startDemo runs the demo until the test ends.
func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{dir: t.TempDir()}
	p, err := proctest.Launch(binary, d.dir, nil, "demo", "--dir", filepath.Join(d.dir, "demo"), "-o", "json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	require.NoError(t, err)
	d.process = p
	drained := make(chan struct{}) // all that it printed is read
	t.Cleanup(func() {
		err := p.Stop()
		<-drained
		require.NoError(t, err, d.logged())
	})
	late := time.AfterFunc(patience, func() { _ = p.Kill() })
	line, err := p.Stdout.ReadBytes('\n')
	late.Stop()
	go func() {
		defer close(drained)
		_, _ = io.Copy(&d.printed, p.Stdout)
	}()
	require.NoError(t, err, d.logged())
	require.NoError(t, json.Unmarshal(line, d))
	return d
}

// api asks the admin API as the Operator and returns its answer, which must be a
// success: for setting up what a test is not about.
func (d *demo) api(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, d.AdminURL+path, sent)
	require.NoError(t, err)
	req.SetBasicAuth(d.key(t, "operator"))
	switch {
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	case body != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, 2, res.StatusCode/100, "%s %s: %d %s", method, path, res.StatusCode, text)
	answer := map[string]any{}
	if strings.HasSuffix(res.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(text, &answer))
	}
	return answer
}

// call asks something of the gate with a key's Basic credential, and returns the
// status.
func (d *demo) call(t *testing.T, clientID, secret string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.GateURL+"/mgmtconfig/v1/admin/customers/"+d.CustomerID+"/application", nil)
	require.NoError(t, err)
	req.SetBasicAuth(clientID, secret)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_ = res.Body.Close()
	return res.StatusCode
}
