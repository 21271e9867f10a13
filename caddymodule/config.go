package caddymodule

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
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
	// What a lock means for tokens issued before it: `refuse` them, locked means
	// locked, or `allow` them, so that guessing a secret cannot end running
	// sessions. Default: `refuse`.
	ExistingTokens string `json:"existing_tokens,omitempty"`
	// The least time that any invalid_client answer takes, so that its duration
	// does not tell why. 0 turns it off. Default: 20ms.
	FailureFloor *caddy.Duration `json:"failure_floor,omitempty"`
}

// SessionsConfig is how access tokens are made.
type SessionsConfig struct {
	// The issuer of tokens, a URL: where the metadata of the gate's auth endpoints
	// is served. Default: a URN made once per store, and no metadata.
	Issuer string `json:"issuer,omitempty"`
	// The values that a token's audience may have, the default first.
	// Default: the issuer.
	Audience []string `json:"audience,omitempty"`
	// The session validity of keys that set none. Default: 1h.
	DefaultValidity caddy.Duration `json:"default_validity,omitempty"`
	// The longest session validity a key may have, at most 24h. Default: 1h.
	MaxValidity caddy.Duration `json:"max_validity,omitempty"`
	// The most sessions of a key; the oldest ends first. Default: 1000.
	MaxPerKey int `json:"max_per_key,omitempty"`
	// What tokens are signed with: `EdDSA`, `ES256` or `RS256`. Default: `EdDSA`.
	Algorithm string `json:"algorithm,omitempty"`
}

// CacheConfig bounds what is held in memory.
type CacheConfig struct {
	// The most keys held. Default: 1000000.
	Keys int `json:"keys,omitempty"`
	// The most verified tokens held. Default: 200000.
	Tokens int `json:"tokens,omitempty"`
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
	defaultMaxPerKey    = 1000
)

// Values of existing_tokens.
const (
	existingRefuse = "refuse"
	existingAllow  = "allow"
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
	switch c.ExistingTokens {
	case "", existingRefuse, existingAllow:
	default:
		return authn.Settings{}, fmt.Errorf("lockout existing_tokens %q: expected refuse or allow", c.ExistingTokens)
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
	return authn.Settings{Lockout: l, SourcePrefix4: prefix[0], SourcePrefix6: prefix[1], FailureFloor: floor,
		ExistingTokens: c.ExistingTokens == existingAllow}, nil
}

// settings checks the sessions part of the configuration. The issuer is "" where
// the store's own is to be used.
func (c *SessionsConfig) settings() (session.Settings, error) {
	if c == nil {
		c = &SessionsConfig{}
	}
	longest := time.Duration(orDefault(c.MaxValidity, caddy.Duration(defaultValidity)))
	s := session.Settings{
		Issuer:          c.Issuer,
		Audiences:       c.Audience,
		DefaultValidity: time.Duration(orDefault(c.DefaultValidity, caddy.Duration(min(defaultValidity, longest)))),
		MaxValidity:     longest,
		MaxPerKey:       orDefault(c.MaxPerKey, defaultMaxPerKey),
		Algorithm:       orDefault(c.Algorithm, session.EdDSA),
	}
	switch {
	case longest < minValidity || longest > longestValidity:
		return s, fmt.Errorf("sessions max_validity %s: expected %s to %s", longest, minValidity, longestValidity)
	case s.DefaultValidity < minValidity || s.DefaultValidity > longest:
		return s, fmt.Errorf("sessions default_validity %s: expected %s to max_validity (%s)", s.DefaultValidity, minValidity, longest)
	case s.DefaultValidity%time.Second != 0 || longest%time.Second != 0:
		return s, fmt.Errorf("sessions: validities are whole seconds")
	case s.MaxPerKey < 1:
		return s, fmt.Errorf("sessions max_per_key %d: expected at least 1", s.MaxPerKey)
	case !slices.Contains(session.Algorithms(), s.Algorithm):
		return s, fmt.Errorf("sessions algorithm %q: expected %s", s.Algorithm, oneOf(session.Algorithms()))
	case slices.Contains(s.Audiences, ""):
		return s, fmt.Errorf("sessions audience: expected a name that is not empty")
	}
	return s, checkIssuer(c.Issuer)
}

// checkIssuer requires what RFC 8414 section 2 does, plain http included for
// gates behind a proxy that ends TLS.
func checkIssuer(issuer string) error {
	if issuer == "" {
		return nil
	}
	u, err := url.Parse(issuer)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil ||
		strings.HasSuffix(issuer, "/") || strings.ContainsAny(issuer, "?#") {
		return fmt.Errorf("sessions issuer %q: expected a URL such as https://api.example.com, without query, fragment or a slash at its end", issuer)
	}
	return nil
}

// minAuditRetention keeps a slip of the pen from forgetting what just happened.
const minAuditRetention = 24 * time.Hour

// checkAuditRetention takes 0 for ever.
func checkAuditRetention(keep caddy.Duration) error {
	if keep != 0 && time.Duration(keep) < minAuditRetention {
		return fmt.Errorf("audit_retention %s: expected at least 24h, or 0 for ever", time.Duration(keep))
	}
	return nil
}

// cacheSizes bounds every cache.
type cacheSizes struct {
	keystore.CacheSizes
	tokens int
}

// sizes checks the cache part of the configuration.
func (c *CacheConfig) sizes() (cacheSizes, error) {
	if c == nil {
		c = &CacheConfig{}
	}
	s := cacheSizes{
		CacheSizes: keystore.CacheSizes{
			Keys:       orDefault(c.Keys, 1_000_000),
			Unknown:    orDefault(c.Unknown, 100_000),
			UnknownTTL: time.Duration(orDefault(c.UnknownTTL, caddy.Duration(10*time.Second))),
		},
		tokens: orDefault(c.Tokens, 200_000),
	}
	if s.Keys < 1 || s.Unknown < 1 || s.tokens < 1 || s.UnknownTTL < 0 {
		return s, fmt.Errorf("cache: keys, tokens and unknown must be at least 1, unknown_ttl not negative")
	}
	return s, nil
}
