package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyreeve/keyreeve/internal/proctest"
)

// key is a credential and what it stands for.
type key struct{ id, name, clientID, secret, role string }

// house is a directory with a store of its own: the demo's customer,
// microtenant, roles and keys.
type house struct {
	dir, db, masterKey    string
	customer, microtenant string
	operator, full        key
	readonly, policyOnly  key
	application, tenant   key
	secrets               []string // that must be in no log
}

func newHouse(t *testing.T) *house {
	t.Helper()
	out, err := seedOnce()
	require.NoError(t, err)
	// A unix socket's path is bounded, so t.TempDir with the test's name is too long.
	dir, err := os.MkdirTemp("", "kr-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	h := &house{
		dir: dir, db: filepath.Join(dir, "keyreeve.db"), masterKey: filepath.Join(dir, "config", "caddy", "keyreeve", "master.key"),
		customer: out.CustomerID, microtenant: out.MicrotenantID,
	}
	for _, name := range []string{"keyreeve.db", filepath.Join("config", "caddy", "keyreeve", "master.key")} {
		data, err := os.ReadFile(filepath.Join(seeded.dir, name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	into := map[string]*key{"operator": &h.operator, "full": &h.full, "readonly": &h.readonly,
		"policy-only": &h.policyOnly, "application-only": &h.application, "tenant": &h.tenant}
	require.Len(t, out.Keys, len(into), "seeded keys")
	for _, k := range out.Keys {
		require.NotNil(t, k.Secret, k.Name)
		require.NotNil(t, into[k.Name], k.Name)
		*into[k.Name] = key{name: k.Name, clientID: k.ClientID, secret: *k.Secret, role: k.Role}
		h.secrets = append(h.secrets, *k.Secret)
	}
	return h
}

func (h *house) keys() []key {
	return []key{h.operator, h.full, h.readonly, h.policyOnly, h.application, h.tenant}
}

func (h *house) path(name string) string { return filepath.Join(h.dir, name) }

func (h *house) socket() string { return h.path("admin.sock") }

// site is a configuration as a Caddyfile, in pieces.
type site struct {
	store    string // the key store; default the house's own file
	app      string // lines of the keyreeve block
	servers  string // lines of the servers block
	global   string // other global options
	gate     string // lines of the gate
	handlers string // directives around it
	upstream string
	proxy    string // lines of reverse_proxy
	sites    string // further sites
	json     string // the whole configuration, instead of all the above

	gateAddress, adminAddress string // chosen when empty
}

// caddyfile writes the configuration out.
func (h *house) caddyfile(s *site) string {
	if s.gateAddress == "" {
		s.gateAddress, s.adminAddress = proctest.FreeAddress(), proctest.FreeAddress()
	}
	store := s.store
	if store == "" {
		store = "sqlite " + h.db
	}
	_, gatePort, _ := net.SplitHostPort(s.gateAddress)
	_, adminPort, _ := net.SplitHostPort(s.adminAddress)
	return fmt.Sprintf(`{
	admin unix/%s
	%s
	servers {
		%s
	}
	keyreeve {
		store %s
		master_key_file %s
		%s
	}
}
http://:%s {
	bind 127.0.0.1
	%s
	keyreeve {
		%s
	}
	reverse_proxy %s {
		%s
	}
}
http://:%s {
	bind 127.0.0.1
	keyreeve_admin
}
%s
`, h.socket(), s.global, s.servers, store, h.masterKey, s.app, gatePort, s.handlers, s.gate, s.upstream, s.proxy, adminPort,
		strings.ReplaceAll(s.sites, "GATE_PORT", gatePort))
}

func (h *house) write(t *testing.T, name, text string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(h.path(name), []byte(text), 0o600))
	return h.path(name)
}
