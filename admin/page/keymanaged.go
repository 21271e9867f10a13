package page

import (
	"net/http"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
)

// managed is the dialog in the place of what only the owner of a key can do.
type managed struct {
	Key lifecycle.Key
	// Lead says what cannot be done, and why.
	Title, Lead string
	Owner       *sourceFacts
	// Menu is what can be done here.
	Menu []keyAction
}

// managedWords say what an external source keeps for itself.
var managedWords = map[string]struct{ title, lead string }{
	"edit":   {"cannot be edited here", "The name, role and all settings of this key come from its source, and would be put back by its next list."},
	"delete": {"cannot be deleted here", "This key is there as long as its source lists it; the next list would bring it back. Take it out there, or refuse it here."},
	"rotate": {"cannot be given a secret here", "The secret of this key was issued by its source, and is changed there."},
}

// lockedDeletion is what is said where the rule of the source is that its keys stay.
const lockedDeletion = "The owner of this key wants it to stay: it goes only when the source itself no longer lists it. Ask the owner, or refuse it here."

// showManaged explains why the key of an external source cannot be edited, deleted or
// rotated (what: edit, delete, rotate), who can, and what is possible here.
func (v *visit) showManaged(k lifecycle.Key, what string) error {
	words := managedWords[what]
	d := managed{Key: k, Title: k.Name + " " + words.title, Lead: words.lead}
	var err error
	if d.Owner, err = v.sourceOf(k); err != nil {
		return err
	}
	if what == "delete" && d.Owner.Source != nil && d.Owner.Source.Rule == keystore.SourceLocked {
		d.Lead = lockedDeletion
	}
	for _, a := range (document{visit: v}).KeyMenu(k).Actions {
		if a.here && !a.Hidden {
			d.Menu = append(d.Menu, a)
		}
	}
	return v.dialog(http.StatusOK, "keymanaged", d.Title, d)
}
