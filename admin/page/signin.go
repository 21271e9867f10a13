package page

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/policy"
)

// signInData is the data of the sign-in page.
type signInData struct {
	*Form
	Next, Why string
}

func signInURL(next, why string) string {
	q := url.Values{}
	if next != "" && next != root {
		q.Set("next", next)
	}
	if why != "" {
		q.Set("why", why)
	}
	if len(q) == 0 {
		return loginPath
	}
	return loginPath + "?" + q.Encode()
}

// whys tells why somebody must sign in again.
var whys = map[string]string{
	whyIdle: fmt.Sprintf("You were signed out because nothing was done for %d minutes.", int(idleLimit.Minutes())),
	whyOver: "Your session is over: its time was up, or the key was changed, locked or disabled.",
	whyOut:  "You are signed out.",
}

func (v *visit) showSignIn() error {
	q := v.r.URL.Query()
	return v.signInPage(http.StatusOK, signInData{Form: NewForm(nil), Next: local(q.Get("next")), Why: whys[q.Get("why")]})
}

func (v *visit) signInPage(status int, d signInData) error {
	return v.show(view{Status: status, Page: "signin", Title: "Sign in", Data: d})
}

func (v *visit) signIn() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	d := signInData{Form: f, Next: local(f.Get("next"))}
	clientID, secret := f.part("client_id", "client ID"), f.part("client_secret", "client secret")
	f.Values = url.Values{"client_id": {clientID}} // never the secret
	if wait := v.page.throttle.wait(v.page.cfg.Address(v.r)); wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(seconds(wait)))
		f.Fail("", "Too many tries from your address. Wait a few seconds and try again.")
		return v.signInPage(http.StatusTooManyRequests, d)
	}
	if f.Failed() {
		return v.signInPage(http.StatusBadRequest, d)
	}
	session, problem := v.page.cfg.Door.SignIn(v.r, clientID, secret)
	if problem != nil {
		if problem.Status == http.StatusServiceUnavailable {
			v.showProblem(problem)
			return nil
		}
		f.Fail("", v.refusal(problem))
		return v.signInPage(problem.Status, d)
	}
	v.enter(session)
	return v.redirect(d.Next)
}

// maxCredential bounds half a credential, in bytes.
const maxCredential = 1024

// part is half of a credential, as it stands: what is nearly one is none, and not
// worth a try.
func (f *Form) part(name, title string) string {
	text := f.Get(name)
	switch {
	case text == "":
		f.Fail(name, "Enter the "+title+".")
	case len(f.Values[name]) > 1, len(text) > maxCredential:
		f.Fail(name, "This is no "+title+".")
		return ""
	case strings.TrimSpace(text) != text:
		f.Fail(name, "There is white space before or behind the "+title+".")
	}
	return text
}

// enter puts a session into the browser, in the place of the one that it had.
func (v *visit) enter(s Session) {
	if t := v.page.ticket(v.r); t != nil && t.Token != s.Token {
		_ = v.page.cfg.Door.SignOut(v.r, t.Token) // where the store is away, it ends by itself
	}
	v.page.remember(v.w, v.r, s.Token)
}

// refusal is why somebody was not let in, in words.
func (v *visit) refusal(p *api.AuthProblem) string {
	switch p.Code {
	case policy.InvalidClient.Code():
		text := "This client ID and secret were not accepted. The secret may be wrong, or the key locked, disabled, expired or not usable from here."
		if v.page.cfg.Lockout != nil {
			attempts, duration := v.page.cfg.Lockout()
			text += fmt.Sprintf(" %d wrong secrets lock a key for %s.", attempts, spell(duration))
		}
		return text
	case CodeNoAdministrator:
		return "The client ID and secret are right, but the key's role administers nothing here. Sign in with an administrator's key."
	case CodeLinkUsed:
		return "This link was used already, or is older than " + spell(LinkLifetime) + ". Ask for a new one, or sign in with a client ID and secret."
	}
	return sentence(p.Detail)
}

// showLink shows a button and uses nothing up: programs that look at links in
// messages follow them.
func (v *visit) showLink() error {
	return v.show(view{Page: "link", Title: "Sign in", Data: NewForm(nil)})
}

func (v *visit) useLink() error {
	if wait := v.page.throttle.wait(v.page.cfg.Address(v.r)); wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(seconds(wait)))
		v.showError(http.StatusTooManyRequests, "too_many_requests", "Wait a few seconds and try again.")
		return nil
	}
	session, problem := v.page.cfg.Door.Redeem(v.r, v.r.PathValue("code"))
	if problem != nil {
		if problem.Status == http.StatusServiceUnavailable {
			v.showProblem(problem)
			return nil
		}
		f := NewForm(nil)
		f.Fail("", v.refusal(problem))
		return v.signInPage(problem.Status, signInData{Form: f, Next: root})
	}
	v.enter(session)
	return v.redirect(root)
}

// signOut ends the session on the server, whatever state its key is in.
func (v *visit) signOut() error {
	if t := v.page.ticket(v.r); t != nil {
		if err := v.page.cfg.Door.SignOut(v.r, t.Token); err != nil {
			return err // it goes on: say so
		}
	}
	v.page.forget(v.w, v.r)
	return v.redirect(signInURL("", whyOut))
}
