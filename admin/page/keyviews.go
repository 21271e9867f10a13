package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// keyList names the table's list in saved views.
const keyList = "keys"

// viewBar is the saved views above the table.
type viewBar struct {
	Own, Shared []savedView
	// Current is the one that is open, nil for none.
	Current *savedView
	// Modified: the table is not as Current is saved.
	Modified bool
	// Opens: a view opens first, so that having none must be said.
	Opens bool
	// Landed: something was just done with a view, so that this is where to go on.
	Landed bool
	// Discard goes back to what is saved, Leave to no view at all, and New saves the
	// table as a new one.
	Discard, Leave, New string
}

type savedView struct {
	lifecycle.View
	URL  string
	Open bool
}

// views are those of the table that the actor sees, read once.
func (v *visit) views() ([]lifecycle.View, error) {
	if v.saved != nil {
		return v.saved.Items, nil
	}
	page, err := v.svc().ListViews(v.ctx(), v.actor, lifecycle.ViewFilter{List: keyList,
		Paging: lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}})
	if err == nil {
		v.saved = &page
	}
	return page.Items, err
}

func (v *visit) viewBar(q query) (viewBar, error) {
	all, err := v.views()
	if err != nil {
		return viewBar{}, err
	}
	none := newQuery(nil)
	bar := viewBar{Landed: v.told != nil, Leave: none.with(paramView, noView).String(), New: keysPath + "/views/new?" + only(q.Values, append(slices.Clone(savedParams), paramColumns, paramView)).Encode()}
	for _, one := range all {
		s := savedView{View: one, URL: viewURL(one), Open: one.ID == q.Get(paramView)}
		if s.Open {
			bar.Current = &s
			bar.Discard = s.URL
			named := q.Get(paramColumns)
			bar.Modified = q.saved() != canonical(one.Query) || named != "" && named != strings.Join(one.Columns, ",")
		}
		bar.Opens = bar.Opens || one.Default
		if one.Shared {
			bar.Shared = append(bar.Shared, s)
		} else {
			bar.Own = append(bar.Own, s)
		}
	}
	return bar, nil
}

// canonical is a saved query as query.saved writes it.
func canonical(saved string) string {
	values, err := url.ParseQuery(saved)
	if err != nil {
		return ""
	}
	return newQuery(values).saved()
}

// viewURL opens a view. Its filters stand in the URL too, so that it can be sent on.
func viewURL(one lifecycle.View) string {
	values, err := url.ParseQuery(one.Query)
	if err != nil {
		values = nil
	}
	return newQuery(values).with(paramView, one.ID, paramColumns, "").String()
}

// defaultQuery is where the table opens, "" for as it is: the actor's own default
// view goes before a shared one.
func (v *visit) defaultQuery() (string, error) {
	all, err := v.views()
	if err != nil {
		return "", err
	}
	at := ""
	for _, one := range all {
		if one.Default && (at == "" || !one.Shared) {
			at = viewURL(one)
		}
	}
	return at, nil
}

// Unsaved is what is read out of a table that is not as its view is saved, "" where
// it is.
func (b viewBar) Unsaved() string {
	if b.Current == nil || !b.Modified {
		return ""
	}
	return "; view “" + b.Current.Name + "” is not saved"
}

// newViewData is the data of the dialog that saves a view.
type newViewData struct {
	*Form
	// Back is the table as it is to be saved.
	Back string
	// Chips are its filters in words.
	Chips    []chip
	Commands *commands
}

func (v *visit) newView() error {
	return v.newViewPage(http.StatusOK, NewForm(nil), newQuery(v.r.URL.Query()))
}

func (v *visit) newViewPage(status int, f *Form, q query) error {
	choices, err := v.svc().KeyChoices(v.ctx(), v.actor)
	if err != nil {
		return err
	}
	d := newViewData{Form: f, Back: q.String(), Chips: q.chips(choices)}
	if f.asksForCommands() {
		in, err := v.newViewOf(f, q)
		if err != nil {
			return err
		}
		d.Commands = v.commands(call{Method: http.MethodPost, Path: viewsCall, Body: map[string]any{"name": orPlaceholder(in.Name, "NAME"),
			"list": in.List, "query": in.Query, "columns": in.Columns, "shared": in.Shared, "default": in.Default}})
	}
	return v.dialog(status, "keyview", "Save as a new view", d)
}

// viewsCall is where the admin API has saved views. The command-line tool has none.
const viewsCall = "/v1/me/views"

// newViewOf is the table at q under the name that was typed.
func (v *visit) newViewOf(f *Form, q query) (lifecycle.NewView, error) {
	columns, _, err := v.columns(q)
	return lifecycle.NewView{Name: f.Get("name"), Shared: f.Get("shared") == "true", Default: f.Get("default") == "true",
		List: keyList, Query: q.saved(), Columns: idsOf(columns)}, err
}

func (v *visit) createView() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	q := queryAt(f.Get("back"))
	if f.asksForCommands() {
		return v.newViewPage(http.StatusOK, f, q)
	}
	in, err := v.newViewOf(f, q)
	if err != nil {
		return err
	}
	made, _, err := v.svc().CreateView(v.ctx(), v.actor, in)
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.newViewPage(status, f, q)
	}
	return v.toTable(viewURL(made), "View “"+made.Name+"” saved.")
}

// toTable goes on in the table at a URL of it, and tells what was done. With script,
// where the table is there already, it alone is swapped.
func (v *visit) toTable(to, message string) error {
	n := notice{Text: message}
	if !v.partial() || v.herePath() != keysPath {
		v.leave(n)
		return v.redirect(to)
	}
	v.told, v.saved = &n, nil
	h := v.w.Header()
	h.Set("HX-Push-Url", to)
	h.Set("HX-Retarget", "#keys")
	h.Set("HX-Reswap", "outerHTML")
	h.Set("HX-Trigger-After-Swap", "keyreeve:close") // the form of the dialog finds what is swapped
	return v.keyTable(queryAt(to), http.StatusOK)
}

// changeView does something with the view of the path, and goes on where the form
// was.
func (v *visit) changeView(change func(lifecycle.View, query) (to, message string, err error)) error {
	f, err := v.form()
	if err != nil {
		return err
	}
	one, err := v.svc().GetView(v.ctx(), v.actor, v.id())
	if err != nil {
		return err
	}
	to, message, err := change(one, queryAt(f.Get("back")))
	if err != nil {
		return err
	}
	return v.toTable(to, message)
}

// saveView makes the view what the table is.
func (v *visit) saveView() error {
	return v.changeView(func(one lifecycle.View, q query) (string, string, error) {
		columns, _, err := v.columns(q)
		if err != nil {
			return "", "", err
		}
		patch := lifecycle.ViewPatch{Query: lifecycle.Some(q.saved()), Columns: lifecycle.Some(idsOf(columns))}
		saved, _, err := v.svc().UpdateView(v.ctx(), v.actor, one.ID, patch, nil)
		return viewURL(saved), "View “" + one.Name + "” saved.", err
	})
}

// defaultView makes the view what the table opens with, or takes that from it.
func (v *visit) defaultView() error {
	return v.changeView(func(one lifecycle.View, q query) (string, string, error) {
		message := "The table opens with “" + one.Name + "” from now on."
		if one.Default {
			message = "The table does not open with “" + one.Name + "” any more."
		}
		_, _, err := v.svc().UpdateView(v.ctx(), v.actor, one.ID, lifecycle.ViewPatch{Default: lifecycle.Some(!one.Default)}, nil)
		return q.String(), message, err
	})
}

func (v *visit) deleteView() error {
	return v.changeView(func(one lifecycle.View, q query) (string, string, error) {
		_, err := v.svc().DeleteView(v.ctx(), v.actor, one.ID, nil)
		return q.with(paramView, noView, paramColumns, "").String(), "View “" + one.Name + "” deleted.", err
	})
}
