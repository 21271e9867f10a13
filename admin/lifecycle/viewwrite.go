package lifecycle

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// Bounds of a view.
const (
	// maxViewQuery is the longest query of a view, in bytes.
	maxViewQuery = 2048
	// maxViewColumns is how many columns a view may name.
	maxViewColumns = 50
)

// viewLists are the lists that a view can be of.
var viewLists = []string{"keys", "locks", "sessions", "roles", "customers", "microtenants", "sources", "nodes", "audit"}

var columnPattern = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,63}$`)

// NewView is what a view is made from. Name and List are required.
type NewView struct {
	Name            string
	Shared, Default bool
	List            string
	Query           string
	Columns         []string
}

// ViewPatch is what changes in a view; what is left out stays. Null resets Query
// and Columns, and is refused for the others. The list stays the same for good.
type ViewPatch struct {
	Name            Optional[string]
	Shared, Default Optional[bool]
	Query           Optional[string]
	Columns         Optional[[]string]
}

// apply is v with the patch on it, not yet validated.
func (p ViewPatch) apply(v View) (View, error) {
	var bad FieldErrors
	refuseNull(&bad, "name", p.Name)
	refuseNull(&bad, "shared", p.Shared)
	refuseNull(&bad, "default", p.Default)
	set(&v.Name, p.Name)
	set(&v.Shared, p.Shared)
	set(&v.Default, p.Default)
	set(&v.Query, p.Query)
	set(&v.Columns, p.Columns)
	return v, bad.Err()
}

// set gives a field what the patch holds for it: null is the zero value.
func set[T any](field *T, p Optional[T]) {
	if p.Set {
		*field = p.Value
	}
}

func sameView(a, b View) bool {
	return a.Name == b.Name && a.Shared == b.Shared && a.Default == b.Default && a.Query == b.Query && slices.Equal(a.Columns, b.Columns)
}

func checkList(bad *FieldErrors, list string) {
	if !slices.Contains(viewLists, list) {
		bad.Add("list", FieldFormat, "must be one of %s", strings.Join(viewLists, ", "))
	}
}

// clean validates a view.
func (v *View) clean() error {
	var bad FieldErrors
	v.Name = cleanName(&bad, v.Name)
	checkList(&bad, v.List)
	v.Query = cleanText(&bad, "query", v.Query, 0, maxViewQuery, "")
	if len(v.Query) > maxViewQuery {
		bad.Add("query", FieldRange, "has %d bytes, at most %d are allowed", len(v.Query), maxViewQuery)
	} else if _, err := url.ParseQuery(v.Query); err != nil {
		bad.Add("query", FieldFormat, "is not a query string such as state=locked&sort=-created_at")
	}
	if len(v.Columns) > maxViewColumns {
		bad.Add("columns", FieldTooMany, "has %d columns, at most %d are allowed", len(v.Columns), maxViewColumns)
		return bad.Err()
	}
	for i, column := range v.Columns {
		switch {
		case !columnPattern.MatchString(column):
			bad.Add(indexed("columns", i), FieldFormat, "is not the name of a member such as last_used_at")
		case slices.Contains(v.Columns[:i], column):
			bad.Add(indexed("columns", i), FieldConflict, "stands twice")
		}
	}
	return bad.Err()
}

// viewOwner is where the actor keeps a view.
func (o *op) viewOwner(shared bool) string {
	own, others := o.viewOwners()
	if shared {
		return others
	}
	return own
}

// changeableView is a view that the actor may change, at the revision that the
// caller knows.
func (o *op) changeableView(id string, cond Condition) (View, error) {
	if err := o.administers(true); err != nil {
		return View{}, err
	}
	v, err := o.findView(id)
	switch {
	case err != nil:
		return View{}, err
	case !v.Editable:
		return View{}, exceeds("id", "the view is another's; make one of your own")
	case cond != nil && !cond(v.Revision):
		return View{}, stale("view")
	}
	return v, nil
}

// putView stores next in place of before, which is nil for a new one.
func (o *op) putView(before, next *View) error {
	if err := next.clean(); err != nil {
		return err
	}
	owner := o.viewOwner(next.Shared)
	if owner == "" {
		return exceeds("shared", "only a key that may look at keys can share a view, with those of its own customer and microtenant")
	}
	moves := before == nil || before.Shared != next.Shared
	if next.Shared {
		if err := o.mayShare(moves, next.Default); err != nil {
			return err
		}
	}
	there, err := o.views(owner)
	if err != nil {
		return err
	}
	if moves {
		if err := roomForView(there, next); err != nil {
			return err
		}
	}
	if before != nil && moves {
		if err := o.tx.PutPreference(o.ctx, keystore.Preference{Owner: o.viewOwner(before.Shared), Name: viewPrefix + before.ID}); err != nil {
			return err
		}
	}
	if next.Default {
		if err := o.undefault(owner, there, next); err != nil {
			return err
		}
	}
	action := "view.create"
	if before != nil {
		action = "view.update"
	}
	next.Revision++
	if err := o.keepView(owner, next); err != nil {
		return err
	}
	return o.auditView(action, before, next)
}

// mayShare refuses to put a view before others: that is for who may change what they
// administer, and what a list opens with is for who keeps their roles, who may also
// edit what others share.
func (o *op) mayShare(moves, isDefault bool) error {
	keeper := o.need(ResourceRoles, policy.Update) == nil
	switch {
	case isDefault && !keeper:
		return exceeds("default", "what a list opens with for everyone is set with keyreeve/roles:update")
	case (moves || !keeper) && o.need(ResourceKeys, policy.Update) != nil:
		return exceeds("shared", "a view is shared, and a shared one changed, with keyreeve/keys:update")
	}
	return nil
}

// roomForView bounds the views of an owner. Of shared ones each maker has a share of
// its own, so that nobody takes the others' room.
func roomForView(there []View, next *View) error {
	mine := len(there)
	if next.Shared {
		others := func(v View) bool { return v.CreatedBy != next.CreatedBy }
		mine = len(slices.DeleteFunc(slices.Clone(there), others))
	}
	if mine >= MaxViews || len(there) >= MaxSharedViews {
		return &Error{Kind: Conflict, Code: CodeTooMany, Detail: fmt.Sprintf("there are %d such views, %d of them yours, the most allowed; delete one first", len(there), mine)}
	}
	return nil
}

// undefault makes room for next as the default of its list.
func (o *op) undefault(owner string, there []View, next *View) error {
	for _, v := range there {
		if v.ID == next.ID || !v.Default || v.List != next.List {
			continue
		}
		v.Default = false
		v.Revision++
		if err := o.keepView(owner, &v); err != nil {
			return err
		}
	}
	return nil
}

func (o *op) keepView(owner string, v *View) error {
	value, err := json.Marshal(versioned[storedView]{v.Revision, storedView{Name: v.Name, Default: v.Default, List: v.List, Query: v.Query, Columns: v.Columns,
		CreatedBy: v.CreatedBy, Created: v.CreatedAt, Modified: v.ModifiedAt}})
	if err != nil {
		return err
	}
	return o.tx.PutPreference(o.ctx, keystore.Preference{Owner: owner, Name: viewPrefix + v.ID, Value: value})
}

// viewRecord is what the audit trail keeps of a shared view.
type viewRecord struct {
	Name    string   `json:"name"`
	Shared  bool     `json:"shared"`
	Default bool     `json:"default"`
	List    string   `json:"list"`
	Query   string   `json:"query"`
	Columns []string `json:"columns"`
}

// auditView notes what becomes of a shared view. What an actor keeps for itself is
// nobody else's matter.
func (o *op) auditView(action string, before, after *View) error {
	var records [2]any
	shared := false
	about := after
	for i, v := range []*View{before, after} {
		if v == nil {
			continue
		}
		if about == nil {
			about = v
		}
		shared = shared || v.Shared
		records[i] = viewRecord{v.Name, v.Shared, v.Default, v.List, v.Query, v.Columns}
	}
	if !shared {
		return nil
	}
	at := target{kind: "view", id: about.ID, name: about.Name, customerID: o.actor.CustomerID, microtenantID: o.actor.MicrotenantID}
	return o.audit(action, at, records[0], records[1])
}
