package page

import (
	"net/http"
	"slices"
	"strings"
)

// column is one of the table's.
type column struct {
	// ID is the member of a key that it shows, as views hold it.
	ID, Title string
	// Sort is the field that it is sorted by, "" for none.
	Sort string
	// operators see it alone.
	operators bool
}

// keyColumns are all. The name is always shown.
var keyColumns = []column{
	{ID: "name", Title: "Name", Sort: "name"},
	{ID: "client_id", Title: "Client ID", Sort: "client_id"},
	{ID: "enabled", Title: "Status", Sort: "enabled"},
	{ID: "state", Title: "State", Sort: "state"},
	{ID: "session_validity_seconds", Title: "Session validity", Sort: "session_validity_seconds"},
	{ID: "role_id", Title: "Role", Sort: "role"},
	{ID: "created_at", Title: "Created", Sort: "created_at"},
	{ID: "last_used_at", Title: "Last used", Sort: "last_used_at"},
	{ID: "expires_at", Title: "Expires", Sort: "expires_at"},
	{ID: "secrets", Title: "Secrets", Sort: "secrets"},
	{ID: "source", Title: "Source", Sort: "source"},
	{ID: "microtenant_id", Title: "Microtenant", Sort: "microtenant"},
	{ID: "customer_id", Title: "Customer", Sort: "customer", operators: true},
	{ID: "labels", Title: "Labels", Sort: "labels"},
}

// firstColumns are those that the table begins with: what fits on a small desk.
var firstColumns = []string{"name", "client_id", "state", "session_validity_seconds", "role_id", "created_at", "last_used_at"}

// keyPrefs is what is remembered of the table, beside saved views.
type keyPrefs struct {
	// Columns in their order; empty is firstColumns.
	Columns []string `json:"columns"`
	// PageSize is the rows per page; 0 is the first of pageSizes.
	PageSize int `json:"page_size"`
	// Filters says whether they are open; nil is only while one of them is on.
	Filters *bool `json:"filters,omitempty"`
}

func (v *visit) keyPrefs() (keyPrefs, error) {
	var p keyPrefs
	err := v.preference(prefKeys, &p)
	if p.PageSize < 1 || p.PageSize > pageSizes[len(pageSizes)-1] {
		p.PageSize = pageSizes[0]
	}
	return p, err
}

// columnsOf are the columns with these ids, in that order; the name is put first
// where it is missing, and none at all is firstColumns.
func (v *visit) columnsOf(ids []string) []column {
	var shown []column
	for _, id := range ids {
		for _, c := range keyColumns {
			if c.ID == id && (!c.operators || v.actor.AllCustomers) && !slices.Contains(shown, c) {
				shown = append(shown, c)
			}
		}
	}
	switch {
	case len(shown) == 0:
		return v.columnsOf(firstColumns)
	case !slices.Contains(shown, keyColumns[0]):
		shown = slices.Insert(shown, 0, keyColumns[0])
	}
	return shown
}

func idsOf(columns []column) []string {
	ids := make([]string, len(columns))
	for i, c := range columns {
		ids[i] = c.ID
	}
	return ids
}

// header is the head of a column.
type header struct {
	column
	// URL sorts by it, or the other way round.
	URL string
	// Direction is that of aria-sort, "" for a column that does not sort.
	Direction string
}

// headers are the heads of a list at q, which is sorted by otherwise where the URL
// says nothing.
func headers(q query, columns []column, otherwise string) []header {
	field, desc := q.order(otherwise)
	out := make([]header, len(columns))
	for i, c := range columns {
		out[i].column = c
		if c.Sort == "" {
			continue
		}
		next := c.Sort
		if c.Sort == field {
			out[i].Direction = "descending"
			if !desc {
				out[i].Direction, next = "ascending", "-"+c.Sort
			}
		}
		out[i].URL = q.with(paramSort, next).String()
	}
	return out
}

// chooser is the dialog in which columns are chosen.
type chooser struct {
	Rows []chooserRow
	// Back is where the table is, and View the saved view that is open in it, "" for none.
	Back, View string
	Commands   *commands
}

type chooserRow struct {
	column
	Shown, Fixed, First, Last bool
	// Focus is up or down: the button that was pressed.
	Focus string
}

func (v *visit) showChooser() error {
	q := newQuery(v.r.URL.Query())
	columns, _, err := v.columns(q)
	if err != nil {
		return err
	}
	return v.chooserPage(q, columns, idsOf(columns), "")
}

// chooserPage lists the columns in order, then those that are left.
func (v *visit) chooserPage(q query, order []column, shown []string, moved string) error {
	for _, c := range v.seen(keyColumns) {
		if !slices.Contains(order, c) {
			order = append(order, c)
		}
	}
	d := chooser{Back: q.String(), View: q.Get(paramView)}
	if d.View == noView {
		d.View = ""
	}
	for i, c := range order {
		row := chooserRow{column: c, Shown: slices.Contains(shown, c.ID), Fixed: i == 0, First: i <= 1, Last: i == len(order)-1}
		if id, way, _ := strings.Cut(moved, ":"); id == c.ID {
			row.Focus = way
			switch {
			case way == "up" && row.First:
				row.Focus = "down"
			case way == "down" && row.Last:
				row.Focus = "up"
			}
		}
		d.Rows = append(d.Rows, row)
	}
	if v.r.PostForm.Get("as") == "commands" {
		d.Commands = v.columnCommands(d.View, idsOf(slices.DeleteFunc(slices.Clone(order), func(c column) bool { return !slices.Contains(shown, c.ID) })))
	}
	return v.dialog(http.StatusOK, "keycolumns", "Columns", d)
}

// columnCommands keep columns in a saved view, or among the preferences.
func (v *visit) columnCommands(view string, ids []string) *commands {
	if view != "" {
		return v.commands(call{Method: http.MethodPatch, Path: viewsCall + "/" + view, Body: map[string]any{"columns": ids}})
	}
	return v.commands(call{Method: http.MethodPatch, Path: "/v1/me/preferences", Body: map[string]any{prefKeys: map[string]any{"columns": ids}}})
}

// chooseColumns moves a column, or keeps the choice: with a saved view open in the
// URL, to be saved with it, otherwise among the preferences.
func (v *visit) chooseColumns() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	back := queryAt(f.Get("back"))
	order := v.columnsOf(f.Values["order"])
	shown := append([]string{keyColumns[0].ID}, f.Values["shown"]...)
	if moved := f.Get("move"); moved != "" {
		id, way, _ := strings.Cut(moved, ":")
		i := slices.IndexFunc(order, func(c column) bool { return c.ID == id })
		j := i + 1
		if way == "up" {
			j = i - 1
		}
		if i > 0 && j > 0 && j < len(order) {
			order[i], order[j] = order[j], order[i]
		}
		return v.chooserPage(back, order, shown, moved)
	}
	if f.asksForCommands() {
		return v.chooserPage(back, order, shown, "")
	}
	var ids []string
	if f.Get("reset") == "" {
		for _, c := range order {
			if slices.Contains(shown, c.ID) {
				ids = append(ids, c.ID)
			}
		}
	}
	if view := back.Get(paramView); view != "" && view != noView {
		if len(ids) == 0 {
			ids = firstColumns
		}
		return v.redirect(back.with(paramColumns, strings.Join(ids, ",")).String())
	}
	if err := v.keepKeyPrefs(func(p *keyPrefs) { p.Columns = ids }); err != nil {
		return err
	}
	return v.done(back.with(paramColumns, "").String(), "Columns kept.")
}

func (v *visit) keepKeyPrefs(change func(*keyPrefs)) error {
	p, err := v.keyPrefs()
	if err != nil {
		return err
	}
	change(&p)
	return v.keep(prefKeys, p)
}

// foldFilters hides the filters, or shows them again.
func (v *visit) foldFilters() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	open := f.Get("filters") != "hide"
	if err := v.keepKeyPrefs(func(p *keyPrefs) { p.Filters = &open }); err != nil {
		return err
	}
	back := queryAt(f.Get("back"))
	if v.partial() {
		return v.keyTable(back, http.StatusOK)
	}
	return v.redirect(back.String())
}

// heads is what the part `heads` is given.
type heads struct {
	Columns []header
	// Target is what htmx swaps, as a selector.
	Target string
}
