package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/keyreeve/keyreeve/session"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("keyreeve", parseApp)
}

// parseApp reads the global option `keyreeve`. Syntax:
//
//	keyreeve {
//	    store sqlite [<path>]
//	    store postgres <dsn> {
//	        max_conns <number>
//	    }
//	    master_key_file <path>...
//	    master_key <placeholder>...
//	    lockout { ... }
//	    sessions { ... }
//	    cache { ... }
//	    max_stale <duration>
//	    snapshot <path>|off
//	    local_admin full|read|off
//	    audit_retention <duration>|off
//	    policy <file>...
//	}
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // onto the word, for its line
		return nil, d.Err("keyreeve stands twice in the global options: expected one block")
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
		"master_key_file": func() error { return a.parseMasterKey(d, &a.MasterKeyFile, "a file") },
		"master_key": func() error {
			return a.parseMasterKey(d, &a.MasterKey, "a placeholder such as {env.KEYREEVE_MASTER_KEY}")
		},
		"lockout":         func() error { a.Lockout = new(LockoutConfig); return a.Lockout.parse(d) },
		"sessions":        func() error { a.Sessions = new(SessionsConfig); return a.Sessions.parse(d) },
		"cache":           func() error { a.Cache = new(CacheConfig); return a.Cache.parse(d) },
		"max_stale":       func() error { a.MaxStale = new(caddy.Duration); return durationArg(d, a.MaxStale) },
		"snapshot":        func() (err error) { a.Snapshot, err = oneArg(d, "a file, or off"); return err },
		"local_admin":     func() error { return wordArg(d, &a.LocalAdmin, localAdminFull, localAdminRead, localAdminOff) },
		"audit_retention": func() error { return a.parseAuditRetention(d) },
		"policy":          func() error { return someArgs(d, &a.Policy, "a policy file") },
	})
}

// parseAuditRetention reads `audit_retention <duration>|off`; off keeps events for ever.
func (a *App) parseAuditRetention(d *caddyfile.Dispenser) error {
	const what = "a duration of at least 24h such as 365d, or off to keep events for ever"
	value, err := oneArg(d, what)
	if err != nil || value == off {
		return err
	}
	keep, err := caddy.ParseDuration(value)
	if err != nil || keep < minAuditRetention {
		return d.Errf("audit_retention %q: expected %s", value, what)
	}
	a.AuditRetention = caddy.Duration(keep)
	return nil
}

// storeNamespace is where the modules are that `store` names.
const storeNamespace = "keyreeve.stores"

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	var known []string
	for _, mod := range caddy.GetModules(storeNamespace) {
		known = append(known, mod.ID.Name())
	}
	if !d.NextArg() {
		return d.Errf("store: expected %s", oneOf(known))
	}
	name := d.Val()
	if !slices.Contains(known, name) {
		return d.Errf("store %q: expected %s", name, oneOf(known))
	}
	mod, err := caddyfile.UnmarshalModule(d, storeNamespace+"."+name)
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
	if err := noMore(d, "store sqlite [<path>]"); err != nil {
		return err
	}
	if d.NextBlock(0) {
		return d.Errf("unexpected block with %q: expected store sqlite [<path>] alone", d.Val())
	}
	return nil
}

func (a *App) parseMasterKey(d *caddyfile.Dispenser, into *[]string, what string) error {
	if err := someArgs(d, into, what); err != nil {
		return err
	}
	if err := a.checkMasterKeys(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (c *LockoutConfig) parse(d *caddyfile.Dispenser) error {
	at := d.Token()
	if err := noArgs(d, "lockout"); err != nil {
		return err
	}
	err := eachOption(d, "lockout", options{
		"mode":        func() error { return wordArg(d, &c.Mode, "strict", "guard") },
		"attempts":    func() error { return intArg(d, &c.Attempts) },
		"duration":    func() error { return spanArg(d, &c.Duration) },
		"reset_after": func() error { return spanArg(d, &c.ResetAfter) },
		"source_prefix": func() error {
			c.SourcePrefix = make([]int, 2)
			return intArgs(d, "two prefix lengths in bits, IPv4 then IPv6, such as 32 64", &c.SourcePrefix[0], &c.SourcePrefix[1])
		},
		"existing_tokens": func() error { return wordArg(d, &c.ExistingTokens, existingRefuse, existingAllow) },
		"ceiling":         func() error { return intArg(d, &c.Ceiling) },
		"failure_floor":   func() error { c.FailureFloor = new(caddy.Duration); return durationArg(d, c.FailureFloor) },
	})
	if err != nil {
		return err
	}
	_, err = c.settings()
	return wrapAt(at, err)
}

func (c *SessionsConfig) parse(d *caddyfile.Dispenser) error {
	at := d.Token()
	if err := noArgs(d, "sessions"); err != nil {
		return err
	}
	err := eachOption(d, "sessions", options{
		"issuer": func() (err error) {
			c.Issuer, err = oneArg(d, "a URL such as https://api.example.com")
			return err
		},
		"audience":         func() error { return someArgs(d, &c.Audience, "an audience") },
		"max_per_key":      func() error { return intArg(d, &c.MaxPerKey) },
		"algorithm":        func() error { return wordArg(d, &c.Algorithm, session.Algorithms()...) },
		"default_validity": func() error { return spanArg(d, &c.DefaultValidity) },
		"max_validity":     func() error { return spanArg(d, &c.MaxValidity) },
	})
	if err != nil {
		return err
	}
	_, err = c.settings()
	return wrapAt(at, err)
}

func (c *CacheConfig) parse(d *caddyfile.Dispenser) error {
	if err := noArgs(d, "cache"); err != nil {
		return err
	}
	return eachOption(d, "cache", options{
		"keys":        func() error { return intArg(d, &c.Keys) },
		"tokens":      func() error { return intArg(d, &c.Tokens) },
		"unknown":     func() error { return intArg(d, &c.Unknown) },
		"unknown_ttl": func() error { return spanArg(d, &c.UnknownTTL) },
	})
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*SQLiteStore)(nil)
)
