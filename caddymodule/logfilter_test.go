package caddymodule

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/keystore"
)

// logsOf runs a Caddyfile, sends secrets in every way, good and bad ones, to a
// gate without an upstream (so that what is let through fails and is logged as an
// error too), and returns what was logged and what must not be in it.
func logsOf(t *testing.T, config string) (logged map[string]string, secrets []string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir("..") // the example names its policy from the root
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	t.Setenv("XDG_DATA_HOME", filepath.Join(dir, "data"))
	t.Setenv("KEYREEVE_CADDY_ADMIN", "off")
	t.Setenv("KEYREEVE_LOGS", dir)
	t.Setenv("KEYREEVE_DB", filepath.Join(dir, "keys.db"))
	gate, err := url.Parse("http://" + freeAddress(t))
	require.NoError(t, err)
	t.Setenv("KEYREEVE_GATE_PORT", gate.Port())
	t.Setenv("KEYREEVE_UPSTREAM", "http://"+freeAddress(t)) // nobody listens there
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	require.NoError(t, caddy.Load(adapted, true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })

	g := &gateTest{t: t, gateURL: gate.String()}
	k := g.newKey("a", keystore.RoleFullAccess)
	path := "/mgmtconfig/v1/admin/customers/c1/application"
	to := func(r *http.Request) { r.URL.Path = path }
	for _, secret := range []string{k.secret, "wrong-" + k.secret[:20]} {
		secrets = append(secrets, secret, base64.StdEncoding.EncodeToString([]byte(k.clientID+":"+secret)))
		status := 401
		if secret == k.secret {
			status = 502
		}
		require.Equal(t, status, g.send(func(r *http.Request) { to(r); r.SetBasicAuth(k.clientID, secret) }))
		require.Equal(t, status, g.send(func(r *http.Request) {
			to(r)
			r.Header.Set("X-Client-Id", k.clientID)
			r.Header.Set("X-Client-Secret", secret)
		}))
		g.send(func(r *http.Request) { to(r); r.Header.Set("X-API-Key", k.clientID+"."+secret) }) // the third wrong one locks
		require.Equal(t, 401, g.send(func(r *http.Request) { to(r); r.Header.Set("Authorization", "Bearer "+secret) }))
		require.Equal(t, 400, g.send(func(r *http.Request) { to(r); r.URL.RawQuery = "a=b&client_secret=" + url.QueryEscape(secret) }))
		require.Equal(t, 400, g.send(func(r *http.Request) { to(r); r.URL.RawQuery = "access_token=" + url.QueryEscape(secret) }))
		require.Equal(t, 502, g.send(func(r *http.Request) { // on a public route too
			r.URL.Path = "/healthz"
			r.Header.Set("X-API-Key", k.clientID+"."+secret)
		}))
	}
	logged = map[string]string{}
	for _, name := range []string{"access.log", "error.log"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		logged[name] = string(text)
	}
	return logged, secrets
}

func TestTheExampleOfFilteredLogsHoldsNoSecret(t *testing.T) {
	config, err := os.ReadFile("../examples/log-filter/Caddyfile")
	require.NoError(t, err)
	logged, secrets := logsOf(t, string(config))
	require.Equal(t, 14, strings.Count(logged["access.log"], "handled request"))
	require.Contains(t, logged["error.log"], "http.log.error")
	require.Contains(t, logged["error.log"], "client locked")
	for name, text := range logged {
		require.Contains(t, text, "X-Client-Id", "%s: the rest of a request is there", name)
		require.Contains(t, text, "REDACTED", name)
		for _, secret := range secrets {
			require.NotContains(t, text, secret, name)
		}
	}
}

// What the example is for, and that the test above can fail.
func TestUnfilteredLogsWouldHoldSecrets(t *testing.T) {
	config, err := os.ReadFile("../examples/log-filter/Caddyfile")
	require.NoError(t, err)
	logged, secrets := logsOf(t, strings.ReplaceAll(string(config), "import without_secrets", ""))
	for name, text := range logged {
		require.Contains(t, text, secrets[0], name)
	}
}
