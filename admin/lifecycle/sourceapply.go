package lifecycle

import (
	"slices"

	"github.com/keyreeve/keyreeve/keystore"
)

// syncRecord is what the audit trail keeps of a push.
type syncRecord struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Removed   int `json:"removed"`
}

// apply writes what was planned. A list that changes nothing leaves no trace but
// when it came.
func (p *push) apply() error {
	p.source.Synced, p.source.SyncedBy = p.stamp(), p.actor.label()
	if !slices.ContainsFunc(p.steps, func(s pushStep) bool { return s.changed }) {
		p.revokeNow() // as the list before did, which may have been this one
		return p.tx.TouchSource(p.ctx, p.source.CustomerID, p.source.Name, p.source.Synced, p.source.SyncedBy)
	}
	if err := p.remove(); err != nil {
		return err
	}
	if err := p.freeNames(); err != nil {
		return err
	}
	if err := p.put(); err != nil {
		return err
	}
	if err := p.keepDisabledHere(); err != nil {
		return err
	}
	if err := p.tx.PutSource(p.ctx, p.source); err != nil {
		return refusal(err, "source")
	}
	return p.audit("source.sync", sourceTarget(p.source), nil, p.counts())
}

func (p *push) remove() error {
	for _, s := range p.steps {
		if s.after != nil {
			continue
		}
		p.revokeNow()
		if err := p.tx.DeleteKey(p.ctx, s.before.ID); err != nil {
			return refusal(err, "key")
		}
		if err := p.forgetPreferences(keyOwner(s.before.ID)); err != nil {
			return err
		}
		if err := p.audit("key.delete", keyTarget(s.before), recordKey(s.before), nil); err != nil {
			return err
		}
	}
	return nil
}

// freeNames takes names away from keys that get others, where the list gives
// them to other keys: two that swap their names would stand in each other's way.
func (p *push) freeNames() error {
	type place struct{ microtenant, name string }
	claimed := map[place]string{} // by id
	for _, s := range p.steps {
		if s.after != nil {
			claimed[place{s.after.MicrotenantID, s.after.Name}] = s.after.ID
		}
	}
	for _, s := range p.steps {
		if s.after == nil || s.before == nil || s.before.Name == s.after.Name {
			continue
		}
		if id := claimed[place{s.before.MicrotenantID, s.before.Name}]; id == "" || id == s.before.ID {
			continue
		}
		between := *s.before
		between.Name = between.ID // which no other key has
		if err := p.tx.PutKey(p.ctx, &between); err != nil {
			return refusal(err, "key")
		}
	}
	return nil
}

// put writes new and changed keys, which nothing stands against: see findConflicts.
func (p *push) put() error {
	for _, s := range p.steps {
		if s.after == nil || !s.changed {
			continue
		}
		next, err := p.withUses(s)
		if err != nil {
			return err
		}
		if err := p.tx.PutKey(p.ctx, next); err != nil {
			return refusal(err, "key")
		}
		action, before := "key.create", any(nil)
		if s.before != nil {
			p.revokeBy(s.before, next)
			action, before = "key.update", recordKey(s.before)
		}
		if err := p.audit(action, keyTarget(next), before, recordKey(next)); err != nil {
			return err
		}
	}
	return nil
}

// withUses is the key to store with the uses that were recorded since it was
// planned: they are no change, and would be lost.
func (p *push) withUses(s pushStep) (*keystore.Key, error) {
	next := *s.after
	if s.before == nil {
		return &next, nil
	}
	stored, err := p.r.Key(p.ctx, next.ID)
	if err != nil {
		return nil, err
	}
	next.LastUsed, next.LastUsedAddress, next.LastUsedRoute = stored.LastUsed, stored.LastUsedAddress, stored.LastUsedRoute
	next.Secrets = slices.Clone(next.Secrets)
	for i := range next.Secrets {
		to := &next.Secrets[i]
		if from := stored.SecretByID(to.ID); from != nil {
			to.LastUsed, to.LastUsedAddress, to.Tried, to.TriedAddress = from.LastUsed, from.LastUsedAddress, from.Tried, from.TriedAddress
		}
	}
	return &next, nil
}

func (s *pushStep) result() string {
	switch {
	case s.after == nil:
		return PushRemoved
	case s.before == nil:
		return PushCreated
	case s.changed:
		return PushUpdated
	}
	return PushUnchanged
}

func (p *push) counts() *syncRecord {
	n := map[string]int{}
	for i := range p.steps {
		n[p.steps[i].result()]++
	}
	return &syncRecord{Created: n[PushCreated], Updated: n[PushUpdated], Unchanged: n[PushUnchanged], Removed: n[PushRemoved]}
}

func (p *push) result(dryRun bool) (PushedSource, error) {
	n := p.counts()
	stored, err := p.r.Source(p.ctx, p.source.CustomerID, p.source.Name)
	if err != nil {
		return PushedSource{}, err
	}
	out := PushedSource{Source: stored.Name, CustomerID: stored.CustomerID, DryRun: dryRun, Revision: stored.Revision,
		Created: n.Created, Updated: n.Updated, Unchanged: n.Unchanged, Removed: n.Removed, Items: make([]PushedKey, 0, len(p.steps))}
	for i := range p.steps {
		s := &p.steps[i]
		k := s.after
		if k == nil {
			k = s.before
		}
		item := PushedKey{ClientID: k.ClientID, ID: optional(k.ID), Result: s.result()}
		if dryRun && s.before == nil {
			item.ID = nil
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}
