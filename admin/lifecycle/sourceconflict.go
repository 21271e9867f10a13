package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// findConflicts notes the keys of the list that cannot be beside others of the store,
// on the plan's snapshot: the writer is not asked for what will be refused, and not
// at all for a dry run. Among the source's own keys the list decides.
func (p *push) findConflicts() error {
	for i, s := range p.steps {
		if s.after == nil || !s.changed {
			continue
		}
		if s.before == nil {
			other, err := p.r.KeyByClientID(p.ctx, s.after.ClientID)
			if err != nil && !errors.Is(err, keystore.ErrNotFound) {
				return err
			}
			if err == nil && !p.owns(other) {
				p.conflict(i, "client_id")
				continue
			}
		}
		if s.before != nil && s.before.Name == s.after.Name {
			continue
		}
		named, _, err := p.r.Keys(p.ctx, keystore.KeyQuery{CustomerID: s.after.CustomerID, MicrotenantID: s.after.MicrotenantID,
			CustomerLevel: s.after.MicrotenantID == "", Name: s.after.Name, Limit: 1}) // unique there
		if err != nil {
			return err
		}
		if len(named) > 0 && !p.owns(named[0]) {
			p.conflict(i, "name")
		}
	}
	return nil
}

// owns reports whether a key is the source's, which is for the list to say.
func (p *push) owns(k *keystore.Key) bool {
	return k.CustomerID == p.source.CustomerID && k.Source == p.source.Name
}

func (p *push) conflict(step int, field string) {
	p.conflicts.Add(indexed("keys", step)+"."+field, taken[field], "another key has this %s", field)
}

// refusedSync is what the audit trail keeps of a list that was refused for client
// IDs that others have.
type refusedSync struct {
	Refused string `json:"refused"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// auditProbe records that a list named client IDs that others have, and was told so:
// a client ID is unique over all customers, so the answer says a little of what the
// actor does not see. One event for each list, whatever it named.
func (s *Service) auditProbe(ctx context.Context, a Actor, ref SourceRef, dryRun bool, refused error) error {
	var e *Error
	of := func(f FieldError) bool { return strings.HasSuffix(f.Field, ".client_id") }
	if !errors.As(refused, &e) || e.Kind != Conflict || !slices.ContainsFunc(e.Fields, of) {
		return refused
	}
	_, err := s.update(ctx, a, func(o *op) error {
		source, err := o.source(ref, policy.Update)
		if err != nil {
			return err
		}
		return o.audit("source.sync", sourceTarget(source), nil, &refusedSync{Refused: CodeClientIDTaken, DryRun: dryRun})
	})
	if err != nil {
		return err
	}
	return refused
}
