// Package keyreeve is an API-key gateway for Caddy: it proves who calls, decides
// by role and route, locks out who guesses, and passes a clean identity on.
// Importing it registers the app, its handlers and commands:
//
//	xcaddy build --with github.com/keyreeve/keyreeve
package keyreeve

import (
	_ "embed"

	_ "github.com/keyreeve/keyreeve/caddymodule" // registers with Caddy
)

// ExampleCaddyfile is a runnable configuration.
//
//go:embed Caddyfile.example
var ExampleCaddyfile []byte

// ExamplePolicy is the policy file that the example uses: the routes of a large
// real API.
//
//go:embed examples/zpa/policy.yaml
var ExamplePolicy []byte
