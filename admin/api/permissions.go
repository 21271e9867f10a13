package api

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// permissions is a role's permissions in a request. Each entry is read by itself,
// so that an answer names the one at fault.
type permissions struct {
	member[map[string]json.RawMessage]
}

// Schema is huma.SchemaProvider.
func (permissions) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: permissionSchema(),
		Description: "By resource or group: full, view, or a list of read, create, update, delete. * is every resource of the upstreams, keyreeve/* every one of Keyreeve itself."}
}

// permissionsPatch is the same in a merge patch, where null takes an entry away.
type permissionsPatch struct{ permissions }

// Schema is huma.SchemaProvider.
func (p permissionsPatch) Schema(r huma.Registry) *huma.Schema {
	s := p.permissions.Schema(r)
	s.AdditionalProperties.(*huma.Schema).OneOf = append(s.AdditionalProperties.(*huma.Schema).OneOf, &huma.Schema{Type: "null"})
	return s
}

// Expected is what decode says of another type.
func (permissions) Expected() (code, detail string) {
	return lifecycle.FieldType, `must be an object such as {"segments": "full", "keyreeve/keys": "view"}`
}

// masks reads the entries; a nil one is null, which takes an entry away where
// removal makes sense.
func (p permissions) masks(removal bool) (lifecycle.Optional[map[string]*policy.Mask], error) {
	out := lifecycle.Optional[map[string]*policy.Mask]{Set: p.Set, Null: p.Null, Value: make(map[string]*policy.Mask, len(p.Value))}
	var bad lifecycle.FieldErrors
	if !removal && lifecycle.TooManyPermissions(&bad, len(p.Value)) { // what is left after removals, the operation counts
		return out, bad.Err()
	}
	for _, name := range slices.Sorted(maps.Keys(p.Value)) {
		raw := p.Value[name]
		if removal && string(raw) == "null" {
			out.Value[name] = nil
			continue
		}
		var mask policy.Mask
		if string(raw) == "null" || json.Unmarshal(raw, &mask) != nil {
			bad.Add("permissions."+printable(name), lifecycle.FieldFormat, "must be full, view or a list of read, create, update and delete")
			continue
		}
		out.Value[name] = &mask
	}
	return out, bad.Err()
}

// granted is masks for a role about to be made.
func (p permissions) granted() (policy.Permissions, error) {
	given, err := p.masks(false)
	out := make(policy.Permissions, len(given.Value))
	for name, mask := range given.Value {
		out[name] = *mask
	}
	return out, err
}
