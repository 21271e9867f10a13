package page

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

const preferencesPath = root + "preferences"

func (p *Page) addPreferences() {
	p.get(preferencesPath, (*visit).showPreferences)
	p.post(preferencesPath, (*visit).savePreferences)
	p.post(preferencesPath+"/view", (*visit).saveDefaultView)
	p.post(preferencesPath+"/columns", (*visit).resetColumns)
}

// preferencesPage is the data of the page about whoever is signed in.
type preferencesPage struct {
	*Form
	Who   lifecycle.Me
	Words []string
	// KeyURL, RoleURL and SessionsURL lead to what the actor may look at.
	KeyURL, RoleURL, SessionsURL string
	Themes                       []Choice
	Sizes                        []int
	// Shown and All count the table's columns; they are Chosen where they are not the
	// page's own choice.
	Shown, All int
	Chosen     bool
	// Own are the views that may be the default, and Default is that one's id.
	// Shared is the one that opens for everybody, nil for none.
	Own     []savedView
	Default string
	Shared  *savedView
	Idle    string
}

func (v *visit) showPreferences() error { return v.preferencesPage(http.StatusOK, nil) }

func (v *visit) preferencesPage(status int, f *Form) error {
	me, err := v.me()
	if err != nil {
		return err
	}
	prefs, err := v.keyPrefs()
	if err != nil {
		return err
	}
	theme, err := v.theme()
	if err != nil {
		return err
	}
	if f == nil {
		f = NewForm(url.Values{"theme": {theme}, "page_size": {strconv.Itoa(prefs.PageSize)}})
	}
	d := preferencesPage{Form: f, Who: *me, Words: v.titles().roleWords(me.Permissions), Sizes: sizesWith(prefs.PageSize), Idle: spell(idleLimit),
		Shown: len(v.columnsOf(prefs.Columns)), All: len(v.seen(keyColumns)), Chosen: len(prefs.Columns) > 0,
		Themes: []Choice{{Value: "system", Label: "As the system has it"}, {Value: "light", Label: "Light"}, {Value: "dark", Label: "Dark"}}}
	d.link(v)
	if err := d.addViews(v); err != nil {
		return err
	}
	return v.show(view{Status: status, Page: "preferences", Title: "Preferences", Data: d})
}

// link fills the places that the actor may enter.
func (d *preferencesPage) link(v *visit) {
	for _, at := range v.rooms() {
		switch {
		case at.Path == keysPath && d.Who.KeyID != nil:
			d.KeyURL = keyURL(*d.Who.KeyID)
		case at.Path == rolesPath && d.Who.RoleID != nil:
			d.RoleURL = rolePath(*d.Who.RoleID)
		case at.Path == root+"sessions" && d.Who.KeyID != nil:
			d.SessionsURL = at.Path + "?" + url.Values{"key_id": {*d.Who.KeyID}}.Encode()
		}
	}
}

func (d *preferencesPage) addViews(v *visit) error {
	all, err := v.views()
	if err != nil {
		return err
	}
	for _, one := range all {
		s := savedView{View: one, URL: viewURL(one)}
		switch {
		case !one.Shared:
			d.Own = append(d.Own, s)
			if one.Default {
				d.Default = one.ID
			}
		case one.Default:
			d.Shared = &s
		}
	}
	return nil
}

// sizesWith are the rows per page on offer, and the present number.
func sizesWith(size int) []int {
	sizes := append(slices.Clone(pageSizes), size)
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// savePreferences keeps the theme and the rows per page, each where it was sent.
func (v *visit) savePreferences() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	theme, sent := f.Get("theme"), f.Values.Has("theme")
	if sent && !slices.Contains(themes, theme) {
		f.Fail("theme", "Choose one of those shown.")
	}
	size, err := strconv.Atoi(f.Get("page_size"))
	sized := f.Values.Has("page_size")
	if sized && (err != nil || size < 1 || size > pageSizes[len(pageSizes)-1]) {
		f.Fail("page_size", "Choose a number up to "+strconv.Itoa(pageSizes[len(pageSizes)-1])+".")
	}
	if f.Failed() {
		return v.preferencesPage(http.StatusBadRequest, f)
	}
	if sent {
		if err := v.keep(prefTheme, theme); err != nil {
			return err
		}
	}
	if sized {
		if err := v.keepKeyPrefs(func(p *keyPrefs) { p.PageSize = size }); err != nil {
			return err
		}
	}
	return v.done(preferencesPath, "Preferences kept.")
}

// saveDefaultView makes one of the actor's own views what the table of keys opens
// with, or none.
func (v *visit) saveDefaultView() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	if id := f.Get("view"); id != "" {
		one, err := v.svc().GetView(v.ctx(), v.actor, id)
		if err != nil {
			return err
		}
		if _, _, err := v.svc().UpdateView(v.ctx(), v.actor, id, lifecycle.ViewPatch{Default: lifecycle.Some(true)}, nil); err != nil {
			return err
		}
		return v.done(preferencesPath, "The table opens with “"+one.Name+"” from now on.")
	}
	all, err := v.views()
	if err != nil {
		return err
	}
	message := "The table opens with every key."
	for _, one := range all {
		if one.Default && !one.Shared {
			if _, _, err := v.svc().UpdateView(v.ctx(), v.actor, one.ID, lifecycle.ViewPatch{Default: lifecycle.Some(false)}, nil); err != nil {
				return err
			}
		}
		if one.Default && one.Shared {
			message = "The table opens with “" + one.Name + "”, as it does for everybody."
		}
	}
	return v.done(preferencesPath, message)
}

func (v *visit) resetColumns() error {
	if err := v.keepKeyPrefs(func(p *keyPrefs) { p.Columns = nil }); err != nil {
		return err
	}
	return v.done(preferencesPath, "The table shows every column again.")
}
