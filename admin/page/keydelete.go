package page

import (
	"cmp"
	"net/http"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// keyDeletion is the dialog that asks before a key is deleted.
type keyDeletion struct {
	*Form
	Key   lifecycle.Key
	Usage usageView
	// Sessions are those that are open; -1 is not known.
	Sessions int
	// Own: the actor is signed in with it.
	Own      bool
	Commands *commands
}

func (v *visit) showDelete() error {
	k, shown, err := v.ownKey(policy.Delete, "delete")
	if err != nil || shown {
		return err
	}
	refused, err := v.refusalOf("delete", k.ID)
	if err != nil {
		return err
	}
	if refused != nil {
		return v.showBeyond(k, "cannot be deleted by you", refused)
	}
	return v.deletePage(http.StatusOK, k, NewForm(nil))
}

func (v *visit) deletePage(status int, k lifecycle.Key, f *Form) (err error) {
	d := keyDeletion{Form: f, Key: k, Own: v.own(k)}
	if d.Usage.KeyUsage, err = v.svc().KeyUsage(v.ctx(), v.actor, k.ID); err != nil {
		return err
	}
	if d.Sessions, err = v.openSessions(k.ID); err != nil {
		return err
	}
	d.Commands = v.commands(call{"DELETE", "/v1/keys/" + k.ID, nil, k.Revision}, "key", "delete", "id:"+k.ID, "--yes")
	return v.dialog(status, "keydelete", "Delete "+k.Name, d)
}

func (v *visit) deleteKey() error {
	k, err := v.changeableKey(policy.Delete)
	if err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	if !f.typed(k.Name) {
		return v.deletePage(http.StatusBadRequest, k, f)
	}
	commit, err := v.svc().DeleteKey(v.ctx(), v.actor, k.ID, f.unchanged())
	if err == nil {
		return v.wrote(commit, cmp.Or(v.tableHere(), keysPath), k.Name+" is deleted.")
	}
	return v.again(f, err, policy.Delete, v.deletePage)
}

// tableHere is the table that a dialog is over, "" for another page: the key's own,
// say, which is no more.
func (v *visit) tableHere() string {
	if q := queryAt(v.here()); v.partial() && v.herePath() == keysPath {
		return q.String()
	}
	return ""
}
