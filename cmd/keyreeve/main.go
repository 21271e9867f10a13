// Command keyreeve is Caddy with Keyreeve in it: every command of caddy, the key
// administration at the top, and `demo`, which runs a gate to try.
package main

import (
	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // all of Caddy
	"github.com/spf13/cobra"

	_ "github.com/keyreeve/keyreeve" // this module
	"github.com/keyreeve/keyreeve/admin/cli"
	"github.com/keyreeve/keyreeve/caddymodule"
)

func main() {
	caddy.CustomBinaryName = "keyreeve"
	caddy.CustomLongDescription = "Keyreeve is an API-key gateway: Caddy with key administration in it. Try it with `keyreeve demo`."
	env := caddymodule.CLIEnv("keyreeve")
	for _, g := range cli.Groups() {
		caddycmd.RegisterCommand(caddycmd.Command{
			Name: g.Name, Short: g.Short,
			CobraFunc: func(cmd *cobra.Command) { g.Configure(cmd, env) },
		})
	}
	caddycmd.RegisterCommand(demoCommand())
	caddycmd.Main()
}
