// Package api is the HTTP door to lifecycle's operations: it turns requests
// into calls, results into JSON and refusals into problem documents (RFC 9457),
// and decides nothing itself.
package api

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// Authenticate proves who sends a request. It reads headers only, never the body.
type Authenticate func(*http.Request) (lifecycle.Actor, *AuthProblem)

// API serves the admin API under /v1/. Its fields may be set until the first request.
type API struct {
	// RequestID names a request in answers and the audit trail; nil draws one at random.
	RequestID func(*http.Request) string
	// Report is told what the client is not: why a request ended in 500, 503 or
	// 507. nil tells nobody.
	Report func(*http.Request, error)

	svc    *lifecycle.Service
	auth   Authenticate
	router *router
	spec   []byte // the OpenAPI document

	flights flights
	// lists are the places for lists of a source's keys that are being worked on.
	lists chan struct{}
	// listWait is how long a list waits for such a place.
	listWait time.Duration
}

// New makes the API over svc's operations.
func New(svc *lifecycle.Service, auth Authenticate) *API {
	a := &API{svc: svc, auth: auth, router: newRouter(), lists: make(chan struct{}, maxLists), listWait: listWait}
	h := humago.New(a.router, humaConfig())
	h.UseMiddleware(onlyKnownQuery, badRequestFor422)
	a.addKeys(h)
	a.addSecrets(h)
	a.addBatch(h)
	a.addLocks(h)
	a.addSessions(h)
	a.addRoles(h)
	a.addTenants(h)
	a.addMe(h)
	a.addViews(h)
	a.addSources(h)
	a.addNodes(h)
	a.addAudit(h)
	a.addPolicy(h)
	a.addSpec(h)
	return a
}

// Match reports whether a request for this (decoded) path is the API's to answer.
func (a *API) Match(path string) bool { return a.router.owns(path) }

// call is one request on its way through an operation.
type call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	actor lifecycle.Actor
	id    string
	// refused is the status that the operation refused with, 0 if it did not.
	refused int
}

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// ServeHTTP authenticates before it looks at anything else: whoever is not
// signed in learns nothing of paths, methods and bodies.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	c := &call{api: a, w: w, r: r, id: a.requestID(r)}
	actor, refused := a.auth(r)
	if refused != nil {
		c.write(c.named(unauthenticated(r, refused)))
		return
	}
	if actor.RequestID == "" {
		actor.RequestID = c.id
	}
	actor.Wait = preferredWait(r.Header)
	c.actor, c.id = actor, actor.RequestID
	if p := c.route(); p != nil {
		c.write(p)
		return
	}
	ctx := context.WithValue(r.Context(), callKey{}, c)
	c.r = c.r.WithContext(ctx)
	a.router.ServeHTTP(w, c.r)
}

// route refuses what no operation answers, and spells the query in the one way
// that every parser reads alike.
func (c *call) route() *Problem {
	found := c.api.router.find(c.r.URL.EscapedPath())
	if found == nil {
		return c.problem(&lifecycle.Error{Kind: lifecycle.NotFound, Code: lifecycle.CodeNotFound, Detail: "there is no such path"})
	}
	if !found.allows(c.r.Method) {
		return c.named(MethodNotAllowed(c.r.Method, found.methods))
	}
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return c.newProblem(http.StatusBadRequest, codeMalformedQuery, "the query string is not well-formed")
	}
	var bad lifecycle.FieldErrors
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if len(values[name]) > 1 {
			bad.Add(printable(name), codeDuplicate, "is given more than once")
		}
	}
	if err := bad.Err(); err != nil {
		return c.problem(err)
	}
	plain := *c.r.URL
	plain.RawQuery = values.Encode()
	c.r = c.r.Clone(c.r.Context())
	c.r.URL = &plain
	return nil
}

func (a *API) requestID(r *http.Request) string {
	if a.RequestID != nil {
		if id := a.RequestID(r); id != "" {
			return id
		}
	}
	return rand.Text()
}

func (a *API) report(r *http.Request, err error) {
	if a.Report != nil {
		a.Report(r, err)
	}
}

// printable is a caller's own word fit to be quoted back. It is cut first: the word
// may be as long as a body.
func printable(s string) string {
	const most = 60
	end := ""
	if len(s) > most {
		s, end = s[:most], "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s) + end
}

var _ http.Handler = (*API)(nil)
