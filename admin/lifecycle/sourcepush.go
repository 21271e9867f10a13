package lifecycle

import (
	"context"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// minRemovals is how many keys a list may remove unasked, however few there are;
	// beyond it, one key in removalShare.
	minRemovals  = 10
	removalShare = 10

	// MaxSourceKeys is the most keys of a list.
	MaxSourceKeys = 100_000
)

// What became of a key of a pushed list.
const (
	PushCreated   = "created"
	PushUpdated   = "updated"
	PushUnchanged = "unchanged"
	PushRemoved   = "removed"
)

// SourceKey is a key as its source describes it, whole: what is left out is the
// default, not what was. ClientID, Name and RoleID are required.
type SourceKey struct {
	ClientID    string
	Name        string
	Description string
	RoleID      string
	// MicrotenantID left out or null is the customer level. It never changes.
	MicrotenantID Optional[string]
	// Enabled left out is true.
	Enabled Optional[bool]
	// SecretSHA256 is required for a new key. Another one than before ends the
	// secret before at once; left out keeps it.
	SecretSHA256           string
	ExpiresAt              Optional[time.Time]
	AllowedCIDRs           []string
	Labels                 map[string]string
	SessionValiditySeconds Optional[int64]
}

// SourcePush is the full list of a source's keys.
type SourcePush struct {
	Keys []SourceKey
	// MaxRemovals is how many keys of the source may be missing, and be removed. Left
	// out it is a tenth of those present, but at least ten.
	MaxRemovals Optional[int64]
	// DryRun goes through everything and writes nothing.
	DryRun bool
}

// PushedKey is what became of one key.
type PushedKey struct {
	ClientID string  `json:"client_id"`
	ID       *string `json:"id" nullable:"true" doc:"null for a key that a dry run would make."`
	Result   string  `json:"result" enum:"created,updated,unchanged,removed"`
}

// PushedSource is what became of a list: its keys in order, then those removed.
type PushedSource struct {
	Source     string            `json:"source"`
	CustomerID string            `json:"customer_id"`
	DryRun     bool              `json:"dry_run" doc:"true: nothing was written."`
	Created    int               `json:"created"`
	Updated    int               `json:"updated"`
	Unchanged  int               `json:"unchanged"`
	Removed    int               `json:"removed"`
	Items      []PushedKey       `json:"items" nullable:"false"`
	Revision   keystore.Revision `json:"-"`
}

// push is one list on its way into the store.
type push struct {
	*op
	source *keystore.Source
	max    *keystore.Role
	// head is where the log stood before.
	head keystore.Revision
	// present are the source's keys, by client ID; those of the list are taken out.
	present      map[string]*keystore.Key
	microtenants map[string]bool
	// disabled are the client IDs that the source took away while disabled here, and when.
	disabled map[string]time.Time
	roles    map[string]pushRole
	// steps are the list's keys in its order, then the removals.
	steps []pushStep
	// What is wrong, by what is answered: 400, 403 and 409.
	invalid, beyond, conflicts FieldErrors
}

// pushRole is a role that the list may name.
type pushRole struct {
	role *keystore.Role
	// fits: within the source's highest role.
	fits bool
}

// pushStep is one key: before is nil for a new one, after for one to remove.
type pushStep struct {
	before, after *keystore.Key
	changed       bool
}

// PushSourceKeys makes the keys of a source what the list says, all in one
// change: keys that are not in it are removed. If one of them cannot be as the
// list says, nothing is written. A customer has one list at a time.
func (s *Service) PushSourceKeys(ctx context.Context, a Actor, ref SourceRef, in SourcePush, cond Condition) (PushedSource, Commit, error) {
	turn, err := s.StartPush(ctx, a, ref)
	if err != nil {
		return PushedSource{}, Commit{}, err
	}
	defer turn.End()
	return turn.Push(ctx, in, cond)
}

// pushKeys plans a list on a snapshot, so that other writes wait only for what
// changes, and anew if the store moved on meanwhile. A dry run never has the writer.
func (s *Service) pushKeys(ctx context.Context, a Actor, ref SourceRef, in SourcePush, cond Condition) (out PushedSource, commit Commit, err error) {
	var planned *push
	err = s.view(ctx, a, func(o *op) (err error) {
		if planned, err = o.planPush(ref, in, cond); err == nil && in.DryRun {
			out, err = planned.result(true)
		}
		return err
	})
	if err == nil && in.DryRun {
		return out, Commit{Revision: planned.head, Propagation: Propagation{Confirmed: 1}}, nil
	}
	if err == nil {
		commit, err = s.update(ctx, a, func(o *op) error {
			p, err := planned.in(o)
			if err == nil && p == nil {
				p, err = o.planPush(ref, in, cond)
			}
			if err != nil {
				return err
			}
			if err := p.apply(); err != nil {
				return err
			}
			out, err = p.result(false)
			return err
		})
	}
	if err != nil {
		return PushedSource{}, Commit{}, s.auditProbe(ctx, a, ref, in.DryRun, err)
	}
	return out, commit, nil
}

func (o *op) planPush(ref SourceRef, in SourcePush, cond Condition) (*push, error) {
	p, err := o.newPush(ref, cond)
	if err != nil {
		return nil, err
	}
	return p, p.plan(in)
}

// in is the plan in the transaction that carries it out, nil if anything that a
// decision depends on changed since: rights, roles, tenants, the keys themselves.
func (p *push) in(o *op) (*push, error) {
	head, err := o.r.Head(o.ctx)
	if err != nil || head != p.head {
		return nil, err
	}
	there, source := *p, *p.source
	there.op, there.source, there.conflicts = o, &source, nil
	return &there, nil
}

func (o *op) newPush(ref SourceRef, cond Condition) (*push, error) {
	source, err := o.source(ref, policy.Update)
	if err != nil {
		return nil, err
	}
	if cond != nil && !cond(source.Revision) {
		return nil, stale("source")
	}
	p := &push{op: o, source: source, present: map[string]*keystore.Key{}, roles: map[string]pushRole{}, microtenants: map[string]bool{}}
	if p.max, err = o.r.Role(o.ctx, source.MaxRoleID); err != nil {
		return nil, fmt.Errorf("highest role %s of source %s: %w", source.MaxRoleID, source.Name, err)
	}
	if p.head, err = o.r.Head(o.ctx); err != nil {
		return nil, err
	}
	if p.disabled, err = o.disabledHere(source); err != nil {
		return nil, err
	}
	q := keystore.KeyQuery{CustomerID: source.CustomerID, Source: source.Name}
	_, total, err := o.r.Keys(o.ctx, q)
	if err != nil {
		return nil, err
	}
	if q.Limit = total; total > 0 {
		keys, _, err := o.r.Keys(o.ctx, q)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			p.present[k.ClientID] = k
		}
	}
	return p, p.tenants()
}

// tenants reads which roles and microtenants there are for the source's keys.
func (p *push) tenants() error {
	roles, err := p.r.Roles(p.ctx, p.source.CustomerID)
	if err != nil {
		return err
	}
	for _, r := range roles {
		p.roles[r.ID] = pushRole{role: r, fits: p.roleWithin(r, p.max)}
	}
	microtenants, err := p.r.Microtenants(p.ctx, p.source.CustomerID)
	for _, m := range microtenants {
		p.microtenants[m.ID] = true
	}
	return err
}
