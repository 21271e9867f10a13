package page

import (
	"html/template"
	"net/url"
	"slices"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// keyAction is an entry of what can be done to a key.
type keyAction struct {
	// ID is the element's, URL the dialog's.
	ID, URL, Icon, Label string
	// Danger marks what cannot be taken back. Hidden: there is nothing to do at present.
	Danger, Hidden bool
	// Swap: it is sent alone and finds its own place.
	Swap bool
	// main puts it beside the menu on the key's own page; live may change by itself;
	// here is possible for keys of external sources too.
	main, live, here bool
}

// keyMenu is what the part `key-actions` is given, and what a row's menu is written from.
type keyMenu struct {
	ID, Name, ClientID string
	Actions            []keyAction
}

// Main are the buttons of the key's own page, More what stands in its menu.
func (m keyMenu) Main() []keyAction { return m.only(func(a keyAction) bool { return a.main }) }

// More is all that is not Main.
func (m keyMenu) More() []keyAction { return m.only(func(a keyAction) bool { return !a.main }) }

// Live is what may change by itself.
func (m keyMenu) Live() []keyAction {
	return alone(m.only(func(a keyAction) bool { return a.live }))
}

func alone(actions []keyAction) []keyAction {
	for i := range actions {
		actions[i].Swap = true
	}
	return actions
}

func (m keyMenu) only(which func(keyAction) bool) []keyAction {
	return slices.DeleteFunc(slices.Clone(m.Actions), func(a keyAction) bool { return !which(a) })
}

// keyURL is the place of a key, or of what is done to it: keyURL(id, "edit").
func keyURL(id string, rest ...string) string {
	at := keysPath + "/" + url.PathEscape(id)
	for _, part := range rest {
		at += "/" + part
	}
	return at
}

// KeyMenu is what the actor may do to a key. What its source forbids stays there,
// and explains itself; what the actor's role does not allow at all is left out.
func (d document) KeyMenu(k lifecycle.Key) keyMenu { return d.KeyMenus().of(k) }

// keyMenus are the menus of many keys: what the actor may do to keys at all.
type keyMenus struct{ unlock, update, endSessions, remove bool }

// KeyMenus are those of a table.
func (d document) KeyMenus() keyMenus {
	return keyMenus{unlock: d.Can("locks", "delete"), update: d.Can("keys", "update"), endSessions: d.Can("sessions", "delete"), remove: d.Can("keys", "delete")}
}

// of is the menu of one key.
func (may keyMenus) of(k lifecycle.Key) keyMenu {
	m := keyMenu{ID: k.ID, Name: k.Name, ClientID: k.ClientID, Actions: make([]keyAction, 0, 6)}
	at := keyURL(k.ID)
	add := func(may bool, a keyAction, path string) {
		if may {
			a.ID, a.URL = a.ID+"-"+k.ID, at+path
			m.Actions = append(m.Actions, a)
		}
	}
	add(may.unlock, keyAction{ID: "unlock", Icon: "unlock", Label: "Unlock", Hidden: !k.Lock.Locked && k.Lock.FailedAttempts == 0, main: true, live: true, here: true}, "/unlock")
	add(may.update, keyAction{ID: "edit", Icon: "edit", Label: "Edit", main: true}, "/edit")
	add(may.update, keyAction{ID: "rotate", Icon: "refresh", Label: "Rotate secret", main: true}, "/secrets/new")
	add(may.update, keyAction{ID: "status", Icon: "off", Label: statusLabel(k), live: true, here: true}, "/status")
	add(may.endSessions, keyAction{ID: "end-sessions", Icon: "clock", Label: "End sessions", here: true}, "/sessions/end")
	add(may.remove, keyAction{ID: "delete", Icon: "trash", Label: "Delete", Danger: true}, "/delete")
	return m
}

// keyMenu writes a row's menu: what is safe, then what is not. Its dialogs hand the
// focus back to its button.
func (m *markup) keyMenu(menu keyMenu) *markup {
	m.raw(`<details class="menu row-menu"><summary class="quiet" id="actions-`).text(menu.ID).raw(`" title="Actions">`).icon("more").
		raw(`<span class="unseen">Actions for `).text(menu.Name).
		raw(`</span></summary><div class="menu-body" hx-boost="true" hx-target="#dialog" hx-swap="innerHTML" hx-push-url="false">`)
	risky := false
	for _, a := range menu.Actions {
		if a.Danger {
			risky = true
		} else {
			m.keyAction(a)
		}
	}
	m.raw(`<button type="button" class="needs-js" data-copy="`).text(menu.ClientID).raw(`">Copy client ID</button>`)
	if risky {
		m.raw(`<hr>`)
		for _, a := range menu.Actions {
			if a.Danger {
				m.keyAction(a)
			}
		}
	}
	return m.raw("</div></details>")
}

// keyAction writes an item of a menu.
func (m *markup) keyAction(a keyAction) {
	m.raw(`<a id="`).text(a.ID).raw(`" href="`).text(a.URL).raw(`"`)
	if a.Swap {
		m.raw(` hx-swap-oob="true"`)
	}
	if a.Danger {
		m.raw(` class="risky"`)
	}
	if a.Hidden {
		m.raw(` hidden`)
	}
	m.raw(`>`).text(a.Label).raw(`</a>`)
}

// Item is the action as one of a menu.
func (a keyAction) Item() template.HTML { return written(func(m *markup) { m.keyAction(a) }) }

// statusLabel is what changing the status of a key would do.
func statusLabel(k lifecycle.Key) string {
	switch {
	case k.Source != nil && k.DisabledHere:
		return "Enable here"
	case k.Source != nil:
		return "Disable here"
	case k.Enabled:
		return "Disable"
	}
	return "Enable"
}
