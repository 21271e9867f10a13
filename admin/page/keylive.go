package page

import (
	"net/http"
	"net/url"
)

// liveURL asks for the states of the rows at q, and tells which are shown.
func (v *visit) liveURL(q query, rows []keyRow) string {
	values := url.Values{"seen": {liveMark(rows)}}
	for name, given := range q.Values {
		values[name] = given
	}
	return keysPath + "/live?" + values.Encode()
}

// liveKeys answers with the cells whose content changes by itself, each in its
// place: rows, their order, the selection and the focus stay as they are.
func (v *visit) liveKeys() error {
	q := newQuery(v.r.URL.Query())
	if !v.partial() {
		return v.redirect(q.String())
	}
	prefs, err := v.keyPrefs()
	if err != nil {
		return err
	}
	f := NewForm(q.Values)
	page, err := v.list(f, q, q.size(prefs.PageSize))
	if err != nil {
		return err
	}
	rows, err := v.rowsOf(page.Items)
	if err != nil {
		return err
	}
	if f.Failed() || liveMark(rows) == v.r.URL.Query().Get("seen") {
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	for i := range rows {
		rows[i].Swap = true
	}
	return v.show(view{Page: "keys", Block: "live", Data: &keyTable{Rows: rows, Live: v.liveURL(q, rows)}})
}
