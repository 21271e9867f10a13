package keystore

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/policy"
)

// Bounds are what records may be accepted for, in the text of a Tombstone. What is no
// limit is left out of it.

// keyBounds are those of a key.
type keyBounds struct {
	Off         bool     `json:"off,omitempty"`
	Customer    string   `json:"customer"`
	Microtenant string   `json:"microtenant,omitempty"`
	Role        string   `json:"role"`
	Expires     int64    `json:"expires,omitempty"` // Unix milliseconds
	CIDRs       []string `json:"cidrs,omitempty"`   // empty is anywhere
	Generation  int64    `json:"generation,omitempty"`
}

// KeyBounds is what a key may be accepted for, but for its secrets, which have bounds
// of their own.
func KeyBounds(k *Key) string {
	b := keyBounds{Off: !k.Active(), Customer: k.CustomerID, Microtenant: k.MicrotenantID, Role: k.RoleID,
		Expires: boundMillis(k.ExpiresAt), Generation: k.Generation}
	for _, p := range k.AllowedCIDRs {
		b.CIDRs = append(b.CIDRs, p.String())
	}
	return boundText(b)
}

// secretBounds are those of a secret.
type secretBounds struct {
	// Ends is when it is over, Unix milliseconds, 0 for never; Retired, by whose word:
	// an administrator's, or its own time.
	Ends    int64 `json:"ends,omitempty"`
	Retired bool  `json:"retired,omitempty"`
}

// SecretBounds is until when a secret may be accepted.
func SecretBounds(s *Secret) string {
	return boundText(secretBounds{Ends: boundMillis(s.End()), Retired: !s.Retired.IsZero()})
}

// sessionBounds are those of a session, which is over: how long that must be known.
type sessionBounds struct {
	Address string `json:"address,omitempty"`
	Issued  int64  `json:"issued,omitempty"`
	Expires int64  `json:"expires"`
	Ended   int64  `json:"ended"`
	Reason  string `json:"reason,omitempty"`
}

// roleBounds are those of a role. The masks are numbers, as some have no word.
type roleBounds struct {
	Permissions map[string]uint8 `json:"permissions"`
}

// RoleBounds is what a role grants.
func RoleBounds(r *Role) string {
	b := roleBounds{Permissions: make(map[string]uint8, len(r.Permissions))}
	for name, m := range r.Permissions {
		b.Permissions[name] = uint8(m)
	}
	return boundText(b)
}

// tenantBounds are those of a customer or microtenant.
type tenantBounds struct {
	Off        bool  `json:"off,omitempty"`
	Generation int64 `json:"generation,omitempty"`
}

// CustomerBounds is whether a customer's keys may be accepted, and sessions of which
// generation.
func CustomerBounds(c *Customer) string {
	return boundText(tenantBounds{Off: !c.Enabled, Generation: c.Generation})
}

// MicrotenantBounds is the same of a microtenant.
func MicrotenantBounds(m *Microtenant) string {
	return boundText(tenantBounds{Off: !m.Enabled, Generation: m.Generation})
}

func boundText(b any) string {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // only strings, numbers and lists of them
	}
	return string(text)
}

// boundMillis is a time as stores keep it.
func boundMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func boundTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// read reads the bounds of a tombstone.
func (s *Tombstone) read(into any) error {
	if err := json.Unmarshal([]byte(s.Bounds), into); err != nil {
		return fmt.Errorf("bounds of the %s %s: %w", s.Kind, s.ID, err)
	}
	return nil
}

// narrowKey takes from k what b does not have; of two roles role tells what they grant,
// nil for none there. It never gives anything: where the two cannot be brought
// together, k is switched off. False: k has no more than b.
func (b *keyBounds) narrowKey(k *Key, role func(id string) *Role) (narrowed bool) {
	was := KeyBounds(k)
	off := b.Off || b.Customer != k.CustomerID || b.Microtenant != k.MicrotenantID
	if b.Role != k.RoleID {
		held, allowed := role(k.RoleID), role(b.Role)
		switch {
		case held != nil && allowed != nil && held.Permissions.Within(allowed.Permissions, nil):
		case held != nil && allowed != nil && allowed.Permissions.Within(held.Permissions, nil):
			k.RoleID = b.Role
		default:
			off = true
		}
	}
	if b.Expires > 0 && (k.ExpiresAt.IsZero() || boundTime(b.Expires).Before(k.ExpiresAt)) {
		k.ExpiresAt = boundTime(b.Expires)
	}
	if len(b.CIDRs) > 0 {
		var none bool
		if k.AllowedCIDRs, none = commonCIDRs(k.AllowedCIDRs, b.CIDRs); none {
			off = true
		}
	}
	// Sessions of the history that is gone may have had the generation: none of them,
	// and none of this one, has the next.
	if b.Generation > k.Generation {
		k.Generation = b.Generation + 1
	}
	switch {
	case off && k.Active() && k.Source != "":
		k.DisabledHere = true // as the source's next push would not switch it on again
	case off && k.Active():
		k.Enabled = false
	}
	return KeyBounds(k) != was
}

// commonCIDRs are the networks of both lists; an empty one of held is anywhere. None: they
// have nothing in common, and held stays.
func commonCIDRs(held []netip.Prefix, words []string) (common []netip.Prefix, none bool) {
	var allowed []netip.Prefix
	for _, word := range words {
		if p, err := netip.ParsePrefix(word); err == nil {
			allowed = append(allowed, p)
		}
	}
	if len(held) == 0 {
		return allowed, len(allowed) == 0
	}
	for _, h := range held {
		for _, a := range allowed {
			inner := h
			if a.Bits() > h.Bits() {
				inner = a
			}
			if h.Overlaps(a) && !slices.Contains(common, inner) {
				common = append(common, inner)
			}
		}
	}
	if len(common) == 0 {
		return held, true
	}
	// As they were, where that is all of them.
	if len(common) == len(held) && !slices.ContainsFunc(held, func(p netip.Prefix) bool { return !slices.Contains(common, p) }) {
		return held, false
	}
	return common, false
}

// narrowSecret ends s no later than b does. False: it ends no later.
func (b *secretBounds) narrowSecret(s *Secret) bool {
	end := s.End()
	if b.Ends == 0 || !end.IsZero() && !end.After(boundTime(b.Ends)) || !s.Retired.IsZero() && !b.Retired {
		return false
	}
	if b.Retired {
		s.Retired = boundTime(b.Ends)
	} else {
		s.Expires = boundTime(b.Ends)
	}
	return true
}

// narrowRole leaves of r's permissions what b grants too. An entry stays as far as the
// other side has it by its own name or by one over everything: whether a resource is
// in a group is the policy's to say, and not known here. False: r grants no more.
func (b *roleBounds) narrowRole(r *Role) bool {
	allowed := make(policy.Permissions, len(b.Permissions))
	for name, m := range b.Permissions {
		allowed[name] = policy.Mask(m)
	}
	if r.Permissions.Within(allowed, nil) {
		return false
	}
	common := policy.Permissions{}
	for _, sides := range [][2]policy.Permissions{{r.Permissions, allowed}, {allowed, r.Permissions}} {
		for name, m := range sides[0] {
			if both := m & sides[1].On(name, ""); both != 0 {
				common[name] |= both
			}
		}
	}
	r.Permissions = common
	return true
}

// narrow is what is left of a tenant: whether it is enabled, and its generation.
func (b *tenantBounds) narrow(enabled *bool, generation *int64) (narrowed bool) {
	if b.Off && *enabled {
		*enabled, narrowed = false, true
	}
	if b.Generation > *generation {
		*generation, narrowed = b.Generation+1, true
	}
	return narrowed
}
