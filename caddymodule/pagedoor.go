package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keyreeve/keyreeve/admin/api"
	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/admin/page"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session"
	"github.com/keyreeve/keyreeve/session/authn"
)

// newPage is the page over the same operations.
func (a *App) newPage(run *running) *page.Page {
	base := ""
	if strings.HasPrefix(a.sessions.Issuer, "http") {
		base = a.sessions.Issuer
	}
	return page.New(page.Config{
		Service: run.keys, Door: &pageDoor{run}, Keyring: run.ring, BaseURL: base,
		Now:     func() time.Time { return run.store.clock.Now().Wall },
		Address: clientAddress, Secure: isSecure, RequestID: requestID, Report: a.reportTo("page"),
		Lockout: func() (int, time.Duration) { return a.settings.Lockout.Attempts, a.settings.Lockout.Duration },
	})
}

// isSecure reports a request that came over TLS, here or at a trusted proxy in front.
func isSecure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted && r.Header.Get("X-Forwarded-Proto") == "https"
}

// pageDoor lets administrators in at the page by the mechanism of every other
// entrance: the same count and floor, and sessions like those of the token endpoint.
type pageDoor struct{ run *running }

// SignIn proves a client ID and secret.
func (d *pageDoor) SignIn(r *http.Request, clientID, secret string) (page.Session, *api.AuthProblem) {
	if isEarlyData(r) {
		return page.Session{}, authProblem(policy.Deny(policy.TooEarly))
	}
	defer d.run.store.keys.End(d.run.store.keys.Aside())
	now := d.run.store.clock.Now()
	from := func() netip.Addr { return clientAddress(r) }
	res := d.run.auth.Secret(r.Context(), clientID, secret, from, now)
	if !res.Allow {
		d.run.noteFailure(r, &res)
		return page.Session{}, authProblem(res.Decision)
	}
	d.run.auth.Used(&res, "", from, now.Since)
	return d.open(r, res.Identity, res.SecretID, now)
}

// Redeem signs in as the key that a one-time link was made for, by the secret of it
// that is good: the session ends with that.
func (d *pageDoor) Redeem(r *http.Request, code string) (page.Session, *api.AuthProblem) {
	if isEarlyData(r) {
		return page.Session{}, authProblem(policy.Deny(policy.TooEarly))
	}
	used := &api.AuthProblem{Status: http.StatusUnauthorized, Code: page.CodeLinkUsed, Detail: "this link is not good any more"}
	clientID, ok := d.run.store.links.Take(code)
	if !ok {
		return page.Session{}, used
	}
	defer d.run.store.keys.End(d.run.store.keys.Aside())
	now := d.run.store.clock.Now()
	standing := d.run.auth.Standing(r.Context(), clientID, false, func() netip.Addr { return clientAddress(r) }, now)
	if !standing.Allow {
		return page.Session{}, authProblem(standing.Decision)
	}
	return d.open(r, standing.Identity, liveSecret(standing.Key, now.Wall), now)
}

// liveSecret is the id of the newest secret that is good.
func liveSecret(k *keystore.Key, now time.Time) string {
	for i := range k.Secrets {
		if k.Secrets[i].Live(now) {
			return k.Secrets[i].ID
		}
	}
	return ""
}

// open opens a session for a proven key that administers something.
func (d *pageDoor) open(r *http.Request, id authn.Identity, secretID string, now policy.Instant) (page.Session, *api.AuthProblem) {
	if !administers(id.Role.Permissions) {
		return page.Session{}, &api.AuthProblem{Status: http.StatusForbidden, Code: page.CodeNoAdministrator,
			Detail: "the role of this key holds nothing of Keyreeve's own"}
	}
	actor := actorAt(r, id)
	issued, err := d.run.tokens.Issue(r.Context(), id.Key, id.SessionGeneration(), secretID, "", actor.Address, now)
	if errors.Is(err, session.ErrOvertaken) {
		d.run.auth.Floor(now)
		return page.Session{}, authProblem(policy.Deny(policy.InvalidClient))
	}
	if err != nil {
		return page.Session{}, authProblem(unready())
	}
	return page.Session{Token: issued.Token, Actor: actor}, nil
}

func administers(p policy.Permissions) bool {
	for name, mask := range p {
		if strings.HasPrefix(name, policy.OwnPrefix) && mask != 0 {
			return true
		}
	}
	return false
}

func actorAt(r *http.Request, id authn.Identity) lifecycle.Actor {
	shown := ""
	if from := clientAddress(r); from.IsValid() {
		shown = from.String()
	}
	actor := lifecycle.ForKey(id.Key, id.Role, shown, requestID(r))
	actor.Kind = lifecycle.ActorSession
	return actor
}

// Resume proves a session's token.
func (d *pageDoor) Resume(r *http.Request, token string) (lifecycle.Actor, *api.AuthProblem) {
	if isEarlyData(r) {
		return lifecycle.Actor{}, authProblem(policy.Deny(policy.TooEarly))
	}
	defer d.run.store.keys.End(d.run.store.keys.Aside())
	now := d.run.store.clock.Now()
	from := func() netip.Addr { return clientAddress(r) }
	res := d.run.auth.Bearer(r.Context(), token, from, now)
	if !res.Allow {
		return lifecycle.Actor{}, authProblem(res.Decision)
	}
	if !page.Passive(r) {
		d.run.auth.Used(&res, "", from, now.Since)
	}
	return actorAt(r, res.Identity), nil
}

// SessionID is the id of the session.
func (d *pageDoor) SessionID(r *http.Request, token string) string {
	defer d.run.store.keys.End(d.run.store.keys.Aside())
	claims, err := d.run.tokens.Verify(r.Context(), token, d.run.store.clock.Now())
	if err != nil {
		return ""
	}
	return claims.ID
}

// fromPage proves whoever calls the admin API from the page: by its session cookie,
// which no other site may make use of.
func (run *running) fromPage(r *http.Request) (lifecycle.Actor, *api.AuthProblem) {
	token := run.page.Token(r)
	if token == "" {
		return lifecycle.Actor{}, authProblem(policy.Deny(policy.CredentialsRequired))
	}
	if page.FromElsewhere(r) {
		return lifecycle.Actor{}, &api.AuthProblem{Status: http.StatusForbidden, Code: "cross_origin", Detail: "this came from another site, so nothing was done"}
	}
	return (&pageDoor{run}).Resume(r, token)
}

// SignOut ends the session, whatever state its key is in, and waits for the other nodes to
// know it, when this call uses the store no more.
func (d *pageDoor) SignOut(r *http.Request, token string) error {
	over, err := d.end(r, token)
	if err == nil && over > 0 {
		d.run.store.keys.Propagate(r.Context(), over, keystore.RevokingWait)
	}
	return err
}

func (d *pageDoor) end(r *http.Request, token string) (keystore.Revision, error) {
	defer d.run.store.keys.End(d.run.store.keys.Aside())
	claims, err := d.run.tokens.Verify(r.Context(), token, d.run.store.clock.Now())
	switch {
	case errors.Is(err, session.ErrEnded): // here; that it is everywhere is waited for
	case errors.Is(err, session.ErrInvalid):
		return 0, nil // it is over
	case err != nil:
		return 0, err
	}
	ending := session.Ending{Reason: "sign_out", RequestID: requestID(r)}
	if from := clientAddress(r); from.IsValid() {
		ending.Address = from.String()
	}
	return d.run.tokens.Revoke(r.Context(), claims, ending)
}

// LoginLink makes a one-time link, a path of a site with the page, that signs in
// as the key with this client ID. It is for programs that run Caddy in their own
// process.
func LoginLink(ctx context.Context, clientID string) (string, error) {
	a := active.Load()
	if a == nil {
		return "", errors.New("no configuration with keyreeve is running")
	}
	run := a.ready(ctx)
	if run == nil {
		return "", errors.New("the key store is not open yet")
	}
	if _, _, err := run.store.keys.Look(ctx, clientID, run.store.clock.Now()); err != nil {
		return "", fmt.Errorf("key of the link: %w", err)
	}
	return page.LinkPath(run.store.links.Make(clientID)), nil
}

// Interface guards
var _ page.Door = (*pageDoor)(nil)
