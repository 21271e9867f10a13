package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func (p *Page) addKeyTable() {
	p.get(keysPath, (*visit).listKeys)
	p.add("GET "+keysPath+"/live", route{handle: (*visit).liveKeys, passive: true})
	p.get(keysPath+"/columns", (*visit).showChooser)
	p.post(keysPath+"/columns", (*visit).chooseColumns)
	p.post(keysPath+"/filters", (*visit).foldFilters)
	p.get(keysPath+"/views/new", (*visit).newView)
	p.post(keysPath+"/views/new", (*visit).createView)
	p.post(keysPath+"/views/{id}/save", (*visit).saveView)
	p.post(keysPath+"/views/{id}/default", (*visit).defaultView)
	p.post(keysPath+"/views/{id}/delete", (*visit).deleteView)
}

// listTarget is the list without the filters.
const listTarget = "key-list"

// keyTable is the data of the table of keys.
type keyTable struct {
	*Form
	Query   query
	Columns []header
	Rows    []keyRow
	Total   int
	Pager   *pager
	Chips   []chip
	Quick   []quickFilter
	Clear   string
	Choices lifecycle.KeyChoices
	Views   viewBar
	// HideFilters folds the filters away.
	HideFilters bool
	// Live is what the states are asked for again with.
	Live string
	// Empty: there are no keys at all, whatever is filtered.
	Empty bool
	// BaseURL and Curl are for the menu.
	BaseURL, Curl string
}

// ColumnsURL is the column chooser's, for this table.
func (d *keyTable) ColumnsURL() string {
	return query{d.Query.with().Values, keysPath + "/columns", nil}.String()
}

// Folds reports a filter that must be sent along while the filters are folded away.
func (*keyTable) Folds(name string) bool { return name != "q" && slices.Contains(filterParams, name) }

// listKeys shows the table. A bare URL opens the default view, if there is one; one
// with empty parameters, as forms without script send, goes to the same without.
func (v *visit) listKeys() error {
	given := v.r.URL.Query()
	q := newQuery(given)
	if len(given) == 0 {
		at, err := v.defaultQuery()
		if err != nil {
			return err
		}
		if at != "" {
			return v.redirect(at)
		}
	}
	if plain := q.String(); plain != v.r.URL.Path+"?"+given.Encode() && len(given) > 0 {
		if !v.partial() {
			return v.redirect(plain)
		}
		v.w.Header().Set("HX-Push-Url", plain)
	}
	return v.keyTable(q, http.StatusOK)
}

// keyTable answers with the table at q, or the part of it that htmx is to swap.
func (v *visit) keyTable(q query, status int) error {
	d, err := v.readKeys(q)
	if err != nil {
		return err
	}
	if d.Failed() {
		status = http.StatusBadRequest
	}
	block := "keys"
	if v.r.Header.Get("HX-Target") == listTarget {
		block = "list"
	}
	return v.show(view{Status: status, Page: "keys", Block: block, Title: "API keys", Data: d})
}

func (v *visit) readKeys(q query) (*keyTable, error) {
	prefs, err := v.keyPrefs()
	if err != nil {
		return nil, err
	}
	d := &keyTable{Form: NewForm(q.Values), Query: q, Quick: q.quickFilters(),
		Clear: q.unfiltered()}
	size := q.size(prefs.PageSize)
	page, err := v.list(d.Form, q, size)
	if err != nil {
		return nil, err
	}
	d.HideFilters = !d.Failed() && !v.filtersOpen(q, prefs)
	if d.Choices, err = v.svc().KeyChoices(v.ctx(), v.actor); err != nil {
		return nil, err
	}
	d.Chips = q.chips(d.Choices)
	columns, views, err := v.columns(q)
	if err != nil {
		return nil, err
	}
	d.Columns, d.Views = headers(q, columns, "name"), views
	if d.Rows, err = v.rowsOf(page.Items); err != nil {
		return nil, err
	}
	d.Total = page.Total
	d.Pager = newPager(q, q.number(), size, len(d.Rows), page.Total, page.NextCursor, "#keys")
	d.Empty = page.Total == 0 && !q.filtered()
	d.Live = v.liveURL(q, d.Rows)
	d.BaseURL, d.Curl = v.curl()
	return d, nil
}

// filtersOpen reports whether the filters are open: as the administrator left them,
// and before that while one is on that nothing else on the page shows so. A list that
// is filtered anew leaves them as they stand, which their form tells.
func (v *visit) filtersOpen(q query, prefs keyPrefs) bool {
	if v.r.Header.Get("HX-Target") == listTarget {
		return v.r.URL.Query().Get(paramOpen) != ""
	}
	if prefs.Filters != nil {
		return *prefs.Filters
	}
	return slices.ContainsFunc(filterParams, func(name string) bool { return q.Get(name) != "" && !slices.Contains(quickParams, name) })
}

// list is the page of keys at q; what is wrong with q goes into the form.
func (v *visit) list(f *Form, q query, size int) (lifecycle.Page[lifecycle.Key], error) {
	filter := q.filter(f, v.page.cfg.Now())
	return readPage(f, q, size, func(at lifecycle.Paging) (lifecycle.Page[lifecycle.Key], error) {
		filter.Paging = at
		return v.svc().ListKeys(v.ctx(), v.actor, filter)
	})
}

// columns are those of the URL, the saved view or the preferences, in this order.
func (v *visit) columns(q query) ([]column, viewBar, error) {
	prefs, err := v.keyPrefs()
	if err != nil {
		return nil, viewBar{}, err
	}
	bar, err := v.viewBar(q)
	if err != nil {
		return nil, viewBar{}, err
	}
	ids := prefs.Columns
	if bar.Current != nil && len(bar.Current.Columns) > 0 {
		ids = bar.Current.Columns
	}
	if named := q.Get(paramColumns); named != "" {
		ids = strings.Split(named, ",")
	}
	return v.columnsOf(ids), bar, nil
}

// queryAt is the state of the table at a URL of it.
func queryAt(target string) query {
	u, err := url.Parse(local(target))
	if err != nil {
		return newQuery(nil)
	}
	return newQuery(u.Query())
}

// curl is where callers reach the gate, or the admin API where that is not known,
// and a line to try it with.
func (v *visit) curl() (base, line string) {
	const who = `curl -u "$CLIENT_ID:$CLIENT_SECRET" `
	if base = strings.TrimSuffix(v.page.cfg.BaseURL, "/"); base != "" {
		return base, who + "-d grant_type=client_credentials " + quoted(base+"/oauth2/v1/token")
	}
	base = v.origin()
	return base, who + quoted(base+"/v1/me")
}
