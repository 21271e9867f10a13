package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth" // basic_auth
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/caddymodule"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// policyFile has the 239 routes of a real API.
	policyFile  = "../examples/zpa/policy.yaml"
	customer    = "216199618143191040"
	microtenant = "216199618143191056"
	// otherKeys stand beside those that are used.
	otherKeys = 100
	// applications is a path that one of the routes matches.
	applications = "/mgmtconfig/v1/admin/customers/" + customer + "/application"
)

// fixture is a running Caddy without listeners: the app on a SQLite store with
// keys in it, and the handlers as a configuration makes them.
type fixture struct {
	gate, basicAuth, reference caddyhttp.MiddlewareHandler
	// full may do everything, readOnly read, tenant everything in its microtenant.
	full, readOnly, tenant lifecycle.CreatedKey
}

// start provisions everything and takes it down at the end of tb.
func start(tb testing.TB) *fixture {
	tb.Helper()
	dir := tb.TempDir()
	config := map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}},
		"apps": map[string]any{"keyreeve": map[string]any{
			"store":           map[string]any{"module": "sqlite", "path": filepath.Join(dir, "keyreeve.db")},
			"master_key_file": []string{filepath.Join(dir, "master.key")},
		}},
	}
	raw, err := json.Marshal(config)
	require.NoError(tb, err)
	require.NoError(tb, caddy.Load(raw, true))
	tb.Cleanup(func() { require.NoError(tb, caddy.Stop()) })

	f := &fixture{}
	f.seed(tb, caddymodule.Service())
	f.gate = handler(tb, "http.handlers.keyreeve", map[string]any{"policy": []string{policyFile}})
	f.basicAuth = handler(tb, "http.handlers.authentication", map[string]any{
		"providers": map[string]any{"http_basic": map[string]any{
			"accounts":   []any{map[string]any{"username": f.full.ClientID, "password": bcrypted(tb, f.full.ClientSecret)}},
			"hash":       map[string]any{"algorithm": "bcrypt"},
			"hash_cache": map[string]any{},
		}},
	})
	file, err := policy.LoadFile(policyFile)
	require.NoError(tb, err)
	f.reference = newReference(tb, file, f.full)
	return f
}

func handler(tb testing.TB, id string, config map[string]any) caddyhttp.MiddlewareHandler {
	tb.Helper()
	raw, err := json.Marshal(config)
	require.NoError(tb, err)
	module, err := caddy.ActiveContext().LoadModuleByID(id, raw)
	require.NoError(tb, err)
	return module.(caddyhttp.MiddlewareHandler)
}

func bcrypted(tb testing.TB, secret string) string {
	tb.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.DefaultCost)
	require.NoError(tb, err)
	return string(hash)
}

// seed makes a customer with a microtenant and keys, through the operations that
// every door to the store uses.
func (f *fixture) seed(tb testing.TB, keys *lifecycle.Service) {
	tb.Helper()
	ctx, local := context.Background(), lifecycle.Local("bench", false)
	_, _, err := keys.CreateCustomer(ctx, local, lifecycle.NewCustomer{ID: customer, Name: "Customer"})
	require.NoError(tb, err)
	_, _, err = keys.CreateMicrotenant(ctx, local, lifecycle.NewMicrotenant{ID: microtenant, CustomerID: customer, Name: "Microtenant"})
	require.NoError(tb, err)
	create := func(k lifecycle.NewKey) lifecycle.CreatedKey {
		k.CustomerID = customer
		made, _, err := keys.CreateKey(ctx, local, k)
		require.NoError(tb, err)
		return made
	}
	f.full = create(lifecycle.NewKey{Name: "full", RoleID: "role_api_full_access"})
	f.readOnly = create(lifecycle.NewKey{Name: "readonly", RoleID: "role_api_read_only"})
	f.tenant = create(lifecycle.NewKey{Name: "tenant", RoleID: "role_api_full_access", MicrotenantID: lifecycle.Some(microtenant)})
	for i := range otherKeys {
		create(lifecycle.NewKey{Name: fmt.Sprintf("other-%d", i), RoleID: "role_api_read_only"})
	}
}
