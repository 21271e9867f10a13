package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

const (
	// MaxViews is how many views an actor may have of its own, and how many it may
	// share.
	MaxViews = 100
	// MaxSharedViews is how many may be shared among the actors of one customer or
	// microtenant, by all of them.
	MaxSharedViews = 1000
)

// viewPrefix begins the names that views are stored under.
const viewPrefix = "view:"

// View is a list as someone wants to see it: which one, by which filters and
// order, with which columns.
type View struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Shared  bool     `json:"shared" doc:"Shown to every administrator of keys at the same place: the customer level, or the microtenant. Needs keyreeve/keys:update."`
	Default bool     `json:"default" doc:"What the list opens with; one at most for each list among one's own, and one among the shared, which is set with keyreeve/roles:update."`
	List    string   `json:"list" enum:"keys,locks,sessions,roles,customers,microtenants,sources,nodes,audit"`
	Query   string   `json:"query" doc:"Filters and order, as the list's own query string."`
	Columns []string `json:"columns" nullable:"false" doc:"In order; empty is the page's own choice."`

	Editable   bool              `json:"editable" doc:"Whether you may change it: your own, those you share, and all shared ones with keyreeve/roles:update."`
	CreatedBy  string            `json:"created_by" doc:"Id of the acting key, or local."`
	CreatedAt  time.Time         `json:"created_at"`
	ModifiedAt time.Time         `json:"modified_at"`
	Revision   keystore.Revision `json:"-"`
}

func (v *View) at() *keystore.Revision { return &v.Revision }
func (*View) redact()                  {}

// storedView is a view as kept under its owner.
type storedView struct {
	Name      string    `json:"name"`
	Default   bool      `json:"default"`
	List      string    `json:"list"`
	Query     string    `json:"query"`
	Columns   []string  `json:"columns"`
	CreatedBy string    `json:"created_by"`
	Created   time.Time `json:"created_at"`
	Modified  time.Time `json:"modified_at"`
}

// viewOwners are where the actor finds views: its own, and those shared with it.
// shared is "" for an actor that belongs to no customer or may not look at keys.
func (o *op) viewOwners() (own, shared string) {
	if o.actor.Key != nil && o.need(ResourceKeys, policy.Read) == nil {
		shared = sharedOwner(o.actor.Key.CustomerID, o.actor.Key.MicrotenantID)
	}
	return o.ownOwner(), shared
}

// views are those of one owner.
func (o *op) views(owner string) ([]View, error) {
	kept, err := o.r.Preferences(o.ctx, owner)
	if err != nil {
		return nil, err
	}
	var views []View
	for _, p := range kept {
		id, isView := strings.CutPrefix(p.Name, viewPrefix)
		if !isView {
			continue
		}
		var v versioned[storedView]
		if err := json.Unmarshal(p.Value, &v); err != nil {
			return nil, fmt.Errorf("view %s of %s: %w", id, owner, err)
		}
		views = append(views, o.showView(id, owner, v))
	}
	return views, nil
}

func (o *op) showView(id, owner string, v versioned[storedView]) View {
	s := v.Value
	own := owner == o.ownOwner()
	return View{ID: id, Name: s.Name, Shared: !own, Default: s.Default, List: s.List, Query: s.Query, Columns: append([]string{}, s.Columns...),
		Editable:  own || s.CreatedBy == o.actor.label() || o.need(ResourceRoles, policy.Update) == nil,
		CreatedBy: s.CreatedBy, CreatedAt: s.Created, ModifiedAt: s.Modified, Revision: v.Revision}
}

// allViews are those that the actor sees.
func (o *op) allViews() ([]View, error) {
	if err := o.administers(false); err != nil {
		return nil, err
	}
	own, shared := o.viewOwners()
	views, err := o.views(own)
	if err != nil || shared == "" {
		return views, err
	}
	others, err := o.views(shared)
	return append(views, others...), err
}

// findView is one that the actor sees.
func (o *op) findView(id string) (View, error) {
	all, err := o.allViews()
	if err != nil {
		return View{}, err
	}
	i := slices.IndexFunc(all, func(v View) bool { return v.ID == id })
	if i < 0 {
		return View{}, notFound("view")
	}
	return all[i], nil
}

// ViewFilter selects views; empty fields do not filter.
type ViewFilter struct {
	// List is the list that they are of.
	List string
	Paging
}

// ListViews lists the actor's own views and those shared with it, by name.
func (s *Service) ListViews(ctx context.Context, a Actor, f ViewFilter) (Page[View], error) {
	var out Page[View]
	err := s.view(ctx, a, func(o *op) error {
		all, err := o.allViews()
		if err != nil {
			return err
		}
		var bad FieldErrors
		if f.List != "" {
			checkList(&bad, f.List)
			all = slices.DeleteFunc(all, func(v View) bool { return v.List != f.List })
		}
		// The owner, since which views there are differs from key to key.
		at, err := f.Paging.check(o, o.scope(viewCursor, []string{o.ownOwner(), f.List}), bad)
		if err != nil {
			return err
		}
		place := func(v View) keystore.Cursor { return keystore.Cursor{Values: []string{v.Name}, ID: v.ID} }
		out, err = pageOf(o, at, cut(at, all, false, place), len(all), sure(place), func(v View) (View, error) { return v, nil })
		return err
	})
	return out, err
}

// GetView shows one view.
func (s *Service) GetView(ctx context.Context, a Actor, id string) (View, error) {
	var out View
	err := s.view(ctx, a, func(o *op) (err error) {
		out, err = o.findView(id)
		return err
	})
	return out, err
}

// CreateView makes a view, of the actor's own or shared.
func (s *Service) CreateView(ctx context.Context, a Actor, in NewView) (View, Commit, error) {
	may := func(o *op) error { return o.administers(true) }
	return create(ctx, s, a, may, func(o *op) (View, error) {
		now := o.stamp()
		v := View{ID: credential.NewID("view"), Name: in.Name, Shared: in.Shared, Default: in.Default, List: in.List, Query: in.Query, Columns: in.Columns,
			CreatedBy: o.actor.label(), CreatedAt: now, ModifiedAt: now}
		if err := o.putView(nil, &v); err != nil {
			return View{}, err
		}
		return o.findView(v.ID)
	})
}

// UpdateView applies a patch. A patch that changes nothing writes nothing.
func (s *Service) UpdateView(ctx context.Context, a Actor, id string, p ViewPatch, cond Condition) (View, Commit, error) {
	var out View
	commit, err := s.update(ctx, a, func(o *op) error {
		v, err := o.changeableView(id, cond)
		if err != nil {
			return err
		}
		next, err := p.apply(v)
		if err != nil {
			return err
		}
		if next.Shared != v.Shared && v.CreatedBy != o.actor.label() {
			return exceeds("shared", "only who made a view may stop sharing it")
		}
		if !sameView(v, next) {
			next.ModifiedAt = o.stamp()
			if err := o.putView(&v, &next); err != nil {
				return err
			}
		}
		out, err = o.findView(id)
		return err
	})
	if err != nil {
		return View{}, Commit{}, err
	}
	return out, commit, nil
}

// DeleteView removes a view.
func (s *Service) DeleteView(ctx context.Context, a Actor, id string, cond Condition) (Commit, error) {
	return s.update(ctx, a, func(o *op) error {
		v, err := o.changeableView(id, cond)
		if err != nil {
			return err
		}
		if err := o.tx.PutPreference(ctx, keystore.Preference{Owner: o.viewOwner(v.Shared), Name: viewPrefix + id}); err != nil {
			return err
		}
		return o.auditView("view.delete", &v, nil)
	})
}
