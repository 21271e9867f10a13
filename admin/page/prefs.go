package page

import (
	"encoding/json"
	"slices"
)

// Names of the page's preferences.
const (
	prefTheme = "theme"
	prefKeys  = "keys"
)

// themes are the values of prefTheme, the default first.
var themes = []string{"system", "light", "dark"}

// preference reads one into a value; what is not there, or not of its shape, leaves it.
func (v *visit) preference(name string, into any) error {
	if v.prefs == nil {
		p, err := v.svc().GetPreferences(v.ctx(), v.actor)
		if err != nil {
			return err
		}
		v.prefs = p.Values
	}
	if raw := v.prefs[name]; raw != nil {
		_ = json.Unmarshal(raw, into) // another version's
	}
	return nil
}

// keep merges a value into the preferences.
func (v *visit) keep(name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	p, _, err := v.svc().MergePreferences(v.ctx(), v.actor, map[string]json.RawMessage{name: raw}, nil)
	if err == nil {
		v.prefs = p.Values
	}
	return err
}

func (v *visit) theme() (string, error) {
	theme := themes[0]
	err := v.preference(prefTheme, &theme)
	if !slices.Contains(themes, theme) {
		theme = themes[0]
	}
	return theme, err
}
