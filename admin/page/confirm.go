package page

import "github.com/keyreeve/keyreeve/keystore"

// confirmation is a dialog that asks before something is done.
type confirmation struct {
	*Form
	Title string
	// Lead says in a sentence what happens, and Points what comes of it.
	Lead   string
	Points []string
	// Action takes the POST; Back is where Cancel leads without script.
	Action, Back string
	// Label is the button's; Danger paints it so.
	Label  string
	Danger bool
	// Type is a name that must be typed first, "" for none. See typed.
	Type string
	// Version is that of what is asked about, sent along; 0 is none.
	Version keystore.Revision
	// Hidden is sent along.
	Hidden   map[string]string
	Commands *commands
}

// confirm shows the dialog, with what is wrong where its form was refused.
func (v *visit) confirm(status int, c confirmation) error {
	if c.Form == nil {
		c.Form = NewForm(nil)
	}
	return v.dialog(status, "confirm", c.Title, c)
}

// typed looks whether the name was typed as it is.
func (f *Form) typed(name string) bool {
	if f.Get("confirm") != name {
		f.Fail("confirm", "Type the name as it stands: "+name)
	}
	return !f.Failed()
}
