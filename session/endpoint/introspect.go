package endpoint

import (
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

// introspection is the answer of RFC 7662 section 2.2.
type introspection struct {
	Active    bool   `json:"active"`
	TokenType string `json:"token_type,omitempty"`
	*session.Claims
}

// tokenForm is a form about a token. A token_type_hint may be wrong or unknown
// (RFC 7009 section 2.1), and there is one type only.
func (c *call) tokenForm() (url.Values, *failure) {
	form, failed := c.form()
	if failed == nil && form.Get("token") == "" {
		failed = &noToken
	}
	return form, failed
}

// introspect tells whether a token is good now, to its own client and to those
// who may look at its client's sessions. To others every token is inactive.
func (c *call) introspect() {
	form, failed := c.tokenForm()
	if failed != nil {
		c.fail(*failed)
		return
	}
	defer c.Enter()()
	now := c.Clock.Now()
	caller, failed := c.prove(form, clientForms|credential.FormBearer, now)
	if failed != nil {
		c.fail(*failed)
		return
	}
	subject := c.Auth.Judge(c.r.Context(), form.Get("token"), now)
	if subject.Reason == policy.StoreUnavailable {
		c.observe(subject, nil)
		c.fail(unavailable(subject.RetryAfter))
		return
	}
	c.observe(caller, nil)
	if !subject.Allow || !caller.SeesSessionsOf(subject.Key) {
		c.write(http.StatusOK, introspection{})
		return
	}
	c.write(http.StatusOK, introspection{Active: true, TokenType: tokenType, Claims: subject.Claims})
}

// revoke ends a session of the calling client (RFC 7009). A token that is not
// good, or not the client's, is answered alike: nothing is to be learnt.
func (c *call) revoke() {
	form, failed := c.tokenForm()
	if failed != nil {
		c.fail(*failed)
		return
	}
	caller, failed := c.proveOnly(form)
	if failed != nil {
		c.fail(*failed)
		return
	}
	c.observe(caller, nil)
	// Section 2.2: the purpose of revoking an invalid token is met already.
	over, failed := c.end(form.Get("token"), "revoked", caller.Key.ClientID)
	if failed != nil && *failed != invalidToken {
		c.fail(*failed)
		return
	}
	c.everywhere(over)
	// Clients leave the body alone (section 2.2), but some take an answer that is no JSON
	// for a failure.
	c.write(http.StatusOK, struct{}{})
}

// proveOnly is prove as a decision of its own.
func (c *call) proveOnly(form url.Values) (authn.Result, *failure) {
	defer c.Enter()()
	return c.prove(form, clientForms, c.Clock.Now())
}
