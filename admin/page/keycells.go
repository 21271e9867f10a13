package page

import (
	"html/template"
	"strconv"
)

// Body are the rows of the table, each with its menu, and before it a tick where ticks.
func (d *keyTable) Body(menus keyMenus, ticks bool) template.HTML {
	m := &markup{out: make([]byte, 0, len(d.Rows)*rowBytes)}
	for i := range d.Rows {
		row := &d.Rows[i]
		m.raw(`<tr id="row-`).text(row.ID).raw("\">\n")
		if ticks {
			m.raw(`<td class="pick narrow-cell"><label><input type="checkbox" form="bulk" name="ids" value="`).text(row.ID).raw(`" id="pick-`).text(row.ID).
				raw(`" data-select aria-label="Select `).text(row.Name).raw("\"></label></td>\n")
		}
		for _, c := range d.Columns {
			m.keyCell(c.ID, row)
			m.raw("\n")
		}
		m.raw(`<td class="row-actions narrow-cell">`).keyMenu(menus.of(row.Key)).raw("</td>\n</tr>\n")
	}
	return m.html()
}

// rowBytes is about what a row takes.
const rowBytes = 4 << 10

// Changing is what changes by itself of the rows, each in its place.
func (d *keyTable) Changing(menus keyMenus) template.HTML {
	m := new(markup)
	for i := range d.Rows {
		row := &d.Rows[i]
		m.liveEnabled(row)
		m.liveState(row)
		m.liveUsed(row)
		m.liveSecrets(row)
		for _, a := range menus.of(row.Key).Live() {
			m.keyAction(a)
		}
	}
	return m.html()
}

// keyCell is that of the column with this id. The titles are those of the columns, for
// small screens.
func (m *markup) keyCell(column string, row *keyRow) {
	switch column {
	case "name":
		m.nameCell(row)
	case "client_id":
		m.raw(`<td data-title="Client ID"><span class="with-copy"><code>`).text(row.ClientID).
			raw(`</code><button type="button" class="quiet needs-js" data-copy="`).text(row.ClientID).
			raw(`" aria-label="Copy client ID" title="Copy client ID">`).icon("copy").raw(`</button></span></td>`)
	case "enabled":
		m.raw(`<td data-title="Status">`)
		m.liveEnabled(row)
		m.raw(`</td>`)
	case "state":
		m.raw(`<td data-title="State">`)
		m.liveState(row)
		m.raw(`</td>`)
	case "session_validity_seconds":
		m.raw(`<td data-title="Session validity">`)
		if n := row.SessionValiditySeconds; n != nil {
			m.raw(`<span title="`).text(row.Validity).raw(`">`).text(number(int(*n))).raw(` s</span></td>`)
		} else {
			m.raw(`<span class="none">default</span></td>`)
		}
	case "role_id":
		m.raw(`<td data-title="Role"><span class="two-lines" title="`).text(row.Role).raw(`">`).text(row.Role).raw(`</span></td>`)
	case "created_at":
		m.raw(`<td data-title="Created">`).day(row.CreatedAt).raw(`</td>`)
	case "last_used_at":
		m.raw(`<td data-title="Last used">`)
		m.liveUsed(row)
		m.raw(`</td>`)
	case "expires_at":
		m.expiresCell(row)
	case "secrets":
		m.raw(`<td data-title="Secrets">`)
		m.liveSecrets(row)
		m.raw(`</td>`)
	case "source":
		m.raw(`<td data-title="Source">`)
		if row.Source != nil {
			m.raw(`<span class="badge plain">`).icon("link").text(*row.Source).raw(`</span></td>`)
		} else {
			m.raw(`<span class="none">–</span></td>`)
		}
	case "microtenant_id":
		m.raw(`<td data-title="Microtenant">`)
		if row.Microtenant != "" {
			m.raw(`<span class="one-line" title="`).text(row.Microtenant).raw(`">`).text(row.Microtenant).raw(`</span></td>`)
		} else {
			m.raw(`<span class="none">–</span></td>`)
		}
	case "customer_id":
		m.raw(`<td data-title="Customer"><span class="one-line" title="`).text(row.Customer).raw(`">`).text(row.Customer).raw(`</span></td>`)
	case "labels":
		m.labelsCell(row)
	}
}

func (m *markup) nameCell(row *keyRow) {
	m.raw(`<th scope="row" class="pinned" data-title="Name"><a class="key-name" id="key-`).text(row.ID).raw(`" href="`).text(keyURL(row.ID)).raw(`">`).
		text(row.Name).raw(`</a>`)
	if row.Source != nil {
		m.raw(` <span class="badge plain from" title="Owned by the source `).text(*row.Source).raw(`">`).icon("link").raw(`<span>`).text(*row.Source).
			raw(`</span></span>`)
	}
	if row.Description != "" {
		m.raw(`<span class="why about" title="`).text(row.Description).raw(`">`).text(row.Description).raw(`</span>`)
	}
	m.raw(`</th>`)
}

func (m *markup) expiresCell(row *keyRow) {
	m.raw(`<td data-title="Expires">`)
	if row.ExpiresAt == nil {
		m.raw(`<span class="none">never</span></td>`)
		return
	}
	m.day(*row.ExpiresAt)
	if row.ExpiresSoon {
		m.raw(`<span class="why">`).ago(*row.ExpiresAt).raw(`</span>`)
	}
	m.raw(`</td>`)
}

func (m *markup) labelsCell(row *keyRow) {
	m.raw(`<td data-title="Labels">`)
	for _, tag := range row.Tags {
		m.raw(`<a class="label" href="`).text(row.Filter(tag)).raw(`" title="Keys labelled `).text(tag).raw(`">`).text(tag).raw(`</a> `)
	}
	if len(row.Tags) == 0 {
		m.raw(`<span class="none">–</span>`)
	}
	m.raw(`</td>`)
}

// live begins what changes by itself, and is sent alone where it finds its own place.
func (m *markup) live(what literal, row *keyRow) *markup {
	m.raw(`<span id="`).raw(what).raw(`-`).text(row.ID).raw(`"`)
	if row.Swap {
		m.raw(` hx-swap-oob="true"`)
	}
	return m
}

func (m *markup) liveEnabled(row *keyRow) {
	m.live(`enabled`, row)
	switch {
	case row.DisabledHere:
		m.raw(` class="steady status">`).icon("off").raw(`Disabled here</span>`)
	case row.Enabled:
		m.raw(` class="steady status on">`).icon("check").raw(`Enabled</span>`)
	default:
		m.raw(` class="steady status">`).icon("off").raw(`Disabled</span>`)
	}
}

func (m *markup) liveState(row *keyRow) {
	m.live(`state`, row).raw(` class="steady">`).state(row.State)
	switch {
	case row.Why == "":
	case row.Until != nil:
		m.raw(`<span class="why" title="`).text(row.Why).raw(` `).text(stamp(*row.Until)).raw(`">opens `).countdown(*row.Until).raw(`</span>`)
	default:
		m.raw(`<span class="why" title="`).text(row.Why).raw(`">`).text(row.Why).raw(`</span>`)
	}
	m.raw(`</span>`)
}

func (m *markup) liveUsed(row *keyRow) {
	m.live(`used`, row).raw(` class="steady brief">`)
	if row.LastUsedAt != nil {
		m.ago(*row.LastUsedAt)
	} else {
		m.raw(`<span class="none">never</span>`)
	}
	m.raw(`</span>`)
}

func (m *markup) liveSecrets(row *keyRow) {
	m.live(`secrets`, row).raw(` class="steady brief">`)
	if len(row.Secrets) == 0 {
		m.raw(`<span class="none">none</span></span>`)
		return
	}
	m.text(strconv.Itoa(len(row.Secrets)))
	if hint := row.NewestSecret(); hint != "" {
		m.raw(` <span class="dim mono">…`).text(hint).raw(`</span>`)
	}
	m.raw(`</span>`)
}
