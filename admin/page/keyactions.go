package page

import (
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

// keyMenu is what the parts `key-menu` and `key-actions` are given.
type keyMenu struct {
	ID, Name, ClientID string
	Actions            []keyAction
}

// Main are the buttons of the key's own page, More what stands in its menu.
func (m keyMenu) Main() []keyAction { return m.only(func(a keyAction) bool { return a.main }) }

// More is all that is not Main.
func (m keyMenu) More() []keyAction { return m.only(func(a keyAction) bool { return !a.main }) }

// Safe and Risky are the two parts of a row's menu.
func (m keyMenu) Safe() []keyAction  { return m.only(func(a keyAction) bool { return !a.Danger }) }
func (m keyMenu) Risky() []keyAction { return m.only(func(a keyAction) bool { return a.Danger }) }

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
func (d document) KeyMenu(k lifecycle.Key) keyMenu {
	m := keyMenu{ID: k.ID, Name: k.Name, ClientID: k.ClientID}
	add := func(resource, right string, a keyAction, path ...string) {
		if d.Can(resource, right) {
			a.ID, a.URL = a.ID+"-"+k.ID, keyURL(k.ID, path...)
			m.Actions = append(m.Actions, a)
		}
	}
	add("locks", "delete", keyAction{ID: "unlock", Icon: "unlock", Label: "Unlock", Hidden: !k.Lock.Locked && k.Lock.FailedAttempts == 0, main: true, live: true, here: true}, "unlock")
	add("keys", "update", keyAction{ID: "edit", Icon: "edit", Label: "Edit", main: true}, "edit")
	add("keys", "update", keyAction{ID: "rotate", Icon: "refresh", Label: "Rotate secret", main: true}, "secrets", "new")
	add("keys", "update", keyAction{ID: "status", Icon: "off", Label: statusLabel(k), live: true, here: true}, "status")
	add("sessions", "delete", keyAction{ID: "end-sessions", Icon: "clock", Label: "End sessions", here: true}, "sessions", "end")
	add("keys", "delete", keyAction{ID: "delete", Icon: "trash", Label: "Delete", Danger: true}, "delete")
	return m
}

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
