package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// MaxPreferences is the most that an actor's preferences take, in bytes of JSON.
const MaxPreferences = 64 << 10

// preferencesName is the one entry that holds them; those of views begin with viewPrefix.
const preferencesName = "preferences"

// Preferences is what an actor's page remembers for it: an object whose members
// mean something to the page alone.
type Preferences struct {
	Values map[string]json.RawMessage
	// Revision counts their changes; 0 before the first.
	Revision keystore.Revision
}

// versioned is how a value with a revision of its own is stored: the change log
// knows nothing of what no decision depends on.
type versioned[T any] struct {
	Revision keystore.Revision `json:"revision"`
	Value    T                 `json:"value"`
}

// ownOwner owns what the actor keeps for itself.
func (o *op) ownOwner() string {
	if o.actor.Key == nil {
		return o.actor.Kind
	}
	return keyOwner(o.actor.Key.ID)
}

func keyOwner(keyID string) string { return "key:" + keyID }

// sharedOwner owns what is shared among the actors of a customer, or of one of its
// microtenants.
func sharedOwner(customerID, microtenantID string) string {
	return "customer:" + customerID + "/" + microtenantID
}

// forgetPreferences removes all that an owner keeps.
func (o *op) forgetPreferences(owner string) error {
	kept, err := o.r.Preferences(o.ctx, owner)
	if err != nil {
		return err
	}
	for _, p := range kept {
		if err := o.tx.PutPreference(o.ctx, keystore.Preference{Owner: owner, Name: p.Name}); err != nil {
			return fmt.Errorf("preference %s of %s: %w", p.Name, owner, err)
		}
	}
	return nil
}

// GetPreferences shows the actor's own.
func (s *Service) GetPreferences(ctx context.Context, a Actor) (Preferences, error) {
	var out Preferences
	err := s.view(ctx, a, func(o *op) (err error) {
		if err := o.administers(false); err != nil {
			return err
		}
		out, err = o.preferences()
		return err
	})
	return out, err
}

func (o *op) preferences() (Preferences, error) {
	kept, err := o.r.Preferences(o.ctx, o.ownOwner())
	if err != nil {
		return Preferences{}, err
	}
	stored := versioned[map[string]json.RawMessage]{}
	for _, p := range kept {
		if p.Name != preferencesName {
			continue
		}
		if err := json.Unmarshal(p.Value, &stored); err != nil {
			return Preferences{}, fmt.Errorf("preferences of %s: %w", o.ownOwner(), err)
		}
	}
	if stored.Value == nil {
		stored.Value = map[string]json.RawMessage{}
	}
	return Preferences{stored.Value, stored.Revision}, nil
}

// ReplacePreferences stores the actor's preferences in place of what it had.
func (s *Service) ReplacePreferences(ctx context.Context, a Actor, values map[string]json.RawMessage, cond Condition) (Preferences, Commit, error) {
	return s.changePreferences(ctx, a, cond, func(map[string]json.RawMessage) map[string]json.RawMessage { return values })
}

// MergePreferences applies a merge patch (RFC 7396) to the actor's preferences.
func (s *Service) MergePreferences(ctx context.Context, a Actor, patch map[string]json.RawMessage, cond Condition) (Preferences, Commit, error) {
	return s.changePreferences(ctx, a, cond, func(old map[string]json.RawMessage) map[string]json.RawMessage {
		return mergeObjects(old, patch)
	})
}

// changePreferences is not audited: they are the actor's own, and mean nothing to
// anyone's rights.
func (s *Service) changePreferences(ctx context.Context, a Actor, cond Condition, change func(map[string]json.RawMessage) map[string]json.RawMessage) (Preferences, Commit, error) {
	var out Preferences
	commit, err := s.update(ctx, a, func(o *op) error {
		if err := o.administers(true); err != nil {
			return err
		}
		old, err := o.preferences()
		if err != nil {
			return err
		}
		if cond != nil && !cond(old.Revision) {
			return stale("object of preferences")
		}
		out = Preferences{maps.Clone(change(old.Values)), old.Revision + 1}
		return o.keepPreferences(out)
	})
	if err != nil {
		return Preferences{}, Commit{}, err
	}
	return out, commit, nil
}

func (o *op) keepPreferences(p Preferences) error {
	value, err := json.Marshal(versioned[map[string]json.RawMessage]{p.Revision, p.Values})
	if err != nil {
		return err
	}
	if len(value) > MaxPreferences {
		return &Error{Kind: Invalid, Code: CodeValidation, Detail: fmt.Sprintf("the preferences take %d bytes, at most %d are allowed", len(value), MaxPreferences)}
	}
	return o.tx.PutPreference(o.ctx, keystore.Preference{Owner: o.ownOwner(), Name: preferencesName, Value: value})
}

// mergeObjects is RFC 7396 section 2 for two objects; old stays as it is.
func mergeObjects(old, patch map[string]json.RawMessage) map[string]json.RawMessage {
	merged := maps.Clone(old)
	if merged == nil {
		merged = map[string]json.RawMessage{}
	}
	for name, value := range patch {
		value = bytes.TrimSpace(value)
		switch {
		case string(value) == "null":
			delete(merged, name)
		case strings.HasPrefix(string(value), "{"):
			merged[name] = mergeMember(merged[name], value)
		default:
			merged[name] = value
		}
	}
	return merged
}

// mergeMember merges the object patch into old, which counts as empty if it is no object.
func mergeMember(old, patch json.RawMessage) json.RawMessage {
	var into, from map[string]json.RawMessage
	if json.Unmarshal(old, &into) != nil {
		into = nil
	}
	if json.Unmarshal(patch, &from) != nil {
		return patch // no JSON at all, which its reader has refused already
	}
	merged, err := json.Marshal(mergeObjects(into, from))
	if err != nil {
		return patch
	}
	return merged
}
