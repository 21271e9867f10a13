package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// CreateSource makes a source; keys come to it by PushSourceKeys.
func (s *Service) CreateSource(ctx context.Context, a Actor, in NewSource) (Source, Commit, error) {
	may := func(o *op) error { return o.needSources(policy.Create) }
	return create(ctx, s, a, may, func(o *op) (Source, error) {
		made, err := o.newSource(in)
		if err != nil {
			return Source{}, err
		}
		_, err = o.r.Source(ctx, made.CustomerID, made.Name)
		switch {
		case err == nil:
			return Source{}, refusal(&keystore.FieldError{Field: "name", Err: keystore.ErrConflict}, "source")
		case !errors.Is(err, keystore.ErrNotFound):
			return Source{}, err
		}
		return o.storeSource("source.create", nil, made)
	})
}

// PutSource makes a source or replaces it whole; created says which. Its keys
// stay. One that is so already is not written.
func (s *Service) PutSource(ctx context.Context, a Actor, in NewSource, cond Condition) (out Source, created bool, commit Commit, err error) {
	commit, err = s.update(ctx, a, func(o *op) error {
		// Before any look: whether there is one is not for everyone to know.
		if err := NeedsAny(NeedsSources(policy.Update), NeedsSources(policy.Create))(o); err != nil {
			return err
		}
		before, err := o.findSource(SourceRef{Name: in.Name, CustomerID: in.CustomerID})
		var refused *Error
		created = errors.As(err, &refused) && refused.Kind == NotFound
		if created {
			out, err = o.putNewSource(in, cond)
			return err
		}
		if err != nil {
			return err
		}
		if before, err = o.ownedSource(SourceRef{Name: before.Name, CustomerID: before.CustomerID}, policy.Update, cond); err != nil {
			return err
		}
		out, err = o.changeSource(before, SourcePatch{Owner: Some(in.Owner), Rule: Some(in.Rule), MaxRoleID: Some(in.MaxRoleID)})
		return err
	})
	if err != nil {
		return Source{}, false, Commit{}, err
	}
	return out, created, commit, nil
}

func (o *op) putNewSource(in NewSource, cond Condition) (Source, error) {
	if err := o.needSources(policy.Create); err != nil {
		return Source{}, err
	}
	if cond != nil && !cond(Absent) {
		return Source{}, stale("source")
	}
	made, err := o.newSource(in)
	if err != nil {
		return Source{}, err
	}
	return o.storeSource("source.create", nil, made)
}

// newSource validates in and holds it against the actor's rights.
func (o *op) newSource(in NewSource) (*keystore.Source, error) {
	var bad FieldErrors
	now := o.stamp()
	made := &keystore.Source{CustomerID: in.CustomerID, Name: in.Name, Owner: cleanOwner(&bad, in.Owner),
		Rule: cleanRule(&bad, in.Rule), MaxRoleID: in.MaxRoleID, Created: now, Modified: now}
	switch {
	case made.Name == "":
		bad.Add("name", FieldRequired, "is required")
	case !sourcePattern.MatchString(made.Name):
		bad.Add("name", FieldFormat, "must be 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit")
	case slices.Contains(reservedSources, made.Name):
		bad.Add("name", FieldReserved, "%q has a meaning of its own where a source is named", made.Name)
	}
	if made.MaxRoleID == "" {
		bad.Add("max_role_id", FieldRequired, "is required: the highest role that its keys may have")
	}
	if made.CustomerID == "" {
		made.CustomerID = o.actor.CustomerID
		if o.actor.AllCustomers {
			var err error
			if made.CustomerID, err = o.onlyCustomer(); err != nil {
				return nil, err
			}
		}
	}
	if made.CustomerID == "" {
		bad.Add("customer_id", FieldRequired, "is required, there are several customers")
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	if err := o.withinTenant(made.CustomerID, ""); err != nil {
		return nil, err
	}
	_, err := o.maxRole(made)
	return made, err
}

func cleanOwner(bad *FieldErrors, owner string) string {
	return cleanText(bad, "owner", owner, 0, MaxOwner, "")
}

func cleanRule(bad *FieldErrors, rule string) string {
	switch rule {
	case "":
		bad.Add("rule", FieldRequired, "is required: read_only or locked")
	case keystore.SourceReadOnly, keystore.SourceLocked:
	default:
		bad.Add("rule", FieldFormat, "must be read_only or locked")
	}
	return rule
}

// storeSource writes a source that is valid and allowed. before is nil for a new one.
func (o *op) storeSource(action string, before, next *keystore.Source) (Source, error) {
	if err := o.tx.PutSource(o.ctx, next); err != nil {
		return Source{}, refusal(err, "source")
	}
	var was any
	if before != nil {
		was = recordSource(before)
	}
	if err := o.audit(action, sourceTarget(next), was, recordSource(next)); err != nil {
		return Source{}, err
	}
	stored, err := o.r.Source(o.ctx, next.CustomerID, next.Name)
	if err != nil {
		return Source{}, err
	}
	return o.showSource(stored)
}

// UpdateSource applies a patch. A patch that changes nothing writes nothing.
func (s *Service) UpdateSource(ctx context.Context, a Actor, ref SourceRef, p SourcePatch, cond Condition) (Source, Commit, error) {
	var out Source
	commit, err := s.update(ctx, a, func(o *op) error {
		before, err := o.ownedSource(ref, policy.Update, cond)
		if err != nil {
			return err
		}
		out, err = o.changeSource(before, p)
		return err
	})
	if err != nil {
		return Source{}, Commit{}, err
	}
	return out, commit, nil
}

func (o *op) changeSource(before *keystore.Source, p SourcePatch) (Source, error) {
	var bad FieldErrors
	next := *before
	refuseNull(&bad, "rule", p.Rule)
	refuseNull(&bad, "max_role_id", p.MaxRoleID)
	if p.Owner.Set {
		next.Owner = cleanOwner(&bad, p.Owner.Value)
	}
	if p.Rule.Has() {
		next.Rule = cleanRule(&bad, p.Rule.Value)
	}
	if p.MaxRoleID.Has() {
		next.MaxRoleID = p.MaxRoleID.Value
		if next.MaxRoleID == "" {
			bad.Add("max_role_id", FieldRequired, "is required: the highest role that its keys may have")
		}
	}
	if err := bad.Err(); err != nil {
		return Source{}, err
	}
	if next == *before {
		return o.showSource(before)
	}
	role, err := o.maxRole(&next)
	if err != nil {
		return Source{}, err
	}
	if next.MaxRoleID != before.MaxRoleID {
		roles, err := o.r.Roles(o.ctx, next.CustomerID)
		if err != nil {
			return Source{}, err
		}
		if err := o.keysWithin(&next, role, roles...); err != nil {
			return Source{}, err
		}
	}
	next.Modified = o.stamp()
	return o.storeSource("source.update", before, &next)
}

// keysWithin refuses a highest role, most, that keys of the source with one of these
// roles are beyond: a bound that does not hold says less than none.
func (o *op) keysWithin(s *keystore.Source, most *keystore.Role, roles ...*keystore.Role) error {
	beyond := 0
	for _, r := range roles {
		if o.roleWithin(r, most) {
			continue
		}
		_, n, err := o.r.Keys(o.ctx, keystore.KeyQuery{CustomerID: s.CustomerID, Source: s.Name, RoleID: r.ID})
		if err != nil {
			return err
		}
		beyond += n
	}
	if beyond == 0 {
		return nil
	}
	return &Error{Kind: Conflict, Code: CodeInUse, Detail: fmt.Sprintf(
		"keys of the source %s (customer %s) would have more than its highest role %s: %d; push them with a lower role first", s.Name, s.CustomerID, most.Name, beyond)}
}

// sourcesHold is keysWithin for a role about to change: each source whose highest it
// is, and each that has keys of it.
func (o *op) sourcesHold(before, next *keystore.Role) error {
	sources, err := o.r.Sources(o.ctx, next.CustomerID)
	if err != nil {
		return err
	}
	wider, narrower := !o.roleWithin(next, before), !o.roleWithin(before, next)
	for _, s := range sources {
		switch {
		case s.MaxRoleID == next.ID && narrower:
			roles, err := o.r.Roles(o.ctx, s.CustomerID)
			if err != nil {
				return err
			}
			roles = slices.DeleteFunc(roles, func(r *keystore.Role) bool { return r.ID == next.ID })
			if err := o.keysWithin(s, next, roles...); err != nil {
				return err
			}
		case s.MaxRoleID != next.ID && wider:
			most, err := o.r.Role(o.ctx, s.MaxRoleID)
			if err != nil {
				return fmt.Errorf("highest role %s of source %s: %w", s.MaxRoleID, s.Name, err)
			}
			if err := o.keysWithin(s, most, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// roleWithin reports whether role grants nothing that most does not. What the
// Operator role reaches beside its mask, every customer, is the Operator's alone.
func (o *op) roleWithin(role, most *keystore.Role) bool {
	if role.ID == keystore.RoleOperator {
		return most.ID == keystore.RoleOperator
	}
	return role.Permissions.Within(most.Permissions, o.cfg.GroupOf)
}

// DeleteSource removes a source that owns no key.
func (s *Service) DeleteSource(ctx context.Context, a Actor, ref SourceRef, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		gone, err := o.ownedSource(ref, policy.Delete, cond)
		if err != nil {
			return err
		}
		shown, err := o.showSource(gone)
		if err != nil {
			return err
		}
		if shown.KeyCount > 0 {
			return &Error{Kind: Conflict, Code: CodeInUse,
				Detail: fmt.Sprintf("the source owns %d keys; push an empty list first", shown.KeyCount)}
		}
		if err := o.tx.DeleteSource(ctx, gone.CustomerID, gone.Name); err != nil {
			return refusal(err, "source")
		}
		if err := o.forgetPreferences(sourceOwner(gone.CustomerID, gone.Name)); err != nil {
			return err
		}
		return o.audit("source.delete", sourceTarget(gone), recordSource(gone), nil)
	})
}
