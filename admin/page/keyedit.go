package page

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// keyEdit is the dialog in which a key is changed.
type keyEdit struct {
	*Form
	Key    lifecycle.Key
	Fields *keyFields
	// Was is the key as the form was made from it, sent along: so that what the actor
	// changed is told from what somebody else did.
	Was      []hiddenField
	Version  keystore.Revision
	Commands *commands
}

type hiddenField struct{ Name, Value string }

// wasPrefix begins the names of the fields that hold the key as it was.
const wasPrefix = "was_"

func (v *visit) showEdit() error {
	k, shown, err := v.ownKey(policy.Update, "edit")
	if err != nil || shown {
		return err
	}
	// To enable what is enabled changes nothing, and is refused as any change would be.
	action, _ := batchOf(k, k.Enabled)
	refused, err := v.refusalOf(action, k.ID)
	if err != nil {
		return err
	}
	if refused != nil {
		return v.showBeyond(k, "cannot be edited by you", refused)
	}
	f := NewForm(keyValues(k))
	f.keepWas(k)
	return v.editPage(http.StatusOK, k, f, nil)
}

// showBeyond says why a key is out of the actor's reach.
func (v *visit) showBeyond(k lifecycle.Key, what string, refused *lifecycle.Error) error {
	o := obstacle{Title: k.Name + " " + what, Lead: sentence(refused.Detail), Back: keyURL(k.ID)}
	if refused.Code == lifecycle.CodeExceedsRights {
		o.Points = []string{"Nobody changes a key that can do more than their own. An administrator whose key can do as much or more can do it."}
	}
	return v.obstruct(statuses[refused.Kind], o)
}

// keepWas makes k, as it is now, what the form is held against.
func (f *Form) keepWas(k lifecycle.Key) {
	for name, values := range keyValues(k) {
		f.Values[wasPrefix+name] = values
	}
	f.Values.Set("version", strconv.FormatInt(int64(k.Revision), 10))
}

// was is the key as the form was made from it; nil where the form does not say.
func (f *Form) was() *Form {
	was := NewForm(nil)
	for name, values := range f.Values {
		if plain, is := strings.CutPrefix(name, wasPrefix); is {
			was.Values[plain] = values
		}
	}
	if !was.Values.Has("name") {
		return nil
	}
	return was
}

func (v *visit) editPage(status int, k lifecycle.Key, f *Form, c *commands) (err error) {
	d := keyEdit{Form: f, Key: k, Version: f.version(), Commands: c}
	if d.Fields, err = v.keyFields(f, k.CustomerID); err != nil {
		return err
	}
	d.Fields.Fresh = v.r.Method == http.MethodGet
	d.Was = hiddenFields(f, wasPrefix)
	return v.dialog(status, "keyedit", "Edit "+k.Name, d)
}

func (v *visit) edit() error {
	k, shown, err := v.ownKey(policy.Update, "edit")
	if err != nil || shown {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	if f.Get("resolve") == resolveTheirs {
		return v.done(v.after(k.ID), k.Name+" stays as it is now. Nothing of yours was saved.")
	}
	f.resolve()
	if f.asksForCommands() { // of what can be read, and differs
		in := readKeyFields(NewForm(f.Values), v.page.cfg.Now())
		in.Name = orPlaceholder(in.Name, k.Name)
		return v.editPage(http.StatusOK, k, f, v.keyPatchCommands(k, in.patch(k)))
	}
	in := readKeyFields(f, v.page.cfg.Now())
	if f.Failed() {
		return v.editPage(http.StatusBadRequest, k, f, nil)
	}
	if f.Get("resolve") == resolveEdit {
		return v.editPage(http.StatusOK, k, f, nil)
	}
	return v.saveKey(k, f, in)
}

// saveKey writes what differs from the key. Where somebody else changed it since the
// form was made, in what the form shows, the two are shown side by side instead.
func (v *visit) saveKey(k lifecycle.Key, f *Form, in keyInput) error {
	if f.version() != k.Revision {
		if asked, err := v.askConflict(k, f, in); asked || err != nil {
			return err
		}
	}
	saved, commit, err := v.svc().UpdateKey(v.ctx(), v.actor, k.ID, in.patch(k), func(r keystore.Revision) bool { return r == k.Revision })
	if err == nil {
		said := saved.Name + " is saved."
		if saved.Revision == k.Revision {
			said = k.Name + " is as it was: nothing was changed."
		}
		return v.wrote(commit, v.after(k.ID), said)
	}
	if refusedAs(err, lifecycle.Precondition) {
		if k, err = v.svc().GetKey(v.ctx(), v.actor, k.ID); err != nil {
			return err
		}
		return v.saveKey(k, f, in)
	}
	status, err := in.refuse(f, err)
	if err != nil {
		return err
	}
	f.keepTo("name", "description", "role_id", "enabled", "session_validity_seconds", "expires_at", "allowed_cidrs", "labels")
	return v.editPage(status, k, f, nil)
}
