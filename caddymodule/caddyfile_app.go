package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("keyreeve", parseApp)
}

// parseApp reads the global option `keyreeve`. Syntax:
//
//	keyreeve {
//	    store sqlite [<path>]
//	    master_key_file <path>...
//	    master_key <placeholder>...
//	    lockout { ... }
//	    sessions { ... }
//	    cache { ... }
//	    max_stale <duration>
//	    local_admin full|read|off
//	    policy <file>...
//	}
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		return nil, d.Err("keyreeve is configured twice: expected one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "keyreeve", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the app's block.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.Errf("unexpected argument %q after keyreeve: expected a block", d.Val())
	}
	return eachOption(d, "keyreeve", options{
		"store":           func() error { return a.parseStore(d) },
		"master_key_file": func() error { return someArgs(d, &a.MasterKeyFile, "a file") },
		"master_key":      func() error { return someArgs(d, &a.MasterKey, "a placeholder such as {env.KEYREEVE_MASTER_KEY}") },
		"lockout":         func() error { a.Lockout = new(LockoutConfig); return a.Lockout.parse(d) },
		"sessions":        func() error { a.Sessions = new(SessionsConfig); return a.Sessions.parse(d) },
		"cache":           func() error { a.Cache = new(CacheConfig); return a.Cache.parse(d) },
		"max_stale":       func() error { a.MaxStale = new(caddy.Duration); return durationArg(d, a.MaxStale) },
		"local_admin":     func() error { return wordArg(d, &a.LocalAdmin, localAdminFull, localAdminRead, localAdminOff) },
		"policy":          func() error { return someArgs(d, &a.Policy, "a policy file") },
	})
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store: expected sqlite [<path>]")
	}
	name := d.Val()
	mod, err := caddyfile.UnmarshalModule(d, "keyreeve.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(mod, "module", name, nil)
	return nil
}

// UnmarshalCaddyfile reads `sqlite [<path>]`.
func (s *SQLiteStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		s.Path = d.Val()
	}
	return noMore(d, "store sqlite [<path>]")
}

func (c *LockoutConfig) parse(d *caddyfile.Dispenser) error {
	if err := noArgs(d, "lockout"); err != nil {
		return err
	}
	return eachOption(d, "lockout", options{
		"mode":        func() error { return wordArg(d, &c.Mode, "strict", "guard") },
		"attempts":    func() error { return intArg(d, &c.Attempts) },
		"duration":    func() error { return durationArg(d, &c.Duration) },
		"reset_after": func() error { return durationArg(d, &c.ResetAfter) },
		"source_prefix": func() error {
			c.SourcePrefix = make([]int, 2)
			if err := nextInt(d, &c.SourcePrefix[0]); err != nil {
				return err
			}
			return intArg(d, &c.SourcePrefix[1])
		},
		"ceiling":       func() error { return intArg(d, &c.Ceiling) },
		"failure_floor": func() error { c.FailureFloor = new(caddy.Duration); return durationArg(d, c.FailureFloor) },
	})
}

func (c *SessionsConfig) parse(d *caddyfile.Dispenser) error {
	if err := noArgs(d, "sessions"); err != nil {
		return err
	}
	return eachOption(d, "sessions", options{
		"default_validity": func() error { return durationArg(d, &c.DefaultValidity) },
		"max_validity":     func() error { return durationArg(d, &c.MaxValidity) },
	})
}

func (c *CacheConfig) parse(d *caddyfile.Dispenser) error {
	if err := noArgs(d, "cache"); err != nil {
		return err
	}
	return eachOption(d, "cache", options{
		"keys":        func() error { return intArg(d, &c.Keys) },
		"unknown":     func() error { return intArg(d, &c.Unknown) },
		"unknown_ttl": func() error { return durationArg(d, &c.UnknownTTL) },
	})
}

// options maps the words of a block to what reads the rest of their line.
type options map[string]func() error

// eachOption reads a block whose words may each stand once.
func eachOption(d *caddyfile.Dispenser, block string, known options) error {
	seen := make(map[string]bool, len(known))
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		parse, ok := known[word]
		if !ok {
			return d.Errf("unknown word %q in %s: expected %s", word, block, oneOf(sortedKeys(known)))
		}
		if seen[word] && !repeatable[word] {
			return d.Errf("%s stands twice in %s: expected once", word, block)
		}
		seen[word] = true
		if err := parse(); err != nil {
			return err
		}
	}
	return nil
}

// repeatable words add to a list each time.
var repeatable = map[string]bool{"policy": true, "route": true, "public": true}

func noArgs(d *caddyfile.Dispenser, block string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %s: expected a block", d.Val(), block)
	}
	return nil
}

func noMore(d *caddyfile.Dispenser, syntax string) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q: expected %s", d.Val(), syntax)
	}
	return nil
}

func someArgs(d *caddyfile.Dispenser, into *[]string, what string) error {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s: expected %s", word, what)
	}
	*into = append(*into, args...)
	return nil
}

func oneArg(d *caddyfile.Dispenser, what string) (string, error) {
	word := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s: expected %s", word, what)
	}
	value := d.Val()
	return value, noMore(d, word+" with one value: "+what)
}

func wordArg(d *caddyfile.Dispenser, into *string, words ...string) error {
	name := d.Val()
	value, err := oneArg(d, oneOf(words))
	if err != nil {
		return err
	}
	for _, w := range words {
		if value == w {
			*into = value
			return nil
		}
	}
	return d.Errf("%s %q: expected %s", name, value, oneOf(words))
}

func durationArg(d *caddyfile.Dispenser, into *caddy.Duration) error {
	name := d.Val()
	value, err := oneArg(d, "a duration such as 30m")
	if err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(value)
	if err != nil || parsed < 0 {
		return d.Errf("%s %q: expected a duration such as 30m", name, value)
	}
	*into = caddy.Duration(parsed)
	return nil
}

func intArg(d *caddyfile.Dispenser, into *int) error {
	if err := nextInt(d, into); err != nil {
		return err
	}
	return noMore(d, "one whole number")
}

func nextInt(d *caddyfile.Dispenser, into *int) error {
	name := d.Val()
	if !d.NextArg() {
		return d.Errf("%s: expected a whole number", name)
	}
	n, err := strconv.Atoi(d.Val())
	if err != nil || n < 0 {
		return d.Errf("%s %q: expected a whole number, 0 or more", name, d.Val())
	}
	*into = n
	return nil
}

// oneOf lists words as a sentence does: a, b or c.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*SQLiteStore)(nil)
)
