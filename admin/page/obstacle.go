package page

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/keystore"
)

// obstacle is a dialog for what cannot be done as things stand: why not, and what
// to do instead.
type obstacle struct {
	Title, Lead string
	Points      []string
	Links       []obstacleLink
	// Back is where Close leads without script.
	Back     string
	Commands *commands
}

// obstacleLink leads on, to another dialog where Dialog is set.
type obstacleLink struct {
	Label, URL string
	Dialog     bool
}

// obstruct shows the dialog.
func (v *visit) obstruct(status int, o obstacle) error {
	return v.show(view{Status: status, Page: "obstacle", Block: "dialog", Dialog: true, Title: o.Title, Data: o})
}

// difference is a field that somebody else changed meanwhile.
type difference struct{ Field, Now, Yours string }

// differences are the fields, given as name, now and yours, that are not the same.
func differences(triples ...string) []difference {
	var all []difference
	for i := 0; i+2 < len(triples); i += 3 {
		if triples[i+1] != triples[i+2] {
			all = append(all, difference{triples[i], triples[i+1], triples[i+2]})
		}
	}
	return all
}

// version is that of the record that the form was made from, 0 where it names none.
func (f *Form) version() keystore.Revision {
	n, err := strconv.ParseInt(f.Get("version"), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return keystore.Revision(n)
}

// overtaken says that somebody else changed the record while the form was filled in:
// what is called what is now shown beside it.
func (f *Form) overtaken(what string) {
	f.Summary = "Somebody else changed the " + what + " meanwhile, so nothing was saved. What was given here is still in the form: save again to put it in place."
}

// refuseAsked is refuseWhole for a dialog that asks before something is done.
func (f *Form) refuseAsked(err error, what string) (status int, other error) {
	status, other = f.refuseWhole(err)
	if status == http.StatusPreconditionFailed {
		f.Summary = "Somebody else changed the " + what + " meanwhile, so nothing was done. This is how it is now: please look again."
	}
	return status, other
}

// keepTo moves what is wrong with fields that the form does not show to its summary.
func (f *Form) keepTo(fields ...string) {
	f.order = slices.DeleteFunc(f.order, func(field string) bool {
		if slices.Contains(fields, field) {
			return false
		}
		for _, text := range f.Wrong[field] {
			if !strings.Contains(f.Summary, text) {
				f.Summary += " " + text
			}
		}
		delete(f.Wrong, field)
		return true
	})
}

// sentenceOf tells what was done to a record: sentenceOf("source", "idp", "saved.").
func sentenceOf(what, name, did string) string {
	return strings.ToUpper(what[:1]) + what[1:] + " “" + name + "” " + did
}
