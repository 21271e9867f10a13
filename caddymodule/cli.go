package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/admin/cli"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "keyreeve",
		Short: "Administers API keys",
		Long:  "Administers the API keys of Keyreeve: over Caddy's local admin endpoint, over a site's admin API, or in the store itself.",
		CobraFunc: func(cmd *cobra.Command) {
			env := CLIEnv(cmp.Or(caddy.CustomBinaryName, "caddy") + " keyreeve") // set by main before this
			cmd.AddCommand(cli.Commands(env)...)
			cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		},
	})
}

// CLIEnv is the surroundings of the commands in a process whose main is Caddy's.
func CLIEnv(program string) cli.Env {
	return cli.Env{Program: program, Offline: openOffline, Diagnose: diagnose, Migrate: migrate, Schema: upgradeSchema, Exit: exitCode}
}

// exitCode makes the error from which Caddy's main takes its exit code. The
// command has reported err itself; passed on, it would be reported again.
func exitCode(code int, err error) error {
	if code == cli.ExitError {
		return err
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(&cobra.Command{}, nil)
}

// openOffline opens the store that a configuration names, without running it.
func openOffline(ctx context.Context, configPath string) (http.Handler, func() error, error) {
	app, err := offlineApp(configPath)
	if err != nil {
		return nil, nil, err
	}
	cctx, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	if err := app.configure(cctx); err != nil {
		cancel()
		return nil, nil, err
	}
	app.logger, app.offline = zap.NewNop(), true
	app.LocalAdmin = localAdminFull // whoever can write the store's file needs no permission
	if err := app.Start(); err != nil {
		cancel()
		return nil, nil, err
	}
	closeAll := func() error {
		defer cancel()
		app.visit.settle()
		return app.Cleanup()
	}
	return app.running.Load().local, closeAll, nil
}

// offlineApp reads the app's part of a Caddyfile or JSON configuration.
func offlineApp(configPath string) (*App, error) {
	data, err := adapted(configPath)
	if err != nil {
		return nil, err
	}
	app, err := appOf(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configPath, err)
	}
	return app, nil
}

// adapted reads a Caddyfile or JSON configuration as JSON.
func adapted(configPath string) ([]byte, error) {
	data, err := os.ReadFile(configPath)
	if err != nil || strings.HasSuffix(configPath, ".json") {
		return data, err
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, fmt.Errorf("this build has no Caddyfile adapter: name a JSON configuration")
	}
	if data, _, err = adapter.Adapt(data, map[string]any{"filename": configPath}); err != nil {
		return nil, fmt.Errorf("%s: %w", configPath, err)
	}
	return data, nil
}

// appOf is the app of a JSON configuration, not provisioned.
func appOf(config []byte) (*App, error) {
	var parsed struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, err
	}
	app := new(App)
	raw, ok := parsed.Apps["keyreeve"]
	if !ok {
		return app, nil // handlers without an app block use its defaults
	}
	if err := caddy.StrictUnmarshalJSON(raw, app); err != nil {
		return nil, fmt.Errorf("apps.keyreeve: %w", err)
	}
	return app, nil
}
