package page

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// endable is the session of the path, for an actor who may end sessions.
func (v *visit) endable() (lifecycle.Session, error) {
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Delete, lifecycle.ResourceSessions)); err != nil {
		return lifecycle.Session{}, err
	}
	return v.svc().GetSession(v.ctx(), v.actor, v.id())
}

// afterEnd is where to go once sessions were ended: with script the page that the
// dialog is over.
func (v *visit) afterEnd(otherwise string) string {
	if v.partial() && v.herePath() != v.r.URL.Path {
		return v.here()
	}
	return otherwise
}

func (v *visit) askEndSession() error {
	s, err := v.endable()
	if err != nil {
		return err
	}
	if s.State != keystore.SessionActive {
		return v.obstruct(http.StatusOK, obstacle{Title: "This session is over already", Back: sessionsPath,
			Lead: "Its access token is refused everywhere. There is nothing left to end."})
	}
	return v.confirmEnd(http.StatusOK, NewForm(nil), s)
}

func (v *visit) confirmEnd(status int, f *Form, s lifecycle.Session) error {
	from := ""
	if s.Address != "" {
		from = " from " + s.Address
	}
	c := confirmation{Form: f, Action: sessionsPath + "/" + url.PathEscape(s.ID) + "/end", Back: sessionsPath, Danger: true,
		Title: "End this session", Label: "End session",
		Lead: "It was opened by the key “" + s.KeyName + "”" + from + ", " + ago(s.IssuedAt) + ", and would last until " + stamp(s.ExpiresAt) + ".",
		Points: []string{"Its access token is refused from now on, on every node. What runs with it fails.",
			"The key stays as it is, and its holder can sign in again. To keep it out, disable the key; if its secret leaked, rotate it."},
		Commands: v.commands(call{Method: http.MethodDelete, Path: "/v1/sessions/" + url.PathEscape(s.ID)}, "session", "end", s.ID)}
	if s.ID == v.ownSession() {
		c.Title, c.Label = "Sign yourself out", "End it and sign out"
		c.Lead = "This is the session that you are using now, opened" + from + ", " + ago(s.IssuedAt) + "."
		c.Points = []string{"You are signed out at once. What you have not saved in other tabs is lost.", "You can sign in again with the client ID and secret of your key."}
	}
	return v.confirm(status, c)
}

func (v *visit) endSession() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	s, err := v.endable()
	if err != nil {
		return err
	}
	own := s.ID == v.ownSession() // which cannot be told once it is over
	commit, err := v.svc().EndSession(v.ctx(), v.actor, s.ID, nil)
	if err != nil {
		status, err := f.refuseAsked(err, "session")
		if err != nil {
			return err
		}
		return v.confirmEnd(status, f, s)
	}
	switch {
	case own:
		return v.signedOut()
	case s.State != keystore.SessionActive:
		return v.done(v.afterEnd(sessionsPath), "That session was over already.")
	}
	return v.wrote(commit, v.afterEnd(sessionsPath), "Session of "+s.KeyName+" ended.")
}

// signedOut leaves, once the actor's own session was ended.
func (v *visit) signedOut() error {
	v.page.forget(v.w, v.r)
	return v.redirect(signInURL("", whyOut))
}

// keySessionsToEnd are the open sessions of the key of the path.
type keySessionsToEnd struct {
	ID, Name string
	Open     int
	// Own: the one that the actor is signed in with is among them.
	Own bool
}

func (v *visit) endableKey() (keySessionsToEnd, error) {
	k := keySessionsToEnd{ID: v.id(), Name: "this key"}
	if err := v.svc().May(v.ctx(), v.actor, lifecycle.NeedsTo(policy.Delete, lifecycle.ResourceSessions)); err != nil {
		return k, err
	}
	filter := lifecycle.SessionFilter{State: keystore.SessionActive, Paging: one()}
	found, err := v.svc().ListKeySessions(v.ctx(), v.actor, k.ID, filter)
	if err != nil {
		return k, err
	}
	k.Open = found.Total
	if len(found.Items) > 0 {
		k.Name = "“" + found.Items[0].KeyName + "”"
	} else if shown, err := v.svc().GetKey(v.ctx(), v.actor, k.ID); err == nil {
		k.Name = "“" + shown.Name + "”"
	} else if unlessHidden(err) != nil {
		return k, err
	}
	own, err := v.svc().GetSession(v.ctx(), v.actor, v.ownSession())
	if err == nil {
		k.Own = own.KeyID == k.ID && own.State == keystore.SessionActive
	}
	return k, unlessHidden(err)
}

func (v *visit) askEndSessions() error {
	k, err := v.endableKey()
	if err != nil {
		return err
	}
	return v.confirmEndAll(http.StatusOK, NewForm(nil), k)
}

func (v *visit) confirmEndAll(status int, f *Form, k keySessionsToEnd) error {
	lead := count(int64(k.Open), "open session") + " of " + k.Name + " end now."
	switch k.Open {
	case 0:
		lead = "No session of " + k.Name + " is open at the moment. One that is opened before you confirm ends too."
	case 1:
		lead = "One open session of " + k.Name + " ends now."
	}
	c := confirmation{Form: f, Action: keyURL(k.ID, "sessions", "end"), Back: keyURL(k.ID), Danger: true, Title: "End all sessions of " + k.Name,
		Label: "End all sessions", Lead: lead,
		Points: []string{"Every access token that the key has is refused from now on, on every node. What runs with one fails.",
			"The key and its secrets stay as they are, and its holder can sign in again. To keep it out, disable the key; if a secret leaked, rotate it."},
		Commands: v.commands(call{Method: http.MethodDelete, Path: "/v1/keys/" + url.PathEscape(k.ID) + "/sessions"}, "session", "end", "--key", k.ID)}
	if k.Own {
		c.Label = "End all and sign out"
		c.Points = append([]string{"This is your own key: the session that you are using now is among them, and you are signed out at once."}, c.Points...)
	}
	return v.confirm(status, c)
}

func (v *visit) endSessions() error {
	f, err := v.form()
	if err != nil {
		return err
	}
	k, err := v.endableKey()
	if err != nil {
		return err
	}
	commit, err := v.svc().EndKeySessions(v.ctx(), v.actor, k.ID, nil)
	if err != nil {
		status, err := f.refuseAsked(err, "key")
		if err != nil {
			return err
		}
		return v.confirmEndAll(status, f, k)
	}
	if k.Own {
		return v.signedOut()
	}
	return v.wrote(commit, v.afterEnd(keyURL(k.ID)), "All sessions of "+k.Name+" ended.")
}
