package page

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

func (p *Page) addBatch() {
	p.post(keysPath+"/batch", (*visit).batch)
}

// bulkAction is what can be done to many keys, in words.
type bulkAction struct {
	ID, Label string
	// Will is what a key will, Done what it then is: it will be disabled, it is disabled.
	Will, Done string
	// Lead says what comes of it.
	Lead   string
	Danger bool
	// cli is the verb of the command line, which takes many keys.
	cli []string
	// already reports a key that is as it would be.
	already func(lifecycle.Key) bool
	// resource and right are those to offer it by, as document.Can has them.
	resource, right string
}

var bulkActions = []bulkAction{
	{ID: "enable", Label: "Enable", Will: "be enabled", Done: "enabled", Lead: "Their secrets are good again at once. Sessions that ended stay ended: clients sign in anew.",
		cli: []string{"key", "enable"}, already: func(k lifecycle.Key) bool { return k.Enabled }, resource: "keys", right: "update"},
	{ID: "disable", Label: "Disable", Will: "be disabled", Done: "disabled", Danger: true, Lead: "Every call with them is refused at once, and their sessions end for good. Secrets, roles and settings stay, and they can be enabled again at any time.",
		cli: []string{"key", "disable"}, already: func(k lifecycle.Key) bool { return !k.Enabled }, resource: "keys", right: "update"},
	{ID: "unlock", Label: "Unlock", Will: "be unlocked", Done: "unlocked", Lead: "Their failed attempts are forgotten: the right secret is good at once. Whoever guesses has new tries too.",
		cli: []string{"key", "unlock"}, resource: "locks", right: "delete"},
	{ID: "end_sessions", Label: "End sessions", Will: "lose all sessions", Done: "left without a session", Danger: true, Lead: "All of their access tokens are refused at once. Their secrets stay good: clients sign in anew.",
		resource: "sessions", right: "delete"},
	{ID: "delete", Label: "Delete", Will: "be deleted", Done: "deleted", Danger: true, Lead: "The keys, their secrets and their sessions are gone for good. Calls with them are refused at once. To be able to take it back, disable them instead.",
		cli: []string{"key", "delete", "--yes"}, resource: "keys", right: "delete"},
	{ID: "disable_here", Label: "Disable here", Will: "be disabled here", Done: "disabled here", Danger: true, Lead: "For keys of external sources: they are refused here at once, whatever their source says, and their sessions end for good. A sync does not undo it.",
		cli: []string{"key", "disable", "--here"}, already: func(k lifecycle.Key) bool { return k.DisabledHere }, resource: "keys", right: "update"},
	{ID: "enable_here", Label: "Enable here", Will: "follow its source again", Done: "no longer disabled here", Lead: "For keys of external sources: they follow their source again, and are let in where it has them enabled.",
		cli: []string{"key", "enable", "--here"}, already: func(k lifecycle.Key) bool { return k.Source != nil && !k.DisabledHere }, resource: "keys", right: "update"},
}

// mainBulk is how many of bulkActions have a button of their own; the others stand in
// a menu.
const mainBulk = 5

// Bulk are the actions with buttons, MoreBulk those in the menu, as far as the actor's
// role holds them.
func (d document) Bulk() []bulkAction     { return d.bulk(bulkActions[:mainBulk]) }
func (d document) MoreBulk() []bulkAction { return d.bulk(bulkActions[mainBulk:]) }

// Ticks reports that keys can be ticked: there is something to do with several.
func (d document) Ticks() bool { return len(d.bulk(bulkActions)) > 0 }

func (d document) bulk(all []bulkAction) []bulkAction {
	return slices.DeleteFunc(slices.Clone(all), func(a bulkAction) bool { return !d.Can(a.resource, a.right) })
}

// bulkPage is the dialog of a batch: what would become of each key, or what did.
type bulkPage struct {
	*Form
	bulkAction
	Title string
	// Result tells what was done, rather than what would be.
	Result bool
	Items  []bulkItem
	// Ready, Already and Refused count the items.
	Ready, Already, Refused int
	// Word must be typed to go on, "" for nothing.
	Word string
	// Cautions are to be thought of first.
	Cautions []string
	// Hint says what could be done with those that are refused.
	Hint        string
	Propagation string
	Back, Once  string
	Commands    *commands
}

// bulkItem is what becomes of one key.
type bulkItem struct {
	ID, Name, ClientID string
	// State is ready, already or refused; Why says why it is refused.
	State, Why string
}

// Is reports an item in a state.
func (i bulkItem) Is(state string) bool { return i.State == state }

const (
	itemReady   = "ready"
	itemAlready = "already"
	itemRefused = "refused"
)

// batch shows what an action would do to the keys that were ticked, and does it once
// that was confirmed. What a dry run refuses is not tried.
func (v *visit) batch() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	d, ids := &bulkPage{Form: f, Back: queryAt(f.Get("back")).String(), Once: f.Get("once")}, f.unique("ids")
	at := slices.IndexFunc(bulkActions, func(a bulkAction) bool { return a.ID == f.Get("action") })
	if at < 0 || len(ids) == 0 {
		return v.obstruct(http.StatusBadRequest, obstacle{Title: "No keys are selected", Lead: "Tick the keys in the table first, then choose what to do with them.", Back: d.Back})
	}
	d.bulkAction = bulkActions[at]
	if f.Get("step") == "" {
		return v.dryRun(d, ids, http.StatusOK)
	}
	if d.Word = bulkWord(d.bulkAction, len(ids)); d.Word != "" && strings.TrimSpace(f.Get("confirm")) != d.Word {
		f.Fail("confirm", "Type "+d.Word+", the number of keys.")
		return v.dryRun(d, ids, http.StatusBadRequest)
	}
	return v.doBatch(d, ids)
}

// bulkWord is what must be typed before an action on n keys: for what cannot be taken
// back, their number.
func bulkWord(a bulkAction, n int) string {
	if a.ID != "delete" {
		return ""
	}
	return strconv.Itoa(n)
}

// unique are the values of a field, each once.
func (f *Form) unique(name string) []string {
	var all []string
	seen := map[string]bool{"": true}
	for _, value := range f.Values[name] {
		if !seen[value] {
			all = append(all, value)
		}
		seen[value] = true
	}
	return all
}

// dryRun shows what would become of each key.
func (v *visit) dryRun(d *bulkPage, ids []string, status int) error {
	keys, err := v.keysByID(ids)
	if err != nil {
		return err
	}
	would, _, err := v.svc().BatchKeys(v.ctx(), v.actor, lifecycle.NewBatch{Action: d.ID, IDs: ids, DryRun: true})
	if err != nil {
		return v.refuseBatch(d, err)
	}
	var ready []string
	managedToo := false
	for _, item := range would.Items {
		k, known := keys[item.ID]
		shown := bulkItem{ID: item.ID, Name: k.Name, ClientID: k.ClientID, State: itemReady}
		switch {
		case item.Refused != nil:
			shown.State, shown.Why = itemRefused, refusedWhy(k, item.Refused)
			managedToo = managedToo || item.Refused.Code == lifecycle.CodeManaged
		case known && d.already != nil && d.already(k):
			shown.State = itemAlready
		default:
			ready = append(ready, item.ID)
			if known && v.own(k) && d.Danger {
				d.Cautions = append(d.Cautions, "One of them, "+k.Name+", is the key that you are signed in with: you will be signed out.")
			}
		}
		d.add(shown)
	}
	if d.ID == "delete" {
		d.Cautions = append(v.inUse(keys, ready), d.Cautions...)
	}
	if managedToo && (d.ID == "enable" || d.ID == "disable") {
		d.Hint = "Keys of external sources are enabled and disabled by their source. “Disable here”, under More, refuses them in this installation."
	}
	d.settle(v, ready)
	return v.dialog(status, "keybatch", d.Title, d)
}

// settle is the title and what is needed to go on with the keys that are ready.
func (d *bulkPage) settle(v *visit, ready []string) {
	d.Title = fmt.Sprintf("%s %s?", d.Label, count(int64(len(ready)), "key"))
	if d.ID == "end_sessions" {
		d.Title = "End all sessions of " + count(int64(len(ready)), "key") + "?"
	}
	if len(ready) == 0 {
		d.Title = "Nothing to do"
		return
	}
	d.Word, d.Once = bulkWord(d.bulkAction, len(ready)), newOnce()
	d.Commands = v.bulkCommands(d.bulkAction, ready)
}

// add counts an item. The refused ones come first, then those to be done.
func (d *bulkPage) add(item bulkItem) {
	switch item.State {
	case itemRefused:
		d.Items = slices.Insert(d.Items, d.Refused, item)
		d.Refused++
	case itemReady:
		d.Items = slices.Insert(d.Items, d.Refused+d.Ready, item)
		d.Ready++
	default:
		d.Items = append(d.Items, item)
		d.Already++
	}
}

// inUse warns of keys that somebody would miss.
func (v *visit) inUse(keys map[string]lifecycle.Key, ids []string) []string {
	lately := 0
	since := v.page.cfg.Now().Add(-24 * time.Hour)
	for _, id := range ids {
		if at := keys[id].LastUsedAt; at != nil && at.After(since) {
			lately++
		}
	}
	switch lately {
	case 0:
		return nil
	case 1:
		return []string{"One of them was used in the last 24 hours."}
	}
	return []string{number(lately) + " of them were used in the last 24 hours."}
}

// keysByID are the keys, as far as the actor may look at them.
func (v *visit) keysByID(ids []string) (map[string]lifecycle.Key, error) {
	keys, err := v.svc().GetKeys(v.ctx(), v.actor, ids)
	if err := unlessHidden(err); err != nil {
		return nil, err
	}
	byID := map[string]lifecycle.Key{}
	for _, k := range keys {
		byID[k.ID] = k
	}
	return byID, nil
}

// refusedWhy says in words why a key is left out.
func refusedWhy(k lifecycle.Key, refused *lifecycle.Error) string {
	switch {
	case refused.Code == lifecycle.CodeManaged && k.Source != nil:
		return "It belongs to the source " + *k.Source + ", where it is changed."
	case refused.Kind == lifecycle.NotFound:
		return "It is not there any more."
	}
	why := sentence(refused.Detail)
	for _, one := range refused.Fields {
		if text := sentence(one.Detail); !strings.Contains(why, text) {
			why += " " + text
		}
	}
	return why
}

// refuseBatch tells why nothing at all was done.
func (v *visit) refuseBatch(d *bulkPage, err error) error {
	status, other := d.Form.refuseAsked(err, "keys")
	if other != nil {
		return other
	}
	return v.obstruct(status, obstacle{Title: "Nothing was done", Lead: d.Form.Summary, Back: d.Back})
}

// doBatch does it, and tells what became of each key.
func (v *visit) doBatch(d *bulkPage, ids []string) error {
	keys, err := v.keysByID(ids)
	if err != nil {
		return err
	}
	done, commit, err := v.svc().BatchKeys(v.ctx(), v.once(d.Form), lifecycle.NewBatch{Action: d.ID, IDs: ids})
	if err != nil {
		return v.refuseBatch(d, err)
	}
	for _, item := range done.Items {
		k := keys[item.ID]
		shown := bulkItem{ID: item.ID, Name: k.Name, ClientID: k.ClientID, State: itemReady}
		if item.Refused != nil {
			shown.State, shown.Why = itemRefused, refusedWhy(k, item.Refused)
		}
		d.add(shown)
	}
	d.Result, d.Propagation = true, propagation(commit)
	d.Title = bulkResult(d.bulkAction, d.Ready)
	v.w.Header().Set("HX-Trigger", "keyreeve:done") // the table loads itself anew behind the dialog
	return v.dialog(http.StatusOK, "keybatch", d.Title, d)
}

func bulkResult(a bulkAction, n int) string {
	verb := " are "
	switch n {
	case 0:
		return "Nothing was done"
	case 1:
		verb = " is "
	}
	return count(int64(n), "key") + verb + a.Done
}

// bulkCommands are the same over the API, which does many at once, and the command
// line, where ending sessions is a line for each key.
func (v *visit) bulkCommands(a bulkAction, ids []string) *commands {
	body := struct {
		Action string   `json:"action"`
		IDs    []string `json:"ids"`
	}{a.ID, ids}
	at := call{Method: http.MethodPost, Path: "/v1/keys/batch", Body: body}
	if a.cli == nil {
		c := v.commands(at)
		var lines []string
		for _, id := range ids {
			lines = append(lines, v.commands(call{Path: "/"}, "session", "end", "--key", "id:"+id).CLI)
		}
		c.CLI = strings.Join(lines, "\n")
		return c
	}
	cli := slices.Clone(a.cli)
	for _, id := range ids {
		cli = append(cli, "id:"+id)
	}
	return v.commands(at, cli...)
}
