package endpoint

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

const tokenType = "Bearer"

// signIn answers clients of the modelled product. Its expires_in is a string: a
// number would end them.
func (c *call) signIn() {
	form, failed := c.form()
	if failed != nil {
		c.fail(*failed)
		return
	}
	issued, failed := c.grant(form, credential.FormBody, "")
	if failed != nil {
		c.fail(*failed)
		return
	}
	c.write(http.StatusOK, struct {
		TokenType   string `json:"token_type"`
		AccessToken string `json:"access_token"`
		ExpiresIn   string `json:"expires_in"`
	}{tokenType, issued.Token, strconv.FormatInt(seconds(issued.Lifetime), 10)})
}

// token is the token endpoint (RFC 6749 section 4.4.2).
func (c *call) token() {
	form, failed := c.form()
	switch {
	case failed != nil:
	case form.Get("grant_type") == "":
		failed = &noGrant
	case form.Get("grant_type") != "client_credentials":
		failed = &wrongGrant
	case form.Get("scope") != "":
		failed = &noScopes
	}
	if failed != nil {
		c.fail(*failed)
		return
	}
	issued, failed := c.grant(form, clientForms, form.Get("audience"))
	if failed != nil {
		c.fail(*failed)
		return
	}
	c.write(http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
	}{issued.Token, tokenType, seconds(issued.Lifetime)})
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// grant proves a client by its secret and issues a token to it.
func (c *call) grant(form url.Values, forms credential.Forms, audience string) (session.Issued, *failure) {
	defer c.Enter()()
	now := c.Clock.Now()
	res, failed := c.prove(form, forms, now)
	if failed != nil {
		return session.Issued{}, failed
	}
	from := ""
	if a := c.address(); a.IsValid() {
		from = a.String()
	}
	// Which may wait for the store, and holds no revocation back: what the key is decides
	// when the token is shown.
	issued, err := c.Tokens.Issue(c.r.Context(), res.Key, res.SessionGeneration(), res.SecretID, audience, from, now)
	switch {
	case errors.Is(err, session.ErrAudience):
		c.observe(denied(res, policy.InvalidRequest, err), nil)
		return issued, &wrongAudience
	case errors.Is(err, session.ErrOvertaken):
		c.Auth.Floor(now)
		c.observe(denied(res, policy.InvalidClient, err), nil)
		return issued, &invalidClient
	case err != nil:
		return issued, c.failed(res, err)
	}
	c.observe(res, nil)
	return issued, nil
}

// failed is the answer to a proven caller for whom the store failed.
func (c *call) failed(res authn.Result, err error) *failure {
	c.observe(denied(res, policy.StoreUnavailable, err), err)
	f := unavailable(retryAfter)
	return &f
}

// denied is a proof after which something else went wrong.
func denied(res authn.Result, reason policy.Reason, err error) authn.Result {
	res.Decision = policy.Deny(reason)
	res.Detail = err.Error()
	return res
}

// signOut ends the session of the token that it is sent with. The token alone
// decides: a session is ended too while its key is disabled or locked, or it
// would come back with the key.
func (c *call) signOut() {
	cred, problem := credential.Extract(c.r.Header, c.r.URL.RawQuery, credential.FormBearer)
	switch problem {
	case credential.None:
	case credential.Ambiguous:
		c.fail(ambiguous)
		return
	case credential.Missing:
		c.fail(noBearer)
		return
	default:
		c.fail(invalidToken)
		return
	}
	over, failed := c.end(cred.Token, "sign_out", "")
	if failed != nil {
		c.fail(*failed)
		return
	}
	c.everywhere(over)
	c.write(http.StatusNoContent, nil)
}

// end ends the session of a good token, and is the revision by which it is over; of
// another client's than owner's, where one is named, it does nothing, and that is 0.
func (c *call) end(token, reason, owner string) (keystore.Revision, *failure) {
	defer c.Enter()()
	now := c.Clock.Now()
	claims, err := c.Tokens.Verify(c.r.Context(), token, now)
	switch {
	case errors.Is(err, session.ErrEnded) && owner != "":
		// Elsewhere it may not be yet: whoever is told that it is over waits for that.
	case errors.Is(err, session.ErrInvalid):
		return 0, &invalidToken
	case err != nil:
		return 0, c.failed(authn.Result{}, err)
	}
	if owner != "" && claims.ClientID != owner {
		return 0, nil
	}
	over, err := c.Tokens.Revoke(c.r.Context(), claims, c.ending(reason))
	if err != nil {
		return 0, c.failed(authn.Result{Claims: claims}, err)
	}
	return over, nil
}

// everywhere waits for the other nodes to know that a session is over, and says how many
// do: the statuses of these endpoints are those of their standards. Nobody who
// waits for it decides.
func (c *call) everywhere(over keystore.Revision) {
	if over == 0 || c.Propagate == nil {
		return
	}
	p := c.Propagate(c.r.Context(), over, keystore.RevokingWait)
	c.w.Header().Set(keystore.PropagationHeader, keystore.PropagationText(p.Confirmed, len(p.Pending)))
}

// ending says why and from where the session is ended.
func (c *call) ending(reason string) session.Ending {
	e := session.Ending{Reason: reason}
	if from := c.address(); from.IsValid() {
		e.Address = from.String()
	}
	if c.RequestID != nil {
		e.RequestID = c.RequestID(c.r)
	}
	return e
}
