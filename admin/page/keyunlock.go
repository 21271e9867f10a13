package page

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// keyUnlocking is the dialog that asks before a key is unlocked.
type keyUnlocking struct {
	*Form
	// ID and Name are the key's; Name is "" where the actor may look at locks alone.
	ID, Name string
	Lock     lifecycle.KeyLock
	Commands *commands
}

// Addresses are where the wrong secrets came from, each once, the latest first.
func (d keyUnlocking) Addresses() []string {
	var all []string
	seen := map[string]bool{}
	for _, f := range d.Lock.RecentFailures {
		if f.Address != nil && !seen[*f.Address] {
			seen[*f.Address] = true
			all = append(all, *f.Address)
		}
	}
	return all
}

// Calm: there is nothing to unlock.
func (d keyUnlocking) Calm() bool { return !d.Lock.Locked && d.Lock.FailedAttempts == 0 }

func (v *visit) showUnlock() error {
	return v.unlockPage(http.StatusOK, NewForm(nil))
}

func (v *visit) unlockPage(status int, f *Form) error {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Delete, lifecycle.ResourceLocks)); err != nil {
		return err
	}
	lock, err := v.svc().GetLock(v.ctx(), v.actor, v.id())
	if err != nil {
		return err
	}
	d := keyUnlocking{Form: f, ID: v.id(), Lock: lock}
	if d.Name, err = v.nameOf(v.id()); err != nil {
		return err
	}
	if f.asksForCommands() {
		at, cli := "/v1/keys/"+d.ID+"/lock", []string{"lock", "unlock", "id:" + d.ID}
		if reason := f.Get("reason"); reason != "" {
			at += "?" + url.Values{"reason": {reason}}.Encode()
			cli = append(cli, "--reason", reason)
		}
		d.Commands = v.commands(call{Method: http.MethodDelete, Path: at}, cli...)
	}
	title := "Unlock " + d.Name
	if d.Name == "" {
		title = "Unlock a key"
	}
	return v.dialog(status, "keyunlock", title, d)
}

// nameOf is a key's name, "" where the actor may not look at keys.
func (v *visit) nameOf(keyID string) (string, error) {
	k, err := v.svc().GetKey(v.ctx(), v.actor, keyID)
	if refusedAs(err, lifecycle.Forbidden) {
		return "", nil
	}
	return k.Name, err
}

func (v *visit) unlockKey() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	if f.asksForCommands() {
		return v.unlockPage(http.StatusOK, f)
	}
	commit, err := v.svc().Unlock(v.ctx(), v.actor, v.id(), f.Get("reason"), nil)
	if err != nil {
		status, err := f.refuse(err)
		if err != nil {
			return err
		}
		return v.unlockPage(status, f)
	}
	name, err := v.nameOf(v.id())
	if err != nil {
		return err
	}
	if name == "" {
		name = "The key"
	}
	return v.wrote(commit, v.after(v.id()), name+" is unlocked.")
}
