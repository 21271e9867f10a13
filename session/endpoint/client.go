package endpoint

import (
	"net/url"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

// clientForms are the methods of client authentication: client_secret_basic and
// client_secret_post.
const clientForms = credential.FormBasic | credential.FormBody

// prove establishes who calls. With a failure, the request is to be answered by it.
func (c *call) prove(form url.Values, forms credential.Forms, now policy.Instant) (authn.Result, *failure) {
	client, problem := credential.ExtractClient(c.r.Header, c.r.URL.RawQuery, form, forms)
	var res authn.Result
	switch {
	case problem == credential.Ambiguous:
		return res, &ambiguous
	case problem == credential.MalformedToken:
		res.Decision = policy.Deny(policy.InvalidToken)
	case problem != credential.None:
		res = c.Auth.Malformed(now)
	case client.Form == credential.FormBearer:
		res = c.Auth.Bearer(c.r.Context(), client.Token, c.address, now)
	default:
		secret := c.Auth.Spelling(c.r.Context(), client.ClientID, client.Spellings(), c.address, now)
		res = c.Auth.Secret(c.r.Context(), client.ClientID, secret, c.address, now)
	}
	if res.Allow {
		c.Auth.Used(&res, "", c.address, now.Since)
	} else {
		c.observe(res, nil)
	}
	return res, refusal(res.Decision)
}

// refusal is the answer to a proof that failed, nil if it did not.
func refusal(d policy.Decision) *failure {
	var f failure
	switch {
	case d.Reason == policy.Allowed:
		return nil
	case d.Reason == policy.StoreUnavailable:
		f = unavailable(d.RetryAfter)
	case d.Reason.AboutToken():
		f = invalidToken
	case d.Reason == policy.SourceNotAllowed:
		f = notAllowedHere
	default:
		f = invalidClient
	}
	return &f
}
