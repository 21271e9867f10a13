package lifecycle

import (
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/credential"
)

// Bounds of what may be stored.
const (
	// MaxName is the longest name, in characters (runes after NFC).
	MaxName = 50
	// MaxDescription is the longest description, in characters.
	MaxDescription = 1000
	// MaxReason is the longest reason for what is done, in characters.
	MaxReason = 200
	// MaxCIDRs is how many networks a key may name.
	MaxCIDRs = 64
	// MaxLabels is how many labels a key may have.
	MaxLabels = 32
	// MaxLabelKey and MaxLabelValue are bytes.
	MaxLabelKey   = 63
	MaxLabelValue = 255
	// MinValidity is the shortest session validity a key may name.
	MinValidity = time.Minute
	// timePrecision is the finest that stores keep: Unix milliseconds.
	timePrecision = time.Millisecond
)

// lastTime is where times end: RFC 3339 has four digits for the year, in every zone.
var lastTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	idPattern       = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	labelKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	resourcePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?$`)
)

// cleanName is name in NFC (Unicode Standard Annex 15), so that two names that
// look the same are the same.
func cleanName(bad *FieldErrors, name string) string {
	return cleanText(bad, "name", name, 1, MaxName, "")
}

func cleanDescription(bad *FieldErrors, text string) string {
	return cleanText(bad, "description", text, 0, MaxDescription, "\n\t")
}

// cleanText bounds a text in characters and refuses those that would show
// something else than is stored. also lists control characters that may stay.
func cleanText(bad *FieldErrors, field, text string, least, most int, also string) string {
	if !utf8.ValidString(text) {
		bad.Add(field, FieldFormat, "is not valid UTF-8")
		return ""
	}
	text, bounded := normal(text)
	n := utf8.RuneCountInString(text)
	switch {
	case n == 0 && least > 0:
		bad.Add(field, FieldRequired, "is required, 1 to %d characters", most)
	case n > most:
		bad.Add(field, FieldRange, "has %d characters, at most %d are allowed", n, most)
	case !bounded:
		bad.Add(field, FieldFormat, "has more than 30 combining marks in a row")
		return text
	case least > 0 && strings.TrimFunc(text, blank) != text:
		bad.Add(field, FieldFormat, "must not begin or end with white space")
	case least > 0 && !strings.ContainsFunc(text, shows):
		bad.Add(field, FieldFormat, "has no visible character")
	}
	if odd, found := oddity(text, also); found {
		bad.Add(field, FieldFormat, "contains %U; control, bidirectional and invisible characters are not allowed, nor joiners and variation selectors where they change nothing", odd)
	}
	return text
}

// cleanID checks an id of the caller's own choice.
func cleanID(bad *FieldErrors, id string, reserved ...string) string {
	switch {
	case !idPattern.MatchString(id):
		bad.Add("id", FieldFormat, "must be 1 to 64 of A-Z a-z 0-9 _ -")
	case slices.Contains(reserved, id):
		bad.Add("id", FieldReserved, "%q has a meaning of its own in requests and cannot be an id", id)
	}
	return id
}

// cleanValidity is a session validity in seconds as a duration.
func (s *Service) cleanValidity(bad *FieldErrors, seconds int64) time.Duration {
	least, most := int64(MinValidity/time.Second), int64(s.cfg.MaxValidity/time.Second)
	if seconds < least || seconds > most {
		bad.Add("session_validity_seconds", FieldRange, "must be a whole number from %d to %d, or null for the default", least, most)
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// cleanExpiry is an end of life as stored; it must lie in the future.
func cleanExpiry(bad *FieldErrors, at, now time.Time) time.Time {
	at = at.UTC().Truncate(timePrecision)
	switch {
	case !at.After(now):
		bad.Add("expires_at", FieldRange, "must be in the future")
	case at.After(lastTime):
		bad.Add("expires_at", FieldRange, "must be before the year 9999; null is never")
	}
	return at
}

// cleanCIDRs parses networks, which must be spelt canonically: a prefix with
// bits behind its length is more likely a mistake than an intent.
func cleanCIDRs(bad *FieldErrors, texts []string) []netip.Prefix {
	const field = "allowed_cidrs"
	if len(texts) > MaxCIDRs {
		bad.Add(field, FieldTooMany, "has %d networks, at most %d are allowed", len(texts), MaxCIDRs)
		return nil
	}
	prefixes := make([]netip.Prefix, 0, len(texts))
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		at := indexed(field, i)
		switch {
		case err != nil:
			bad.Add(at, FieldFormat, "is not a network such as 192.0.2.0/24 or 2001:db8::/32; one address is 192.0.2.7/32")
		case p.Addr().Is4In6():
			bad.Add(at, FieldFormat, "is an IPv4 network in IPv6 notation, write it as IPv4")
		case p != p.Masked():
			bad.Add(at, FieldFormat, "has address bits behind the prefix length, did you mean %s?", p.Masked())
		case !slices.Contains(prefixes, p):
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// TooManyLabels refuses more labels than a key may have, before any of them is named.
func TooManyLabels(bad *FieldErrors, n int) bool {
	if n > MaxLabels {
		bad.Add("labels", FieldTooMany, "has %d labels, at most %d are allowed", n, MaxLabels)
	}
	return n > MaxLabels
}

func cleanLabels(bad *FieldErrors, labels map[string]string) map[string]string {
	if TooManyLabels(bad, len(labels)) {
		return nil
	}
	clean := make(map[string]string, len(labels))
	for _, key := range sortedKeys(labels) {
		field := "labels." + key
		if len(key) > MaxLabelKey || !labelKeyPattern.MatchString(key) {
			bad.Add("labels", FieldFormat, "has a label whose key is not 1 to %d of A-Z a-z 0-9 . _ - that begins and ends with a letter or digit", MaxLabelKey)
			continue
		}
		value := cleanText(bad, field, labels[key], 0, MaxLabelValue, "")
		if len(value) > MaxLabelValue {
			bad.Add(field, FieldRange, "has %d bytes, at most %d are allowed", len(value), MaxLabelValue)
		}
		clean[key] = value
	}
	return clean
}

// cleanImport checks a client ID and secret digest made elsewhere. The digest is
// SHA-256 of the secret, in hex or base64url.
func cleanImport(bad *FieldErrors, clientID, secretSHA256 string) (digest [32]byte, has bool) {
	if clientID != "" && !credential.ValidClientID(clientID) {
		bad.Add("client_id", FieldFormat, "must be 1 to %d of A-Z a-z 0-9 . _ ~ -", credential.MaxClientID)
	}
	if secretSHA256 == "" {
		return digest, false
	}
	if clientID == "" {
		bad.Add("client_id", FieldRequired, "is required when a secret is imported")
	}
	raw, err := hex.DecodeString(secretSHA256)
	if err != nil || len(raw) != len(digest) {
		raw, err = base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(secretSHA256, "="))
	}
	if err != nil || len(raw) != len(digest) {
		bad.Add("secret_sha256", FieldFormat, "must be the 32 bytes of SHA-256 of the secret, in hex or base64url")
		return digest, false
	}
	copy(digest[:], raw)
	return digest, true
}

// TooManyPermissions refuses more entries than a role may have, before any of them
// is named.
func TooManyPermissions(bad *FieldErrors, n int) bool {
	if n > maxPermissions {
		bad.Add("permissions", FieldTooMany, "has %d entries, at most %d are allowed", n, maxPermissions)
	}
	return n > maxPermissions
}

// cleanPermissions checks the names a role grants on. Resources of the upstreams
// are whatever a policy file calls them, now or later; Keyreeve's own are known.
func cleanPermissions(bad *FieldErrors, r rolePermissions) {
	if TooManyPermissions(bad, len(r)) {
		return
	}
	for _, name := range sortedKeys(r) {
		own := slices.Contains(ownResources, name) || name == ownResourcesAll
		switch {
		case own, name == "*":
		case !resourcePattern.MatchString(name):
			bad.Add("permissions", FieldFormat, "names %q, expected a resource or group of the policy, *, %s or one of %s",
				truncate(name), ownResourcesAll, strings.Join(ownResources, ", "))
		}
		if r[name] == 0 {
			bad.Add("permissions."+truncate(name), FieldFormat, "grants nothing, leave the entry out")
		}
	}
}
