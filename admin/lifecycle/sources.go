package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// MaxOwner is the longest owner of a source, in characters.
const MaxOwner = 100

// sourcePattern is a source's name: it stands in paths, filters and `managed_by`.
var sourcePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// reservedSources say of a key that it has no source: in managed_by and in filters.
var reservedSources = []string{ManagedHere, FilterNull}

// SourceRef names an external source.
type SourceRef struct {
	Name string
	// CustomerID left empty is the actor's own. An actor of all customers may leave
	// it out where only one customer has a source of that name.
	CustomerID string
}

// NewSource is what a source is made from, or replaced by. Name, Rule and
// MaxRoleID are required.
type NewSource struct {
	Name string
	// CustomerID left empty is the actor's own. For an actor that has none it is the
	// only one there is.
	CustomerID string
	Owner      string
	Rule       string
	MaxRoleID  string
}

// SourcePatch is what changes in a source; what is left out stays. Null takes
// the owner away, and is refused for the others.
type SourcePatch struct {
	Owner     Optional[string]
	Rule      Optional[string]
	MaxRoleID Optional[string]
}

// Source is an external system that owns keys, as every door shows it.
type Source struct {
	Name       string            `json:"name" doc:"Unique in its customer; keys name it as their source."`
	CustomerID string            `json:"customer_id"`
	Owner      string            `json:"owner" doc:"Who to turn to, for people; empty is not said."`
	Rule       string            `json:"rule" enum:"read_only,locked" doc:"read_only: its keys are shown and changed there; locked: neither here nor there."`
	MaxRoleID  string            `json:"max_role_id" doc:"No key of the source may have a role that grants more than this one."`
	KeyCount   int               `json:"key_count" doc:"How many keys it owns."`
	LastSyncAt *time.Time        `json:"last_sync_at" nullable:"true" doc:"When its list was last pushed; null is never."`
	LastSyncBy *string           `json:"last_sync_by" nullable:"true" doc:"Id of the acting key, or local or system."`
	CreatedAt  time.Time         `json:"created_at"`
	ModifiedAt time.Time         `json:"modified_at"`
	Revision   keystore.Revision `json:"-"`
}

func (s *Source) at() *keystore.Revision { return &s.Revision }
func (*Source) redact()                  {}

// sourceRecord is what the audit trail keeps of a source.
type sourceRecord struct {
	Owner     string `json:"owner"`
	Rule      string `json:"rule"`
	MaxRoleID string `json:"max_role_id"`
}

func recordSource(s *keystore.Source) *sourceRecord {
	return &sourceRecord{Owner: s.Owner, Rule: s.Rule, MaxRoleID: s.MaxRoleID}
}

func sourceTarget(s *keystore.Source) target {
	return target{kind: string(keystore.KindSource), id: s.Name, name: s.Name, customerID: s.CustomerID}
}

// SyncOverdue is how long after its last list a source is worth a look: longer than a
// week, for those that push weekly.
const SyncOverdue = 8 * 24 * time.Hour

// showSource is the representation of s in this transaction.
func (o *op) showSource(s *keystore.Source) (Source, error) {
	_, owned, err := o.r.Keys(o.ctx, keystore.KeyQuery{CustomerID: s.CustomerID, Source: s.Name})
	return Source{Name: s.Name, CustomerID: s.CustomerID, Owner: s.Owner, Rule: s.Rule, MaxRoleID: s.MaxRoleID, KeyCount: owned,
		LastSyncAt: optional(s.Synced), LastSyncBy: optional(s.SyncedBy), CreatedAt: s.Created, ModifiedAt: s.Modified, Revision: s.Revision}, err
}

// ownerOf is who administers a key of an external source, for people.
func (o *op) ownerOf(k *keystore.Key) (string, error) {
	s, err := o.r.Source(o.ctx, k.CustomerID, k.Source)
	switch {
	case errors.Is(err, keystore.ErrNotFound) || (err == nil && s.Owner == ""):
		return k.Source, nil
	case err != nil:
		return "", err
	}
	return s.Owner + " (" + k.Source + ")", nil
}

// needSources refuses an actor that does not hold action on sources. A source
// belongs to a whole customer, so an actor inside a microtenant administers none.
func (o *op) needSources(action policy.Mask) error {
	if err := o.need(ResourceSources, action); err != nil {
		return err
	}
	if o.actor.MicrotenantID != "" && !o.actor.AllCustomers {
		return exceeds("microtenant_id", "the acting key belongs to a microtenant, which has no external sources of its own")
	}
	return nil
}

// source is the stored source that the actor may do action on.
func (o *op) source(ref SourceRef, action policy.Mask) (*keystore.Source, error) {
	if err := o.needSources(action); err != nil {
		return nil, err
	}
	return o.findSource(ref)
}

func (o *op) findSource(ref SourceRef) (*keystore.Source, error) {
	t, some := o.bound(tenant{customerID: ref.CustomerID})
	if !some {
		return nil, notFound("source")
	}
	if !t.all {
		s, err := o.r.Source(o.ctx, t.customerID, ref.Name)
		if err != nil {
			return nil, refusal(err, "source")
		}
		return s, nil
	}
	everyone, err := o.r.Sources(o.ctx, "")
	if err != nil {
		return nil, err
	}
	named := slices.DeleteFunc(everyone, func(s *keystore.Source) bool { return s.Name != ref.Name })
	switch len(named) {
	case 0:
		return nil, notFound("source")
	case 1:
		return named[0], nil
	}
	return nil, FieldErrors{{Field: "customer_id", Code: FieldRequired, Detail: "is required, several customers have a source of that name"}}.Err()
}

// ownedSource is source at the revision that the caller knows, and within the
// actor's own rights as it stands.
func (o *op) ownedSource(ref SourceRef, action policy.Mask, cond Condition) (*keystore.Source, error) {
	s, err := o.source(ref, action)
	if err != nil {
		return nil, err
	}
	if cond != nil && !cond(s.Revision) {
		return nil, stale("source")
	}
	_, err = o.maxRole(s)
	return s, err
}

// maxRole is the highest role that s may give, which must be within the actor's
// own rights.
func (o *op) maxRole(s *keystore.Source) (*keystore.Role, error) {
	role, err := o.usableRole(s.MaxRoleID, s.CustomerID)
	if err == nil {
		err = o.withinRole(role)
	}
	return role, refield(err, func(string) string { return "max_role_id" })
}

// GetSource shows one source.
func (s *Service) GetSource(ctx context.Context, a Actor, ref SourceRef) (Source, error) {
	var out Source
	err := s.view(ctx, a, func(o *op) error {
		stored, err := o.source(ref, policy.Read)
		if err != nil {
			return err
		}
		out, err = o.showSource(stored)
		return err
	})
	return out, err
}

// SourceFilter selects sources; empty fields do not filter.
type SourceFilter struct {
	// Text is found in name or owner, whatever the case.
	Text       string
	CustomerID string
	Paging
}

// ListSources lists the sources of the customers that the actor sees, by name.
func (s *Service) ListSources(ctx context.Context, a Actor, f SourceFilter) (Page[Source], error) {
	var out Page[Source]
	err := s.view(ctx, a, func(o *op) error {
		if err := o.needSources(policy.Read); err != nil {
			return err
		}
		scope := o.scope(sourceCursor, []string{f.Text, f.CustomerID})
		at, err := f.Paging.check(o, scope, nil)
		if err != nil {
			return err
		}
		out = Page[Source]{Items: []Source{}}
		t, some := o.bound(tenant{customerID: f.CustomerID})
		if !some {
			return nil
		}
		all, err := o.r.Sources(ctx, t.customerID)
		if err != nil {
			return err
		}
		text := strings.ToLower(f.Text)
		all = slices.DeleteFunc(all, func(s *keystore.Source) bool {
			return !strings.Contains(strings.ToLower(s.Name+"\n"+s.Owner), text)
		})
		out, err = o.pageOfSources(all, at)
		return err
	})
	return out, err
}

// pageOfSources cuts one page out of all sources: there are few.
func (o *op) pageOfSources(all []*keystore.Source, at place) (Page[Source], error) {
	order := func(s *keystore.Source, name, customerID string) int {
		return cmp.Or(strings.Compare(s.Name, name), strings.Compare(s.CustomerID, customerID))
	}
	slices.SortFunc(all, func(a, b *keystore.Source) int { return order(a, b.Name, b.CustomerID) })
	start := min(at.offset, len(all))
	if after := at.after; after != nil {
		start = len(all)
		if i := slices.IndexFunc(all, func(s *keystore.Source) bool { return order(s, after.Values[0], after.ID) > 0 }); i >= 0 {
			start = i
		}
	}
	cursor := func(s *keystore.Source) (keystore.Cursor, error) {
		return keystore.Cursor{Values: []string{s.Name}, ID: s.CustomerID}, nil
	}
	return pageOf(o, at, all[start:min(start+at.limit(), len(all))], len(all), cursor, o.showSource)
}
