package page

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

func (p *Page) addKeyChanging() {
	const one = keysPath + "/{id}"
	p.get(one+"/edit", (*visit).showEdit)
	p.post(one+"/edit", (*visit).edit)
	p.get(one+"/status", (*visit).showStatus)
	p.post(one+"/status", (*visit).changeStatus)
	p.get(one+"/delete", (*visit).showDelete)
	p.post(one+"/delete", (*visit).deleteKey)
	p.get(one+"/unlock", (*visit).showUnlock)
	p.post(one+"/unlock", (*visit).unlockKey)
}

// changeableKey is the key of the path, for an actor whose role holds a right on keys.
// That the key itself is beyond it, the operation finds.
func (v *visit) changeableKey(right policy.Mask) (lifecycle.Key, error) {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(right, lifecycle.ResourceKeys)); err != nil {
		return lifecycle.Key{}, err
	}
	return v.svc().GetKey(v.ctx(), v.actor, v.id())
}

// ownKey is changeableKey for what a key's source keeps for itself: then what it would
// be (edit, delete, rotate) is explained, and shown is true.
func (v *visit) ownKey(right policy.Mask, what string) (k lifecycle.Key, shown bool, err error) {
	if k, err = v.changeableKey(right); err != nil || k.Source == nil {
		return k, false, err
	}
	return k, true, v.showManaged(k, what)
}

// again shows a dialog of a key again after a refusal, which is told in f, with the
// key as it is now: what refused it may be what changed.
func (v *visit) again(f *Form, refusal error, right policy.Mask, page func(int, lifecycle.Key, *Form) error) error {
	status, err := f.refuseAsked(refusal, "key")
	if err != nil {
		return err
	}
	k, err := v.changeableKey(right)
	if err != nil {
		return err
	}
	return page(status, k, f)
}

// after is where to go once something was done to a key: with script the page that
// the dialog is over, without it the key's own.
func (v *visit) after(keyID string) string {
	if v.partial() && v.herePath() != v.r.URL.Path {
		return v.here()
	}
	return keyURL(keyID)
}

// refusalOf is why an action of a batch would be refused for a key, nil where it
// would be done: so that nobody fills in a form in vain.
func (v *visit) refusalOf(action, keyID string) (*lifecycle.Error, error) {
	b, _, err := v.svc().BatchKeys(v.ctx(), v.actor, lifecycle.NewBatch{Action: action, IDs: []string{keyID}, DryRun: true})
	if err != nil {
		return nil, err
	}
	return b.Items[0].Refused, nil
}

// openSessions is how many sessions of a key are open; -1 where the actor may not know.
func (v *visit) openSessions(keyID string) (int, error) {
	if !v.may(lifecycle.ResourceSessions, policy.Read) {
		return -1, nil
	}
	open, err := v.svc().ListKeySessions(v.ctx(), v.actor, keyID, lifecycle.SessionFilter{State: keystore.SessionActive, Paging: lifecycle.Paging{Size: lifecycle.Some(1)}})
	return open.Total, err
}

// endingSessions says what becomes of the open sessions of a key.
func endingSessions(open int) string {
	switch open {
	case -1:
		return "Its open sessions end, for good: the access tokens that it has are refused."
	case 0:
		return "It has no open session."
	case 1:
		return "Its open session ends, for good: the access token is refused."
	}
	return "Its " + number(open) + " open sessions end, for good: their access tokens are refused."
}

// own reports the key that the actor is signed in with.
func (v *visit) own(k lifecycle.Key) bool { return v.actor.ID == k.ID }

func (v *visit) showStatus() error {
	k, err := v.changeableKey(policy.Update)
	if err != nil {
		return err
	}
	action, _ := batchOf(k, !isOn(k))
	refused, err := v.refusalOf(action, k.ID)
	if err != nil {
		return err
	}
	if refused != nil {
		return v.showBeyond(k, "cannot be enabled or disabled by you", refused)
	}
	return v.statusPage(http.StatusOK, k, NewForm(nil))
}

// isOn reports a key that is not disabled: of a source, not disabled here.
func isOn(k lifecycle.Key) bool {
	if k.Source != nil {
		return !k.DisabledHere
	}
	return k.Enabled
}

// statusPage asks before a key is disabled or enabled, or the key of a source is here.
func (v *visit) statusPage(status int, k lifecycle.Key, f *Form) error {
	on := !isOn(k)
	action, field := batchOf(k, on)
	open, err := v.openSessions(k.ID)
	if err != nil {
		return err
	}
	c := confirmation{Form: f, Title: statusTitle(k), Action: keyURL(k.ID, "status"), Back: keyURL(k.ID),
		Label: statusLabel(k), Danger: !on, Version: k.Revision, Hidden: map[string]string{"to": statusWord(on)}}
	c.Lead, c.Points = statusWords(k, on, open, v.page.cfg.Now())
	if !on && v.own(k) {
		c.Points = append(c.Points, "You are signed in with this key: you will be signed out, and somebody else has to enable it again.")
	}
	value := on
	cli := []string{"key", strings.TrimSuffix(action, "_here"), "id:" + k.ID}
	if k.Source != nil {
		value, cli = !on, append(cli, "--here")
	}
	c.Commands = v.commands(call{"PATCH", "/v1/keys/" + k.ID, map[string]bool{field: value}, k.Revision}, cli...)
	return v.confirm(status, c)
}

// statusTitle names what is asked: `Disable NAME`, `Disable NAME here`.
func statusTitle(k lifecycle.Key) string {
	verb, here := strings.CutSuffix(statusLabel(k), " here")
	if here {
		return verb + " " + k.Name + " here"
	}
	return verb + " " + k.Name
}

// batchOf is the batch that turns a key on or off, and the member of the key that it
// changes.
func batchOf(k lifecycle.Key, on bool) (action, field string) {
	action, field = "disable", "enabled"
	if on {
		action = "enable"
	}
	if k.Source != nil {
		return action + "_here", "disabled_here"
	}
	return action, field
}

func statusWord(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// statusWords says what turning a key on or off brings about.
func statusWords(k lifecycle.Key, on bool, open int, now time.Time) (lead string, points []string) {
	if !on {
		lead = "Every call with it is refused at once."
		points = []string{endingSessions(open), "Its secrets, role and settings stay as they are. It can be enabled again at any time; clients then sign in anew."}
		if k.Source != nil {
			points = slices.Insert(points, 0, "This goes for this installation alone, and holds whatever "+*k.Source+" says: a sync does not undo it.")
		}
		return lead, points
	}
	lead = "Its secrets are good again at once."
	if k.Source != nil {
		lead = "The key follows " + *k.Source + " again, where it is enabled: its secrets are good again at once."
		if !k.Enabled {
			lead = "The key follows " + *k.Source + " again, where it is disabled: it stays refused until it is enabled there."
		}
	}
	points = []string{"Sessions that ended when it was disabled stay ended: clients sign in anew."}
	if k.ExpiresAt != nil && !k.ExpiresAt.After(now) {
		points = append(points, "It stays refused all the same: it expired on "+stamp(*k.ExpiresAt)+".")
	}
	if k.Lock.Locked {
		points = append(points, "It stays locked until "+stamp(*k.Lock.LockedUntil)+", or until it is unlocked.")
	}
	if len(k.Secrets) == 0 {
		points = append(points, "It has no secret that is good any more: rotate it first.")
	}
	return lead, points
}

// changeStatus does what was confirmed, and not the reverse of it if the key was
// turned meanwhile.
func (v *visit) changeStatus() error {
	k, err := v.changeableKey(policy.Update)
	if err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	on := f.Get("to") == statusWord(true)
	patch, done := lifecycle.KeyPatch{Enabled: lifecycle.Some(on)}, "enabled"
	if k.Source != nil {
		patch = lifecycle.KeyPatch{DisabledHere: lifecycle.Some(!on)}
	}
	if !on {
		done = "disabled"
	}
	if k.Source != nil {
		done += " here"
	}
	if f.Get("to") == "" {
		return v.statusPage(http.StatusBadRequest, k, f)
	}
	_, commit, err := v.svc().UpdateKey(v.ctx(), v.actor, k.ID, patch, f.unchanged())
	if err == nil {
		return v.wrote(commit, v.after(k.ID), k.Name+" is "+done+".")
	}
	return v.again(f, err, policy.Update, v.statusPage)
}
