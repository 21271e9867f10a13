package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/caddymodule"
)

// demo is a gate to try: the example configuration on an embedded store, with
// seeded keys and an echo upstream.
type demo struct {
	dir         string
	listen      string
	adminListen string
	upstream    string
	output      string
}

func demoCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "demo",
		Usage: "[--dir DIR] [--listen ADDR] [--admin-listen ADDR] [--upstream URL] [-o text|json]",
		Short: "Runs a gate to try, with seeded keys and an echo upstream",
		Long: `
Runs the example configuration on an embedded store in DIR, in front of an
upstream that answers with what it received, and prints keys and curl lines to
copy. Stop it with Ctrl-C.

The store in DIR is kept: a second run on it serves the same keys and prints no
secret, because secrets are shown once. Without --dir the demo uses a temporary
directory and removes it at the end.`,
		CobraFunc: func(cmd *cobra.Command) {
			d := new(demo)
			f := cmd.Flags()
			f.StringVar(&d.dir, "dir", "", "directory of the store, made when missing (default: a temporary one)")
			f.StringVar(&d.listen, "listen", "127.0.0.1:8080", "address of the gate; port 0 takes a free one")
			f.StringVar(&d.adminListen, "admin-listen", "127.0.0.1:8081", "address of the page and the admin API; port 0 takes a free one")
			f.StringVar(&d.upstream, "upstream", "", "upstream to put the gate in front of (default: an echo upstream)")
			f.StringVarP(&d.output, "output", "o", "text", "text or json (one object on stdout, once it serves)")
			cmd.Args = cobra.NoArgs
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return d.run() })
		},
	}
}

// run serves until the process is told to end.
func (d *demo) run() (code int, err error) {
	if d.output != "text" && d.output != "json" {
		return 2, fmt.Errorf("--output %q: expected text or json", d.output)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cleanup, err := d.prepareDir()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	if d.upstream == "" {
		upstream, stopEcho, err := startEcho()
		if err != nil {
			return 1, err
		}
		defer func() { _ = stopEcho() }()
		d.upstream = upstream
	}
	if err := d.serve(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, caddy.Stop()) }()
	seeded, err := seed(ctx, caddymodule.Service())
	if err != nil {
		return 1, fmt.Errorf("seeding keys: %w", err)
	}
	seeded.GateURL, seeded.AdminURL = callURL(d.listen), callURL(d.adminListen)
	link, err := caddymodule.LoginLink(ctx, seeded.Keys[0].ClientID) // the operator's
	if err != nil {
		return 1, fmt.Errorf("sign-in link: %w", err)
	}
	seeded.LoginURL = seeded.AdminURL + link
	if err := d.print(seeded); err != nil {
		return 1, err
	}
	<-ctx.Done()
	return 0, nil
}

func (d *demo) prepareDir() (cleanup func() error, err error) {
	cleanup = func() error { return nil }
	if d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "keyreeve-demo-"); err != nil {
			return nil, err
		}
		cleanup = func() error { return os.RemoveAll(d.dir) }
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	return cleanup, nil
}

// serve runs the embedded example with this demo's addresses and files.
func (d *demo) serve() error {
	if err := d.claimPorts(); err != nil {
		return err
	}
	if _, err := url.Parse(d.upstream); err != nil {
		return fmt.Errorf("--upstream: %w", err)
	}
	configDir := filepath.Join(d.dir, "config")
	if err := os.MkdirAll(configDir, 0o700); err != nil {
		return err
	}
	// By a name that is nobody else's: DIR may hold files of the user's own.
	policyFile := filepath.Join(configDir, "demo-policy.yaml")
	if err := os.WriteFile(policyFile, keyreeve.ExamplePolicy, 0o600); err != nil {
		return err
	}
	gateHost, gatePort, _ := net.SplitHostPort(d.listen)
	adminHost, adminPort, _ := net.SplitHostPort(d.adminListen)
	for name, value := range map[string]string{
		"KEYREEVE_CADDY_ADMIN": "unix/" + d.socket(),
		"KEYREEVE_DB":          filepath.Join(d.dir, "keyreeve.db"),
		"KEYREEVE_POLICY":      policyFile,
		"KEYREEVE_GATE_HOST":   gateHost,
		"KEYREEVE_GATE_PORT":   gatePort,
		"KEYREEVE_ADMIN_HOST":  adminHost,
		"KEYREEVE_ADMIN_PORT":  adminPort,
		"KEYREEVE_UPSTREAM":    d.upstream,
		"KEYREEVE_ISSUER":      callURL(d.listen),
		"XDG_CONFIG_HOME":      configDir, // where the master key is made
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	config, err := exampleConfig()
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func (d *demo) socket() string { return filepath.Join(d.dir, "admin.sock") }

// exampleConfig adapts the embedded Caddyfile, logging errors only so that
// what the demo prints is not lost in it.
func exampleConfig() ([]byte, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(keyreeve.ExampleCaddyfile, map[string]any{"filename": "Caddyfile.example"})
	if err != nil {
		return nil, err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(adapted, &config); err != nil {
		return nil, err
	}
	config["logging"] = json.RawMessage(`{"logs":{"default":{"level":"ERROR"}}}`)
	return json.Marshal(config)
}

// claimPorts settles where the demo listens: port 0 becomes one that is free now,
// and a port that is taken is an error. Caddy would not tell: it listens with
// SO_REUSEPORT, beside any other Caddy, which then gets some of the requests.
func (d *demo) claimPorts() error {
	for _, a := range []struct {
		flag    string
		address *string
	}{{"--listen", &d.listen}, {"--admin-listen", &d.adminListen}} {
		host, port, err := net.SplitHostPort(*a.address)
		if err != nil {
			return fmt.Errorf("%s: %w; expected HOST:PORT", a.flag, err)
		}
		if host == "" {
			host = "0.0.0.0"
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return fmt.Errorf("%s: %w; name another address, port 0 takes a free one", a.flag, err)
		}
		defer func() { _ = l.Close() }() // held until both are known, so that they differ
		*a.address = net.JoinHostPort(host, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return nil
}

// callURL is how to call, from this machine, what listens at an address.
func callURL(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() { // every address, and none to call
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return "http://" + net.JoinHostPort(host, port)
}

// print shows where the demo serves and what to call it with.
func (d *demo) print(s *seeding) error {
	if d.output == "json" {
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nGate        %s  in front of %s\nPage        %s\n  sign in   %s  (once, within %.0f minutes)\nAdmin API   %s/v1/keys\nFiles       %s\nCustomer    %s\nMicrotenant %s\n\n",
		s.GateURL, d.upstream, s.AdminURL, s.LoginURL, page.LinkLifetime.Minutes(), s.AdminURL, d.dir, s.CustomerID, s.MicrotenantID)
	for _, k := range s.Keys {
		secret := "(shown when it was made)"
		if k.Secret != nil {
			secret = *k.Secret
		}
		fmt.Fprintf(&b, "%-17s %s\n%-17s %s\n%-17s %s\n", k.Name, k.Role, "", k.ClientID, "", secret)
	}
	b.WriteString("\nTry:\n")
	for _, line := range s.curlLines() {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "  keyreeve key list --address unix/%s\n\nCtrl-C ends it.\n", d.socket())
	_, err := os.Stdout.WriteString(b.String())
	return err
}
