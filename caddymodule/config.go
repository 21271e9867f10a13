package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

// LockoutConfig is what happens after wrong secrets.
type LockoutConfig struct {
	// How failures are counted: `strict` counts per client, whoever fails;
	// `guard` counts per client and source network first, so that a stranger
	// guessing locks the stranger out and not the client. Default: `strict`.
	Mode string `json:"mode,omitempty"`
	// How many counted failures lock. Default: 3.
	Attempts int `json:"attempts,omitempty"`
	// How long a lock lasts. Default: 30m.
	Duration caddy.Duration `json:"duration,omitempty"`
	// How long without a failure until the count is cleared. Default: 30m.
	ResetAfter caddy.Duration `json:"reset_after,omitempty"`
	// Guard: the length in bits of a source's network prefix, IPv4 then IPv6.
	// Default: [32, 64].
	SourcePrefix []int `json:"source_prefix,omitempty"`
	// Guard: how many failures over all sources, falling with time (to nothing
	// within reset_after), lock the whole client. Default: 100.
	Ceiling int `json:"ceiling,omitempty"`
	// The least time that any invalid_client answer takes, so that its duration
	// does not tell why. 0 turns it off. Default: 20ms.
	FailureFloor *caddy.Duration `json:"failure_floor,omitempty"`
}

// SessionsConfig bounds the lifetime that keys give to their sessions.
type SessionsConfig struct {
	// The session validity of keys that set none. Default: 1h.
	DefaultValidity caddy.Duration `json:"default_validity,omitempty"`
	// The longest session validity a key may have, at most 24h. Default: 1h.
	MaxValidity caddy.Duration `json:"max_validity,omitempty"`
}

// CacheConfig bounds what is held in memory.
type CacheConfig struct {
	// The most keys held. Default: 1000000.
	Keys int `json:"keys,omitempty"`
	// The most unknown client IDs remembered. Default: 100000.
	Unknown int `json:"unknown,omitempty"`
	// How long an unknown client ID is remembered; one that is created meanwhile
	// is usable at once all the same. Default: 10s.
	UnknownTTL caddy.Duration `json:"unknown_ttl,omitempty"`
}

const (
	defaultMaxStale     = 5 * time.Minute
	defaultFailureFloor = 20 * time.Millisecond
	defaultValidity     = time.Hour
	minValidity         = time.Minute
	longestValidity     = 24 * time.Hour
)

// orDefault is v, or fallback where v was left out.
func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// settings checks the lockout part of the configuration.
func (c *LockoutConfig) settings() (authn.Settings, error) {
	if c == nil {
		c = &LockoutConfig{}
	}
	l := policy.DefaultLockout()
	switch c.Mode {
	case "", "strict":
	case "guard":
		l.Mode = policy.Guard
	default:
		return authn.Settings{}, fmt.Errorf("lockout mode %q: expected strict or guard", c.Mode)
	}
	l.Attempts = orDefault(c.Attempts, l.Attempts)
	l.Duration = time.Duration(orDefault(c.Duration, caddy.Duration(l.Duration)))
	l.ResetAfter = time.Duration(orDefault(c.ResetAfter, caddy.Duration(l.ResetAfter)))
	l.Ceiling = orDefault(c.Ceiling, l.Ceiling)
	prefix := c.SourcePrefix
	if len(prefix) == 0 {
		prefix = []int{32, 64}
	}
	floor := defaultFailureFloor
	if c.FailureFloor != nil {
		floor = time.Duration(*c.FailureFloor)
	}
	switch {
	case l.Attempts < 1:
		return authn.Settings{}, fmt.Errorf("lockout attempts %d: expected at least 1", l.Attempts)
	case l.Duration < time.Second:
		return authn.Settings{}, fmt.Errorf("lockout duration %s: expected at least 1s", l.Duration)
	case l.ResetAfter < time.Second:
		return authn.Settings{}, fmt.Errorf("lockout reset_after %s: expected at least 1s", l.ResetAfter)
	case l.Ceiling < l.Attempts:
		return authn.Settings{}, fmt.Errorf("lockout ceiling %d: expected at least attempts (%d)", l.Ceiling, l.Attempts)
	case len(prefix) != 2 || prefix[0] < 1 || prefix[0] > 32 || prefix[1] < 1 || prefix[1] > 128:
		return authn.Settings{}, fmt.Errorf("lockout source_prefix %v: expected an IPv4 length of 1 to 32 and an IPv6 length of 1 to 128", prefix)
	case floor < 0 || floor > time.Second:
		return authn.Settings{}, fmt.Errorf("lockout failure_floor %s: expected 0 to 1s", floor)
	}
	return authn.Settings{Lockout: l, SourcePrefix4: prefix[0], SourcePrefix6: prefix[1], FailureFloor: floor}, nil
}

// validity is the default and the longest session validity.
func (c *SessionsConfig) validity() (standard, longest time.Duration, err error) {
	if c == nil {
		c = &SessionsConfig{}
	}
	longest = time.Duration(orDefault(c.MaxValidity, caddy.Duration(defaultValidity)))
	standard = time.Duration(orDefault(c.DefaultValidity, caddy.Duration(min(defaultValidity, longest))))
	switch {
	case longest < minValidity || longest > longestValidity:
		return 0, 0, fmt.Errorf("sessions max_validity %s: expected %s to %s", longest, minValidity, longestValidity)
	case standard < minValidity || standard > longest:
		return 0, 0, fmt.Errorf("sessions default_validity %s: expected %s to max_validity (%s)", standard, minValidity, longest)
	case standard%time.Second != 0 || longest%time.Second != 0:
		return 0, 0, fmt.Errorf("sessions: validities are whole seconds")
	}
	return standard, longest, nil
}

// sizes checks the cache part of the configuration.
func (c *CacheConfig) sizes() (keystore.CacheSizes, error) {
	if c == nil {
		c = &CacheConfig{}
	}
	s := keystore.CacheSizes{
		Keys:       orDefault(c.Keys, 1_000_000),
		Unknown:    orDefault(c.Unknown, 100_000),
		UnknownTTL: time.Duration(orDefault(c.UnknownTTL, caddy.Duration(10*time.Second))),
	}
	if s.Keys < 1 || s.Unknown < 1 || s.UnknownTTL < 0 {
		return s, fmt.Errorf("cache: keys and unknown must be at least 1, unknown_ttl not negative")
	}
	return s, nil
}
