package caddymodule

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/keyreeve/keyreeve/credential"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
	"github.com/keyreeve/keyreeve/session/authn"
)

// ServeHTTP examines the request and lets it through or refuses it.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	v := &verdict{began: time.Now()}
	preflight := g.examine(r, v)
	g.observe(r, v)
	g.used(r, v)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if g.Shadow {
			repl.Map(v.shadowPlaceholder)
		} else {
			repl.Map(v.placeholder)
		}
	}
	switch {
	case !g.cors.enabled():
		return g.act(w, r, v, next)
	case preflight && v.Allow:
		return g.answerPreflight(w, r)
	}
	decorated := g.cors.decorate(w, r)
	err := g.act(decorated, r, v, next)
	if err != nil {
		decorated.apply() // what handles the error writes to w itself
	}
	return err
}

// act does what was decided: it refuses the request, or hands it on.
func (g *Gate) act(w http.ResponseWriter, r *http.Request, v *verdict, next caddyhttp.Handler) error {
	if !v.Allow {
		g.keepDenial(r, v)
		g.logDenial(r, v)
		if !g.Shadow {
			return g.refuse(w, r, v.Decision)
		}
	}
	g.fence(r, v)
	if v.Reason == policy.Allowed && g.Identity != identityOff && !g.Shadow {
		v.setIdentity(r.Header)
	}
	return next.ServeHTTP(w, r)
}

// examine decides on a request, in the order in which the first failure answers:
// early data, path, credential form, client and proof, route, tenant, role. It
// reports whether the request is a CORS preflight, which asks about another one.
func (g *Gate) examine(r *http.Request, v *verdict) (preflight bool) {
	match, reason := g.ask(r, &v.asked)
	switch {
	case isEarlyData(r):
		v.Decision = policy.Deny(policy.TooEarly)
		return false
	case reason == policy.AmbiguousPath:
		v.Decision = policy.Deny(reason)
		return false
	case v.preflight:
		v.Decision = decidePreflight(match)
		return true
	case match.Route != nil && match.Route.Public:
		v.Decision = policy.Decision{Allow: true, Reason: policy.Public, Route: match.Route}
		return false
	}
	g.prove(r, v)
	if v.Allow {
		g.awaitRevision(r, v)
	}
	if !v.Allow {
		return false
	}
	v.Decision = g.set.Decide(match, v.path, r.URL.RawQuery, v.Subject())
	if v.Allow && g.Identity == identityAssertion && !g.Shadow {
		g.assert(r, v, v.method, v.path)
	}
	return false
}

// asked is what a request asks for, as it is decided on.
type asked struct {
	method string
	// path is escaped, as on the wire; "" where it could be read in two ways.
	path string
	// preflight: a CORS preflight, which asks about a request with this method.
	preflight bool
	// matched is the rule for it, nil for none.
	matched *policy.Route
}

// ask reads what a request asks for, into q, and finds the rule for it.
func (g *Gate) ask(r *http.Request, q *asked) (policy.Match, policy.Reason) {
	q.method = effectiveMethod(r)
	if g.cors.enabled() && g.isPreflight(r) {
		q.method, q.preflight = r.Header.Get("Access-Control-Request-Method"), true
	}
	path, class, decidable := credential.DecidablePath(r.URL, r.RequestURI)
	if !decidable {
		return policy.Match{}, policy.AmbiguousPath
	}
	q.path = path
	match, reason := g.set.Match(q.method, path, class == credential.PathOdd)
	q.matched = match.Route
	return match, reason
}

// prove establishes who calls, into v.
func (g *Gate) prove(r *http.Request, v *verdict) {
	cred, problem := credential.Extract(r.Header, r.URL.RawQuery, g.forms)
	switch problem {
	case credential.Missing:
		v.Decision = policy.Deny(policy.CredentialsRequired)
		return
	case credential.Ambiguous:
		v.Decision = policy.Deny(policy.InvalidRequest)
		return
	case credential.MalformedToken:
		v.Decision = policy.Deny(policy.InvalidToken)
		return
	case credential.MalformedClient:
		if g.Shadow { // which costs no time
			v.Decision = policy.Deny(policy.InvalidClient)
			v.Detail = "malformed credential"
			return
		}
	}
	run := g.app.ready(r.Context())
	if run == nil {
		v.Decision = unready()
		return
	}
	now := run.store.instant(v.began)
	v.since = now.Since
	from := func() netip.Addr { return clientAddress(r) }
	switch {
	case problem == credential.MalformedClient:
		v.Result = run.auth.Malformed(now)
	case cred.Form == credential.FormBearer:
		v.Result = run.auth.Bearer(r.Context(), cred.Token, from, now)
	case g.Shadow:
		v.Result = run.auth.Peek(r.Context(), cred.ClientID, cred.Secret, from, now)
	default:
		v.Result = run.auth.Secret(r.Context(), cred.ClientID, cred.Secret, from, now)
	}
	v.clientID = cred.ClientID
}

// unready is the answer while the store has not been opened.
func unready() policy.Decision {
	d := policy.Deny(policy.StoreUnavailable)
	d.Detail = "the key store is not open yet"
	d.RetryAfter = readyWithin
	return d
}

// isEarlyData reports a request that an attacker could replay: TLS 1.3 0-RTT
// data, here or at a proxy in front (RFC 8470 section 5.1).
func isEarlyData(r *http.Request) bool {
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		return true
	}
	return len(r.Header["Early-Data"]) > 0
}

// effectiveMethod is the method to decide on. A WebSocket over HTTP/2 or 3 comes
// as an extended CONNECT (RFC 8441, RFC 9220) and is the GET it would be over
// HTTP/1.1. The protocol's name is compared as Caddy's reverse_proxy does, to the
// letter: what that takes for no WebSocket leaves as a CONNECT. HTTP/3 has it in
// place of the protocol's version.
func effectiveMethod(r *http.Request) string {
	if r.Method != http.MethodConnect {
		return r.Method
	}
	const websocket = "websocket"
	p := r.Header[":protocol"]
	if (r.ProtoMajor == 2 && len(p) == 1 && p[0] == websocket) || (r.ProtoMajor == 3 && r.Proto == websocket) {
		return http.MethodGet
	}
	return r.Method
}

// clientAddress is the client's address as Caddy sees it through trusted
// proxies, the zero Addr where there is none (a unix socket).
func clientAddress(r *http.Request) netip.Addr {
	s, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// verdict is what became of a request. Its pointer is what the request's
// placeholders read from.
type verdict struct {
	authn.Result
	asked
	// began is when the examination did.
	began time.Time
	// since is when it was proven, by the store's clock.
	since time.Duration
	// clientID is what was claimed, proven or not. For logs.
	clientID string
	// assertion is the signed one, "" for none.
	assertion string
	// headers holds the values of the identity headers, which would be an
	// allocation of their own.
	headers [6]string
}

// nobody is whom placeholders name where the caller is not proven or not told.
var nobody = authn.Identity{Key: new(keystore.Key), Role: new(keystore.Role)}

// proven reports whether the caller is known, whatever was decided then.
func (v *verdict) proven() bool { return v.Role != nil }

// placeholder resolves {http.auth.user.*} and {http.keyreeve.*}. They are known on
// every request that came by, so that no text with braces is left where nobody is
// proven.
func (v *verdict) placeholder(name string) (any, bool) {
	who := &v.Identity
	if !v.proven() {
		who = &nobody
	}
	return v.resolve(name, who)
}

// shadowPlaceholder is placeholder for a gate that only watches: nobody learns
// from it who calls.
func (v *verdict) shadowPlaceholder(name string) (any, bool) { return v.resolve(name, &nobody) }

func (v *verdict) resolve(name string, who *authn.Identity) (any, bool) {
	if rest, ok := strings.CutPrefix(name, "http.keyreeve."); ok {
		switch rest {
		case "outcome":
			if v.Allow {
				return "allow", true
			}
			return "deny", true
		case "reason":
			return v.Reason.Code(), true
		}
		return nil, false
	}
	rest, ok := strings.CutPrefix(name, "http.auth.user.")
	if !ok {
		return nil, false
	}
	switch rest {
	case "id":
		return who.Key.ClientID, true
	case "key_id":
		return who.Key.ID, true
	case "key_name":
		return who.Key.Name, true
	case "customer_id":
		return who.Key.CustomerID, true
	case "microtenant_id":
		return who.Key.MicrotenantID, true
	case "role":
		return who.Role.ID, true
	}
	return nil, false
}

// logDenial tells operators what clients are not told. Denials can be as many as
// requests, so only what changes something is above debug; that the store is out
// of reach is told once, by what follows it.
func (g *Gate) logDenial(r *http.Request, v *verdict) {
	level := zap.DebugLevel
	message := "denied"
	switch {
	case v.Outcome.Locked || v.Outcome.SourceLocked:
		level, message = zap.WarnLevel, "client locked"
	case g.Shadow:
		level, message = zap.InfoLevel, "would be denied"
	}
	c := g.logger.Check(level, message)
	if c == nil {
		return
	}
	fields := []zap.Field{
		zap.String("reason", v.Reason.Code()), zap.String("detail", v.Detail),
		zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stringer("client_ip", clientAddress(r)),
	}
	if v.Key != nil {
		fields = append(fields, zap.String("client_id", v.Key.ClientID), zap.String("key_id", v.Key.ID))
	}
	if scope := v.Scope(); scope != "" {
		fields = append(fields, zap.String("scope", scope))
	}
	c.Write(append(fields, traceField(r))...)
}
