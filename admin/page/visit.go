package page

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// visit is one request on its way through a handler.
type visit struct {
	page  *Page
	w     http.ResponseWriter
	r     *http.Request
	route route
	// actor is who is signed in; its Kind is "" where nobody is.
	actor lifecycle.Actor
	token string
	// named are read once, by titles.
	named titles
	// told comes along with a part that is swapped in after an action. See tell.
	told *notice
	// secret: the answer shows one. See send.
	secret bool
	// prefs are read once, by preferences.
	prefs map[string]json.RawMessage
	// saved and who are read once, by views and me.
	saved *lifecycle.Page[lifecycle.View]
	who   *lifecycle.Me
}

func (v *visit) ctx() context.Context { return v.r.Context() }

func (v *visit) svc() *lifecycle.Service { return v.page.svc }

// id is the {id} of the path.
func (v *visit) id() string { return v.r.PathValue("id") }

// me is what the actor may know of who is signed in.
func (v *visit) me() (*lifecycle.Me, error) {
	if v.who == nil {
		me, err := v.svc().Me(v.ctx(), v.actor)
		if err != nil {
			return nil, err
		}
		v.who = &me
	}
	return v.who, nil
}

func (v *visit) signedIn() bool { return v.actor.Kind != "" }

// partial reports a request of htmx for a part of a page. One that restores
// history needs the whole.
func (v *visit) partial() bool {
	return v.r.Header.Get("HX-Request") == "true" && v.r.Header.Get("HX-History-Restore-Request") != "true"
}

// may reports whether the actor holds an action on one of Keyreeve's own
// resources: to show what can be done, never to decide on it.
func (v *visit) may(resource string, action policy.Mask) bool {
	return v.actor.Permissions.On(resource, "").Has(action)
}

// confined reports an actor who sees one microtenant alone.
func (v *visit) confined() bool { return v.actor.MicrotenantID != "" && !v.actor.AllCustomers }

func (v *visit) requestID() string {
	if v.page.cfg.RequestID == nil {
		return ""
	}
	return v.page.cfg.RequestID(v.r)
}

// here is the path and query that the browser shows: of a part, that of the page
// it is in.
func (v *visit) here() string {
	if !v.partial() {
		return local(v.r.URL.RequestURI())
	}
	u, err := url.Parse(v.r.Header.Get("HX-Current-URL"))
	if err != nil {
		return root
	}
	return local(u.RequestURI())
}

// herePath is here without its query.
func (v *visit) herePath() string {
	path, _, _ := strings.Cut(v.here(), "?")
	return path
}

// redirect sends the browser to a place of the page.
func (v *visit) redirect(to string) error {
	if v.partial() {
		v.w.Header().Set("HX-Redirect", to)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// done ends an action that succeeded: the browser goes to a page, which tells the
// message. With script, where it is on that page already, the dialog closes, the
// message is told and what listens to `keyreeve:done from:body` loads itself anew.
func (v *visit) done(to, message string) error {
	here, _, _ := strings.Cut(v.here(), "?")
	there, _, _ := strings.Cut(to, "?")
	if !v.partial() || here != there {
		v.leave(notice{Text: message})
		return v.redirect(to)
	}
	v.w.Header().Set("HX-Trigger", "keyreeve:done")
	v.w.Header().Set("HX-Reswap", "none") // but for what is marked to be swapped anywhere
	return v.render(http.StatusOK, "parts", "notice", document{Notice: &notice{Text: message}, Swap: true})
}

// notice is a message about what was just done.
type notice struct {
	Text string `json:"m"`
	// Bad says that it was not done.
	Bad bool `json:"b,omitempty"`
	// Of is a mark of the session that it was left in: nobody else is told.
	Of string `json:"o,omitempty"`
}

const noticeCookie = "keyreeve_notice"

// leave keeps a notice for the next page.
func (v *visit) leave(n notice) {
	n.Of = sessionMark(v.token)
	v.setNotice(v.page.cookies.seal(noticeCookie, n), 60)
}

func (v *visit) setNotice(value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{Name: noticeCookie, Value: value, Path: root, MaxAge: maxAge,
		Secure: v.page.cfg.Secure(v.r), HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// takeNotice is what the page before left, nil for nothing.
func (v *visit) takeNotice() *notice {
	c, err := v.r.Cookie(noticeCookie)
	if err != nil {
		return nil
	}
	v.setNotice("", -1)
	n := new(notice)
	if v.page.cookies.open(noticeCookie, c.Value, n) != nil || n.Of != sessionMark(v.token) {
		return nil
	}
	return n
}

// sessionMark stands for a session where its token must not.
func sessionMark(token string) string {
	hash := sha256.Sum256([]byte(token))
	return hex.EncodeToString(hash[:8])
}
