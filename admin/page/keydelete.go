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
	Usage lifecycle.KeyUsage
	// Bars draw Usage, Busiest is the most calls of an hour.
	Bars    []callBar
	Busiest int64
	// Sessions are those that are open; -1 is not known.
	Sessions int
	// Own: the actor is signed in with it.
	Own      bool
	Commands *commands
}

// callBar is an hour of calls in a drawing that is 24 by 10.
type callBar struct {
	X      int
	Y, H   float64
	Silent bool
}

func (v *visit) showDelete() error {
	k, err := v.changeableKey(policy.Delete)
	if err != nil {
		return err
	}
	if k.Source != nil {
		return v.showManaged(k, "delete")
	}
	refused, err := v.refusalOf("delete", k.ID)
	if err != nil {
		return err
	}
	f := NewForm(nil)
	if refused != nil {
		if _, err := f.refuseWhole(refused); err != nil {
			return err
		}
	}
	return v.deletePage(http.StatusOK, k, f)
}

func (v *visit) deletePage(status int, k lifecycle.Key, f *Form) (err error) {
	d := keyDeletion{Form: f, Key: k, Own: v.own(k)}
	if d.Usage, err = v.svc().KeyUsage(v.ctx(), v.actor, k.ID); err != nil {
		return err
	}
	d.Bars, d.Busiest = callBars(d.Usage.Hours)
	if d.Sessions, err = v.liveSessions(k.ID); err != nil {
		return err
	}
	d.Commands = v.commands(call{"DELETE", "/v1/keys/" + k.ID, nil, k.Revision}, "key", "delete", "id:"+k.ID, "--yes")
	return v.show(view{Status: status, Page: "keydelete", Block: "dialog", Dialog: true, Title: "Delete " + k.Name, Data: d})
}

// callBars draws calls by the hour. An hour without any has a mark of its own, so that
// little is told from nothing.
func callBars(hours []lifecycle.HourCalls) (all []callBar, most int64) {
	for _, h := range hours {
		most = max(most, h.Calls)
	}
	for i, h := range hours {
		height := 0.3
		if h.Calls > 0 {
			height = max(1, 10*float64(h.Calls)/float64(most))
		}
		all = append(all, callBar{i, 10 - height, height, h.Calls == 0})
	}
	return all, most
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
	status, err := f.refuseWhole(err)
	if err != nil {
		return err
	}
	if k, err = v.changeableKey(policy.Delete); err != nil {
		return err
	}
	return v.deletePage(status, k, f)
}

// tableHere is the table that a dialog is over, "" for another page: the key's own,
// say, which is no more.
func (v *visit) tableHere() string {
	if q := queryAt(v.here()); v.partial() && v.herePath() == keysPath {
		return q.String()
	}
	return ""
}
