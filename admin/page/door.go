package page

import (
	"context"
	"net/http"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// Door tells who is at the page. Sessions are those of every other entrance: the
// same count of failures, the same rows, ended by the same changes.
type Door interface {
	// SignIn proves a client ID and secret and opens a session, for a key whose role
	// holds something of Keyreeve's own.
	SignIn(r *http.Request, clientID, secret string) (Session, *api.AuthProblem)
	// Resume proves a session's token, as the key stands now.
	Resume(r *http.Request, token string) (lifecycle.Actor, *api.AuthProblem)
	// SessionID is the id of the session of a token that Resume took, "" if it is over
	// by now.
	SessionID(r *http.Request, token string) string
	// SignOut ends the session of a token.
	SignOut(r *http.Request, token string) error
	// Redeem opens a session by a one-time link's code.
	Redeem(r *http.Request, code string) (Session, *api.AuthProblem)
}

// Session is one that was just opened.
type Session struct {
	// Token is what Resume takes.
	Token string
	Actor lifecycle.Actor
}

// CodeNoAdministrator is the problem of a key that is good but administers nothing.
const CodeNoAdministrator = "no_administrator"

// CodeLinkUsed is the problem of a one-time link that is no good any more.
const CodeLinkUsed = "link_used"

type passiveKey struct{}

// Passive reports a request that the page makes by itself, at which nobody is
// known to sit. It neither prolongs a session nor counts as a use of the key.
func Passive(r *http.Request) bool { return r.Context().Value(passiveKey{}) != nil }

func passive(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), passiveKey{}, true))
}
