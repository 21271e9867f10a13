package lifecycle

import (
	"maps"
	"reflect"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
)

// patched is k with p applied, validated and held against the actor's rights.
// k itself stays as it is.
func (o *op) patched(k *keystore.Key, p KeyPatch) (*keystore.Key, error) {
	var bad FieldErrors
	next := *k
	refuseNull(&bad, "name", p.Name)
	refuseNull(&bad, "role_id", p.RoleID)
	refuseNull(&bad, "enabled", p.Enabled)
	if p.Name.Has() {
		next.Name = cleanName(&bad, p.Name.Value)
	}
	if p.Description.Set {
		next.Description = cleanDescription(&bad, p.Description.Value)
	}
	if p.RoleID.Has() {
		next.RoleID = p.RoleID.Value
		if next.RoleID == "" {
			bad.Add("role_id", FieldRequired, "is required")
		}
	}
	if p.Enabled.Has() {
		next.Enabled = p.Enabled.Value
	}
	patchDisabledHere(&bad, &next, p.DisabledHere)
	if k.Active() && !next.Active() {
		next.Generation++ // its sessions are over for good, also once it is enabled again
	}
	o.patchTimes(&bad, &next, p)
	if p.AllowedCIDRs.Set {
		next.AllowedCIDRs = cleanCIDRs(&bad, p.AllowedCIDRs.Value)
	}
	if p.Labels.Set {
		next.Labels = mergeLabels(&bad, k.Labels, p.Labels)
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	return &next, o.admitPatched(k, &next)
}

func patchDisabledHere(bad *FieldErrors, next *keystore.Key, here Optional[bool]) {
	refuseNull(bad, "disabled_here", here)
	if here.Set && next.Source == "" {
		bad.Add("disabled_here", FieldConflict, "is for keys of an external source; use enabled")
	}
	if here.Has() {
		next.DisabledHere = here.Value
	}
}

// beyondDisabledHere reports whether anything but DisabledHere is given.
func (p KeyPatch) beyondDisabledHere() bool {
	p.DisabledHere = Optional[bool]{}
	return !reflect.ValueOf(p).IsZero()
}

func (o *op) patchTimes(bad *FieldErrors, next *keystore.Key, p KeyPatch) {
	if p.SessionValiditySeconds.Set {
		next.SessionValidity = 0
	}
	if p.SessionValiditySeconds.Has() {
		next.SessionValidity = o.cleanValidity(bad, p.SessionValiditySeconds.Value)
	}
	switch {
	case !p.ExpiresAt.Set:
	case p.ExpiresAt.Null:
		next.ExpiresAt = time.Time{}
	case !next.ExpiresAt.IsZero() && p.ExpiresAt.Value.Truncate(timePrecision).Equal(next.ExpiresAt):
		// Sending back what was read is no change, even when it has passed. What has no
		// end reads as null, not as the zero time.
	default:
		next.ExpiresAt = cleanExpiry(bad, p.ExpiresAt.Value, o.now.Wall)
	}
}

// admitPatched applies the subset rule to what the key would become. What it is
// now was held against the actor before.
func (o *op) admitPatched(k, next *keystore.Key) error {
	if o.actor.Key != nil && k.ID == o.actor.Key.ID && next.RoleID != k.RoleID {
		return exceeds("role_id", "a key cannot change its own role")
	}
	role, err := o.usableRole(next.RoleID, next.CustomerID)
	if err != nil {
		return err
	}
	return o.within(next, role)
}

// mergeLabels is RFC 7396 for the labels object: null removes a label, and null
// for the object removes all.
func mergeLabels(bad *FieldErrors, old map[string]string, p Optional[map[string]*string]) map[string]string {
	if p.Null {
		return nil
	}
	merged := maps.Clone(old)
	if merged == nil {
		merged = make(map[string]string, len(p.Value))
	}
	for key, value := range p.Value {
		if value == nil {
			delete(merged, key)
		} else {
			merged[key] = *value
		}
	}
	return cleanLabels(bad, merged)
}

func refuseNull[T any](bad *FieldErrors, field string, v Optional[T]) {
	if v.Null {
		bad.Add(field, FieldRequired, "cannot be null; leave it out to keep it")
	}
}
