package page

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// watchFor is how long the secret dialog waits for the first use.
const watchFor = 30 * time.Minute

// shownSecret is a secret in the one answer that has it.
type shownSecret struct {
	Key lifecycle.Key
	// Secret is "" where the request was done before: it was shown then.
	Secret string
	// New: the key itself is new. Previous says what becomes of the secrets before.
	New      bool
	Previous string
	// Told is what other nodes have yet to hear.
	Told string
	Use  firstUse
	// Stored takes the form that leads on, where there is no script.
	Stored string
	// RotateURL is the way on where the secret is lost.
	RotateURL string
	// Base is where the gate is, "" where that is not known.
	Base string
}

// showSecret answers a POST that made a secret, without a redirect: it stands in no
// URL, and in no answer but this.
func (v *visit) showSecret(d shownSecret, secretID string) error {
	d.Stored, d.RotateURL = keyURL(d.Key.ID, "secrets", url.PathEscape(secretID), "stored"), keyURL(d.Key.ID, "secrets", "new")
	d.Base = strings.TrimSuffix(v.page.cfg.BaseURL, "/")
	d.Use = firstUse{URL: v.useURL(d.Key.ID, secretID, v.page.cfg.Now())}
	title := "Store the secret"
	v.secret = d.Secret != ""
	if d.Secret == "" {
		title = "The secret was shown before"
	} else if v.partial() {
		// The list behind the dialog shows what was made. The dialog itself is held.
		v.w.Header().Set("HX-Trigger-After-Swap", "keyreeve:done")
	}
	return v.dialog(http.StatusCreated, "secret", title, d)
}

// Names of the variables that a secret is offered in: those that the CLI reads.
const (
	envClientID     = "KEYREEVE_CLIENT_ID"
	envClientSecret = "KEYREEVE_CLIENT_SECRET"
)

// Env is the pair as lines of a `.env` file.
func (d shownSecret) Env() string {
	return envClientID + "=" + d.Key.ClientID + "\n" + envClientSecret + "=" + d.Secret + "\n"
}

// Curl signs in with the pair.
func (d shownSecret) Curl() string {
	base := quoted(d.Base + "/oauth2/v1/token")
	if d.Base == "" {
		base = `"$GATE_URL/oauth2/v1/token"`
	}
	return "curl -u " + quoted(d.Key.ClientID+":"+d.Secret) + " -d grant_type=client_credentials " + base
}

// Manifest is the pair as a Secret of Kubernetes.
func (d shownSecret) Manifest() string {
	return "apiVersion: v1\nkind: Secret\nmetadata:\n  name: " + resourceName(d.Key.Name) + "\ntype: Opaque\nstringData:\n  " +
		envClientID + ": " + strconv.Quote(d.Key.ClientID) + "\n  " + envClientSecret + ": " + strconv.Quote(d.Secret) + "\n"
}

// resourceName is a key's name as Kubernetes takes one (RFC 1123, at most 63).
func resourceName(name string) string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, name)
	words := strings.FieldsFunc(slug, func(r rune) bool { return r == '-' })
	return strings.Join(append([]string{"keyreeve"}, words...), "-")
}

// stored ends the dialog where there is no script: the tick leads on.
func (v *visit) stored() error {
	k, err := v.svc().GetKey(v.ctx(), v.actor, v.id())
	if err != nil {
		return err
	}
	return v.done(keyURL(k.ID), "Only you have the secret of “"+k.Name+"” now; it is not shown again.")
}

// firstUse is the light that waits for a secret to be used.
type firstUse struct {
	// URL is asked again while nothing came.
	URL string
	// At is when it was last used, nil for not yet; Address and Route say where.
	At             *time.Time
	Address, Route *string
	// Over: it is no longer looked. Gone: there is no such secret any more.
	Over, Gone bool
}

// useURL asks whether a secret was used; since is when the waiting began.
func (v *visit) useURL(keyID, secretID string, since time.Time) string {
	return keyURL(keyID, "secrets", url.PathEscape(secretID), "use") + "?since=" + strconv.FormatInt(since.Unix(), 10)
}

// watchUse answers the light: with nothing as long as nothing changed.
func (v *visit) watchUse() error {
	sid := v.r.PathValue("sid")
	use, err := v.firstUse(sid)
	if err != nil {
		return err
	}
	began, _ := strconv.ParseInt(v.r.URL.Query().Get("since"), 10, 64)
	now := v.page.cfg.Now()
	if now.Sub(time.Unix(began, 0)) > watchFor {
		use.Over, use.URL = true, v.useURL(v.id(), sid, now)
	} else if use.At == nil && !use.Gone {
		use.URL = v.useURL(v.id(), sid, time.Unix(began, 0))
		if v.r.URL.Query().Get("again") == "" {
			v.w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	if !v.partial() {
		return v.redirect(keyURL(v.id()))
	}
	return v.show(view{Page: "secret", Block: "first-use", Data: use})
}

func (v *visit) firstUse(secretID string) (firstUse, error) {
	all, err := v.svc().ListSecrets(v.ctx(), v.actor, v.id())
	if refusedAs(err, lifecycle.NotFound) {
		return firstUse{Gone: true}, nil // deleted, or out of reach: no reason to go on asking
	}
	if err != nil {
		return firstUse{}, err
	}
	for _, s := range all.Items {
		if s.ID != secretID {
			continue
		}
		if s.LastUsedAt == nil {
			return firstUse{Gone: over(s)}, nil
		}
		k, err := v.svc().GetKey(v.ctx(), v.actor, v.id())
		if err != nil {
			return firstUse{}, err
		}
		use := firstUse{At: s.LastUsedAt, Address: s.LastUsedAddress}
		if k.LastUsedAt != nil && k.LastUsedAt.Equal(*s.LastUsedAt) { // the key's last use is this secret's
			use.Route = k.LastUsedRoute
		}
		return use, nil
	}
	return firstUse{Gone: true}, nil
}
