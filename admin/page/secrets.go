package page

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// A key's own page shows its secrets by the part `secrets-list` of
// templates/secretslist.html, which is given what v.secretsList(key) returns.

func (p *Page) addSecrets() {
	const secrets = keysPath + "/{id}/secrets"
	p.get(secrets+"/new", (*visit).showRotate)
	p.post(secrets+"/new", (*visit).rotate)
	p.get(secrets+"/{sid}/retire", (*visit).showRetire)
	p.post(secrets+"/{sid}/retire", (*visit).retire)
	p.post(secrets+"/{sid}/stored", (*visit).stored)
	p.add("GET "+secrets+"/{sid}/use", route{handle: (*visit).watchUse, passive: true})
}

// usualOverlap is what a rotation does that says nothing, in seconds.
var usualOverlap = strconv.Itoa(int(lifecycle.DefaultOverlap / time.Second))

// untilRetired is the value of previous_expires_in for no end.
const untilRetired = "null"

// overlaps are how long the secret before may stay good, in seconds, the shortest
// first.
var overlaps = []Choice{
	{Value: "0", Label: "Not at all", Hint: "Retired at once: for a secret that leaked. Whoever uses it stops working."},
	{Value: "3600", Label: "For 1 hour"},
	{Value: usualOverlap, Label: "For 1 day", Hint: "Time to give the new one to whoever uses the old one."},
	{Value: "604800", Label: "For 7 days"},
	{Value: "2592000", Label: "For 30 days"},
	{Value: untilRetired, Label: "Until it is retired", Hint: "Nothing breaks by itself, and nothing ends by itself."},
}

// rotation is the data of the dialog that gives a key another secret.
type rotation struct {
	*Form
	Secrets *secretsList
	Once    string
	Version keystore.Revision
	Choices []Choice
	// Usual is the choice to begin with.
	Usual    string
	Commands *commands
}

func (v *visit) showRotate() error {
	k, shown, err := v.ownKey(policy.Update, "rotate")
	if err != nil || shown {
		return err
	}
	f := NewForm(url.Values{"previous_expires_in": {usualOverlap}})
	return v.rotatePage(http.StatusOK, k, f)
}

func (v *visit) rotatePage(status int, k lifecycle.Key, f *Form) error {
	secrets, err := v.secretsList(k)
	if err != nil {
		return err
	}
	d := rotation{Form: f, Secrets: secrets, Once: f.Get("once"), Version: k.Revision, Choices: overlaps, Usual: usualOverlap}
	if d.Once == "" || f.Failed() {
		d.Once = newOnce()
	}
	if f.asksForCommands() && !f.Failed() {
		d.Commands = v.rotateCommands(k, f.Get("previous_expires_in"))
	}
	return v.dialog(status, "secretnew", "Rotate the secret of “"+k.Name+"”", d)
}

func (v *visit) rotateCommands(k lifecycle.Key, overlap string) *commands {
	body, word := map[string]any{"previous_expires_in": nil}, "never"
	if overlap != untilRetired {
		seconds, _ := strconv.ParseInt(overlap, 10, 64) // was read before
		body["previous_expires_in"], word = seconds, overlap
	}
	return v.commands(call{"POST", "/v1/keys/" + k.ID + "/secrets", body, k.Revision},
		"secret", "rotate", "id:"+k.ID, "--previous-expires-in", word)
}

// readRotation is what was sent; what cannot be read is marked in the form.
func readRotation(f *Form) lifecycle.Rotation {
	text := f.Get("previous_expires_in")
	if text == untilRetired {
		return lifecycle.Rotation{PreviousExpiresIn: lifecycle.Null[int64]()}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f.Fail("previous_expires_in", "Choose how long the present secret stays good.")
	}
	return lifecycle.Rotation{PreviousExpiresIn: lifecycle.Some(seconds)}
}

func (v *visit) rotate() error {
	k, err := v.changeableKey(policy.Update)
	if err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	in := readRotation(f)
	if f.Failed() {
		return v.rotatePage(http.StatusBadRequest, k, f)
	}
	if f.asksForCommands() {
		return v.rotatePage(http.StatusOK, k, f)
	}
	made, commit, err := v.svc().RotateSecret(v.ctx(), v.once(f), k.ID, in, f.unchanged())
	if err == nil {
		d := shownSecret{Key: made.Key, Secret: made.ClientSecret, Told: propagation(commit)}
		d.Previous = previousWords(k, in)
		return v.showSecret(d, made.Secret.ID)
	}
	code := codeOf(err)
	if code == lifecycle.CodeManaged {
		return v.showManaged(k, "rotate")
	}
	return v.again(f, err, policy.Update, func(status int, k lifecycle.Key, f *Form) error {
		if code == lifecycle.CodeTooManySecrets {
			f.Summary = "The key has two secrets already, as many as it can have. Retire one of them first, or let both end with the rotation."
		}
		return v.rotatePage(status, k, f)
	})
}

// previousWords say what became of the secrets that the key had.
func previousWords(k lifecycle.Key, in lifecycle.Rotation) string {
	what := "The secret before it"
	switch len(k.Secrets) {
	case 0:
		return ""
	case 1:
		if hint := k.Secrets[0].Hint; hint != "" {
			what = "The secret …" + hint
		}
	default:
		return "Both secrets before it are retired."
	}
	switch overlap := in.PreviousExpiresIn; {
	case overlap.Null:
		return what + " stays good until you retire it."
	case overlap.Value == 0:
		return what + " is retired: whoever still uses it is refused."
	default:
		return what + " stays good for " + spell(time.Duration(overlap.Value)*time.Second) + " at most: until then, give the new one to whoever uses it."
	}
}

// retirement is the data of the dialog that ends a secret.
type retirement struct {
	*Form
	Secrets *secretsList
	Secret  secretRow
	Version keystore.Revision
	// InUse: it must be forced. Only: the key has no other.
	InUse, Only bool
	Action      string
	Commands    *commands
}

// secretOf finds a secret of the key of the path.
func (v *visit) secretOf(k lifecycle.Key) (*secretsList, secretRow, error) {
	all, err := v.secretsList(k)
	if err != nil {
		return nil, secretRow{}, err
	}
	for _, rows := range [][]secretRow{all.Live, all.Past} {
		for _, one := range rows {
			if one.ID == v.r.PathValue("sid") {
				return all, one, nil
			}
		}
	}
	return nil, secretRow{}, &lifecycle.Error{Kind: lifecycle.NotFound, Code: lifecycle.CodeNotFound, Detail: "the key has no such secret, or it ended long ago"}
}

func (v *visit) showRetire() error {
	k, shown, err := v.ownKey(policy.Update, "rotate")
	if err != nil || shown {
		return err
	}
	return v.retirePage(http.StatusOK, k, NewForm(nil), false)
}

// retirePage asks before a secret is retired. refused says that it was tried, and
// that the secret is in use.
func (v *visit) retirePage(status int, k lifecycle.Key, f *Form, refused bool) error {
	all, one, err := v.secretOf(k)
	if err != nil {
		return err
	}
	d := retirement{Form: f, Secrets: all, Secret: one, Version: k.Revision, Only: len(all.Live) == 1,
		Action: keyURL(k.ID, "secrets", url.PathEscape(one.ID), "retire")}
	d.InUse = refused || one.LastUsedAt != nil && v.page.cfg.Now().Sub(*one.LastUsedAt) < lifecycle.InUseWithin
	// The commands are those that will do it, so in use they force.
	path, args := "/v1/keys/"+k.ID+"/secrets/"+one.ID, []string{"secret", "retire", "id:" + k.ID, one.ID}
	if d.InUse {
		path, args = path+"?force=true", append(args, "--force")
	}
	d.Commands = v.commands(call{Method: "DELETE", Path: path, Version: k.Revision}, args...)
	return v.dialog(status, "secretend", "Retire the secret "+one.Name, d)
}

func (v *visit) retire() error {
	k, err := v.changeableKey(policy.Update)
	if err != nil {
		return err
	}
	f, err := v.form()
	if err != nil {
		return err
	}
	_, one, err := v.secretOf(k)
	if err != nil {
		return err
	}
	commit, err := v.svc().RetireSecret(v.ctx(), v.actor, k.ID, one.ID, f.Get("force") == "true", f.unchanged())
	if err == nil {
		return v.wrote(commit, v.after(k.ID), "The secret "+one.Name+" of “"+k.Name+"” is retired.")
	}
	code := codeOf(err)
	if code == lifecycle.CodeManaged {
		return v.showManaged(k, "rotate")
	}
	return v.again(f, err, policy.Update, func(status int, k lifecycle.Key, f *Form) error {
		inUse := code == lifecycle.CodeSecretInUse
		if inUse {
			f.Summary = "The secret is in use, so nothing was done. Give whoever uses it the newer one first, or tick below to lock them out."
		}
		return v.retirePage(status, k, f, inUse)
	})
}
