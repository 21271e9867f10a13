package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// The three reaches to the admin API, all behind one client:
//   - Caddy's local admin endpoint, over TCP or a unix socket, which asks for no
//     credentials: whoever reaches it is the machine's administrator;
//   - a site that serves keyreeve_admin, signed in with an API key;
//   - the store itself, opened in this process, with no server running.

const (
	// defaultAddress is where Caddy's admin endpoint listens unless told otherwise.
	defaultAddress = "localhost:2019"
	// localPrefix is where the admin API hangs on Caddy's admin endpoint.
	localPrefix = "/keyreeve"
	// dialTimeout bounds connecting; the whole request has --timeout.
	dialTimeout = 5 * time.Second
	// maxTimeout is the longest --timeout.
	maxTimeout = 10 * time.Minute
)

// reachFlags are the flags that choose a reach.
type reachFlags struct {
	address, url, config string
	allowHTTP            bool
	timeout              time.Duration
}

func (f *reachFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "address", "",
		"Caddy's admin endpoint, as Caddy writes it: host:port or unix//path/to.sock\n(default $CADDY_ADMIN, else "+defaultAddress+")")
	flags.StringVar(&f.url, "url", "",
		"a site serving keyreeve_admin, such as https://admin.example.com; signs in with\n$KEYREEVE_CLIENT_ID and $KEYREEVE_CLIENT_SECRET")
	flags.StringVarP(&f.config, "config", "c", "",
		"work on the store that this Caddyfile or JSON configuration names, with no server running")
	flags.BoolVar(&f.allowHTTP, "allow-http", false,
		"let --url send the credentials over unencrypted http to another machine")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long one request may take")
}

// connect makes the client for the reach that the flags choose.
func (s *console) connect(ctx context.Context) (*client, error) {
	f := &s.reach
	chosen := 0
	for _, v := range []string{f.address, f.url, f.config} {
		if v != "" {
			chosen++
		}
	}
	switch {
	case chosen > 1:
		return nil, usagef("--address, --url and --config exclude each other")
	case f.timeout <= 0 || f.timeout > maxTimeout:
		return nil, usagef("--timeout %s is out of range, expected more than 0 and at most %s", f.timeout, maxTimeout)
	case f.url != "":
		return s.remote()
	case f.config != "":
		return s.offline(ctx)
	}
	address := f.address
	if address == "" {
		address = s.env.Getenv("CADDY_ADMIN")
	}
	if address == "" {
		address = defaultAddress
	}
	return s.local(address)
}

// local reaches Caddy's admin endpoint. Host and Origin are set as Caddy's own
// commands set them, because that endpoint checks both against its address.
func (s *console) local(address string) (*client, error) {
	network, target, err := parseAddress(address)
	if err != nil {
		return nil, &usageError{err: err}
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	c := s.newClient(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		DisableKeepAlives: false,
	})
	c.where = "Caddy's admin endpoint at " + address
	c.hint = "is the server running with its admin endpoint there? Otherwise name it with --address, or work on the store itself with --config"
	if network == "unix" {
		// A socket has no host name: Caddy does not check one there, and takes this.
		c.base = "http://127.0.0.1" + localPrefix
		return c, nil
	}
	c.base = "http://" + target + localPrefix
	c.header.Set("Origin", "http://"+target)
	return c, nil
}

// parseAddress reads a network address as Caddy writes them.
func parseAddress(address string) (network, target string, err error) {
	network, target = "tcp", address
	if strings.Contains(address, "://") {
		return "", "", fmt.Errorf("%q is a URL, expected an address such as %s or unix//run/caddy.sock; for a URL use --url", address, defaultAddress)
	}
	if before, after, found := strings.Cut(address, "/"); found {
		network, target = strings.ToLower(before), after
	}
	switch network {
	case "unix":
		// Caddy lets permission bits follow the path: unix//run/caddy.sock|0200
		if target, _, _ = strings.Cut(target, "|"); target == "" {
			return "", "", fmt.Errorf("address %q names no socket, expected unix//path/to.sock", address)
		}
		return network, target, nil
	case "tcp", "tcp4", "tcp6":
		_, port, err := net.SplitHostPort(target)
		if err != nil || port == "" || strings.Contains(port, "-") {
			return "", "", fmt.Errorf("address %q is not host:port with a single port, such as %s", address, defaultAddress)
		}
		return network, target, nil
	}
	return "", "", fmt.Errorf("address %q is of the unknown network %q, expected host:port or unix//path/to.sock", address, network)
}

// remote reaches a site that serves keyreeve_admin.
func (s *console) remote() (*client, error) {
	base, err := parseURL(s.reach.url, s.reach.allowHTTP)
	if err != nil {
		return nil, &usageError{err: err}
	}
	id, secret := s.env.Getenv("KEYREEVE_CLIENT_ID"), s.env.Getenv("KEYREEVE_CLIENT_SECRET")
	if id == "" || secret == "" {
		return nil, usagef("--url needs the environment variables KEYREEVE_CLIENT_ID and KEYREEVE_CLIENT_SECRET, an API key whose role holds keyreeve/keys")
	}
	c := s.newClient(&http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: 2 * dialTimeout,
		ForceAttemptHTTP2:   true,
	})
	c.base, c.where = base, base
	c.hint = "is --url the address of a site that serves keyreeve_admin?"
	c.clientID, c.secret = id, secret
	return c, nil
}

// parseURL checks a --url and takes off its trailing slash. It never repeats
// the URL in an error: it could hold a secret that does not belong there.
func parseURL(text string, allowHTTP bool) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "", errors.New("--url is not a URL such as https://admin.example.com")
	case u.User != nil:
		return "", errors.New("--url must not hold credentials, set KEYREEVE_CLIENT_ID and KEYREEVE_CLIENT_SECRET instead")
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "", errors.New("--url must not hold a query or fragment")
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return "", errors.New("--url would send the client secret unencrypted to another machine; use https, or add --allow-http")
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}

// offline opens the store in this process and calls the same API there.
func (s *console) offline(ctx context.Context) (*client, error) {
	if s.env.Offline == nil {
		return nil, usagef("this build cannot open a store by --config")
	}
	handler, done, err := s.env.Offline(ctx, s.reach.config)
	if err != nil {
		return nil, fmt.Errorf("opening the store of %s: %w", s.reach.config, err)
	}
	c := s.within(handler, "the store of "+s.reach.config)
	c.done = done
	return c, nil
}

// within calls the API in this process.
func (s *console) within(handler http.Handler, where string) *client {
	c := s.newClient(inProcess{handler: handler})
	c.base, c.where = "http://127.0.0.1", where
	return c
}
